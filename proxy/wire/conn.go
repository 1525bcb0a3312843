package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// ErrWouldBlock says that nothing can be read now.
var ErrWouldBlock = errors.New("nothing to read yet")

// Conn is one TCP, Unix or TLS connection. It adds to net.Conn what the proxy needs to save system calls
// and memory: reads that do not wait, waiting for octets without holding a buffer, and a look at whether
// the peer has said or closed anything.
//
// One goroutine reads and writes; another may only call Abort and SetReadDeadline on NC.
type Conn struct {
	NC  net.Conn
	raw syscall.RawConn // nil: TLS or another connection without a descriptor

	// the operation under way, for the callback that is made once
	call  func(fd uintptr) bool
	p     []byte
	get   func() []byte
	n     int
	errno error
	wait  bool

	peek func(fd uintptr) bool
	live bool
	one  [1]byte
}

// NewConn wraps a connection.
func NewConn(nc net.Conn) *Conn {
	c := &Conn{NC: nc}
	switch t := nc.(type) {
	case *net.TCPConn:
		c.raw, _ = t.SyscallConn() // it fails only for a nil connection
	case *net.UnixConn:
		c.raw, _ = t.SyscallConn()
	}
	c.call = c.readOnce
	c.peek = c.peekOnce
	return c
}

// readOnce is one recv; it returns false to be called again when there is something to read.
func (c *Conn) readOnce(fd uintptr) bool {
	p := c.p
	if c.get != nil {
		p = c.get()
		c.p = p
	}
	for {
		c.n, c.errno = syscall.Read(int(fd), p)
		if c.errno != syscall.EINTR {
			break
		}
	}
	if c.errno == syscall.EAGAIN {
		return !c.wait
	}
	return true
}

// TryRead reads what is there. ErrWouldBlock: nothing is there yet (always, on TLS).
func (c *Conn) TryRead(p []byte) (int, error) {
	if c.raw == nil {
		return 0, ErrWouldBlock
	}
	return c.read(p, nil, false)
}

// Read waits for octets until the read deadline of NC.
func (c *Conn) Read(p []byte) (int, error) {
	if c.raw == nil {
		return c.NC.Read(p)
	}
	return c.read(p, nil, true)
}

// ReadWith waits for octets and asks for the buffer only when the connection is readable, so that an idle
// connection holds none. get may be called several times; it must give the same buffer or free the old
// one. The buffer is returned with the count.
func (c *Conn) ReadWith(get func() []byte, put func([]byte)) ([]byte, int, error) {
	if c.raw == nil {
		// one octet decides that there is something to do
		n, err := c.NC.Read(c.one[:])
		if n == 0 {
			return nil, 0, err
		}
		p := get()
		p[0] = c.one[0]
		return p, 1, nil
	}
	var held []byte
	n, err := c.read(nil, func() []byte {
		if held == nil {
			held = get()
		}
		return held
	}, true)
	if n == 0 && held != nil {
		put(held)
		held = nil
	}
	return held, n, err
}

func (c *Conn) read(p []byte, get func() []byte, wait bool) (int, error) {
	c.p, c.get, c.wait, c.n, c.errno = p, get, wait, 0, nil
	err := c.raw.Read(c.call)
	c.p, c.get = nil, nil
	switch {
	case err != nil:
		return 0, err // deadline or closed
	case c.errno == syscall.EAGAIN:
		return 0, ErrWouldBlock
	case c.errno != nil:
		return 0, os.NewSyscallError("read", c.errno)
	case c.n == 0 && len(p) != 0 || c.n == 0 && get != nil:
		return 0, io.EOF
	}
	return c.n, nil
}

// peekOnce looks whether anything, the end included, is waiting.
func (c *Conn) peekOnce(fd uintptr) bool {
	for {
		n, _, err := syscall.Recvfrom(int(fd), c.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err == syscall.EINTR {
			continue
		}
		c.live = n < 0 && err == syscall.EAGAIN
		return true
	}
}

// Quiet says that the connection is open and that nothing waits to be read: the state that a kept-alive
// connection must be in before it is used, and in which an upstream that has not answered is. On TLS the
// look is at the TCP connection below.
func (c *Conn) Quiet() bool {
	raw := c.raw
	if raw == nil {
		t, ok := c.NC.(interface{ NetConn() net.Conn })
		if !ok {
			return true
		}
		s, ok := t.NetConn().(syscall.Conn)
		if !ok {
			return true
		}
		var err error
		if raw, err = s.SyscallConn(); err != nil {
			return false
		}
	}
	return raw.Read(c.peek) == nil && c.live
}

// Abort ends the connection at once with a reset, so that a peer that has half a message never takes it
// for whole.
func (c *Conn) Abort() {
	nc := c.NC
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn() // no close_notify: it would be a polite end
	}
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // without it the close is a plain one; still a broken message
	}
	_ = nc.Close() // there is nobody to tell
}

// Linger closes politely after an answer that was given before the end of an upload: stop sending, read and
// drop what still comes (bounded), so that the kernel does not reset the connection under the answer.
// buf is scratch.
func (c *Conn) Linger(buf []byte, most int64, long time.Duration) {
	defer c.NC.Close()
	type halfCloser interface{ CloseWrite() error }
	if h, ok := c.NC.(halfCloser); !ok || h.CloseWrite() != nil {
		return
	}
	if c.NC.SetReadDeadline(time.Now().Add(long)) != nil {
		return
	}
	for most > 0 {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		most -= int64(n)
	}
}
