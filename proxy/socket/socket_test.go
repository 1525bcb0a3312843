//go:build linux

package socket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/mmsrouter/mmsrouter/proxy/socket"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// listen gives a listener on a free port whose poller runs until the test ends.
func listen(t testing.TB, network, address string) *socket.Listener {
	t.Helper()
	p, err := socket.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- p.Run() }()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := socket.Listen(l.(*net.TCPListener), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ours.Close() // a test may have closed it
		if err := errors.Join(p.Close(), <-ran); err != nil {
			t.Error("poller: ", err)
		}
		for until := time.Now().Add(patience); p.Len() > 0; runtime.Gosched() { // a goroutine that was at work may still hold one
			if time.Now().After(until) {
				t.Fatalf("the poller still knows %d connections", p.Len())
			}
		}
	})
	return ours
}

// accept gives both ends of a connection; near is ours.
func accept(t testing.TB, l *socket.Listener) (near *socket.Conn, far *net.TCPConn) {
	t.Helper()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	near, far = c.(*socket.Conn), dialled.(*net.TCPConn)
	t.Cleanup(func() {
		_ = near.Close() // most tests have closed one or both
		_ = far.Close()
	})
	return near, far
}

// TestNetConn holds our connections to what every net.Conn promises, either way round.
func TestNetConn(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		t.Run(fmt.Sprintf("swapped %v", swapped), func(t *testing.T) {
			l := listen(t, "tcp", "127.0.0.1:0")
			nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
				dialled, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return nil, nil, nil, err
				}
				c, err := l.Accept()
				if err != nil {
					return nil, nil, nil, errors.Join(err, dialled.Close())
				}
				stop = func() {
					_ = c.Close() // the tests may have closed it
					_ = dialled.Close()
				}
				if swapped {
					return dialled, c, stop, nil
				}
				return c, dialled, stop, nil
			})
		})
	}
}

// TestAddresses: IPv4 stays IPv4 on a listener for all, and both ends agree.
func TestAddresses(t *testing.T) {
	for _, c := range []struct{ name, network, listen, dial string }{
		{"one address", "tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"all of IPv4", "tcp4", "0.0.0.0:0", "127.0.0.2"},
		{"all", "tcp", ":0", "127.0.0.3"},
		{"all, by IPv6", "tcp", ":0", "::1"},
		{"one address of IPv6", "tcp6", "[::1]:0", "::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if netip.MustParseAddr(c.dial).Is6() && !nettest.SupportsIPv6() {
				t.Skip("no IPv6 here")
			}
			l := listen(t, c.network, c.listen)
			port := l.Addr().(*net.TCPAddr).AddrPort().Port()
			far, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(c.dial), port).String())
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			got, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			near := got.(*socket.Conn)
			plain := func(a net.Addr) netip.AddrPort {
				ap := a.(*net.TCPAddr).AddrPort()
				return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
			}
			if near.RemoteAddrPort() != plain(far.LocalAddr()) || near.LocalAddrPort() != plain(far.RemoteAddr()) {
				t.Errorf("ours says %v from %v, the client %v to %v", near.LocalAddrPort(), near.RemoteAddrPort(), far.LocalAddr(), far.RemoteAddr())
			}
			if plain(near.RemoteAddr()) != near.RemoteAddrPort() || plain(near.LocalAddr()) != near.LocalAddrPort() {
				t.Errorf("%v and %v, as net.Addr %v and %v", near.LocalAddrPort(), near.RemoteAddrPort(), near.LocalAddr(), near.RemoteAddr())
			}
		})
	}
}

// TestOptions: what is accepted sends without delay, does not block, and is not inherited by programs that are started.
func TestOptions(t *testing.T) {
	near, _ := accept(t, listen(t, "tcp", "127.0.0.1:0"))
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if v, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY); err != nil || v == 0 {
			t.Errorf("TCP_NODELAY is %d, %v", v, err)
		}
		for _, c := range []struct {
			name      string
			call, bit uintptr
		}{{"O_NONBLOCK", syscall.F_GETFL, syscall.O_NONBLOCK}, {"FD_CLOEXEC", syscall.F_GETFD, syscall.FD_CLOEXEC}} {
			if v, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, c.call, 0); errno != 0 || v&c.bit == 0 {
				t.Errorf("%s is off: %#x, %v", c.name, v, errno)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestListenerCloses: whoever waits in Accept hears it, and so does the next client.
func TestListenerCloses(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	ended := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			_ = c.Close() // it only shows that Accept is at work
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close() // it should not be there
		t.Error("the port still answers")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept behind Close: %v", err)
	}
}

