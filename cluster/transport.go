package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport carries memberlist's packets and streams. It binds before anything runs (or takes sockets over),
// bounds the streams that come in, counts octets, and can be cut for tests and drills.
type transport struct {
	tcp       *net.TCPListener
	udp       *net.UDPConn
	local     netip.AddrPort // what is bound
	advertise netip.AddrPort
	packets   chan *memberlist.Packet
	streams   chan net.Conn
	busy      func(source string) // tells of a stream refused for want of room
	severed   atomic.Pointer[func(peer string) bool]
	octets    [4]atomic.Uint64

	ctx  context.Context // of Run; ends dialling and handing over
	end  context.CancelFunc
	done sync.WaitGroup // the two readers

	mu     sync.Mutex // guards the following
	open   map[*stream]struct{}
	from   map[netip.Addr]int
	closed bool
	idle   sync.WaitGroup // open streams
}

// The counters of octets.
const (
	packetsIn = iota
	packetsOut
	streamsIn
	streamsOut
)

// Most streams at a time that others have opened, in all and from one address; most octets that one brings.
const (
	maxStreams     = 256
	maxStreamsFrom = 64
	maxStreamIn    = maxFull + 1<<20
)

// listen binds the gossip address, or takes the given sockets.
func listen(c *Config, tcp *net.TCPListener, udp *net.UDPConn) (*transport, error) {
	want, err := netip.ParseAddrPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("cluster.listen: %w", err)
	}
	t := &transport{tcp: tcp, udp: udp, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		open: map[*stream]struct{}{}, from: map[netip.Addr]int{}, busy: func(string) {}}
	t.ctx, t.end = context.WithCancel(context.Background())
	if t.tcp == nil {
		if err := t.bind(want); err != nil {
			return nil, fmt.Errorf("cluster.listen: %w", err)
		}
	}
	// A larger buffer bridges a busy moment; the system may allow less, which is no reason to refuse.
	_ = t.udp.SetReadBuffer(2 << 20)
	bound := t.tcp.Addr().(*net.TCPAddr).AddrPort()
	t.local = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	t.advertise = t.local
	if c.Advertise != "" {
		if t.advertise, err = netip.ParseAddrPort(c.Advertise); err != nil {
			return nil, errors.Join(fmt.Errorf("cluster.advertise: %w", err), t.Shutdown())
		}
		if t.advertise.Port() == 0 {
			t.advertise = netip.AddrPortFrom(t.advertise.Addr(), t.local.Port())
		}
	}
	return t, nil
}

// bind finds one port for both protocols; where the system chooses it, a few are tried.
func (t *transport) bind(at netip.AddrPort) error {
	for try := 0; ; try++ {
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		port := uint16(tcp.Addr().(*net.TCPAddr).Port)
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.Addr(), port)))
		if err == nil {
			t.tcp, t.udp = tcp, udp
			return nil
		}
		_ = tcp.Close() // the error to tell is the other one
		if at.Port() != 0 || try == 20 {
			return err
		}
	}
}

// start begins to read; Shutdown ends it.
func (t *transport) start() {
	t.done.Go(t.readPackets)
	t.done.Go(t.acceptStreams)
}

func (t *transport) readPackets() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if err != nil {
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of a packet that we sent: memberlist finds out by its own means
		}
		if n == 0 || t.cut(from.String()) {
			continue
		}
		t.octets[packetsIn].Add(uint64(n))
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: now}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *transport) acceptStreams() {
	for {
		conn, err := t.tcp.AcceptTCP()
		if err != nil {
			if t.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of descriptors: a little later there may be some
			case <-time.After(50 * time.Millisecond):
				continue
			case <-t.ctx.Done():
				return
			}
		}
		s := t.admit(conn)
		if s == nil {
			continue
		}
		select {
		case t.streams <- s:
		case <-t.ctx.Done():
			_ = s.Close() // nobody takes it any more
			return
		}
	}
}

// admit counts a stream in; nil: it was closed for want of room.
func (t *transport) admit(conn *net.TCPConn) *stream {
	at := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	source := at.Addr().Unmap()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut(at.String()) || t.closed {
		_ = conn.Close() // as if it had never arrived
		return nil
	}
	if len(t.open) >= maxStreams || t.from[source] >= maxStreamsFrom {
		_ = conn.Close() // its sender sees that and tries again later
		t.busy(source.String())
		return nil
	}
	s := &stream{Conn: conn, t: t, source: source, in: true, left: maxStreamIn}
	t.from[source]++
	t.open[s] = struct{}{}
	t.idle.Add(1)
	return s
}

// stream is one connection; it leaves the books when it is closed.
type stream struct {
	net.Conn
	t      *transport
	source netip.Addr
	in     bool
	left   int64 // octets that may still be read
	once   sync.Once
}

func (s *stream) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, errors.New("more octets than a cluster's state can have")
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.Conn.Read(p)
	s.left -= int64(n)
	s.t.octets[streamsIn].Add(uint64(n))
	return n, err
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.t.octets[streamsOut].Add(uint64(n))
	return n, err
}

func (s *stream) Close() error {
	err := s.Conn.Close()
	s.once.Do(func() {
		s.t.mu.Lock()
		defer s.t.mu.Unlock()
		delete(s.t.open, s)
		if s.in {
			if s.t.from[s.source]--; s.t.from[s.source] <= 0 {
				delete(s.t.from, s.source)
			}
		}
		s.t.idle.Done()
	})
	return err
}

func (t *transport) cut(peer string) bool {
	f := t.severed.Load()
	return f != nil && (*f)(peer)
}

// FinalAdvertiseAddr is part of memberlist's Transport, as the following are.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IP(t.advertise.Addr().AsSlice()), int(t.advertise.Port()), nil
}

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("send a packet to %q: %w", addr, err)
	}
	if t.cut(addr) {
		return time.Now(), nil
	}
	n, err := t.udp.WriteToUDPAddrPort(b, to)
	t.octets[packetsOut].Add(uint64(n))
	return time.Now(), err
}

func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout opens a stream to another router, from the address that is listened on.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if t.cut(addr) {
		return nil, fmt.Errorf("dial %s: the link is cut", addr)
	}
	d := net.Dialer{Timeout: timeout}
	if ip := t.local.Addr(); !ip.IsUnspecified() {
		d.LocalAddr = &net.TCPAddr{IP: net.IP(ip.AsSlice())}
	}
	conn, err := d.DialContext(t.ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	// memberlist sets a deadline for some of its streams only
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s := &stream{Conn: conn, t: t, left: maxStreamIn}
	t.open[s] = struct{}{}
	t.idle.Add(1)
	return s, nil
}

func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes the sockets and every stream, and returns when all of them have been given up.
func (t *transport) Shutdown() error {
	t.end()
	errs := []error{t.tcp.Close(), t.udp.Close()}
	t.done.Wait()
	t.mu.Lock()
	t.closed = true
	open := make([]*stream, 0, len(t.open))
	for s := range t.open {
		open = append(open, s)
	}
	t.mu.Unlock()
	for _, s := range open {
		_ = s.Conn.Close() // its user sees the error and closes it once more, which counts it out
	}
	for i, err := range errs {
		if errors.Is(err, net.ErrClosed) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// wait returns when memberlist has given up the last stream.
func (t *transport) wait() { t.idle.Wait() }
