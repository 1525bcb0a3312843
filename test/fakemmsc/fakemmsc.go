// Package fakemmsc is an MMSC that misbehaves exactly as told.
//
// It speaks HTTP/1.1 over raw TCP with its own small reader and writer, so that it can break at any
// octet, answer early, slowly or with garbage, and say afterwards what reached it. It behaves like the
// real thing by default: an M-Send.req is stored and confirmed with the same transaction id, indications
// get 200, a GET gives the M-Retrieve.conf put under that path or 404.
//
// Its states: up (listening), down (connections refused; the address is kept), closed. What it stored
// survives going down, as an MMSC's database does. Every Server of one machine listens on a loopback
// address of its own, so that the port of one that is down can't fall to anybody else.
//
// The same server runs as a process of its own (Main, Process) for drills with kill -9; there the ledger is a
// file that is written before the answer.
package fakemmsc

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Options says how a Server is made; the zero value is fine.
type Options struct {
	Name      string        // goes into Message-IDs; default "fake"
	Listen    string        // address; default a loopback address of its own and any port
	IdleClose time.Duration // a kept-alive connection without a request is closed after this; 0: never
	Ledger    io.Writer     // gets a line per stored message before its answer; nil: memory only
	Delay     time.Duration // between storing a message and answering it: what a kill in between makes ambiguous
	MaxBody   int64         // 413 beyond; default 64 MiB
}

// Record is a message whose every octet arrived.
type Record struct {
	Transaction string
	Type        byte // PDU type, 0 if the body was none
	Size        int
	Digest      uint64 // xxhash of the body
	Attempt     string // X-Mmsrouter-Attempt as it came, "" without
	Stored      bool   // committed, as far as this MMSC is concerned
}

// Counts is what a Server has seen since its start.
type Counts struct {
	Conns   int   // connections accepted
	Octets  int64 // octets read on all of them
	Heads   int   // request heads read whole
	Begun   int   // requests of which at least one octet of the body came
	Wholes  int   // requests read whole
	Stored  int   // messages stored
	Answers int   // answers written whole
	Broken  int   // requests whose sender went away before their end
	Bad     int   // requests that were no HTTP, or had framing this reader refuses
}

// Server is one fake MMSC.
type Server struct {
	opt  Options
	addr string

	mu       sync.Mutex
	changed  *sync.Cond
	ln       net.Listener
	conns    map[*conn]struct{}
	counts   Counts
	records  []Record
	requests []Request
	pages    map[string][]byte
	missing  int
	accept   func(n int) Break
	script   func(n int, r *Request) Behaviour
	closed   bool
	stop     chan struct{} // closed by Close: ends every stall
	down     chan struct{} // closed by Down: ends the stalls of that life
	wg       sync.WaitGroup
}

// keptRequests bounds how many requests Requests remembers.
const keptRequests = 20_000

// New makes a Server that listens; Close ends it.
func New(opt Options) (*Server, error) {
	if opt.Name == "" {
		opt.Name = "fake"
	}
	if opt.MaxBody == 0 {
		opt.MaxBody = 64 << 20
	}
	if opt.Listen == "" {
		var b [3]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, err
		}
		// 127.0.0.0/8 is the machine's own; the low part is left to everybody else's listeners
		opt.Listen = fmt.Sprintf("127.%d.%d.%d:0", 16+b[0]%200, b[1], 1+b[2]%250)
	}
	s := &Server{opt: opt, conns: map[*conn]struct{}{}, pages: map[string][]byte{}, missing: 404, stop: make(chan struct{})}
	s.changed = sync.NewCond(&s.mu)
	ln, err := net.Listen("tcp", opt.Listen)
	if err != nil {
		return nil, fmt.Errorf("fake MMSC %s: %w", opt.Name, err)
	}
	s.addr = ln.Addr().String()
	s.serve(ln)
	return s, nil
}

// Addr is host:port; it stays the same while the server is down.
func (s *Server) Addr() string { return s.addr }

// URL is the MMSC URL for a configuration.
func (s *Server) URL() string { return "http://" + s.addr + "/" }

// Name is the name given in Options.
func (s *Server) Name() string { return s.opt.Name }

// Behave sets one behaviour for all requests from now on; requests under way keep theirs.
func (s *Server) Behave(b Behaviour) { s.Script(func(int, *Request) Behaviour { return b }) }

