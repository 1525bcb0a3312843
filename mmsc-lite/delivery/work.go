package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// recipient does what is due for a recipient.
func (d *Delivery) recipient(ctx context.Context, due *store.Due) *store.Note {
	switch {
	case due.State == store.Fetched:
		return due.Finish(store.Outcome{State: store.Retrieved, Detail: "fetched, not acknowledged"})
	case d.Services != nil && due.Marks.Takes(due.Address):
		return d.serve(ctx, due) // one that has expired too: its sender waits for an answer
	case !time.Now().Before(due.ExpiresAt):
		return due.Finish(store.Outcome{State: store.Expired})
	}
	return d.notify(ctx, due)
}

func (d *Delivery) notify(ctx context.Context, due *store.Due) *store.Note {
	p := d.Composer.Notification(due)
	err := d.push(ctx, p)
	switch {
	case err == nil:
		return due.Attempt(before(due.ExpiresAt, d.Config.renotify(due.Attempts)), "")
	case ctx.Err() != nil:
		return nil // we are stopping: what the carrier did is not known, so it stays due
	case errors.Is(err, ErrNoRoute):
		return due.Finish(store.Outcome{State: store.Unreachable, Detail: err.Error()})
	}
	pause := d.again(err, due.Attempts)
	d.Log.Info("notification not taken", "message", p.Message, "to", mms.Mask(p.To), "err", err, "again_in", pause.Round(time.Second))
	return due.Attempt(before(due.ExpiresAt, pause), err.Error())
}

// before gives the end of a pause, but no moment behind end.
func before(end time.Time, pause time.Duration) time.Time {
	if next := time.Now().Add(pause); next.Before(end) {
		return next
	}
	return end
}

// serve gives a message to a service.
func (d *Delivery) serve(ctx context.Context, due *store.Due) *store.Note {
	within, cancel := context.WithTimeout(ctx, d.Config.Timeout)
	defer cancel()
	outcome, err := d.Services.Serve(within, due)
	switch {
	case err == nil:
		return due.Finish(outcome)
	case ctx.Err() != nil:
		return nil // it stays due: a service that has it takes it once
	}
	pause := d.again(err, due.Attempts)
	d.Log.Info("message not taken by services", "to", due.Address, "err", err, "again_in", pause.Round(time.Second))
	return due.Attempt(before(due.ExpiresAt, pause), err.Error())
}

// report sends a report.
func (d *Delivery) report(ctx context.Context, r *store.Report) *store.Note {
	err := d.told(ctx, r)
	if err == nil {
		return r.End(time.Time{}, "")
	}
	if ctx.Err() != nil {
		return nil
	}
	next := time.Now().Add(d.again(err, r.Attempts))
	if errors.Is(err, ErrNoRoute) || next.After(r.ExpiresAt) {
		next = time.Time{}
	}
	return r.End(next, err.Error())
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

func (d *Delivery) push(ctx context.Context, p *Push) error {
	ctx, cancel := context.WithTimeout(ctx, d.Config.Timeout)
	defer cancel()
	err := d.Notifier.Push(ctx, p)
	d.met.pushed(p.Kind, err)
	return err
}
