package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// maxAhead is how many pieces of work one claim takes at most, unless there are more workers.
const maxAhead = 256

// piece is work that was claimed: do does it and gives what is to be noted, nil if nothing is; back gives it back undone.
type piece struct {
	do   func(ctx context.Context) *store.Note
	back func() *store.Note
}

// batch is what one claim took.
type batch struct {
	pieces []piece
	at     time.Time
}

// finishTime is how long attempts under way may still take when Run's context ends: cut off, a carrier's yes would be lost, and the
// handset notified again.
const finishTime = 5 * time.Second

// Run works until ctx ends, lets attempts under way end (within finishTime) and returns after the last of them has ended and is noted. What was
// claimed and not begun is given back.
//
// One goroutine claims, and while a batch is being handed out takes the next one; each piece has a goroutine while it is
// with the carrier; one more notes what became of them, many at a time. So the work waits for carriers, and not for commits.
func (d *Delivery) Run(ctx context.Context) error {
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finishTime, cut) })()
	batches := make(chan batch)
	notes := make(chan *store.Note, maxAhead)
	var claimer, workers, noter sync.WaitGroup
	claimer.Go(func() { d.claimLoop(ctx, batches) })
	noter.Go(func() { d.noteLoop(notes) })
	for b := range batches {
		d.handOut(ctx, work, b, &workers, notes)
	}
	claimer.Wait()
	workers.Wait()
	close(notes)
	noter.Wait()
	return nil
}

// claimLoop claims what is due, when something is, until ctx ends.
func (d *Delivery) claimLoop(ctx context.Context, batches chan<- batch) {
	defer close(batches)
	timer := time.NewTimer(0)
	defer timer.Stop()
	ahead := d.Config.Workers
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.Store.Wake.Delivery:
		}
		wait, err := d.round(ctx, batches, &ahead)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			d.Log.Debug("look for due work", "err", err) // the store says in the log when it goes and comes
			wait = time.Second
		}
		timer.Reset(wait)
	}
}

// A claim takes about what is handed on in this time: it doubles while batches go faster and halves while they go slower.
const (
	fastBatch = 100 * time.Millisecond
	slowBatch = time.Second
)

// round claims and passes on what is due until nothing is, and says how long to wait.
func (d *Delivery) round(ctx context.Context, batches chan<- batch, ahead *int) (time.Duration, error) {
	for {
		b, err := d.claim(ctx, *ahead)
		if err != nil {
			return 0, err
		}
		if len(b.pieces) > 0 {
			batches <- b // when the one before it has been handed out, or given back
		}
		if len(b.pieces) < *ahead {
			break
		}
		switch waited := time.Since(b.at); {
		case waited < fastBatch:
			*ahead = min(2**ahead, max(maxAhead, d.Config.Workers))
		case waited > slowBatch:
			*ahead = max(*ahead/2, d.Config.Workers)
		}
	}
	next, ok, err := d.Store.NextDue(ctx)
	if err != nil || !ok {
		return store.Poll, err
	}
	return max(20*time.Millisecond, min(store.Poll, time.Until(next))), nil
}

// claim claims up to n pieces of work, recipients first.
func (d *Delivery) claim(ctx context.Context, n int) (batch, error) {
	b := batch{at: time.Now()}
	due, err := d.Store.Claim(ctx, n, d.Config.Lease)
	for i := range due {
		r := &due[i]
		b.pieces = append(b.pieces, piece{func(ctx context.Context) *store.Note { return d.recipient(ctx, r) }, func() *store.Note { return r.Return(time.Now()) }})
	}
	if err != nil || len(due) == n {
		return b, err
	}
	reports, err := d.Store.ClaimReports(ctx, n-len(due), d.Config.Lease)
	for i := range reports {
		r := &reports[i]
		b.pieces = append(b.pieces, piece{func(ctx context.Context) *store.Note { return d.report(ctx, r) }, func() *store.Note { return r.Return(time.Now()) }})
	}
	if len(b.pieces) > 0 {
		return b, nil // what could not be claimed is due still
	}
	return b, err
}

// handOut gives each piece a goroutine as workers become free. What has waited so long that it might not be done and noted before its
// lease ends goes back: somebody else may be quicker. So does what has not begun when ctx ends: another process waits for it.
func (d *Delivery) handOut(ctx, work context.Context, b batch, workers *sync.WaitGroup, notes chan<- *store.Note) {
	for _, p := range b.pieces {
		select {
		case <-d.free:
		case <-ctx.Done():
			notes <- p.back()
			continue
		}
		if ctx.Err() != nil || time.Since(b.at) > d.Config.Lease/4 {
			notes <- p.back()
			d.free <- struct{}{}
			continue
		}
		workers.Go(func() {
			if note := p.do(work); note != nil {
				notes <- note
			}
			d.free <- struct{}{}
		})
	}
}

// noteTime bounds how long notes wait for the store.
const noteTime = 10 * time.Second

// noteLoop writes notes until there will be no more: those that come while it writes are the next batch. It does not look at the context
// of Run: what a carrier has taken is noted also when we stop.
func (d *Delivery) noteLoop(notes <-chan *store.Note) {
	var batch []*store.Note
	for first := range notes {
		batch = append(batch[:0], first)
		for more := true; more && len(batch) < maxAhead; {
			select {
			case n, ok := <-notes:
				if more = ok; ok {
					batch = append(batch, n)
				}
			default:
				more = false
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), noteTime)
		err := d.Store.Write(ctx, batch)
		cancel()
		if err != nil {
			d.Log.Debug("work not noted; it is due again when its lease ends", "pieces", len(batch), "err", err)
		}
		// A note that was refused needs nothing: the handset, the operator or another node was faster, and it is their word that counts.
	}
}

// again gives the pause before another attempt: what the carrier says, else the schedule's.
func (d *Delivery) again(err error, attempts int) time.Duration {
	var says interface{ RetryAfter() time.Duration }
	if errors.As(err, &says) && says.RetryAfter() > 0 {
		return d.Config.spread(max(says.RetryAfter(), d.Config.RetryFirst))
	}
	return d.Config.retry(attempts)
}
