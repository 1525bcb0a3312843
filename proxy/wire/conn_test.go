package wire_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/wire"
)

// patience bounds every wait of these tests; none comes near it unless something is broken.
const patience = 10 * time.Second

// pair is a connection under test and its peer.
func pair(t *testing.T, network string) (*wire.Conn, net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
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

func TestTryRead(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
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
	for _, network := range []string{"tcp", "unix"} {
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

// TestWrite writes gather lists of all shapes past what a socket takes, with a peer that reads when it likes.
func TestWrite(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, far := pair(t, network)
			var want bytes.Buffer
			lists := make([]net.Buffers, 40)
			for i := range lists {
				for range rnd.IntN(60) {
					b := make([]byte, []int{0, 1, 7, 1000, 70000}[rnd.IntN(5)])
					for k := range b {
						b[k] = byte(rnd.Uint32())
					}
					lists[i] = append(lists[i], b)
					want.Write(b)
				}
			}
			got := make(chan []byte)
			go func() {
				b, err := io.ReadAll(far)
				if err != nil {
					t.Error(err)
				}
				got <- b
			}()
			var total int64
			for _, l := range lists {
				n, err := c.Write(&l, patience)
				if err != nil || len(l) != 0 {
					t.Fatalf("%v, %d buffers left", err, len(l))
				}
				total += n
			}
			if err := c.NC.Close(); err != nil {
				t.Fatal(err)
			}
			if b := <-got; !bytes.Equal(b, want.Bytes()) || total != int64(want.Len()) {
				t.Fatalf("%d octets of %d arrived, %d were counted", len(b), want.Len(), total)
			}
		})
	}
	t.Run("goes on behind a time-out", func(t *testing.T) {
		c, far := pair(t, "tcp")
		if !c.Resumes() {
			t.Fatal("a plain connection says that it can't go on")
		}
		all := make([]byte, 16<<20) // more than two sockets hold
		for i := range all {
			all[i] = byte(i * 7 / 3)
		}
		bufs := net.Buffers{all[:10], nil, all[10 : 8<<20], all[8<<20:]}
		n, err := c.Write(&bufs, 20*time.Millisecond)
		left := int64(0)
		for _, b := range bufs {
			left += int64(len(b))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n+left != int64(len(all)) {
			t.Fatalf("%v: %d written, %d left of %d", err, n, left, len(all))
		}
		got := make(chan []byte)
		go func() {
			b := make([]byte, len(all))
			if _, err := io.ReadFull(far, b); err != nil {
				t.Error(err)
			}
			got <- b
		}()
		more, err := c.Write(&bufs, patience)
		if err != nil || n+more != int64(len(all)) {
			t.Fatalf("%v: %d and %d octets of %d", err, n, more, len(all))
		}
		if b := <-got; !bytes.Equal(b, all) {
			t.Fatal("what arrived is not what was written")
		}
	})
	t.Run("the peer resets", func(t *testing.T) {
		c, far := pair(t, "tcp")
		reset(t, far)
		var err error
		for end := time.Now().Add(patience); err == nil && time.Now().Before(end); { // it may not have come yet
			bufs := net.Buffers{make([]byte, 1<<16)}
			_, err = c.Write(&bufs, patience)
		}
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Fatal(err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		c, _ := pair(t, "tcp")
		if err := c.NC.Close(); err != nil {
			t.Fatal(err)
		}
		bufs := net.Buffers{[]byte("x")}
		if n, err := c.Write(&bufs, patience); n != 0 || !errors.Is(err, net.ErrClosed) || len(bufs) != 1 {
			t.Fatalf("%d %v %q", n, err, bufs)
		}
	})
	t.Run("allocates nothing", func(t *testing.T) {
		c, far := pair(t, "tcp")
		list := make([][]byte, 3)
		bufs := net.Buffers(list)
		in := make([]byte, 16)
		a, b := []byte("head"), []byte("body")
		if n := testing.AllocsPerRun(100, func() {
			list[0], list[1], list[2] = a, nil, b
			bufs = list
			if _, err := c.Write(&bufs, patience); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(far, in[:8]); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%g allocations", n)
		}
	})
}
