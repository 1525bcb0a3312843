// Package delivery does what is due for messages: it notifies recipients, notifies them again, lets messages expire and
// sends reports. What is due stands in the store; this package has no memory of its own, so a crash loses nothing.
//
// Promise: each piece of work is leased, so of several nodes one does it; when that one dies the lease runs out and
// another goes on. A notification may leave twice (a crash between the carrier's yes and our note of it), always with the
// same transaction id and location, which handsets take for one. Final states and reports happen once: the store sees
// to it.
package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/prometheus/client_golang/prometheus"
)

// Push is a PDU for a handset.
type Push struct {
	ID        string   // unique, the same when it is tried again
	Kind      mms.Type // M-Notification.ind, M-Delivery.ind, M-Read-Orig.ind or M-Cancel.req
	To        string   // normalised address
	PDU       []byte
	Message   string // Message-ID, for logs
	Location  string // of an M-Notification.ind
	ExpiresAt time.Time
}

// Notifier hands pushes on. nil means that the carrier has taken it; ErrNoRoute that there never will be a way to the
// address, or the carrier refused for good; any other error that it may be tried again.
type Notifier interface {
	Push(ctx context.Context, p *Push) error
}

// ErrNoRoute is wrapped by errors of a Notifier that are for good.
var ErrNoRoute = errors.New("no way to the recipient")

// Composer makes the PDUs.
type Composer interface {
	Notification(d *store.Due) *Push
	Report(r *store.Report) *Push
}

// Services does what is due for recipients and senders that are services.
type Services interface {
	// Serve gives a message to the service that is its recipient, and says how that ends; on an error it is tried again.
	Serve(ctx context.Context, d *store.Due) (store.Outcome, error)
	// Tell reports on a service's message; on an error it is tried again.
	Tell(ctx context.Context, r *store.Report) error
}

// Options is what New needs.
type Options struct {
	Config   Config
	Store    *store.Store
	Notifier Notifier
	Composer Composer
	Services Services              // nil: no recipient is a service
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger
}

// Delivery works on what is due.
type Delivery struct {
	Options
	met  *metrics
	free chan struct{} // a token per worker
}

// New checks the options.
func New(opt Options) (*Delivery, error) {
	if err := opt.Config.Validate(); err != nil {
		return nil, err
	}
	met, err := newMetrics(opt.Metrics)
	if err != nil {
		return nil, err
	}
	d := &Delivery{Options: opt, met: met, free: make(chan struct{}, opt.Config.Workers)}
	for range opt.Config.Workers {
		d.free <- struct{}{}
	}
	return d, nil
}

// finishTime is how long attempts under way may still take when Run's context ends: cut off, a carrier's yes would be lost, and the
// handset notified again.
const finishTime = 5 * time.Second

// Run works until ctx ends, lets attempts under way end (within finishTime) and returns after the last of them. What was claimed and not
// done is given back by the store.
func (d *Delivery) Run(ctx context.Context) error {
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finishTime, cut) })()
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.Store.Wake.Delivery:
		}
		wait, err := d.round(ctx, work, &wg)
		if err != nil && ctx.Err() == nil {
			d.Log.Debug("look for due work", "err", err) // the store says in the log when it goes and comes
			wait = time.Second
		}
		timer.Reset(wait)
	}
}

// round claims and starts what is due until nothing is, and says how long to wait.
func (d *Delivery) round(ctx, work context.Context, wg *sync.WaitGroup) (time.Duration, error) {
	for {
		tokens, err := d.take(ctx)
		if err != nil {
			return 0, err
		}
		started, err := d.start(ctx, work, wg, tokens)
		for range tokens - started {
			d.free <- struct{}{}
		}
		if err != nil {
			return 0, err
		}
		if started < tokens {
			break
		}
	}
	next, ok, err := d.Store.NextDue(ctx)
	if err != nil || !ok {
		return store.Poll, err
	}
	return max(20*time.Millisecond, min(store.Poll, time.Until(next))), nil
}

