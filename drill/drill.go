// Package drill runs failover drills: marked messages flow all along, a scenario's steps break things on the way, a ledger
// holds what every client was told against what every MMSC has, and a verdict says which promises held.
//
// It owns its messages, its ledger and its report. What is broken, and how, is the World's: drill/lab starts a world of
// processes of its own, and a running system lends one through a lease that it holds itself (drill/lease). The
// package starts no process and changes nothing but through the World; it undoes what it did at the end of a
// drill, also of one that was interrupted.
//
// On failure: a step that can't be done ends the drill, and no promise counts as kept.
package drill

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// World is what a drill runs in.
type World interface {
	// Entry says how clients get in.
	Entry() Entry
	// Do does a step; it is in effect when Do returns.
	Do(ctx context.Context, s Step) error
	// Calm ends everything that steps have begun and not ended.
	Calm(ctx context.Context) error
	// Look asks every router that lives what it sees.
	Look(ctx context.Context) []Look
	// Copies says what MMSCs have of these messages. began is when times count from.
	Copies(ctx context.Context, began time.Time, sent []Message) ([]Copy, error)
	// Target is the name that a scenario's target has here, for the report.
	Target(name string) string
}

// Entry says how clients get in.
type Entry struct {
	Mark    string            // begins the transaction id of each message, and stands in each DNS query
	Numbers []string          // the messages go between these, in international form
	Host    string            // of the MMS URL
	Port    string            // of the MMS URL
	Path    string            // of the MMS URL
	TLS     *tls.Config       // nil: the MMS URL is http
	DNS     []Server          // who is asked for Host; none: Host is an address
	Routers map[string]string // whose an address is, for the report; may be empty
	Blind   bool              // what is broken befalls marked messages alone: detection has nothing to find, and is not judged
}

// Server is a name server.
type Server struct {
	Router  string // whose it is
	Address string // host:port
}

// Look is what one router says.
type Look struct {
	Router    string
	Started   time.Time // of its process
	Ambiguous float64   // retries after an ambiguous result, since then
	Members   int       // routers that it knows to live, itself among them
	MMSCs     []Seen
	Err       error // it says nothing
}

// Seen is an MMSC as a router sees it.
type Seen struct {
	Name  string
	Up    bool
	Since time.Time
	Why   string
}

// Options of Run.
type Options struct {
	Scenario Scenario
	World    World
	Progress func(Progress) // nil: nobody watches. It is called from one goroutine.
	Log      *slog.Logger   // nil: silent
}

// Progress is how far a drill is.
type Progress struct {
	Name                   string
	Elapsed, Length        time.Duration
	Sent, Accepted, Failed int
	Doing                  string // the last step
}

// lookEvery is how often routers and DNS are looked at.
const lookEvery = 100 * time.Millisecond

// run is one drill under way.
type run struct {
	s     *Scenario
	w     World
	log   *slog.Logger
	entry Entry
	began time.Time
	names *resolver

	mu    sync.Mutex // guards what follows
	sent  []Message
	count struct{ begun, accepted, failed int }
	done  []Done
	looks []look
	dns   []Answer
}

// Done is a step that was done.
type Done struct {
	Step
	Began, Took time.Duration
	At          time.Time // when it was in effect
}

func (r *run) since(t time.Time) time.Duration { return t.Sub(r.began) }

// Run does a drill. The error is about the drill itself: a step that could not be done, a world that is not there, or
// ctx; what promises broke stands in the Result.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Scenario.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &run{s: &o.Scenario, w: o.World, log: o.Log, entry: o.World.Entry()}
	if len(r.entry.Numbers) == 0 || r.entry.Mark == "" {
		return nil, errors.New("a drill needs test numbers and a mark for its messages")
	}
	r.names = newResolver(r.entry)
	r.began = time.Now()
	traffic, endTraffic := context.WithCancel(ctx)
	defer endTraffic()
	watch, endWatch := context.WithCancel(ctx)
	defer endWatch()
	var clients, watchers sync.WaitGroup
	for i := range r.s.Traffic.Clients {
		clients.Go(func() { r.client(traffic, i) })
	}
	watchers.Go(func() { r.watchRouters(watch) })
	watchers.Go(func() { r.watchDNS(watch) })
	if o.Progress != nil {
		watchers.Go(func() { r.tellProgress(watch, o.Progress) })
	}
	stepErr := r.steps(ctx)
	if stepErr != nil {
		endTraffic()
	}
	clients.Wait()
	if stepErr == nil && ctx.Err() == nil {
		r.lookOnce(ctx) // the last counts
	}
	endWatch()
	watchers.Wait()
	took := time.Since(r.began)
	// what is broken is mended even if the drill was interrupted
	mend, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	calmErr := r.w.Calm(mend)
	if err := errors.Join(stepErr, ctx.Err(), calmErr); err != nil {
		return nil, fmt.Errorf("drill %s: %w", r.s.Name, err)
	}
	copies, err := r.w.Copies(ctx, r.began, r.sent)
	if err != nil {
		return nil, fmt.Errorf("drill %s: what the MMSCs have: %w", r.s.Name, err)
	}
	return r.result(copies, took), nil
}

// steps does each step at its time and returns when the drill's length is over.
func (r *run) steps(ctx context.Context) error {
	for _, st := range append(append([]Step(nil), r.s.Steps...), Step{At: r.s.Length}) {
		wait := time.NewTimer(time.Until(r.began.Add(st.At)))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
		if st.Do == "" {
			return nil
		}
		r.log.Info("step", "step", st.String())
		began := time.Now()
		if err := r.w.Do(ctx, st); err != nil {
			return fmt.Errorf("step %s: %w", st, err)
		}
		r.mu.Lock()
		r.done = append(r.done, Done{Step: st, Began: r.since(began), Took: time.Since(began), At: time.Now()})
		r.mu.Unlock()
	}
	return nil
}

func (r *run) tellProgress(ctx context.Context, tell func(Progress)) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		r.mu.Lock()
		p := Progress{Name: r.s.Name, Elapsed: time.Since(r.began), Length: r.s.Length, Sent: r.count.begun, Accepted: r.count.accepted, Failed: r.count.failed}
		if n := len(r.done); n > 0 {
			p.Doing = r.done[n-1].String()
		}
		r.mu.Unlock()
		tell(p)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
