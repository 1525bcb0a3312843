package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/proxy/socket"
)

// ErrWouldBlock says that nothing can be read now.
var ErrWouldBlock = errors.New("nothing to read yet")

// Conn is one TCP, Unix or TLS connection. It adds to net.Conn what the proxy needs to save system calls
// and memory: reads and writes that do not wait, waiting for octets without holding a buffer, and a look at
// whether the peer has said or closed anything.
//
// System calls on sockets that do not block are made without telling the scheduler (RawSyscall): they are short,
// and the runtime would otherwise take the processor away and hand it back around each of them.
//
// One goroutine reads and writes; another may only call Abort and set deadlines on NC.
type Conn struct {
	NC  net.Conn
	raw syscall.RawConn // nil: TLS or another connection without a descriptor
	own *socket.Conn    // the same, if it is one

	// the operation under way, for the callbacks that are made once
	p     []byte
	pool  Buffers
	n     int
	errno syscall.Errno
	one   [1]byte
	iov   vector
	ahead bool // one holds an octet of data that Quiet came upon (TLS)
	octet [1]byte
	by    time.Time // the read deadline that ReadBy has set
	short bool      // the last read left room: nothing was behind it
	last  bool      // what is written is the last

	readWait, poolWait, writeWait func(fd uintptr) bool
	askWait                       func(fd uintptr) bool
	asked                         Asked
	readNow, writeNow, look       func(fd uintptr)
	scatterNow                    func(fd uintptr)
}

// NewConn wraps a connection.
func NewConn(nc net.Conn) *Conn {
	c := new(Conn)
	c.Reset(nc)
	return c
}

// Reset makes c wrap another connection, or its first. What it wrapped before must not be used through it any more.
func (c *Conn) Reset(nc net.Conn) {
	c.NC, c.raw = nc, nil
	c.own, _ = nc.(*socket.Conn)
	c.ahead, c.short, c.last, c.by = false, false, false, time.Time{}
	if s, ok := descriptor(nc); ok {
		c.raw, _ = s.SyscallConn() // it fails only for a nil connection
	}
	if c.readNow != nil {
		return
	}
	c.readNow = func(fd uintptr) { c.recv(fd) }
	c.readWait = c.recv
	c.scatterNow = c.scatter
	c.writeNow = func(fd uintptr) { c.send(fd) }
	c.writeWait = c.send
	c.poolWait = c.recvPooled
	c.askWait = c.ask
	c.look = func(fd uintptr) { c.n, c.errno = peek(fd, &c.octet[0]) }
}

func descriptor(nc net.Conn) (syscall.Conn, bool) {
	switch t := nc.(type) {
	case *net.TCPConn:
		return t, true
	case *net.UnixConn:
		return t, true
	case *socket.Conn:
		return t, true
	}
	return nil, false
}

// recv is one read; false: nothing is there.
func (c *Conn) recv(fd uintptr) bool {
	for {
		if c.n, c.errno = read(fd, c.p); c.errno != syscall.EINTR {
			c.short = c.n < len(c.p)
			return c.errno != syscall.EAGAIN
		}
	}
}

// scatter is one read into iov.
func (c *Conn) scatter(fd uintptr) {
	for {
		if c.n, c.errno = c.iov.read(fd); c.errno != syscall.EINTR {
			return
		}
	}
}

// send writes as much of iov as goes; false: the socket took nothing and takes no more now.
func (c *Conn) send(fd uintptr) bool {
	for {
		n, errno := c.iov.write(fd, c.last)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			c.errno = errno
			return errno != syscall.EAGAIN || c.n > 0
		}
		c.n += n
		if c.iov.advance(n); c.iov.empty() {
			c.errno = 0
			return true
		}
	}
}

// ReadBy lets the next Read or ReadWith wait for patience, or up to an eighth longer: a deadline that is near enough
// stays, since setting one costs more than most reads. Only the goroutine that reads may call it; a deadline that
// another one sets on NC ends the connection's use.
func (c *Conn) ReadBy(now time.Time, patience time.Duration) {
	until := now.Add(patience)
	if d := c.by.Sub(until); d >= 0 && d <= patience/8 {
		return
	}
	c.by = until.Add(patience / 8)
	_ = c.NC.SetReadDeadline(c.by) // it fails only on a closed connection, as the read will
}

// Forget makes the next ReadBy set a deadline, whatever stands.
func (c *Conn) Forget() { c.by = time.Time{} }

// TryRead reads what is there. ErrWouldBlock: nothing is there yet (always, on TLS). It minds no deadline.
func (c *Conn) TryRead(p []byte) (int, error) {
	if c.raw == nil {
		return 0, ErrWouldBlock
	}
	c.p = p
	err := c.try(c.readNow)
	c.p = nil
	return c.outcome(err)
}

// TryReadInto is TryRead into several buffers, from the first on.
func (c *Conn) TryReadInto(bufs [][]byte) (int, error) {
	if len(bufs) == 1 || c.raw == nil {
		return c.TryRead(bufs[0])
	}
	room := 0
	for _, b := range bufs {
		room += len(b)
	}
	c.iov.load(bufs)
	err := c.try(c.scatterNow)
	c.iov.clear()
	c.short = c.n < room
	return c.outcome(err)
}

// Drained says that the last read left room in its buffer, so that nothing was behind it: another try would most
// likely find nothing. Unknown on TLS: false.
func (c *Conn) Drained() bool { return c.raw != nil && c.short }

// Doubt takes back what Drained says: something may have come since.
func (c *Conn) Doubt() { c.short = false }

