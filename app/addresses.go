package app

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster"
	"github.com/mmsrouter/mmsrouter/cluster/view"
)

// Service addresses move between routers by keepalived's hand. Here the routers see to it that nobody is on them when they move
// while both are alive: a router that drains empties them first, and one that is back asks the stand-in to do so.

// kindYield asks a stand-in for the asker's own service addresses.
const kindYield = "app.yield"

// yieldAnswer is what it says.
type yieldAnswer struct {
	Empty bool `json:"empty"` // nobody is left on them, and newcomers wait
}

// The pace of the moves.
const (
	addressTick = 200 * time.Millisecond
	// askLease: a router that has not asked for so long no longer wants its addresses.
	askLease = 3 * time.Second
	// askPatience: without an answer for so long a router takes its addresses as they are.
	askPatience = 5 * time.Second
	// homePause: so long until a router that told keepalived to bring its addresses, in vain, asks again.
	homePause = 30 * time.Second
)

// addresses is how far the moves of service addresses have come.
type addresses struct {
	emptying sync.Mutex // held by whoever empties addresses of the front door; taken before mu

	mu    sync.Mutex
	by    string    // the router that asks for its addresses; "": none
	asked time.Time // when it did last
	empty bool      // nobody is left on them
}

// moveTime is how long keepalived may take to move addresses once it has been told.
func (c *Config) moveTime() time.Duration { return 4*c.Takeover.Advert + newsTime }

// askedToYield answers a router that wants its addresses back. It asks again and again until nobody is on them.
func (a *App) askedToYield(_ context.Context, from string, _ []byte) ([]byte, error) {
	m := &a.addresses
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if len(a.standsInFor(from)) == 0 {
		return json.Marshal(yieldAnswer{Empty: true})
	}
	if m.by != "" && m.by != from && now.Sub(m.asked) < askLease {
		return json.Marshal(yieldAnswer{}) // one after the other
	}
	if m.by != from {
		m.by, m.empty = from, false
	}
	m.asked = now
	return json.Marshal(yieldAnswer{Empty: m.empty})
}

// standsInFor gives the service addresses of another router that this machine has.
func (a *App) standsInFor(name string) (all []netip.Addr) {
	if a.holders == nil {
		return nil
	}
	own := a.holders.Own(name)
	for _, s := range a.holders.Held() {
		if at, err := netip.ParseAddr(s); err == nil && slices.Contains(own, s) {
			all = append(all, at)
		}
	}
	return all
}

// minded is one look at the addresses after the other.
type minded struct {
	a       *App
	wg      sync.WaitGroup
	end     context.CancelFunc // of the emptying under way; nil: none
	serves  string             // for whom it is
	ready   time.Time          // since when this router is
	asking  time.Time          // since when it asks for its addresses
	heard   time.Time          // when it last had an answer
	given   time.Time          // when keepalived was told to bring them
	had     bool               // its own addresses were here at the last look
	nobody  time.Time          // since when nobody else tells that he has them
	drained bool               // its addresses were given up for an operator's drain
}

// mindAddresses runs until ctx ends; while the router drains, which empties them itself, it only looks on.
func (a *App) mindAddresses(ctx context.Context) error {
	w := &minded{a: a}
	defer a.mm1.Stay()
	defer w.wg.Wait()
	defer func() { w.stop() }()
	tick := time.NewTicker(addressTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		a.lookForDoubled()
		if a.draining.Load() {
			w.stop()
			continue
		}
		w.standIn(ctx)
		w.home(ctx)
	}
}

// lookForDoubled compares what the living routers say that they hold.
func (a *App) lookForDoubled() {
	holds := map[string][]string{}
	for _, r := range a.view.Routers() {
		switch {
		case r.Self:
			holds[r.Name] = a.holders.Held()
		case r.State.Living():
			holds[r.Name] = r.Holds
		}
	}
	a.holders.Look(holds)
}

func (w *minded) stop() {
	if w.end != nil {
		w.end()
		w.end, w.serves = nil, ""
	}
}