// Script decides per request, when its head has been read: n counts requests from 1. It must not block. nil brings
// the default back.
func (s *Server) Script(f func(n int, r *Request) Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = f
}

// OnAccept decides per connection, before anything is read: n counts connections from 1. nil: serve all.
func (s *Server) OnAccept(f func(n int) Break) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accept = f
}

// Put stores a body (an M-Retrieve.conf) for GETs of that path (with query); nil takes it away.
func (s *Server) Put(path string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if body == nil {
		delete(s.pages, path)
		return
	}
	s.pages[path] = body
}

// Missing sets the status of a GET for a path without a body: 404 (default), 410, 503, …
func (s *Server) Missing(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing = status
}

// Down closes the listener and resets all connections: from now on connections are refused. It returns when
// nothing of this life runs any more. Being down already is fine.
func (s *Server) Down() {
	s.mu.Lock()
	ln := s.ln
	if ln == nil {
		s.mu.Unlock()
		return
	}
	s.ln = nil
	close(s.down)
	for c := range s.conns {
		c.reset()
	}
	s.mu.Unlock()
	ln.Close() // its only effect here is to end the accept loop
	s.wg.Wait()
}

// Up listens again on the same address.
func (s *Server) Up() error {
	s.mu.Lock()
	up := s.ln != nil || s.closed
	s.mu.Unlock()
	if up {
		return nil
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("fake MMSC %s up again: %w", s.opt.Name, err)
	}
	s.serve(ln)
	return nil
}

// Close ends the server for good and waits for its goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	s.mu.Unlock()
	s.Down()
}

// Hangup resets every connection but keeps listening, as a crash of a worker process does.
func (s *Server) Hangup() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.reset()
	}
}

func (s *Server) serve(ln net.Listener) {
	s.mu.Lock()
	s.ln, s.down = ln, make(chan struct{})
	down := s.down
	s.mu.Unlock()
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c := newConn(s, nc, down)
			s.mu.Lock()
			if s.ln != ln { // accepted while going down
				s.mu.Unlock()
				c.reset()
				continue
			}
			s.conns[c] = struct{}{}
			s.counts.Conns++
			c.id = s.counts.Conns
			accept := s.accept
			s.changed.Broadcast()
			s.wg.Add(1)
			s.mu.Unlock()
			go func() {
				defer s.wg.Done()
				defer s.forget(c)
				c.run(accept)
			}()
		}
	}()
}

func (s *Server) forget(c *conn) {
	c.nc.Close() // may be closed already
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.changed.Broadcast()
}

// count changes the counters under the lock and wakes those who wait.
func (s *Server) count(f func(c *Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.counts)
	s.changed.Broadcast()
}

// whole notes a request that was read to its end, before it is answered.
func (s *Server) whole(r *Request, body []byte, store bool) {
	rec := Record{Transaction: r.PDU.Transaction, Type: r.PDU.Type, Size: len(body), Digest: xxhash.Sum64(body),
		Attempt: r.Get("X-Mmsrouter-Attempt"), Stored: store && r.Method == "POST"}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Wholes++
	if r.Method == "POST" {
		s.records = append(s.records, rec)
	}
	if rec.Stored {
		s.counts.Stored++
		if s.opt.Ledger != nil {
			// an MMSC that can't write its ledger must not confirm: the process form ends here
			if _, err := io.WriteString(s.opt.Ledger, rec.line()); err != nil {
				panic(fmt.Sprintf("fake MMSC %s: ledger: %v", s.opt.Name, err))
			}
		}
	}
	if len(s.requests) < keptRequests {
		s.requests = append(s.requests, *r)
	}
	s.changed.Broadcast()
}

// Counts gives the counters of this moment.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Records gives every whole POST in the order of arrival.
func (s *Server) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Record(nil), s.records...)
}

// Requests gives the whole requests (bounded) in the order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Open is the number of connections open now.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Await waits until the counters are as wanted; the context's error else.
func (s *Server) Await(ctx context.Context, want func(Counts) bool) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !want(s.counts) {
		if ctx.Err() != nil {
			return fmt.Errorf("fake MMSC %s, seen so far %+v: %w", s.opt.Name, s.counts, ctx.Err())
		}
		s.changed.Wait()
	}
	return nil
}
