package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mmsrouter/mmsrouter/proxy/replay"
	"github.com/mmsrouter/mmsrouter/proxy/socket"
	"github.com/mmsrouter/mmsrouter/proxy/wire"
	"github.com/mmsrouter/mmsrouter/router"
)

// client is one client connection and the request on it. Its goroutine serves one connection after the other.
type client struct {
	p       *Proxy
	next    chan struct{} // another connection is here; closed: there will be none
	nc      net.Conn
	number  uint64 // in the order in which they came
	c       wire.Conn
	remote  netip.Addr // the client's address, from the PROXY header if one came
	text    string     // the same as text,
	textOf  netip.Addr // this one's
	local   netip.AddrPort
	trusted bool        // its identity fields are believed
	adopted bool        // another process has accepted it
	stays   atomic.Bool // it can't be passed on to another process

	buf   []byte // from the Store; nil while idle
	r, w  int    // octets of buf not yet used
	later []byte // octets that came behind the request under way
	req   wire.Request
	x     exchange
	known struct { // a host that was found to be ours, and by what
		host []byte
		set  *settings
		snap *router.Snapshot
	}

	abort   func()                 // abortUpload, made once
	waiting atomic.Bool            // idle between requests
	since   atomic.Int64           // when that began, in Unix nanoseconds
	aborted atomic.Bool            // a newer twin, or the end of the program, wants the upload to stop
	current atomic.Pointer[upConn] // the attempt under way
}

// accept takes connections until the listener closes.
func (p *Proxy) accept(ctx context.Context, l net.Listener) {
	p.mu.Lock()
	p.accepting++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.accepting--
		p.lookIdle()
	}()
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			p.log.Warn("accept", "listen", l.Addr().String(), "err", err)
			t := time.NewTimer(50 * time.Millisecond) // out of descriptors: let some go
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return
			}
			continue
		}
		p.m.accepted.Add(1)
		p.employ(nc, netip.Addr{}, false)
	}
}

// employ has a connection served by a goroutine that waits for one, or by a new one. False: the limit is reached, and
// the connection is closed. Run must be waiting for somebody at least: the caller.
func (p *Proxy) employ(nc net.Conn, from netip.Addr, adopted bool) bool {
	cl := p.crew.take()
	waits := cl != nil
	if !waits {
		cl = &client{p: p, next: make(chan struct{}, 1)}
		cl.abort = cl.abortUpload
	}
	cl.begin(nc)
	cl.remote, cl.adopted = from, adopted
	switch admitted := p.admit(cl); {
	case admitted && waits:
		cl.next <- struct{}{} // it has room for one, and only who took the client sends
		return true
	case admitted:
		p.serving.Add(1)
		go func() {
			defer p.serving.Done()
			for cl.serve() && p.crew.rest(cl) {
				if _, ok := <-cl.next; !ok {
					return
				}
			}
		}()
		return true
	case waits && !p.crew.rest(cl):
		close(cl.next)
	}
	return false
}

// begin makes the client one that has said nothing yet on nc.
func (cl *client) begin(nc net.Conn) {
	cl.nc, cl.trusted, cl.local = nc, false, localAddress(nc)
	if cl.later = cl.later[:0]; cap(cl.later) > replay.Small {
		cl.later = nil // one that pipelined much is not everyone
	}
	cl.known.set, cl.known.snap = nil, nil
	cl.waiting.Store(false)
	cl.aborted.Store(false)
	cl.stays.Store(false)
}

// admit applies the limit on connections in all.
func (p *Proxy) admit(cl *client) bool {
	p.mu.Lock()
	full := len(p.clients) >= p.set.Load().Limits.Connections
	if !full && p.started != nil {
		p.came++
		cl.number = p.came
		p.clients[cl] = struct{}{}
		p.m.connections.Add(1)
		p.mu.Unlock()
		return true
	}
	p.mu.Unlock()
	p.m.refusedConn.Add(1)
	if full {
		p.log.Warn("client connection refused: limit reached, raise mm1.limits.connections", "client", cl.nc.RemoteAddr().String())
	}
	_ = cl.nc.Close() // nothing was said on it
	return false
}

