package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// runner is one room under way.
type runner struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done
	told   bool
}

// end ends the room and says once if that went wrong.
func (r *runner) end(log *slog.Logger) {
	r.cancel()
	<-r.done
	if r.err != nil && !r.told {
		log.Error("a room ended with an error", "err", r.err)
	}
	r.told = true
}

// Run starts every room and returns after the last has ended. It ends by a drain: when ctx ends, when Drain is
// called, or when a room fails (whose error it returns); EndNow cuts the drain short.
func (a *App) Run(ctx context.Context) error {
	defer a.endNow()
	failed := make(chan struct{}, 16)
	var rooms []*runner // in the order in which they end
	start := func(name string, run func(context.Context) error) *runner {
		rctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &runner{name: name, cancel: cancel, done: make(chan struct{})}
		go func() {
			defer close(r.done)
			if err := run(rctx); err != nil {
				r.err = fmt.Errorf("%s: %w", name, err)
			} else if rctx.Err() == nil {
				r.err = fmt.Errorf("%s: ended by itself", name)
			}
			failed <- struct{}{}
		}()
		rooms = append(rooms, r)
		return r
	}
	start("drill", a.leases.Run) // what a drill has drained is lifted while the others can still be told
	start("mm1", a.mm1.Run)
	if a.dns != nil {
		start("dns", a.dns.Run)
	}
	start("healthcheck", a.checker.Run)
	if a.services != nil {
		start("services", a.gated(a.services.Run, func() { _ = a.services.close() })) // ends before the MMSC that it submits to
	}
	if a.mmsc != nil {
		start("held", a.watchHeld)
		start("mmsc", a.mmsc.Run)
		start("push", a.gated(a.push.Run, nil))
	}
	if a.relay != nil {
		start("peer", a.relay.Run)
	}
	if a.ppg != nil {
		start("ppg", a.gated(a.ppg.Run, func() { _ = a.ppg.Close() })) // it ends before it began: there is nothing to lose
	}
	start("peers", a.follow)
	if a.holders != nil {
		start("addresses", a.gated(a.mindAddresses, nil))
	}
	if a.cluster != nil {
		start("cluster", a.gated(a.cluster.Run, func() { _ = a.cluster.Close() })) // likewise
	}
	start("view", a.view.Run)
	start("admin", a.admin.Run)

	a.log.Info("started", "version", a.version, "listen", a.Listening())
	if a.attend(ctx, failed) {
		a.retire(rooms)
	} else {
		a.finish(rooms)
	}
	a.elder.Close()
	a.links.Wait()
	var errs []error
	for _, r := range rooms {
		errs = append(errs, r.err)
	}
	return errors.Join(errs...)
}

// attend tells who has to know when this process serves and takes over from the one before it, until it is time to end; true: another
// process has taken over from this one.
func (a *App) attend(ctx context.Context, failed <-chan struct{}) (replaced bool) {
	ready, free := a.checker.Ready(), a.elder.freed()
	var late <-chan time.Time // the elder has not let go
	for {
		select {
		case <-ready:
			a.log.Info("ready: every MMSC has a first verdict")
			a.ready()
			if ready = nil; a.elder == nil {
				a.notify("READY=1", "STATUS=ready: "+a.listeningLine())
			} else if free != nil {
				late = time.After(releaseTime)
			}
		case <-late:
			a.log.Error("upgrade: the process before has not let go of its work; beginning all the same", "pid", a.elder.said.PID, "waited", releaseTime)
			a.elder.release()
		case <-free:
			a.takeOver()
			a.notify("READY=1", "STATUS=ready: "+a.listeningLine()) // the elder has told the manager who we are
			free, late = nil, nil
		case <-a.elder.gone():
			a.mm1.Shared().Pair(nil, false)
			a.log.Info("upgrade: the process before has ended", "pid", a.elder.said.PID)
			a.elder.forget()
		case <-a.handed:
			return true
		case <-ctx.Done():
			return false
		case <-a.ask:
			return false
		case <-a.now.Done():
			return false
		case <-failed:
			return false
		}
	}
}

// finish is the drain: where another router can take over, this one leaves the DNS answers and waits until resolvers
// have forgotten it. Then MM1 finishes what is in flight; DNS, detection, the embedded MMSC and the gossip end, admin last.
// The whole is bounded by drain.max.
func (a *App) finish(rooms []*runner) {
	limit := a.cfg.Load().Drain.Max
	began := time.Now()
	a.draining.Store(true)
	a.m.draining.Set(1)
	if a.process != nil {
		a.process.Stop() // of an upgrade under way
	}
	a.notify("STOPPING=1", "STATUS=draining")
	dctx, cancel := context.WithTimeout(a.now, limit)
	defer cancel()
	a.withdraw(dctx, began)
	a.leaveAddresses(dctx, began)
	a.forgetPlan()
	a.ladder.at(stepFinishing, began.Add(limit))
	a.log.Info("drain: finishing what is in flight", "max", limit)
	if left := a.mm1.Drain(dctx); left > 0 {
		a.log.Warn("drain: cut off what was still in flight", "clients", left)
	}
	a.ladder.at(stepEnding, began.Add(limit))
	for _, r := range rooms {
		r.end(a.log)
	}
	a.log.Info("ended", "took", time.Since(began).Round(time.Millisecond))
}

// listeningLine is what `systemctl status` shows: each key and its bound addresses.
func (a *App) listeningLine() string {
	listening := a.Listening()
	var all []string
	for _, key := range slices.Sorted(maps.Keys(listening)) {
		all = append(all, key+" "+strings.Join(listening[key], " "))
	}
	return strings.Join(all, ", ")
}

// notify tells the service manager; that it can't be told is no reason to stop.
func (a *App) notify(assignments ...string) {
	if err := notify(assignments...); err != nil {
		a.log.Warn("notify", "err", err)
	}
}
