package wire_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/socket"
	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// patience bounds every wait of these tests; none comes near it unless something is broken.
const patience = 10 * time.Second

// pair is a connection under test and its peer, over tcp, unix, or tcp with a socket of our own at the near end.
func pair(t *testing.T, network string) (*wire.Conn, net.Conn) {
	t.Helper()
	protocol, addr := network, "127.0.0.1:0"
	switch network {
	case "unix":
		addr = filepath.Join(t.TempDir(), "s")
	case "own":
		protocol = "tcp"
	}
	l, err := net.Listen(protocol, addr)
	if err != nil {
		t.Fatal(err)
	}
	if network == "own" {
		l = own(t, l.(*net.TCPListener))
	}
	defer l.Close()
	near, err := net.Dial(protocol, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if network == "own" {
		near, far = far, near
	}
	for _, c := range []net.Conn{near, far} {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = near.Close() // most tests have closed one or both
		_ = far.Close()
	})
	return wire.NewConn(near), far
}

// own makes a listener accept sockets of ours, whose poller runs until the test ends.
func own(t *testing.T, l *net.TCPListener) net.Listener {
	t.Helper()
	p, err := socket.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- p.Run() }()
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), <-ran); err != nil {
			t.Error(err)
		}
	})
	ours, err := socket.Listen(l, p)
	if err != nil {
		t.Fatal(err)
	}
	return ours
}

// readable waits until something, the end included, can be read from nc, and reads nothing.
func readable(t *testing.T, nc net.Conn) {
	t.Helper()
	if s, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = s.NetConn()
	}
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var one [1]byte
	if err := raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN && err != syscall.EINTR
	}); err != nil {
		t.Fatalf("wait for octets: %v", err)
	}
}

func send(t *testing.T, nc net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(nc, s); err != nil {
		t.Fatal(err)
	}
}

func reset(t *testing.T, nc net.Conn) {
	t.Helper()
	if err := nc.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := nc.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTryReadInto(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "own"} {
		t.Run(network, func(t *testing.T) {
			c, far := pair(t, network)
			a, b := make([]byte, 3), make([]byte, 3)
			if n, err := c.TryReadInto([][]byte{a, b}); n != 0 || err != wire.ErrWouldBlock {
				t.Fatalf("nothing there: %d %v", n, err)
			}
			send(t, far, "abcdefgh")
			readable(t, c.NC)
			if n, err := c.TryReadInto([][]byte{a, b}); n != 6 || err != nil || string(a)+string(b) != "abcdef" || c.Drained() {
				t.Fatalf("%d %v: %q %q, drained %v", n, err, a, b, c.Drained())
			}
			if n, err := c.TryReadInto([][]byte{a, b}); n != 2 || err != nil || string(a[:2]) != "gh" || !c.Drained() {
				t.Fatalf("the rest: %d %v: %q, drained %v", n, err, a[:2], c.Drained())
			}
			send(t, far, "ijk")
			readable(t, c.NC)
			if n, err := c.TryReadInto([][]byte{a}); n != 3 || err != nil || string(a) != "ijk" || c.Drained() {
				t.Fatalf("a single buffer: %d %v: %q, drained %v", n, err, a, c.Drained())
			}
			if err := far.Close(); err != nil {
				t.Fatal(err)
			}
			readable(t, c.NC)
			if n, err := c.TryReadInto([][]byte{a, b}); n != 0 || err != io.EOF {
				t.Fatalf("at the end: %d %v", n, err)
			}
		})
	}
}

func TestTryRead(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "own"} {
		t.Run(network, func(t *testing.T) {
			c, far := pair(t, network)
			buf := make([]byte, 4)
			if n, err := c.TryRead(buf); n != 0 || err != wire.ErrWouldBlock {
				t.Fatalf("nothing there: %d %v", n, err)
			}
			send(t, far, "abcdef")
			readable(t, c.NC)
			if err := c.NC.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if n, err := c.TryRead(buf); err != nil || string(buf[:n]) != "abcd" {
				t.Fatalf("behind a deadline that is over: %q %v, want abcd", buf[:max(n, 0)], err)
			}
			if n, err := c.TryRead(buf); err != nil || string(buf[:n]) != "ef" {
				t.Fatalf("the rest: %q %v", buf[:max(n, 0)], err)
			}
			if n, err := c.TryRead(buf); n != 0 || err != wire.ErrWouldBlock {
				t.Fatalf("nothing there, behind a deadline that is over: %d %v", n, err)
			}
			if err := c.NC.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if err := far.Close(); err != nil {
				t.Fatal(err)
			}
			readable(t, c.NC)
			if n, err := c.TryRead(buf); n != 0 || err != io.EOF {
				t.Fatalf("at the end: %d %v", n, err)
			}
			if err := c.NC.Close(); err != nil {
				t.Fatal(err)
			}
			if n, err := c.TryRead(buf); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Fatalf("closed: %d %v", n, err)
			}
		})
	}
	t.Run("reset", func(t *testing.T) {
		c, far := pair(t, "tcp")
		reset(t, far)
		n, err := c.TryRead(make([]byte, 1))
		for end := time.Now().Add(patience); err == wire.ErrWouldBlock && time.Now().Before(end); runtime.Gosched() {
			n, err = c.TryRead(make([]byte, 1)) // a look that tells a reset takes it away, so readable can't be asked
		}
		if n != 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("%d %v", n, err)
		}
	})
	t.Run("allocates nothing", func(t *testing.T) {
		c, far := pair(t, "tcp")
		buf := make([]byte, 1)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := c.TryRead(buf); err != wire.ErrWouldBlock {
				t.Error(err)
			}
			if !c.Quiet() {
				t.Error("not quiet")
			}
		}); n != 0 {
			t.Errorf("%g allocations of looks", n)
		}
		one := []byte("x")
		if n := testing.AllocsPerRun(100, func() {
			if _, err := far.Write(one); err != nil {
				t.Error(err)
			}
			if _, err := c.Read(buf); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%g allocations of reads", n)
		}
	})
}

