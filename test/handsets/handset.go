// Package handsets is MM1 clients over raw TCP: phones and WAP gateways as they really send, and the
// ledger that says what became of each message.
//
// A Handset sends one request at a time in a chosen Way (trickling, chunked, HTTP/1.0, …) and reads the
// answer while it sends, as a phone's radio does. It tells no lies for the one under test: whatever is
// not a whole answer with a known end is an error.
package handsets

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// Way is how a request travels.
type Way struct {
	Name      string
	Chunked   bool          // Transfer-Encoding: chunked instead of Content-Length
	ChunkSize int           // octets of a chunk; default 4096
	Piece     int           // trickling: octets per write …
	Gap       time.Duration // … and the pause after each
	Expect    bool          // Expect: 100-continue, and wait for it
	HTTP10    bool
	Absolute  bool // absolute-form target, as WAP gateways send it
	OneShot   bool // a connection per message, "Connection: close"

	HoldAt int             // octets of the body after which the client waits …
	Hold   <-chan struct{} // … for this; nil: no wait. With Piece it waits before the last piece instead
}

// The usual ways.
var (
	Fast    = Way{Name: "fast"}
	Chunked = Way{Name: "chunked", Chunked: true}
)

// Trickle sends a body of this size in about n pieces with a gap after each.
func Trickle(size, n int, gap time.Duration) Way {
	return Way{Name: "trickling", Piece: max(size/n, 1), Gap: gap}
}

// Options says where a Handset sends and how it presents itself.
type Options struct {
	Addr    string        // where to connect: host:port
	Host    string        // Host header; default mms.example.net
	Path    string        // default /
	Header  [][2]string   // more request headers
	Timeout time.Duration // for a whole exchange; default 60s as handsets have
	TLS     *tls.Config
	Prelude []byte // sent first on each connection (PROXY protocol)
	// Dial opens connections; default: from here, within Timeout. Others come from another network namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Answer is what came back.
type Answer struct {
	Status  int
	Proto   string
	Header  [][2]string
	Body    []byte
	PDU     pdu.Facts
	IsPDU   bool
	Interim int  // 1xx answers before it
	Close   bool // the connection ended with it
	Early   bool // it came before the request was sent whole
}

// Get gives the first value of a header, "" without.
func (a *Answer) Get(name string) string {
	for _, h := range a.Header {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// Handset keeps one connection. It is for one goroutine.
type Handset struct {
	opt Options
	nc  net.Conn
	br  *bufio.Reader
}

// New makes a Handset; it connects when it first sends.
func New(opt Options) *Handset {
	if opt.Host == "" {
		opt.Host = "mms.example.net"
	}
	if opt.Path == "" {
		opt.Path = "/"
	}
	if opt.Timeout == 0 {
		opt.Timeout = 60 * time.Second
	}
	return &Handset{opt: opt}
}

// Close ends the connection.
func (h *Handset) Close() {
	if h.nc != nil {
		h.nc.Close() // nothing is under way
		h.nc = nil
	}
}

func (h *Handset) connect(ctx context.Context) error {
	if h.nc != nil {
		if !fakemmsc.Gone(h.nc) {
			return nil
		}
		h.Close() // a kept-alive connection that the server ended between two messages
	}
	dial := h.opt.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: h.opt.Timeout}).DialContext
	}
	nc, err := dial(ctx, "tcp", h.opt.Addr)
	if err != nil {
		return err
	}
	if len(h.opt.Prelude) > 0 {
		if _, err := nc.Write(h.opt.Prelude); err != nil {
			nc.Close()
			return err
		}
	}
	if h.opt.TLS != nil {
		nc = tls.Client(nc, h.opt.TLS)
	}
	h.nc, h.br = nc, bufio.NewReaderSize(nc, 16<<10)
	return nil
}

// Post sends a PDU.
func (h *Handset) Post(ctx context.Context, body []byte, way Way) (Answer, error) {
	return h.Do(ctx, "POST", h.opt.Path, body, way)
}

// PostHolding sends a PDU, pausing after the first n octets of it until hold is closed.
func (h *Handset) PostHolding(ctx context.Context, body []byte, n int, hold <-chan struct{}) (Answer, error) {
	return h.Post(ctx, body, Way{Name: "holding", HoldAt: n, Hold: hold})
}

// Fetch asks for a path (with query).
func (h *Handset) Fetch(ctx context.Context, path string) (Answer, error) {
	return h.Do(ctx, "GET", path, nil, Fast)
}

