// Package healthcheck decides which MMSCs pass detection. It owns the probes (tcp, http, mm1), what live
// traffic says, and the verdicts on the Board.
//
// Each target is unknown, up, down, or ejected (down because live traffic failed while probes did not).
// A single probe gives the first verdict; after that `fall` failures in a row take a target out and
// `rise` good probes bring it back, with a slow start. A failed attempt of live traffic counts at once
// and calls for a probe at once; live traffic ejects no more than a share of the MMSCs and never the last
// one that is up.
//
// On failure: a configuration that can't work is refused by New and Reload with its key; a probe never
// fails, it says "down" and why. Reads of an answer are bounded in octets and in time.
package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mmsrouter/mmsrouter/router"
	"github.com/prometheus/client_golang/prometheus"
)

// Target is an MMSC to watch.
type Target struct {
	Name          string
	URL           string      // http:// or https://
	SourceAddress string      // IP address of our side; empty: the system's choice
	TLS           *tls.Config // for https; nil: the system's authorities
	Host          string      // Host header; empty: that of URL
	Probe         ProbeConfig // what is empty or 0 comes from Config.Probe
	// Check replaces the probe for the embedded MMSC: nil means up. It returns soon after ctx ends.
	Check func(ctx context.Context) error
}

// Options of New. Board is required; Log nil discards, Metrics nil registers nowhere.
type Options struct {
	Config  Config
	Targets []Target
	Board   *router.Board
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Checker is the room.
type Checker struct {
	board *router.Board
	log   *slog.Logger
	met   *metrics
	dial  dialFunc // nil: the network

	byName  atomic.Pointer[map[string]*target]
	changed chan struct{} // capacity 1: Run shall look at byName again
	ready   chan struct{}
	running atomic.Bool

	// mu guards all states, the writing of byName, and the order of verdicts on the Board. It is held
	// while the Board's own lock is taken, never the other way round.
	mu         sync.Mutex
	isReady    bool
	maxEjected int
}

// target is one watched MMSC. It lives as long as its name and URL are configured.
type target struct {
	name, url string
	plan      atomic.Pointer[plan]
	kick      chan struct{} // capacity 1: probe at once
	suspect   atomic.Bool   // mirrors state.failed > 0, so that a good attempt costs one load
	state     state         // under Checker.mu
}

// plan is what a reload may change of a target.
type plan struct {
	policy
	prober                  prober
	interval, fast, timeout time.Duration
	jitter                  int
}

// New checks the options, reads the files they name, and starts nothing.
func New(o Options) (*Checker, error) { return newChecker(o, nil) }

func newChecker(o Options, dial dialFunc) (*Checker, error) {
	if o.Board == nil {
		return nil, errors.New("healthcheck: no Board")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Checker{board: o.Board, log: o.Log, dial: dial, changed: make(chan struct{}, 1), ready: make(chan struct{})}
	plans, err := c.plans(o.Config, o.Targets)
	if err != nil {
		return nil, err
	}
	c.met = newMetrics(o.Metrics)
	c.byName.Store(&map[string]*target{})
	c.adopt(o.Config, o.Targets, plans)
	return c, nil
}

// Reload replaces configuration and targets. A faulty one changes nothing. A target that keeps its name
// and URL keeps its verdict. The Board is to be configured before, so that it knows the new targets.
func (c *Checker) Reload(cfg Config, targets []Target) error {
	plans, err := c.plans(cfg, targets)
	if err != nil {
		return err
	}
	c.adopt(cfg, targets, plans)
	return nil
}

// plans does all of a reload that can fail.
func (c *Checker) plans(cfg Config, targets []Target) ([]*plan, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var errs []error
	seen := map[string]bool{}
	plans := make([]*plan, len(targets))
	for i, t := range targets {
		if t.Name == "" || seen[t.Name] {
			errs = append(errs, fmt.Errorf("mmscs: the name %q is empty or given twice", t.Name))
			continue
		}
		seen[t.Name] = true
		p, err := newPlan(cfg, t, c.dial)
		if err != nil {
			errs = append(errs, fmt.Errorf("mmscs: %s: %w", t.Name, err))
		}
		plans[i] = p
	}
	return plans, errors.Join(errs...)
}

func newPlan(cfg Config, t Target, dial dialFunc) (*plan, error) {
	if err := t.Probe.ValidateWith(cfg); err != nil {
		return nil, err
	}
	m := t.Probe.merged(cfg.Probe.merged(DefaultConfig().Probe))
	p := &plan{
		policy: policy{rise: m.Rise, fall: m.Fall, window: cfg.Passive.Window, hold: cfg.Passive.Hold,
			maxHold: cfg.Passive.MaxHold, slowStart: cfg.SlowStart},
		interval: m.Interval, fast: m.FastInterval, timeout: m.Timeout, jitter: cfg.Jitter,
	}
	if cfg.Passive.Enabled {
		if p.trafficFall = cfg.Passive.Fall; p.trafficFall == 0 {
			p.trafficFall = m.Fall
		}
	}
	var err error
	p.prober, err = newProber(t, m, dial)
	return p, err
}

// adopt swaps the targets; it can't fail.
func (c *Checker) adopt(cfg Config, targets []Target, plans []*plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := *c.byName.Load()
	next := make(map[string]*target, len(targets))
	for i, t := range targets {
		w := old[t.Name]
		if w == nil || w.url != t.URL {
			w = &target{name: t.Name, url: t.URL, kick: make(chan struct{}, 1)}
			c.met.born(t.Name)
		} else {
			w.probeSoon() // the probe may be another one now
		}
		w.plan.Store(plans[i])
		next[t.Name] = w
	}
	for name := range old {
		if next[name] == nil {
			c.met.gone(name)
		}
	}
	c.maxEjected = cfg.Passive.MaxEjected
	c.byName.Store(&next)
	now := time.Now()
	for _, w := range next {
		if w.state.known {
			c.publish(w, now)
		}
	}
	c.checkReady()
	select {
	case c.changed <- struct{}{}:
	default: // Run will look anyway
	}
}

// Ready is closed once every target has its first verdict.
func (c *Checker) Ready() <-chan struct{} { return c.ready }

func (c *Checker) checkReady() {
	if c.isReady {
		return
	}
	for _, t := range *c.byName.Load() {
		if !t.state.known {
			return
		}
	}
	c.isReady = true
	close(c.ready)
}

// Trigger asks for a probe at once; false if no target has that name.
func (c *Checker) Trigger(name string) bool {
	t := (*c.byName.Load())[name]
	if t == nil {
		return false
	}
	t.probeSoon()
	return true
}

func (t *target) probeSoon() {
	select {
	case t.kick <- struct{}{}:
	default: // one is asked for already
	}
}

// Once probes a target a single time, for a check of a configuration. The error is one of configuration.
func Once(ctx context.Context, cfg Config, t Target) (Result, error) {
	p, err := newPlan(cfg, t, nil)
	if err != nil {
		return Result{}, err
	}
	return probeWithin(ctx, p.prober, p.timeout), nil
}
