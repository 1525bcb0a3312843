package dispatcher

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

const (
	pollEvery  = time.Second // other nodes' changes, sessions that are over
	purgeEvery = 10 * time.Minute
)

// Run serves until ctx ends, gives back what was under way and closes the database. It returns after the last of its
// goroutines.
func (d *Dispatcher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	for ctx.Err() == nil {
		wait, err := d.round(ctx, &wg)
		if err != nil && ctx.Err() == nil {
			d.log.Warn("look for work of services", "err", err)
			wait = pollEvery
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-d.wake:
		}
	}
	wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		if c, ok := l.caller.(interface{ Release() }); ok {
			c.Release()
		}
	}
	return d.db.Close()
}

// Withdraw ends the work on jobs, so that another process of this node can do it: those under way come to their end, and messages are still
// taken, for the other one.
func (d *Dispatcher) Withdraw() { d.withdrawn.Store(true) }

// round does what is due once a while, begins what is due and can be begun, and says how long to wait.
func (d *Dispatcher) round(ctx context.Context, wg *sync.WaitGroup) (time.Duration, error) {
	now := time.Now()
	if err := d.keep(ctx, now); err != nil {
		return 0, err
	}
	if d.withdrawn.Load() {
		return pollEvery, nil
	}
	names, next, err := d.db.work(ctx, now)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		wait, err := d.begin(ctx, wg, name, now)
		if err != nil {
			return 0, err
		}
		if !wait.IsZero() && (next.IsZero() || wait.Before(next)) {
			next = wait
		}
	}
	if next.IsZero() {
		return pollEvery, nil
	}
	return max(5*time.Millisecond, min(pollEvery, next.Sub(now))), nil
}

// begin claims what a service may do now and starts it.
func (d *Dispatcher) begin(ctx context.Context, wg *sync.WaitGroup, name string, now time.Time) (time.Time, error) {
	l := d.lane(name)
	n, stale, wait := d.take(l, now)
	if n == 0 {
		return time.Time{}, nil // the end of one of its jobs wakes us
	}
	if stale {
		// All that waits for the provider is looked through for what needs none: not each time that another service's job ends.
		if again := l.looked.Add(pollEvery); now.Before(again) {
			if again.Before(wait) || wait.IsZero() {
				wait = again
			}
			return wait, nil
		}
		l.looked = now
	}
	// A claim that has begun is brought to its end: cut off in its commit it would leave leases that nobody gives back.
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	jobs, err := d.db.claim(cctx, name, n, now, now.Add(d.cfg.Load().Lease), stale)
	cancel()
	if err != nil {
		return wait, err
	}
	for _, j := range jobs {
		d.began(l, j, stale)
		wg.Go(func() {
			defer d.ended(l, j)
			d.do(ctx, l, j)
		})
	}
	return wait, nil
}

// keep follows the catalogue, ends sessions whose time is over and removes what is old.
func (d *Dispatcher) keep(ctx context.Context, now time.Time) error {
	if now.Sub(d.swept) < pollEvery {
		return nil
	}
	if err := d.cat.refresh(ctx); err != nil {
		return err
	}
	var late int
	if err := d.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM svc_sessions WHERE ended_at IS NULL AND `+over("$1"), millis(now)).Scan(&late); err != nil {
		return err
	}
	if late > 0 {
		err := d.db.Within(ctx, func(tx *sql.Tx) error {
			if err := d.db.lock(ctx, tx, "sweep"); err != nil {
				return err
			}
			return expire(ctx, tx, d.cat.table(), `1 = 1`, now)
		})
		if err != nil {
			return err
		}
	}
	d.swept = now
	if now.Sub(d.purge) < purgeEvery {
		return nil
	}
	d.purge = now
	return d.db.purge(ctx, now.Add(-d.cfg.Load().Keep.Done), now.Add(-d.cfg.Load().Keep.Dead))
}

// purge removes what ended before done, and dead letters and what reports need before dead.
func (d *tables) purge(ctx context.Context, done, dead time.Time) error {
	var errs []error
	for _, q := range []struct {
		query string
		at    time.Time
	}{
		{`DELETE FROM svc_jobs WHERE ended_at IS NOT NULL AND state <> 'dead' AND ended_at <= $1`, done},
		{`DELETE FROM svc_jobs WHERE ended_at IS NOT NULL AND ended_at <= $1`, dead},
		{`DELETE FROM svc_sessions WHERE ended_at IS NOT NULL AND ended_at <= $1`, done},
		{`DELETE FROM svc_replies WHERE sent_at <= $1`, dead},
	} {
		_, err := d.ExecContext(ctx, q.query, millis(q.at))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
