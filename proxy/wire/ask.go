package wire

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// Asked is how far an Ask came.
type Asked uint8

const (
	AskedNothing Asked = iota // nothing was written
	AskedStale                // nothing was written: the peer had closed, or said something unasked
	AskedPart                 // a part was written, then the socket was full or broken: Write tells
	AskedWhole                // all was written, and the answer's first octets were awaited
)

// Ask writes a whole request on a connection that has to be quiet, and waits for the first octets of its answer, until the
// read deadline. It is Quiet, Write and Read with one call of the system less: the runtime's poller is told to look out for
// the answer before the look whether anything is there, so that the read needs no first try that finds nothing. n and err
// are the read's and count only with AskedWhole. With AskedPart bufs holds the rest. On TLS it does nothing.
func (c *Conn) Ask(bufs *net.Buffers, p []byte) (asked Asked, n int, err error) {
	if c.raw == nil {
		return AskedNothing, 0, nil
	}
	if c.iov.load(*bufs); c.iov.rest(*bufs) {
		c.iov.clear()
		return AskedNothing, 0, nil
	}
	c.p, c.asked = p, AskedNothing
	err = c.raw.Read(c.askWait)
	c.p = nil
	if c.asked == AskedPart {
		consume(bufs, c.n)
	}
	c.iov.clear()
	if c.asked != AskedWhole {
		return c.asked, 0, nil
	}
	*bufs = (*bufs)[:0]
	n, err = c.outcome(err)
	return AskedWhole, n, err
}

// ask is the work of Ask; the first time there is a request to be written.
func (c *Conn) ask(fd uintptr) bool {
	if c.asked == AskedWhole {
		return c.recv(fd)
	}
	if _, errno := peek(fd, &c.octet[0]); errno != syscall.EAGAIN {
		c.asked = AskedStale
		return true
	}
	c.n, c.errno = 0, 0
	if c.send(fd); !c.iov.empty() {
		c.asked = AskedPart
		return true
	}
	c.asked = AskedWhole
	return false
}

// Quiet says that the connection is open and that nothing waits to be read: the state that a kept-alive
// connection must be in before it is used, and in which an upstream that has not answered is. On TLS it
// takes the read deadline off.
func (c *Conn) Quiet() bool {
	if c.raw != nil {
		return c.raw.Control(c.look) == nil && c.errno == syscall.EAGAIN
	}
	t, ok := c.NC.(interface{ NetConn() net.Conn })
	if !ok {
		return true
	}
	s, ok := descriptor(t.NetConn())
	if !ok {
		return true
	}
	raw, err := s.SyscallConn()
	return err == nil && !c.ahead && c.quietTLS(raw)
}

// tlsLook is how long TLS may take for records that are there already.
const tlsLook = 5 * time.Millisecond

// quietTLS looks at the TCP connection below. Octets there need not be data: a server sends session tickets right
// behind the handshake (RFC 8446 section 4.6.1), and nobody has read them while a first request is under way. So TLS
// reads what is there; a time-out does it no harm, and an octet of data is kept for Read.
func (c *Conn) quietTLS(raw syscall.RawConn) bool {
	for range 3 {
		if raw.Control(c.look) != nil || c.errno != 0 && c.errno != syscall.EAGAIN {
			return false
		}
		silent, until := c.errno == syscall.EAGAIN, time.Unix(1, 0) // what is decrypted already comes at any deadline
		if !silent {
			until = time.Now().Add(tlsLook)
		}
		_ = c.NC.SetReadDeadline(until) // it fails only on a closed connection, as the read will
		n, err := c.NC.Read(c.one[:])
		_ = c.NC.SetReadDeadline(time.Time{}) // as above
		c.by = time.Time{}
		if n > 0 {
			c.ahead = true
			return false
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if silent {
			return true
		}
	}
	return false
}