// Do sends one request and reads its answer. After an error or an answer that ends the connection, the next Do
// connects anew.
func (h *Handset) Do(ctx context.Context, method, path string, body []byte, way Way) (Answer, error) {
	if err := h.connect(ctx); err != nil {
		return Answer{}, fmt.Errorf("connect: %w", err)
	}
	nc := h.nc
	nc.SetDeadline(time.Now().Add(h.opt.Timeout))
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	type read struct {
		a   Answer
		err error
	}
	goOn := make(chan bool, 1) // 100 Continue has come
	answer := make(chan read, 1)
	go func() {
		a, err := readAnswer(h.br, method, goOn)
		answer <- read{a, err}
	}()
	var got read
	have := false
	sendErr := h.send(method, path, body, way, func(wait bool) bool { // says whether to go on sending
		if have {
			return false
		}
		if wait {
			select {
			case <-goOn:
				return true
			case got = <-answer:
				have = true
				return false
			}
		}
		select {
		case got = <-answer:
			have = true
			return false
		default:
			return true
		}
	})
	early := have
	if !have {
		got = <-answer // ends at the latest by the deadline
	}
	got.a.Early = early
	if got.err != nil {
		h.Close()
		if sendErr != nil {
			return got.a, fmt.Errorf("send: %w; answer: %w", sendErr, got.err)
		}
		return got.a, fmt.Errorf("answer: %w", got.err)
	}
	if got.a.Close || way.OneShot || way.HTTP10 || early || sendErr != nil {
		h.Close()
	}
	return got.a, nil
}

// send writes the request; goOn is asked before each piece of the body.
func (h *Handset) send(method, path string, body []byte, way Way, goOn func(wait bool) bool) error {
	target := path
	if way.Absolute {
		target = "http://" + h.opt.Host + path
	}
	proto := "HTTP/1.1"
	if way.HTTP10 {
		proto = "HTTP/1.0"
	}
	b := make([]byte, 0, 512+min(len(body), 64<<10))
	b = fmt.Appendf(b, "%s %s %s\r\nHost: %s\r\n", method, target, proto, h.opt.Host)
	for _, f := range h.opt.Header {
		b = fmt.Appendf(b, "%s: %s\r\n", f[0], f[1])
	}
	if way.OneShot {
		b = append(b, "Connection: close\r\n"...)
	}
	if body == nil {
		_, err := h.nc.Write(append(b, "\r\n"...))
		return err
	}
	b = fmt.Appendf(b, "Content-Type: %s\r\n", pdu.ContentType)
	if way.Expect {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	if way.Chunked {
		b = append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
	} else {
		b = fmt.Appendf(b, "Content-Length: %d\r\n\r\n", len(body))
	}
	if way.Expect || way.Piece > 0 {
		if _, err := h.nc.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	if way.Expect && !goOn(true) {
		return nil
	}
	if way.Piece == 0 {
		return h.sendFast(b, body, way, goOn)
	}
	for len(body) > 0 {
		n := min(way.Piece, len(body))
		b = appendPiece(b[:0], body[:n], way)
		if body = body[n:]; len(body) == 0 && way.Hold != nil {
			<-way.Hold
		}
		if !goOn(false) {
			return nil
		}
		if _, err := h.nc.Write(b); err != nil {
			return err
		}
		if len(body) > 0 {
			time.Sleep(way.Gap) // the pause is what a trickling client is
		}
	}
	if way.Chunked {
		_, err := io.WriteString(h.nc, "0\r\n\r\n")
		return err
	}
	return nil
}

func (h *Handset) sendFast(b, body []byte, way Way, goOn func(bool) bool) error {
	if way.Chunked {
		size := way.ChunkSize
		if size == 0 {
			size = 4096
		}
		for len(body) > 0 {
			n := min(size, len(body))
			b = appendPiece(b, body[:n], way)
			body = body[n:]
			if len(b) > 64<<10 {
				if _, err := h.nc.Write(b); err != nil {
					return err
				}
				if b = b[:0]; !goOn(false) {
					return nil
				}
			}
		}
		_, err := h.nc.Write(append(b, "0\r\n\r\n"...))
		return err
	}
	if way.Hold != nil {
		n := min(way.HoldAt, len(body))
		if _, err := h.nc.Write(append(b, body[:n]...)); err != nil {
			return err
		}
		b, body = b[:0], body[n:]
		<-way.Hold
		if !goOn(false) {
			return nil
		}
	}
	n := min(len(body), 64<<10)
	b, body = append(b, body[:n]...), body[n:]
	for {
		if _, err := h.nc.Write(b); err != nil || len(body) == 0 {
			return err
		}
		if !goOn(false) {
			return nil
		}
		n = min(len(body), 64<<10)
		b, body = body[:n], body[n:]
	}
}

func appendPiece(b, piece []byte, way Way) []byte {
	if way.Chunked {
		return fmt.Appendf(b, "%x\r\n%s\r\n", len(piece), piece)
	}
	return append(b, piece...)
}
