package fakemmsc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// Request is what one request said.
type Request struct {
	N       int // counts requests of this server from 1
	Conn    int // counts its connections from 1
	Remote  string
	Method  string
	Target  string
	Proto   string
	Header  [][2]string
	Length  int64  // Content-Length; -1: chunked
	Body    []byte `json:"-"` // valid during Answer only; Requests gives nil
	PDU     pdu.Facts
	Trailer [][2]string

	server string
}

// Get gives the first value of a header, "" without.
func (r *Request) Get(name string) string {
	for _, h := range r.Header {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// All gives every value of a header.
func (r *Request) All(name string) (v []string) {
	for _, h := range r.Header {
		if strings.EqualFold(h[0], name) {
			v = append(v, h[1])
		}
	}
	return v
}

var (
	errBroken = errors.New("broken on purpose")
	errBad    = errors.New("not a request")
)

const maxHead = 64 << 10

type conn struct {
	s    *Server
	nc   net.Conn
	br   *bufio.Reader
	id   int
	down chan struct{}
	body []byte
	dead atomic.Bool
}

func newConn(s *Server, nc net.Conn, down chan struct{}) *conn {
	c := &conn{s: s, nc: nc, down: down}
	c.br = bufio.NewReaderSize(countingReader{c}, 32<<10)
	return c
}

// countingReader counts octets as they leave the socket.
type countingReader struct{ c *conn }

func (r countingReader) Read(b []byte) (int, error) {
	n, err := r.c.nc.Read(b)
	if n > 0 {
		r.c.s.count(func(k *Counts) { k.Octets += int64(n) })
	}
	return n, err
}

// reset ends the connection with RST; from any goroutine.
func (c *conn) reset() {
	c.dead.Store(true)
	if tc, ok := c.nc.(*net.TCPConn); ok {
		tc.SetLinger(0) // fails only on a connection that is closed already
	}
	c.nc.Close()
}

// end does what Break says; it returns errBroken unless there is nothing to do.
func (c *conn) end(how Break) error {
	switch how {
	case FIN:
		// what the kernel holds is read first: else close would send RST
		c.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		io.Copy(io.Discard, c.br) // ends by the deadline
		c.nc.Close()
	case RST:
		c.reset()
	case Stall:
		c.stall()
		c.nc.Close()
	default:
		return nil
	}
	return errBroken
}

// stall reads nothing until the server goes down. The peer's going away is noticed by a probe of the socket
// that takes nothing out of it.
func (c *conn) stall() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.down:
			return
		case <-c.s.stop:
			return
		case <-tick.C:
			if c.dead.Load() || Gone(c.nc) {
				return
			}
		}
	}
}

// wait holds until ch is closed; false if the server went down or the peer away before.
func (c *conn) wait(ch <-chan struct{}) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ch:
			return true
		case <-c.down:
			return false
		case <-c.s.stop:
			return false
		case <-tick.C:
			if c.dead.Load() {
				return false
			}
		}
	}
}

func (c *conn) run(accept func(int) Break) {
	if accept != nil {
		if c.end(accept(c.id)) != nil {
			return
		}
	}
	for {
		if d := c.s.opt.IdleClose; d > 0 {
			c.nc.SetReadDeadline(time.Now().Add(d))
		}
		if _, err := c.br.Peek(1); err != nil {
			return
		}
		c.nc.SetReadDeadline(time.Time{})
		r, err := c.head()
		if err != nil {
			if errors.Is(err, errBad) {
				c.s.count(func(k *Counts) { k.Bad++ })
				io.WriteString(c.nc, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") // best effort: it closes anyway
			}
			return
		}
		more, err := c.request(r)
		if err != nil || !more {
			return
		}
	}
}

func (c *conn) line(left *int) (string, error) {
	var b []byte
	for {
		part, err := c.br.ReadSlice('\n')
		b = append(b, part...)
		if *left -= len(part); *left < 0 {
			return "", fmt.Errorf("%w: head too long", errBad)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		return "", fmt.Errorf("%w: bare LF", errBad)
	}
	return string(b[:len(b)-2]), nil
}

func (c *conn) fields(left *int) (h [][2]string, err error) {
	for {
		l, err := c.line(left)
		if err != nil || l == "" {
			return h, err
		}
		name, value, ok := strings.Cut(l, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return h, fmt.Errorf("%w: field %q", errBad, l)
		}
		h = append(h, [2]string{name, strings.Trim(value, " \t")})
	}
}

func (c *conn) head() (*Request, error) {
	left := maxHead
	l, err := c.line(&left)
	if err != nil {
		return nil, err
	}
	w := strings.Split(l, " ")
	if len(w) != 3 || !strings.HasPrefix(w[2], "HTTP/1.") {
		return nil, fmt.Errorf("%w: request line %q", errBad, l)
	}
	r := &Request{Conn: c.id, Remote: c.nc.RemoteAddr().String(), Method: w[0], Target: w[1], Proto: w[2], server: c.s.opt.Name}
	if r.Header, err = c.fields(&left); err != nil {
		return nil, err
	}
	te, cl := r.All("Transfer-Encoding"), r.All("Content-Length")
	switch {
	case len(te) == 1 && te[0] == "chunked" && len(cl) == 0:
		r.Length = -1
	case len(te) == 0 && len(cl) == 1:
		n, err := strconv.ParseUint(cl[0], 10, 62)
		if err != nil {
			return nil, fmt.Errorf("%w: length %q", errBad, cl[0])
		}
		r.Length = int64(n)
	case len(te)+len(cl) > 0:
		return nil, fmt.Errorf("%w: framing %q %q", errBad, te, cl)
	}
	return r, nil
}