// leave takes the client off the books.
func (cl *client) leave(counted bool) {
	p := cl.p
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.clients, cl)
	p.m.connections.Add(-1)
	if counted {
		if p.perClient[cl.text]--; p.perClient[cl.text] <= 0 {
			delete(p.perClient, cl.text)
		}
	}
	p.lookIdle()
}

// limited counts the connections of an address; false if it has too many. WAP gateways, loopback and private
// networks are not limited: one such address speaks for millions of users.
func (cl *client) limited(set *settings) (counted, ok bool) {
	if cl.remote.IsLoopback() || cl.remote.IsPrivate() || cl.remote.IsLinkLocalUnicast() || set.gateways.contain(cl.remote) || !cl.remote.IsValid() {
		return false, true
	}
	p := cl.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.perClient[cl.text] >= set.Limits.PerClient {
		return false, false
	}
	p.perClient[cl.text]++
	return true, true
}

// wakeIdle ends the wait of a connection without a request.
func (cl *client) wakeIdle() {
	if cl.waiting.Load() {
		_ = cl.nc.SetReadDeadline(time.Unix(1, 0)) // it fails only on a closed connection
	}
}

// abortAll makes the goroutine end as soon as it waits for anything.
func (cl *client) abortAll() {
	cl.aborted.Store(true)
	_ = cl.nc.SetDeadline(time.Unix(1, 0)) // it fails only on a closed connection
	if c := cl.current.Load(); c != nil {
		_ = c.NC.SetDeadline(time.Unix(1, 0)) // as above
	}
}

// abortUpload makes a wait for the upload's next octets end; the fence calls it for an older twin.
func (cl *client) abortUpload() {
	cl.aborted.Store(true)
	_ = cl.nc.SetReadDeadline(time.Unix(1, 0)) // it fails only on a closed connection
}

// serve does everything on one connection. False: the program is at fault, and the client should not be used again.
func (cl *client) serve() (sound bool) {
	p := cl.p
	counted := false
	sound = true
	defer func() {
		if r := recover(); r != nil {
			p.m.panics.Add(1)
			p.log.Error("fault while serving a client; its connection is closed", "fault", r, "stack", string(debug.Stack()))
			cl.x.abandon()
			sound = false
		}
		cl.release()
		_ = cl.nc.Close() // closed twice is harmless
		cl.leave(counted)
	}()
	set := p.set.Load()
	if !cl.identify(set) {
		return sound
	}
	var ok bool
	if counted, ok = cl.limited(set); !ok {
		p.m.refusedConn.Add(1)
		p.log.Warn("client connection refused: limit of its address reached, raise mm1.limits.connections_per_client or list it in mm1.gateways", "client", cl.text)
		return sound
	}
	p.mu.Lock()
	cert := p.tls
	p.mu.Unlock()
	if cert != nil && !cl.adopted {
		tc := tls.Server(cl.prefixed(), cert.config())
		_ = tc.SetDeadline(time.Now().Add(set.Timeouts.Head)) // it fails only on a closed connection
		if err := tc.HandshakeContext(context.Background()); err != nil {
			p.log.Debug("TLS handshake", "client", cl.text, "err", err)
			return sound
		}
		_ = tc.SetDeadline(time.Time{}) // as above
		p.mu.Lock()                     // drains and the end look at it meanwhile
		cl.nc = tc
		p.mu.Unlock()
	}
	cl.c.Reset(cl.nc)
	for {
		set = p.set.Load()
		if !cl.readHead(set) || !cl.x.run(cl, set) || p.draining.Load() || cl.aborted.Load() {
			return sound
		}
	}
}

