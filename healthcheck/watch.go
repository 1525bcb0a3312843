package healthcheck

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// minSpacing is the least time between the starts of two probes of one target, however often one is asked
// for at once: live traffic that fails every other time must not become a flood of probes.
const minSpacing = 50 * time.Millisecond

// Run watches all targets until ctx ends and returns after the last probe has ended.
func (c *Checker) Run(ctx context.Context) error {
	if !c.running.CompareAndSwap(false, true) {
		return errors.New("healthcheck: Run was called twice")
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	watched := map[*target]context.CancelFunc{}
	defer func() {
		for _, stop := range watched {
			stop()
		}
	}()
	for {
		now := *c.byName.Load()
		for t, stop := range watched {
			if now[t.name] != t {
				stop()
				delete(watched, t)
			}
		}
		for _, t := range now {
			if watched[t] != nil {
				continue
			}
			tctx, stop := context.WithCancel(ctx)
			watched[t] = stop
			wg.Go(func() { c.watch(tctx, t) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
		}
	}
}

// watch probes one target until ctx ends: at once, then when the next probe is due, when one is asked for,
// and it wakes for the steps of a slow start.
func (c *Checker) watch(ctx context.Context, t *target) {
	timer := time.NewTimer(maxInterval)
	defer timer.Stop()
	var started time.Time // of the last probe
	due := time.Now()     // when the next one begins
	for ctx.Err() == nil {
		p := t.plan.Load()
		if now := time.Now(); !now.Before(due) {
			started = now
			r := probeWithin(ctx, p.prober, p.timeout)
			if ctx.Err() != nil {
				return // what it saw is about us, not about the MMSC
			}
			due = started.Add(vary(c.judge(t, p, started, r), p.jitter))
		}
		wake := due
		if step := c.ramp(t, p); !step.IsZero() && step.Before(wake) {
			wake = step
		}
		wait := time.Until(wake)
		if wait <= 0 {
			continue // the probe took longer than its interval
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.kick:
			if soon := started.Add(minSpacing); soon.Before(due) {
				due = soon
			}
		}
	}
}

// judge takes the result of a probe and gives the interval to the next.
func (c *Checker) judge(t *target, p *plan, started time.Time, r Result) time.Duration {
	now := time.Now()
	result := "down"
	if r.Up {
		result = "up"
	}
	was, e, changing := c.take(t, p, now, func() event {
		c.met.probes.WithLabelValues(t.name, result).Inc()
		c.met.seconds.WithLabelValues(t.name).Observe(now.Sub(started).Seconds())
		return t.state.probed(p.policy, now, started, r)
	})
	c.tell(t, e, was, r.Why, r.Fault, now)
	if changing {
		return p.fast
	}
	return p.interval
}

// ramp publishes the present step of a slow start and gives the time of the next; zero if there is none.
func (c *Checker) ramp(t *target, p *plan) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if t.state.known && (*c.byName.Load())[t.name] == t {
		c.publish(t, now)
	}
	_, next := t.state.step(p.policy, now)
	return next
}

// take runs one step of the state machine, publishes what came of it and counts it, as one.
func (c *Checker) take(t *target, p *plan, now time.Time, step func() event) (was state, e event, changing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (*c.byName.Load())[t.name] != t {
		return was, quiet, false // a reload has removed it meanwhile, and its metrics with it
	}
	was = t.state
	e = step()
	t.suspect.Store(t.state.failed > 0)
	c.met.count(t.name, e)
	c.publish(t, now)
	c.checkReady()
	return was, e, t.state.changing(p.policy, now)
}

// publish writes the verdict to the Board where it differs, which it also does after the Board has been
// configured anew.
func (c *Checker) publish(t *target, now time.Time) {
	v := t.state.verdict(t.plan.Load().policy, now)
	c.met.up.WithLabelValues(t.name).Set(oneIf(v.Up))
	c.met.fault.WithLabelValues(t.name).Set(oneIf(v.Fault != ""))
	s := c.board.Load()
	if i := s.Index(t.name); i >= 0 && s.MMSCs[i].Verdict != v {
		c.board.SetVerdict(t.name, v)
	}
}

// tell logs a change.
func (c *Checker) tell(t *target, e event, was state, why, fault string, now time.Time) {
	log := c.log.With("mmsc", t.name)
	if was.known {
		log = log.With("after", now.Sub(was.since).Round(time.Millisecond).String())
	}
	switch e {
	case cameUp:
		log.Info("MMSC is up", "why", why)
	case wentDown:
		log.Warn("MMSC is down", "why", why)
	case ejected:
		log.Warn("MMSC is ejected by live traffic", "why", why)
	case confirmed:
		log.Warn("MMSC is down: probes see it too", "why", why)
	case spared:
		log.Warn("MMSC fails in live traffic but stays: too many are out, or it is the last one (detection.passive.max_ejected)", "why", why)
	}
	if (e == cameUp || e == faulted) && fault != was.fault {
		if fault == "" {
			log.Info("MMSC is no longer misconfigured")
		} else {
			log.Warn("MMSC is misconfigured", "fault", fault)
		}
	}
}

// vary spreads an interval by up to percent in both directions.
func vary(d time.Duration, percent int) time.Duration {
	return d + time.Duration(float64(d)*float64(percent)/100*(2*rand.Float64()-1))
}