func TestRead(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "own"} {
		t.Run(network, func(t *testing.T) {
			c, far := pair(t, network)
			type got struct {
				n   int
				err error
			}
			buf := make([]byte, 16)
			done := make(chan got)
			read := func() { n, err := c.Read(buf); done <- got{n, err} }
			go read()
			send(t, far, "hello")
			if g := <-done; g.err != nil || string(buf[:g.n]) != "hello" {
				t.Fatalf("%+v", g)
			}
			go read()
			if err := c.NC.SetReadDeadline(time.Unix(1, 0)); err != nil { // as an abort from another goroutine does
				t.Fatal(err)
			}
			if g := <-done; g.n != 0 || !errors.Is(g.err, os.ErrDeadlineExceeded) {
				t.Fatalf("deadline: %+v", g)
			}
			if err := c.NC.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			go read()
			if err := far.Close(); err != nil {
				t.Fatal(err)
			}
			if g := <-done; g.n != 0 || g.err != io.EOF {
				t.Fatalf("end: %+v", g)
			}
		})
	}
}

// pool counts the buffers that are out.
type pool struct {
	out, got atomic.Int32
	back     chan struct{} // a token when one came back
}

func newPool() *pool { return &pool{back: make(chan struct{}, 100)} }

func (p *pool) Get() []byte {
	p.out.Add(1)
	p.got.Add(1)
	return make([]byte, 64)
}

func (p *pool) Put([]byte) {
	p.out.Add(-1)
	p.back <- struct{}{}
}

func TestReadWith(t *testing.T) {
	t.Run("octets are there", func(t *testing.T) {
		c, far := pair(t, "tcp")
		send(t, far, "hello")
		readable(t, c.NC)
		p := newPool()
		buf, n, err := c.ReadWith(p)
		if err != nil || string(buf[:n]) != "hello" || p.out.Load() != 1 || p.got.Load() != 1 {
			t.Fatalf("%q %v, %d buffers out", buf[:n], err, p.out.Load())
		}
	})
	t.Run("an idle connection holds no buffer", func(t *testing.T) {
		c, far := pair(t, "tcp")
		p := newPool()
		type got struct {
			buf []byte
			n   int
			err error
		}
		done := make(chan got)
		go func() { buf, n, err := c.ReadWith(p); done <- got{buf, n, err} }()
		<-p.back // it has looked, and given the buffer back
		if n := p.out.Load(); n != 0 {
			t.Fatalf("%d buffers are held while nothing comes", n)
		}
		send(t, far, "late")
		if g := <-done; g.err != nil || string(g.buf[:g.n]) != "late" || p.out.Load() != 1 {
			t.Fatalf("%+v, %d buffers out", g, p.out.Load())
		}
	})
	t.Run("time-out", func(t *testing.T) {
		c, _ := pair(t, "tcp")
		p := newPool()
		for _, d := range []time.Time{time.Unix(1, 0), time.Now().Add(20 * time.Millisecond)} {
			if err := c.NC.SetReadDeadline(d); err != nil {
				t.Fatal(err)
			}
			if buf, n, err := c.ReadWith(p); buf != nil || n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || p.out.Load() != 0 {
				t.Fatalf("%q %d %v, %d buffers out", buf, n, err, p.out.Load())
			}
		}
	})
	t.Run("end", func(t *testing.T) {
		c, far := pair(t, "tcp")
		if err := far.Close(); err != nil {
			t.Fatal(err)
		}
		p := newPool()
		if buf, n, err := c.ReadWith(p); buf != nil || n != 0 || err != io.EOF || p.out.Load() != 0 {
			t.Fatalf("%q %d %v, %d buffers out", buf, n, err, p.out.Load())
		}
	})
	t.Run("reset", func(t *testing.T) {
		c, far := pair(t, "tcp")
		reset(t, far)
		p := newPool()
		if buf, n, err := c.ReadWith(p); buf != nil || n != 0 || !errors.Is(err, syscall.ECONNRESET) || p.out.Load() != 0 {
			t.Fatalf("%q %d %v, %d buffers out", buf, n, err, p.out.Load())
		}
	})
}

// TestReadBy holds when the deadline of a read is set and when the one that stands is near enough.
func TestReadBy(t *testing.T) {
	c, far := pair(t, "tcp")
	buf := make([]byte, 8)
	now := time.Now()
	c.ReadBy(now, 20*time.Millisecond)
	if n, err := c.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d %v", n, err)
	}
	c.ReadBy(now, patience)
	if err := c.NC.SetReadDeadline(time.Unix(1, 0)); err != nil { // an abort from elsewhere
		t.Fatal(err)
	}
	c.ReadBy(now.Add(patience/16), patience) // near enough: nothing is set, the abort stands
	if n, err := c.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the abort is lost: %d %v", n, err)
	}
	send(t, far, "a")
	c.Forget()
	c.ReadBy(now, patience)
	if n, err := c.Read(buf); n != 1 || err != nil {
		t.Fatalf("a new deadline: %d %v", n, err)
	}
	c.ReadBy(now, 20*time.Millisecond) // a nearer one is set in any case
	if n, err := c.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a nearer deadline: %d %v", n, err)
	}
}