// localAddress is where a client has come to.
func localAddress(nc net.Conn) netip.AddrPort {
	if s, ok := nc.(*socket.Conn); ok {
		return s.LocalAddrPort()
	}
	a, ok := nc.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
}

// remoteAddress is who is on the other side.
func remoteAddress(nc net.Conn) netip.Addr {
	if s, ok := nc.(*socket.Conn); ok {
		return s.RemoteAddrPort().Addr()
	}
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap().WithZone("")
}

// identify finds out who is there: the socket's address, or the one that a listed load balancer tells by
// the PROXY protocol.
func (cl *client) identify(set *settings) bool {
	if cl.adopted {
		cl.trusted = set.trusted.contain(cl.remote)
		cl.say()
		return true
	}
	cl.remote = remoteAddress(cl.nc)
	if set.proxied.contain(cl.remote) {
		_ = cl.nc.SetReadDeadline(time.Now().Add(set.Timeouts.Head)) // it fails only on a closed connection
		br := bufio.NewReaderSize(cl.nc, replay.Small/2)
		h, err := proxyproto.Read(br)
		if err != nil {
			cl.p.m.badRequests[badHead].Add(1)
			cl.p.log.Warn("no valid PROXY protocol header from a network in mm1.proxy_protocol", "peer", cl.remote.String(), "err", err)
			return false
		}
		if a, ok := h.SourceAddr.(*net.TCPAddr); ok && !h.Command.IsLocal() {
			if ap := a.AddrPort(); ap.IsValid() {
				cl.remote = ap.Addr().Unmap().WithZone("")
			}
		}
		if n := br.Buffered(); n > 0 {
			cl.buf = cl.p.store.GetSmall()
			cl.w, _ = io.ReadFull(br, cl.buf[:n]) // it is in memory: it can't fail
		}
	}
	cl.say()
	cl.trusted = set.trusted.contain(cl.remote)
	return true
}

// say writes the client's address out.
func (cl *client) say() {
	if cl.text == "" || cl.remote != cl.textOf { // a gateway comes again and again
		cl.text, cl.textOf = cl.remote.String(), cl.remote
	}
}

// prefixed gives the connection with what was read ahead of TLS in front.
func (cl *client) prefixed() net.Conn {
	if cl.w == 0 {
		return cl.nc
	}
	pc := &prefixConn{Conn: cl.nc, first: append([]byte(nil), cl.buf[:cl.w]...)}
	cl.release()
	return pc
}

// prefixConn is a connection some of whose octets have been read already.
type prefixConn struct {
	net.Conn
	first []byte
}

func (p *prefixConn) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// release gives the buffer back.
func (cl *client) release() {
	if cl.buf != nil {
		cl.p.store.Put(cl.buf)
		cl.buf, cl.r, cl.w = nil, 0, 0
	}
}

// maxEmpty bounds the octets of empty lines before a request.
const maxEmpty = 8

// readHead waits for a request and parses its head into cl.req, whose slices alias cl.buf. False: the
// connection is at its end; if the client deserved an answer it got one.
func (cl *client) readHead(set *settings) bool {
	if cl.r == cl.w {
		cl.release()
		if !cl.await(set) {
			return false
		}
	}
	limits := wire.Limits{Octets: int(set.Limits.Header), Fields: set.Limits.Fields}
	var until time.Time // of the head
	for {
		for cl.r < maxEmpty && cl.w-cl.r >= 2 && cl.buf[cl.r] == '\r' && cl.buf[cl.r+1] == '\n' {
			cl.r += 2 // empty lines before a request are forgiven (RFC 9112 section 2.2)
		}
		err := wire.ParseRequest(cl.buf[cl.r:cl.w], &cl.req, limits)
		if err == nil {
			return true
		}
		if err != wire.ErrPartial {
			cl.badHead(set, err)
			return false
		}
		if until.IsZero() {
			until = time.Now().Add(set.Timeouts.Head)
		}
		n, err := cl.c.TryRead(cl.room())
		if err == wire.ErrWouldBlock {
			cl.shrink()
			n, err = cl.read(cl.room(), time.Until(until))
		}
		if err != nil {
			if isTimeout(err) && !cl.aborted.Load() {
				cl.badHead(set, &wire.Error{Status: 408, Reason: "the head did not come in time"})
			}
			return false
		}
		cl.w += n
	}
}