// TestAwait reads by Await and Try as the proxy does, trusting short reads, while pieces of all sizes come: every octet and the end arrive, and
// no event is missed.
func TestAwait(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	var wg sync.WaitGroup
	for seed := range uint64(16) {
		near, far := accept(t, l)
		if err := errors.Join(near.SetDeadline(time.Now().Add(patience)), far.SetDeadline(time.Now().Add(patience))); err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(seed, 1))
		want := make([]byte, 1<<18)
		for i := range want {
			want[i] = byte(rnd.Uint32())
		}
		wg.Go(func() {
			for rest := want; len(rest) > 0; {
				n := min(1+rnd.IntN([]int{3, 300, 30_000}[rnd.IntN(3)]), len(rest))
				if _, err := far.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
				for range rnd.IntN(20) {
					runtime.Gosched()
				}
			}
			if err := far.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 2))
			var got bytes.Buffer
			buf := make([]byte, 20_000)
			short := false
			for {
				p := buf[:1+rnd.IntN(len(buf))]
				var n int
				var err error
				read := func(fd uintptr) bool {
					n, err = syscall.Read(int(fd), p)
					short = n < len(p)
					return err != syscall.EAGAIN
				}
				var ended error
				if rnd.IntN(3) == 0 {
					ended = near.Try(func(fd uintptr) { read(fd) })
				} else {
					ended = near.Await(short, read)
				}
				if ended != nil || err != nil && err != syscall.EAGAIN {
					t.Errorf("behind %d octets: %v, %v", got.Len(), ended, err)
					return
				}
				if err == nil && n == 0 {
					break
				}
				got.Write(p[:max(n, 0)])
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%d octets came, %d were sent, or they differ", got.Len(), len(want))
			}
		})
	}
	wg.Wait()
}

// TestAwaitBehindTheEnd: with the end seen once, nobody waits for more, whatever the last read left.
func TestAwaitBehindTheEnd(t *testing.T) {
	near, far := accept(t, listen(t, "tcp", "127.0.0.1:0"))
	if err := near.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write([]byte("all")); err != nil {
		t.Fatal(err)
	}
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		n := -1
		if err := near.Await(true, func(fd uintptr) bool {
			n, _ = syscall.Read(int(fd), make([]byte, 100)) // what it says is looked at
			return n >= 0
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCloseUnderWork closes connections while others read, write and set deadlines on them, and new ones take their descriptors: nobody
// meets another's octets.
func TestCloseUnderWork(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				far, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				mark := far.LocalAddr().String() // each connection carries its own name, again and again
				_, _ = far.Write([]byte(mark))   // the other end may be gone
				got, _ := io.ReadAll(far)        // likewise
				if s := string(got); s != mark[:len(s)] {
					t.Errorf("%s was told %q", mark, s)
				}
				_ = far.Close() // likewise
			}
		})
	}
	var ends sync.WaitGroup
	for range 400 {
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := nc.(*socket.Conn)
		mark := []byte(c.RemoteAddrPort().String())
		var here sync.WaitGroup
		here.Go(func() {
			buf := make([]byte, 100)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if !bytes.Contains(mark, buf[:n]) {
					t.Errorf("%s: %q was read", mark, buf[:n])
				}
			}
		})
		here.Go(func() { _, _ = c.Write(mark[:len(mark)/2]) })                            // it may be closed already
		here.Go(func() { _ = c.SetReadDeadline(time.Now().Add(200 * time.Microsecond)) }) // likewise
		here.Go(func() { _ = c.Close() })                                                 // likewise
		ends.Go(func() {
			here.Wait()
			_ = c.Close() // likewise
		})
	}
	wg.Wait()
	ends.Wait()
}

// TestShare: a connection that another holder of the socket keeps is forgotten by the poller when it is closed here.
func TestShare(t *testing.T) {
	near, far := accept(t, listen(t, "tcp", "127.0.0.1:0"))
	if err := near.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); !isTimeout(err) { // now the poller knows it
		t.Fatal(err)
	}
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	second := -1
	if err := raw.Control(func(fd uintptr) { second, err = syscall.Dup(int(fd)) }); err != nil || second < 0 {
		t.Fatal(err)
	}
	defer syscall.Close(second)
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write([]byte("still there")); err != nil {
		t.Fatal(err)
	}
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	for n := 0; ; {
		k, err := syscall.Read(second, got[n:])
		if err == syscall.EAGAIN || err == syscall.EINTR {
			runtime.Gosched()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if n += k; k == 0 {
			if string(got[:n]) != "still there" {
				t.Errorf("the second holder read %q", got[:n])
			}
			return
		}
	}
}

// TestLingerZero: a connection that is closed so ends with a reset.
func TestLingerZero(t *testing.T) {
	near, far := accept(t, listen(t, "tcp", "127.0.0.1:0"))
	if err := errors.Join(near.SetLinger(0), near.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other end saw %v", err)
	}
	if err := near.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	if err := near.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a deadline behind Close: %v", err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