// Read waits for octets until the read deadline of NC.
func (c *Conn) Read(p []byte) (int, error) {
	if c.raw == nil {
		if c.ahead && len(p) > 0 {
			c.ahead = false
			p[0] = c.one[0]
			return 1, nil
		}
		return c.NC.Read(p)
	}
	c.p = p
	err := c.await(c.readWait)
	c.p = nil
	return c.outcome(err)
}

// try makes one read that does not wait.
func (c *Conn) try(f func(fd uintptr)) error {
	if c.own != nil {
		return c.own.Try(f)
	}
	return c.raw.Control(f)
}

// await makes reads until one finds something.
func (c *Conn) await(f func(fd uintptr) bool) error {
	if c.own != nil {
		return c.own.Await(c.short, f)
	}
	return c.raw.Read(f)
}

func (c *Conn) outcome(err error) (int, error) {
	switch {
	case err != nil:
		return 0, err // deadline or closed
	case c.errno == syscall.EAGAIN:
		return 0, ErrWouldBlock
	case c.errno != 0:
		return 0, os.NewSyscallError("read", c.errno)
	case c.n == 0:
		return 0, io.EOF
	}
	return c.n, nil
}

// Buffers gives out buffers and takes them back.
type Buffers interface {
	Get() []byte
	Put(b []byte)
}

// ReadWith waits for octets and takes a buffer only when the connection may be readable, so that an idle connection
// holds none. The buffer comes back with the count; without octets it has gone back already.
func (c *Conn) ReadWith(pool Buffers) ([]byte, int, error) {
	if c.raw == nil {
		// one octet decides that there is something to do
		if !c.ahead {
			if n, err := c.NC.Read(c.one[:]); n == 0 {
				return nil, 0, err
			}
		}
		c.ahead = false
		p := pool.Get()
		p[0] = c.one[0]
		return p, 1, nil
	}
	c.pool = pool
	n, err := c.outcome(c.await(c.poolWait))
	held := c.p
	c.p, c.pool = nil, nil
	if n == 0 && held != nil {
		pool.Put(held)
		held = nil
	}
	return held, n, err
}

// recvPooled is recv with a buffer taken for the look.
func (c *Conn) recvPooled(fd uintptr) bool {
	c.p = c.pool.Get()
	if c.recv(fd) {
		return true
	}
	c.pool.Put(c.p)
	c.p = nil
	return false
}

// Write writes all of bufs with as few system calls as the socket allows. patience is how long the peer may take
// nothing; the deadline is set only when there is a wait. It uses bufs up: what is left of it was not written.
// n counts octets. After a time-out the rest may be written later only if the connection Resumes.
func (c *Conn) Write(bufs *net.Buffers, patience time.Duration) (n int64, err error) {
	if c.raw == nil {
		return c.writeRecords(bufs, patience)
	}
	for len(*bufs) > 0 {
		c.iov.load(*bufs)
		c.n, c.errno = 0, 0
		err = c.raw.Control(c.writeNow)
		if err == nil && c.errno == syscall.EAGAIN && c.n == 0 {
			_ = c.NC.SetWriteDeadline(time.Now().Add(patience)) // it fails only on a closed connection, as the next call will
			err = c.raw.Write(c.writeWait)
		}
		c.iov.clear()
		n += int64(c.n)
		consume(bufs, c.n)
		if err == nil && c.errno != 0 && c.errno != syscall.EAGAIN {
			err = os.NewSyscallError("write", c.errno)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// WriteLast is Write, and says that nothing follows. On TCP the end goes in the same segment as the last octets, which saves the
// peer and us a segment for each connection; on TLS it is Write alone.
func (c *Conn) WriteLast(bufs *net.Buffers, patience time.Duration) (n int64, err error) {
	h, ok := c.NC.(interface{ CloseWrite() error })
	if c.raw == nil || !ok {
		return c.Write(bufs, patience)
	}
	c.last = true
	n, err = c.Write(bufs, patience)
	c.last = false
	if err == nil {
		err = h.CloseWrite()
	}
	return n, err
}

// record is the most that one TLS record carries.
const record = 16 << 10

// writeRecords is Write on TLS: a deadline for each record.
func (c *Conn) writeRecords(bufs *net.Buffers, patience time.Duration) (n int64, err error) {
	for len(*bufs) > 0 {
		b := (*bufs)[0]
		for len(b) > 0 {
			_ = c.NC.SetWriteDeadline(time.Now().Add(patience)) // it fails only on a closed connection, as the write will
			k, err := c.NC.Write(b[:min(len(b), record)])
			n += int64(k)
			if err != nil {
				(*bufs)[0] = b[k:]
				return n, err
			}
			b = b[k:]
		}
		(*bufs)[0] = nil
		*bufs = (*bufs)[1:]
	}
	return n, nil
}

// Resumes says that a write that timed out may be continued. On TLS it may not: a record may be cut, and every later
// write fails (crypto/tls, Conn.SetWriteDeadline).
func (c *Conn) Resumes() bool { return c.raw != nil }

// consume cuts n octets off the front.
func consume(bufs *net.Buffers, n int) {
	for len(*bufs) > 0 {
		if b := (*bufs)[0]; n < len(b) {
			(*bufs)[0] = b[n:]
			return
		}
		n -= len((*bufs)[0])
		(*bufs)[0] = nil
		*bufs = (*bufs)[1:]
	}
}

// Abort ends the connection at once with a reset, so that a peer that has half a message never takes it
// for whole.
func (c *Conn) Abort() {
	nc := c.NC
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn() // no close_notify: it would be a polite end
	}
	if t, ok := nc.(interface{ SetLinger(sec int) error }); ok {
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