// await waits for the first octets of a request. False: idle for too long, closed, reset between requests, or gone over to another process:
// nobody here waits for an answer.
func (cl *client) await(set *settings) bool {
	p := cl.p
	for began := time.Now(); ; cl.c.Forget() {
		cl.c.ReadBy(began, set.Timeouts.Idle)
		cl.since.Store(began.UnixNano())
		cl.waiting.Store(true)
		if p.draining.Load() || cl.aborted.Load() || p.handing.Load() && cl.passOn() {
			return false
		}
		buf, n, err := cl.c.ReadWith(p.store)
		cl.waiting.Store(false)
		if err == nil {
			cl.buf, cl.r, cl.w = buf, 0, n
			return true
		}
		if !isTimeout(err) || !p.handing.Load() || time.Since(began) >= set.Timeouts.Idle {
			return false
		}
		// woken to be passed on: if that can't be, it waits on
	}
}

// read waits for octets for so long. A drain that meant the wait between two requests, and came late, must not end
// the request that has come meanwhile.
func (cl *client) read(p []byte, patience time.Duration) (int, error) {
	begun := time.Now()
	n, err := cl.readBy(begun, p, patience)
	if err != nil && isTimeout(err) && !cl.aborted.Load() {
		if now := time.Now(); now.Sub(begun) < patience {
			cl.c.Forget()
			return cl.readBy(now, p, patience-now.Sub(begun))
		}
	}
	return n, err
}

func (cl *client) readBy(now time.Time, p []byte, patience time.Duration) (int, error) {
	cl.c.ReadBy(now, patience)
	if cl.aborted.Load() { // its own deadline may just have been overwritten
		return 0, os.ErrDeadlineExceeded
	}
	return cl.c.Read(p)
}

// room gives the space behind what was read, moving to a larger or a cleaner buffer when there is none. A
// head is never longer than half a Large buffer.
func (cl *client) room() []byte {
	if cl.w == cap(cl.buf) {
		big := cl.p.store.Get()
		n := copy(big, cl.buf[cl.r:cl.w])
		cl.release()
		cl.buf, cl.r, cl.w = big, 0, n
	}
	return cl.buf[cl.w:cap(cl.buf)]
}

// shrink moves a short beginning to a Small buffer before a wait, so that thousands of slow uploads don't hold
// a Large buffer each. What aliased the old buffer must be parsed again.
func (cl *client) shrink() bool {
	if cap(cl.buf) != replay.Large || cl.w-cl.r > replay.Small/2 {
		return false
	}
	small := cl.p.store.GetSmall()
	n := copy(small, cl.buf[cl.r:cl.w])
	cl.release()
	cl.buf, cl.r, cl.w = small, 0, n
	return true
}

// badHead answers a request that could not be read, and ends the connection.
func (cl *client) badHead(set *settings, err error) {
	var we *wire.Error
	if !errors.As(err, &we) {
		return
	}
	reason := badHead
	if we.Status == 408 {
		reason = badTimeout
	}
	cl.p.m.badRequests[reason].Add(1)
	cl.p.log.Debug("request refused", "client", cl.text, "status", we.Status, "why", we.Reason)
	cl.plain(set, we.Status, we.Reason, false)
	cl.linger(set)
}

// linger ends a connection whose client may still be sending.
func (cl *client) linger(set *settings) {
	if cl.buf == nil {
		cl.buf = cl.p.store.GetSmall()
	}
	cl.c.Linger(cl.buf[:cap(cl.buf)], int64(set.MaxMessage), set.Timeouts.Linger)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
