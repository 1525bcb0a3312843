package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// drained is a drain that the lease has begun.
type drained struct {
	router bool
	name   string
}

// Run ends leases when their time is over. When ctx ends, so does the lease.
func (l *Leases) Run(ctx context.Context) error {
	for {
		wait := time.Hour
		l.mu.Lock()
		if l.lease != nil {
			if wait = l.lease.Until.Sub(l.o.Now()); wait <= 0 {
				l.end("its time was over")
			}
		}
		l.mu.Unlock()
		t := time.NewTimer(max(wait, 10*time.Millisecond))
		select {
		case <-t.C:
		case <-l.changed:
		case <-ctx.Done():
			t.Stop()
			l.mu.Lock()
			defer l.mu.Unlock()
			l.end("the router ends")
			return nil
		}
		t.Stop()
	}
}

func (l *Leases) wake() {
	select {
	case l.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// end takes everything back; the lock is held.
func (l *Leases) end(why string) {
	if l.lease == nil {
		return
	}
	if err := l.drain(nil); err != nil {
		l.o.Log.Error("lift a drill's drain: it ends by itself", "err", err)
		l.drains = nil
	}
	l.o.Log.Warn("a drill ends", "scenario", l.lease.Scenario, "mark", l.lease.Mark, "why", why)
	l.lease = nil
	l.apply(l.conf.Load())
	l.wake()
}

// drain makes the drains those of the faults; the lock is held.
func (l *Leases) drain(faults []Fault) error {
	var want []drained
	for _, f := range faults {
		switch {
		case f.Kind == Drain:
			want = append(want, drained{false, f.MMSC})
		case f.Kind == Withdraw && l.lease.RealTraffic:
			want = append(want, drained{true, l.o.Node})
		}
	}
	var errs []error
	for _, d := range l.drains {
		if !slices.Contains(want, d) {
			errs = append(errs, l.o.Drain(d.router, d.name, 0))
		}
	}
	left := l.lease.Until.Sub(l.o.Now())
	for _, d := range want {
		if !slices.Contains(l.drains, d) {
			errs = append(errs, l.o.Drain(d.router, d.name, max(left, time.Second)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	l.drains = want
	return nil
}
