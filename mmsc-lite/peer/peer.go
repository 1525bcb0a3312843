// Package peer is retrieval between operators. The sender's server has notified the handset itself; the handset asks its own
// server, which is us, for a message that lies there: as an absolute-form GET, or as GET /relay?location=URL. We fetch it from the sender's
// server, keep it, and serve the handset; a repeated request is served from the store, by location and subscriber. What the
// handset says of the message, at that location or at our own URL, is passed back.
//
// It owns the guard around this: only listed operators are asked, host, port and path as listed, at addresses in their
// networks, which are checked and then dialled; no redirect is followed; size, time and number are bounded. A request for
// anything else is answered with 403 and nothing leaves.
//
// Promises: a message is served only when it is kept durably. An indication is confirmed only when it is, and passed back
// until the peer has taken it or it expires. While the sender's server can't be reached the handset gets an
// M-Retrieve.conf with a transient status, after retries; while the store can't, 503.
//
// States: New has compiled the configuration; Run passes indications back and purges until its context ends, then waits for retrievals
// under way and closes the store. Handler answers 503 before and after.
package peer

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// Options is what New needs.
type Options struct {
	Config Config
	Store  Store // becomes the Relay's: Run or Close closes it
	// Identify gives the subscriber whom a trusted network names, normalised; empty: nobody says. nil: nobody ever does.
	Identify func(*http.Request) string
	// Client gives where a request comes from, for `expect`; nil: RemoteAddr.
	Client   func(*http.Request) netip.Addr
	URL      string                // base of our own locations: PATH?location= may name one of them; empty: none
	Resolver outgoing.Resolver     // nil: the system's
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger          // nil: none
}

// Relay fetches for handsets.
type Relay struct {
	opt   Options
	store Store
	log   *slog.Logger
	met   *metrics
	set   atomic.Pointer[settings]
	wake  chan struct{} // an indication was queued

	mu      sync.Mutex
	state   state
	ctx     context.Context      // of what is under way
	users   sync.WaitGroup       // requests that use the store; added to under mu
	flights map[Key]*flight      // retrievals under way
	busy    map[string]int       // of them by subscriber
	shy     map[string]time.Time // operators that did not take an indication: none is tried before
	cancel  context.CancelFunc   // of ctx
}

type state uint8

const (
	made state = iota
	running
	ended
)

// New checks the options. It starts nothing.
func New(opt Options) (*Relay, error) {
	if opt.Store == nil {
		return nil, errors.New("peers: no store")
	}
	x := &Relay{opt: opt, store: opt.Store, log: opt.Log, wake: make(chan struct{}, 1), flights: map[Key]*flight{}, busy: map[string]int{}, shy: map[string]time.Time{}}
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	if x.opt.Identify == nil {
		x.opt.Identify = func(*http.Request) string { return "" }
	}
	if x.opt.Client == nil {
		x.opt.Client = func(r *http.Request) netip.Addr {
			at, err := netip.ParseAddrPort(r.RemoteAddr)
			if err != nil {
				return netip.Addr{} // a socket pair has no address
			}
			return at.Addr().Unmap()
		}
	}
	x.opt.URL = strings.TrimSuffix(opt.URL, "/")
	set, err := compile(opt.Config, opt.Resolver)
	if err != nil {
		return nil, err
	}
	x.set.Store(set)
	x.met, err = newMetrics(opt.Metrics)
	return x, err
}

// Reload checks a new configuration and puts it in force; retrievals under way keep the one they began with.
func (x *Relay) Reload(c Config) error {
	set, err := compile(c, x.opt.Resolver)
	if err != nil {
		return err
	}
	x.set.Swap(set).close() // idle connections alone
	return nil
}

// Close frees what New took, for a caller that never calls Run.
func (x *Relay) Close() error {
	x.mu.Lock()
	if x.state != made {
		x.mu.Unlock()
		return nil
	}
	x.state = ended
	x.mu.Unlock()
	x.set.Load().close()
	return x.store.Close()
}

// purgeEvery is how often what has expired is looked for.
const purgeEvery = time.Minute

// Run passes indications back until ctx ends, gives up retrievals under way, and closes the store. It returns after the
// last of its goroutines and of the requests that use the store.
func (x *Relay) Run(ctx context.Context) error {
	x.mu.Lock()
	if x.state != made {
		x.mu.Unlock()
		return errors.New("peer: Run may be called once")
	}
	x.state = running
	x.ctx, x.cancel = context.WithCancel(ctx)
	x.mu.Unlock()
	defer x.cancel()

	var own sync.WaitGroup
	own.Go(func() { x.pass(ctx) })
	own.Go(func() {
		tick := time.NewTicker(purgeEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if err := x.store.Purge(ctx); err != nil && ctx.Err() == nil {
				x.log.Warn("purge", "err", err)
			}
		}
	})
	<-ctx.Done()
	x.mu.Lock()
	x.state = ended // nobody begins any more
	x.mu.Unlock()
	x.users.Wait()
	own.Wait()
	x.set.Load().close()
	return x.store.Close()
}

// enter keeps the store open until leave; false while Run is not under way.
func (x *Relay) enter() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state != running || x.ctx.Err() != nil {
		return false
	}
	x.users.Add(1)
	return true
}

func (x *Relay) leave() { x.users.Done() }