// take waits for a free worker and takes all that are free.
func (d *Delivery) take(ctx context.Context) (int, error) {
	select {
	case <-d.free:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for n := 1; ; n++ {
		select {
		case <-d.free:
		default:
			return n, nil
		}
	}
}

// start claims up to n pieces of work, recipients first, and gives each its goroutine, which returns its token.
func (d *Delivery) start(ctx, work context.Context, wg *sync.WaitGroup, n int) (int, error) {
	due, err := d.Store.Claim(ctx, n, d.Config.Lease)
	if err != nil {
		return 0, err
	}
	for i := range due {
		wg.Go(func() { d.recipient(work, &due[i]); d.free <- struct{}{} })
	}
	if len(due) == n {
		return n, nil
	}
	reports, err := d.Store.ClaimReports(ctx, n-len(due), d.Config.Lease)
	for i := range reports {
		wg.Go(func() { d.report(work, &reports[i]); d.free <- struct{}{} })
	}
	return len(due) + len(reports), err
}

// recipient does what is due for a recipient.
func (d *Delivery) recipient(ctx context.Context, due *store.Due) {
	now := time.Now()
	var err error
	switch {
	case due.State == store.Fetched:
		err = d.Store.Finish(ctx, due.Recipient.ID, store.Outcome{State: store.Retrieved, Detail: "fetched, not acknowledged"})
	case !now.Before(due.ExpiresAt):
		err = d.Store.Finish(ctx, due.Recipient.ID, store.Outcome{State: store.Expired})
	case d.Services != nil && due.Marks.Takes(due.Address):
		err = d.serve(ctx, due)
	default:
		err = d.notify(ctx, due)
	}
	d.ended("recipient", err)
}

func (d *Delivery) notify(ctx context.Context, due *store.Due) error {
	p := d.Composer.Notification(due)
	err := d.push(ctx, p)
	if ctx.Err() != nil {
		return nil // we are stopping: what the carrier did is not known, so it stays due
	}
	if errors.Is(err, ErrNoRoute) {
		return d.Store.Finish(ctx, due.Recipient.ID, store.Outcome{State: store.Unreachable, Detail: err.Error()})
	}
	pause, why := d.Config.renotify(due.Attempts), ""
	if err != nil {
		pause, why = d.Config.retry(due.Attempts), err.Error()
		d.Log.Info("notification not taken", "message", p.Message, "to", mms.Mask(p.To), "err", err, "again_in", pause.Round(time.Second))
	}
	next := time.Now().Add(pause)
	if next.After(due.ExpiresAt) {
		next = due.ExpiresAt
	}
	return d.Store.Attempted(ctx, due, next, why)
}

// serve gives a message to a service.
func (d *Delivery) serve(ctx context.Context, due *store.Due) error {
	within, cancel := context.WithTimeout(ctx, d.Config.Timeout)
	defer cancel()
	outcome, err := d.Services.Serve(within, due)
	switch {
	case ctx.Err() != nil:
		return nil // it stays due: a service that has it takes it once
	case err == nil:
		return d.Store.Finish(ctx, due.Recipient.ID, outcome)
	}
	pause := d.Config.retry(due.Attempts)
	d.Log.Info("message not taken by services", "to", due.Address, "err", err, "again_in", pause.Round(time.Second))
	next := time.Now().Add(pause)
	if next.After(due.ExpiresAt) {
		next = due.ExpiresAt
	}
	return d.Store.Attempted(ctx, due, next, err.Error())
}

// told gives a report to whom it is for.
func (d *Delivery) told(ctx context.Context, r *store.Report) error {
	if d.Services == nil || r.Marks.Service == "" || r.Kind == store.CancelRequest {
		return d.push(ctx, d.Composer.Report(r))
	}
	ctx, cancel := context.WithTimeout(ctx, d.Config.Timeout)
	defer cancel()
	return d.Services.Tell(ctx, r)
}

// report sends a report.
func (d *Delivery) report(ctx context.Context, r *store.Report) {
	err := d.told(ctx, r)
	if ctx.Err() != nil {
		return
	}
	var next time.Time
	why := ""
	if err != nil {
		why = err.Error()
		if next = time.Now().Add(d.Config.retry(r.Attempts)); errors.Is(err, ErrNoRoute) || next.After(r.ExpiresAt) {
			next = time.Time{}
		}
	}
	d.ended("report", d.Store.EndReport(ctx, r, next, why))
}

func (d *Delivery) push(ctx context.Context, p *Push) error {
	ctx, cancel := context.WithTimeout(ctx, d.Config.Timeout)
	defer cancel()
	err := d.Notifier.Push(ctx, p)
	d.met.pushed(p.Kind, err)
	return err
}

// ended looks at what the store said. A refusal means that the handset, the operator or another node was faster: it is
// their word that counts. Anything else leaves the lease to run out, and the work is done again.
func (d *Delivery) ended(what string, err error) {
	var faster store.Refusal
	if err == nil || errors.As(err, &faster) {
		return
	}
	d.Log.Debug("work not noted; it is due again when its lease ends", "what", what, "err", err)
}