// standIn empties the addresses of a router that asks for them, and serves all again once they have gone or nobody asks any
// more.
func (w *minded) standIn(ctx context.Context) {
	a, m := w.a, &w.a.addresses
	m.mu.Lock()
	by, expired := m.by, time.Since(m.asked) > askLease
	m.mu.Unlock()
	if by == "" {
		return
	}
	list := a.standsInFor(by)
	if expired || len(list) == 0 {
		w.stop()
		m.emptying.Lock() // until the emptying has ended
		a.mm1.Stay()
		m.emptying.Unlock()
		m.mu.Lock()
		m.by, m.empty = "", false
		m.mu.Unlock()
		return
	}
	if w.end != nil && w.serves == by {
		return
	}
	w.stop()
	a.log.Info("service addresses: a router is back; emptying them for it", "router", by, "addresses", list)
	w.serves = by
	w.empty(ctx, func(ctx context.Context) {
		left := a.mm1.Yield(ctx, list)
		if ctx.Err() != nil && left > 0 {
			a.log.Warn("service addresses: connections will break when they move", "router", by, "connections", left)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.empty = m.by == by
	})
}

// empty runs one emptying beside the looks, bounded by drain.max.
func (w *minded) empty(ctx context.Context, f func(context.Context)) {
	ctx, w.end = context.WithTimeout(ctx, w.a.cfg.Load().Drain.Max)
	w.wg.Go(func() {
		w.a.addresses.emptying.Lock()
		defer w.a.addresses.emptying.Unlock()
		f(ctx)
	})
}

// home sees to it that this router's own addresses come back to it, once it is ready and nobody is on them.
func (w *minded) home(ctx context.Context) {
	a := w.a
	c := a.cfg.Load()
	held, own := a.holders.Held(), a.holders.Own(c.Node.Name)
	if _, ok := a.view.Drained(view.RouterDrain, c.Node.Name); ok {
		w.giveUp(ctx, len(held) > 0)
		return
	}
	if w.drained {
		w.drained = false
		w.stop()
		a.mm1.Stay()
	}
	here := !slices.ContainsFunc(own, func(s string) bool { return !slices.Contains(held, s) })
	if here || time.Since(w.given) < askPatience {
		w.ready, w.asking, w.had = time.Time{}, time.Time{}, here
		w.yield(false)
		return
	}
	now := time.Now()
	if !w.elsewhere(own, now) || a.Ready() != nil {
		w.ready, w.asking = time.Time{}, time.Time{}
		return
	}
	if w.ready.IsZero() {
		w.ready = now
	}
	// keepalived must have seen it too, else it would bring the addresses later than it is told.
	settled := time.Duration(c.Takeover.Check.Rise+1)*c.Takeover.Check.Interval + c.Takeover.Check.Timeout
	if now.Sub(w.ready) < settled || now.Sub(w.given) < homePause {
		return
	}
	if w.asking.IsZero() {
		w.asking, w.heard = now, now
	}
	if w.askBack(ctx, own) {
		w.given = now
		w.yield(false)
	}
}

// elsewhere says whether a stand-in has this router's own addresses, and yields as long as that may be. Where nobody has them, as when
// all routers start, keepalived brings them at once.
func (w *minded) elsewhere(own []string, now time.Time) bool {
	others := false
	for _, r := range w.a.view.Routers() {
		if r.Self || !r.State.Living() {
			continue
		}
		others = true
		if slices.ContainsFunc(r.Holds, func(s string) bool { return slices.Contains(own, s) }) {
			w.nobody = time.Time{}
			w.yield(true)
			return true
		}
	}
	switch {
	case w.had: // they have just gone; who took them will tell
		w.had, w.nobody = false, now
		w.yield(true)
	case !others:
		w.nobody = time.Time{} // nobody is there to be asked, or to be hurt
	case w.nobody.IsZero():
		w.nobody = now
	case now.Sub(w.nobody) > askPatience:
		w.yield(false)
	}
	return false
}

// askBack asks all stand-ins; true: nobody is left on the addresses, or nobody answers.
func (w *minded) askBack(ctx context.Context, own []string) bool {
	a := w.a
	ctx, cancel := context.WithTimeout(ctx, 2*addressTick)
	defer cancel()
	asked, empty := false, true
	for _, r := range a.view.Routers() {
		if r.Self || r.State != cluster.Alive || a.cluster == nil || !slices.ContainsFunc(r.Holds, func(s string) bool { return slices.Contains(own, s) }) {
			continue
		}
		asked = true
		var answer yieldAnswer
		b, err := a.cluster.Request(ctx, r.Name, kindYield, nil)
		if err != nil || json.Unmarshal(b, &answer) != nil { // it may be of another version, or have just gone: the patience below decides
			empty = false
			continue
		}
		w.heard = time.Now()
		empty = empty && answer.Empty
	}
	if !asked && time.Since(w.asking) < askPatience {
		return false // the one who has them is on his way out
	}
	if time.Since(w.heard) > askPatience {
		a.log.Warn("service addresses: the stand-in does not answer; taking them as they are", "addresses", own)
		return true
	}
	return empty
}

// giveUp empties what this router holds, for an operator's drain, and lets it go.
func (w *minded) giveUp(ctx context.Context, holds bool) {
	a := w.a
	if !a.othersQualify() {
		return // nobody could take them
	}
	if w.drained || !holds {
		w.drained = true
		return
	}
	w.drained = true
	w.stop()
	w.empty(ctx, func(ctx context.Context) { a.emptyAddresses(ctx) })
}

// yield tells keepalived; that it can't be told is said once a second at most, by the log of who looks next.
func (w *minded) yield(on bool) {
	if err := w.a.holders.Yield(on); err != nil {
		w.a.log.Error("service addresses: tell keepalived", "err", err)
	}
}
