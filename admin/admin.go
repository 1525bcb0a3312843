// Package admin is the operator's door: the status page, the JSON API with its Go client, and /metrics.
//
// It owns one HTTP listener and nothing else: what it shows it reads from the Board and from the small
// interfaces in Options, what it changes it asks of them. It answers one request with one bounded piece of
// work; a request that is too large, too slow or comes from a foreign site is refused and costs no one else
// anything.
//
// States: bound (after New), serving (in Run), ended. It is the last room to end, so that a drain can be
// watched to its end.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/mmsrouter/mmsrouter/cluster/freebind"
	"github.com/mmsrouter/mmsrouter/router"
)

// Traffic tells what is under way and what became of a message; the MM1 proxy answers it.
type Traffic interface {
	// Outstanding is the number of requests in flight at an MMSC.
	Outstanding(mmsc string) int
	// Fate gives what is remembered of a transaction or message, the newest first; empty if nothing is.
	Fate(id string) []Fate
	// Learned names the MMSC that earlier traffic taught for a request's keys, else "".
	Learned(host, path, subscriber, transaction, messageID string) string
}

// Options is what New needs. Board, Gatherer, Metrics and Log must be set; a nil hook means that this
// appliance has nothing of the kind.
type Options struct {
	Config   Config
	Listener net.Listener // instead of binding Config.Listen
	Node     string
	Version  string
	Started  time.Time
	Board    *router.Board
	Gatherer prometheus.Gatherer
	Metrics  prometheus.Registerer
	Log      *slog.Logger

	Traffic   Traffic
	Ready     func() error                         // nil error: ready; the error says what is missing
	Keeps     func() error                         // nil error: service addresses may stay here; a nil hook: as Ready
	Draining  func() bool                          // this node is on its way out
	DrainSelf func(Reason, time.Duration) error    // begins the node's own drain, or plans it; returns at once
	CallOff   func() (bool, error)                 // ends a planned drain; false: there is none
	Progress  func() *Progress                     // of the node's own drain; nil result: none
	Members   func() []Member                      // all routers; nil: this one alone
	Verdicts  func() map[string]map[string]Opinion // of each MMSC, by router; nil: this one's alone
	Operators Operators                            // what operators say; nil: it holds for MMSCs, here, until a restart
	Takeover  http.Handler                         // hears who holds service addresses; nil: none are taken over
	Drill     http.Handler                         // gives leases to drills; nil: none may run here
	Drilling  func() string                        // the drill that holds a lease, in words; "" or nil: none
	Messages  Messages                             // of the embedded MMSC; nil: none runs here
	Services  http.Handler                         // the catalogue of two-way services, at /api/v1/services; nil: there is none
	Upgrade   func() (Upgraded, error)             // puts another process in this one's place; nil: that can't be
	Before    func() *Before                       // the process that this one has replaced and that still lives; nil, or nil result: none
	Now       func() time.Time                     // nil: time.Now
	Listen    func() map[string][]string           // what listens where, by configuration key
}

// Server is the admin room.
type Server struct {
	o     Options
	conf  atomic.Pointer[Config]
	ln    net.Listener
	http  *http.Server
	m     metrics
	cross *http.CrossOriginProtection
}

// New checks the options and binds the listener; nothing is served before Run.
func New(o Options) (*Server, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Board == nil || o.Gatherer == nil || o.Metrics == nil || o.Log == nil {
		return nil, errors.New("admin: Board, Gatherer, Metrics and Log are needed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, ln: o.Listener, m: newMetrics(o.Metrics), cross: http.NewCrossOriginProtection()}
	if s.o.Operators == nil {
		s.o.Operators = boardOnly{o.Board, s.o.Now}
	}
	c := o.Config
	s.conf.Store(&c)
	if s.ln == nil {
		ln, err := freebind.ListenConfig(c.Freebind).Listen(context.Background(), "tcp", c.Listen)
		if err != nil {
			return nil, fmt.Errorf("admin.listen: %s%s: %w", c.Listen, freebind.Hint(err, "admin.freebind"), err)
		}
		s.ln = ln
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Addr is the address that is listened on.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Listener is for another process to take over.
func (s *Server) Listener() net.Listener { return s.ln }

// Close gives the listener back without having run; harmless after Run.
func (s *Server) Close() error { return s.ln.Close() }

// Run serves until ctx ends, gives requests under way two seconds, and returns after the last goroutine.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	limited := netutil.LimitListener(s.ln, s.conf.Load().MaxConnections)
	go func() { ended <- s.http.Serve(limited) }()
	select {
	case err := <-ended:
		return fmt.Errorf("admin: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		// the grace is over: what still reads is cut, which is what the caller asked for
		_ = s.http.Close()
	}
	<-ended
	return nil
}

// Reload takes a new token and host list; the address and connection limit stay until a restart.
func (s *Server) Reload(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s.conf.Store(&c)
	return nil
}
