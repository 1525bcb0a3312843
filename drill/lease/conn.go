package lease

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Dialler makes a connection to an MMSC.
type Dialler = func(ctx context.Context) (net.Conn, error)

// Befall gives the way in which a connection for m to an MMSC comes about while a fault is in force; nil: none is.
func (l *Leases) Befall(mmsc string, m *Message) func(ctx context.Context, dial Dialler) (net.Conn, error) {
	f, ok := l.befalls(mmsc, m)
	if !ok {
		return nil
	}
	return func(ctx context.Context, dial Dialler) (net.Conn, error) {
		switch f.Kind {
		case Refuse:
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		case BlackHole:
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
		}
		nc, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: nc, f: f, closed: make(chan struct{})}, nil
	}
}

// conn is a connection on which a fault befalls one request. Once a fault has broken it, it stays broken. One goroutine
// reads and writes; another may close it.
type conn struct {
	net.Conn
	f        Fault
	written  int64
	read     int64
	waited   bool
	deadline atomic.Int64 // of reads, in Unix nanoseconds; 0: none
	closed   chan struct{}
	once     sync.Once
}

func broken(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, syscall.ECONNRESET)}
}

// Close resets the connection, so that no MMSC takes half a message for a whole one.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	inner := c.Conn
	if t, ok := inner.(interface{ NetConn() net.Conn }); ok {
		inner = t.NetConn() // no close_notify: it would be a polite end
	}
	if t, ok := inner.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0) // without it the close is a plain one
	}
	return inner.Close()
}

// Write lets After octets pass under Cut.
func (c *conn) Write(p []byte) (int, error) {
	if c.f.Kind != Cut {
		return c.Conn.Write(p)
	}
	left := c.f.After - c.written
	if int64(len(p)) < left {
		n, err := c.Conn.Write(p)
		c.written += int64(n)
		return n, err
	}
	n := 0
	if left > 0 {
		n, _ = c.Conn.Write(p[:left]) // it breaks now anyway
		c.written += int64(n)
	}
	_ = c.Close() // that is the fault
	return n, broken("write")
}

// Read keeps the answer back under Slow, and cuts it under CutAnswer, when the MMSC has begun to give it.
func (c *conn) Read(p []byte) (int, error) {
	switch c.f.Kind {
	case Slow:
		if err := c.wait(); err != nil {
			return 0, err
		}
	case CutAnswer:
		n, err := c.Conn.Read(p)
		if n == 0 {
			return n, err
		}
		left := c.f.After - c.read
		c.read += int64(n)
		if int64(n) < left {
			return n, err
		}
		_ = c.Close() // that is the fault
		if left > 0 {
			return int(left), nil
		}
		return 0, broken("read")
	}
	return c.Conn.Read(p)
}

// wait lets the delay pass, once.
func (c *conn) wait() error {
	if c.waited {
		return nil
	}
	delay, late := c.f.delay, false
	if until := c.deadline.Load(); until != 0 {
		if left := time.Until(time.Unix(0, until)); left < delay {
			delay, late = max(left, 0), true
		}
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.closed:
		return net.ErrClosed
	}
	if late {
		return os.ErrDeadlineExceeded
	}
	c.waited = true
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.note(t)
	return c.Conn.SetDeadline(t)
}

func (c *conn) note(t time.Time) {
	if t.IsZero() {
		c.deadline.Store(0)
		return
	}
	c.deadline.Store(t.UnixNano())
}
