package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/cluster/view"
)

// plannedDrain is an override on a router that will drain: until then all routers give the short TTL.
const plannedDrain view.Kind = "drain-planned"

// newsTime is how long the other routers may take to hear that this one drains and to stop naming it.
const newsTime = time.Second

// The steps of a drain, as status shows them.
const (
	stepPlanned   = "planned"
	stepWithdrawn = "withdrawn from DNS"
	stepEmptying  = "emptying the service addresses"
	stepMoving    = "waiting for the service addresses to move"
	stepFinishing = "finishing what is in flight"
	stepEnding    = "ending"
)

// ladder is how far this router's own drain has come.
type ladder struct {
	mu    sync.Mutex
	step  string    // "": it does not drain
	until time.Time // when the step ends at the latest
	plan  *time.Timer
}

func (l *ladder) at(step string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step, l.until = step, until
	if l.plan != nil {
		l.plan.Stop()
		l.plan = nil
	}
}

// progress gives the step to the admin room; nil while there is no drain.
func (l *ladder) progress() *admin.Progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.step == "" {
		return nil
	}
	return &admin.Progress{Step: l.step, Until: l.until, Left: max(0, time.Until(l.until)).Round(100 * time.Millisecond).Seconds()}
}

// DrainIn plans a drain: from now on DNS answers have the short TTL, so that the drain itself is quick; it begins
// after the given time, or at once (0).
func (a *App) DrainIn(after time.Duration, by, reason string) error {
	if after <= 0 {
		a.Drain()
		return nil
	}
	if a.draining.Load() {
		return errors.New("in: this router drains already")
	}
	o := view.Override{Kind: plannedDrain, Glob: a.cfg.Load().Node.Name, On: true, By: by, Reason: reason, Since: time.Now().UTC().Truncate(time.Second)}
	if err := a.view.SetOverride(o, after+a.cfg.Load().Drain.Max); err != nil {
		return err
	}
	a.ladder.at(stepPlanned, time.Now().Add(after))
	a.ladder.mu.Lock()
	defer a.ladder.mu.Unlock()
	a.ladder.plan = time.AfterFunc(after, a.Drain)
	return nil
}

// CallOff ends a planned drain of this router; false: none was planned.
func (a *App) CallOff() (bool, error) {
	a.ladder.mu.Lock()
	planned := a.ladder.plan != nil && a.ladder.plan.Stop()
	if planned {
		a.ladder.step, a.ladder.until, a.ladder.plan = "", time.Time{}, nil
	}
	a.ladder.mu.Unlock()
	if !planned {
		return false, nil
	}
	_, err := a.view.LiftOverride(plannedDrain, a.cfg.Load().Node.Name)
	return true, err
}

// forgetting is the part of drain.max in which resolvers may forget this router; the rest is for what is in flight.
func (c *Config) forgetting() time.Duration {
	return c.Drain.Max - min(c.MM1.Deadline, c.Drain.Max*2/5)
}

// withdraw leaves the DNS answers, if another router qualifies for them, and waits until resolvers have forgotten
// this one; as far as drain.max allows, of which a part is kept for what is in flight.
func (a *App) withdraw(ctx context.Context, began time.Time) {
	if a.cluster == nil {
		return
	}
	self, others := a.cfg.Load().Node.Name, false
	for _, r := range a.view.Routers() {
		others = others || r.Name != self && r.Qualifies()
	}
	if !others {
		a.log.Info("drain: no other router could take over, so this one stays in the DNS answers until its end")
		return
	}
	a.cluster.SetDraining(true)
	until := time.Now()
	if a.dns != nil {
		until = a.dns.CachedUntil().Add(newsTime)
	}
	latest := began.Add(a.cfg.Load().forgetting())
	if until.After(latest) {
		a.log.Warn("drain: drain.max ends before resolvers have forgotten this router", "forgotten", time.Until(until).Round(time.Second), "waiting", time.Until(latest).Round(time.Second))
		until = latest
	}
	a.ladder.at(stepWithdrawn, until)
	a.log.Info("drain: withdrawn from DNS; waiting until resolvers have forgotten this router", "wait", time.Until(until).Round(time.Millisecond))
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// forgetPlan lifts the word of a planned drain, which has begun or was not lived to see: the TTL is the usual one again.
func (a *App) forgetPlan() {
	if _, err := a.view.LiftOverride(plannedDrain, a.cfg.Load().Node.Name); err != nil {
		a.log.Warn("lift the plan of a drain", "err", err) // it ends by itself
	}
}
