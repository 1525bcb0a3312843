// Package dnsserver answers for the MMS domains: it is their authoritative name server, over UDP and TCP.
//
// It owns its sockets, the static records of its zones and the packed answers made from them. The addresses
// that a zone's apex answers with, and the serial, come from the Board; the package never writes to it.
//
// There are two ways through it. The slow path parses with miekg/dns, looks up, builds and packs a message;
// it can do everything. The fast path (UDP only) knows the common query: one question, at most an EDNS record.
// It copies an answer that the slow path has packed beforehand behind the question as it stands in the receive
// buffer and allocates nothing. Whatever it does not know it leaves to the slow path, so that both always agree.
//
// On failure: New refuses a configuration that can't work and a port that is taken. A malformed query is
// answered with the RCODE that the RFCs name, or with silence; it never ends a goroutine. A Reload that fails
// changes nothing. Answers change with the Board's generation, at the next query, without a lock on the way.
//
// States: New has bound the sockets, queries wait in their buffers; Run serves until its context ends; after
// that the sockets are closed and the Server can't be used again.
package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/router"
)

// Options is what a Server is made of. Board is required; Metrics and Log may be nil.
type Options struct {
	Config   Config
	Board    *router.Board
	Version  string // fills {version} in Config.Version
	NodeName string // the NSID and id.server, unless Config.NSID says otherwise
	// LeaveOut says, of a query that bears a drill's mark, which of a zone's own addresses its answer leaves out; the answer
	// has them all if none would be left. nil: marks mean nothing.
	LeaveOut func(mark string, addr netip.Addr) bool
	Metrics  prometheus.Registerer
	Log      *slog.Logger
	// Sockets gives those that another process has handed over for an address of Config.Listen; nil, or no sockets: they are bound.
	Sockets func(listen string) (*net.TCPListener, []*net.UDPConn)
}

// MarkOption is the EDNS option, of those for local use (RFC 6891, 9), in which a drill's queries bear their mark.
const MarkOption = 65217

// Server is an authoritative name server; New makes it, Run serves.
type Server struct {
	board    *router.Board
	version  string
	nodeName string
	leaveOut func(mark string, addr netip.Addr) bool
	log      *slog.Logger
	metrics  *metrics
	listen   []string // as configured: a Reload must not change it

	policy  atomic.Pointer[policy]
	view    atomic.Pointer[view]
	short   atomic.Bool // a router is about to drain: addresses have the short TTL
	rebuild sync.Mutex  // held while a view is made; taken before nothing else
	cached  time.Time   // guarded by rebuild: no address that an earlier view gave is remembered beyond

	udp []*udpSocket
	tcp []*net.TCPListener
	// conns are the open TCP connections; see tcp.go.
	conns connTable

	handed    func(listen string) (*net.TCPListener, []*net.UDPConn)
	handing   atomic.Bool // another process reads the sockets
	closeOnce sync.Once
	ran       atomic.Bool
}

// New checks the configuration, binds UDP and TCP on every address of Config.Listen and starts nothing.
func New(o Options) (*Server, error) {
	if o.Board == nil {
		return nil, errors.New("dns: no board")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		board: o.Board, version: o.Version, nodeName: o.NodeName, leaveOut: o.LeaveOut, log: o.Log,
		metrics: newMetrics(), listen: append([]string(nil), o.Config.Listen...), handed: o.Sockets,
	}
	p, err := compile(o.Config, o.Version, o.NodeName, nil)
	if err != nil {
		return nil, err
	}
	s.policy.Store(p)
	s.current()
	if err := s.bind(o.Config); err != nil {
		s.Close()
		return nil, err
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(s.metrics); err != nil {
			s.Close()
			return nil, fmt.Errorf("dns: register metrics: %w", err)
		}
	}
	return s, nil
}

// Run serves until ctx ends, then closes the sockets and returns when the last goroutine has ended. A query
// that is being answered gets its answer. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("dns: Run called twice")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, len(s.udp)+len(s.tcp))
	serve := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				errs <- err
				cancel() // half a server is worse than none: the caller decides
			}
		})
	}
	for _, u := range s.udp {
		serve(func(ctx context.Context) error { return u.serve(ctx, s) })
	}
	for _, l := range s.tcp {
		serve(func(ctx context.Context) error { return s.serveTCP(ctx, l) })
	}
	s.log.Info("serving", "addresses", s.Addrs(), "sockets", len(s.udp))
	<-ctx.Done()
	s.Close()
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// Close closes the sockets. It is for a Server whose Run is never called; Run does it by itself. Closing twice
// is harmless.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		for _, u := range s.udp {
			u.close()
		}
		for _, l := range s.tcp {
			_ = l.Close() // it was only listening: there is nothing to lose
		}
		s.conns.close()
	})
}

// Reload replaces zones, records and limits. The addresses to listen on can't be changed. On an error nothing
// has changed.
func (s *Server) Reload(c Config) error {
	if !sameStrings(c.Listen, s.listen) {
		return fmt.Errorf("dns.listen: can't change from %v to %v while running; restart to change it", s.listen, c.Listen)
	}
	p, err := compile(c, s.version, s.nodeName, s.policy.Load())
	if err != nil {
		return err
	}
	s.change(func() { s.policy.Store(p) })
	return nil
}

// Shorten gives the addresses the TTL short_ttl, if theirs is longer, or ends that.
func (s *Server) Shorten(on bool) {
	if s.short.Load() != on {
		s.change(func() { s.short.Store(on) })
	}
}

// change does what may change a TTL, and notes how long the present one is remembered.
func (s *Server) change(do func()) {
	s.rebuild.Lock()
	s.cached = s.until(time.Now())
	do()
	s.rebuild.Unlock()
	s.current()
}

// CachedUntil says for how long resolvers may remember addresses that they were given until now: the longest TTL counts,
// also one that was changed meanwhile. What the others answer is the same, so it holds for all routers.
func (s *Server) CachedUntil() time.Time {
	s.rebuild.Lock()
	defer s.rebuild.Unlock()
	return s.until(time.Now())
}

// until is CachedUntil; the caller holds rebuild.
func (s *Server) until(now time.Time) time.Time {
	p, until := s.policy.Load(), s.cached
	for _, z := range p.zones {
		if end := now.Add(time.Duration(p.addressTTL(z, s.short.Load())) * time.Second); end.After(until) {
			until = end
		}
	}
	return until
}

// addressTTL is the TTL of a zone's own addresses.
func (p *policy) addressTTL(z *zone, short bool) uint32 {
	if short {
		return min(z.ttl, p.short)
	}
	return z.ttl
}

// Addrs gives the bound addresses, one for each entry of Config.Listen, in order. UDP and TCP have the same.
func (s *Server) Addrs() []net.Addr {
	var a []net.Addr
	for _, l := range s.tcp {
		a = append(a, l.Addr())
	}
	return a
}

// current gives the view of the Board's present snapshot and the present policy; it makes one if either has
// changed since the last was made.
func (s *Server) current() *view {
	v := s.view.Load()
	if v != nil && v.snap == s.board.Load() && v.policy == s.policy.Load() && v.short == s.short.Load() {
		return v
	}
	s.rebuild.Lock()
	defer s.rebuild.Unlock()
	snap, p, short := s.board.Load(), s.policy.Load(), s.short.Load()
	if v = s.view.Load(); v != nil && v.snap == snap && v.policy == p && v.short == short {
		return v
	}
	v = newView(snap, p, short)
	s.view.Store(v)
	return v
}

func sameStrings(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
