package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
)

// Status gives all deliveries of a push. ErrNotFound: the initiator has no such push.
func (j *Journal) Status(ctx context.Context, initiator, pushID string) ([]Delivery, error) {
	rows, err := j.read.QueryContext(ctx, `SELECT `+columns+` FROM ppg_deliveries d JOIN ppg_pushes p ON p.id = d.push WHERE p.initiator = $1 AND p.push_id = $2 ORDER BY d.id`, initiator, pushID)
	var out []Delivery
	err = each(rows, err, func() error {
		d, err := scan(rows)
		out = append(out, d)
		return err
	})
	if err == nil && len(out) == 0 {
		err = ErrNotFound
	}
	return out, err
}

// Cancel takes back those deliveries of a push for which want says yes and which nobody works on. It gives every delivery that want
// chose, as it was before, and whether it could be cancelled.
func (j *Journal) Cancel(ctx context.Context, initiator, pushID string, want func(Address) bool) (all []Delivery, cancelled []bool, err error) {
	err = j.do(ctx, func(tx *sql.Tx) error {
		all, cancelled = all[:0], cancelled[:0]
		found := false
		rows, err := tx.Query(`SELECT `+columns+` FROM ppg_deliveries d JOIN ppg_pushes p ON p.id = d.push WHERE p.initiator = $1 AND p.push_id = $2 ORDER BY d.id`, initiator, pushID)
		if err := each(rows, err, func() error {
			d, err := scan(rows)
			if found = true; want(d.Address) {
				all = append(all, d)
			}
			return err
		}); err != nil {
			return fmt.Errorf("read deliveries: %w", err)
		}
		if !found {
			return ErrNotFound
		}
		now := millis(time.Now())
		for i := range all {
			var notify sql.NullInt64
			if all[i].Push.NotifyTo != "" {
				notify = sql.NullInt64{Int64: now, Valid: true}
			}
			// One that is leased may be in the SMSC's hands already; a lease that ran out was a dead process's, and nobody knows.
			res, err := tx.Exec(`UPDATE ppg_deliveries SET state = $1, code = $2, detail = 'cancelled by the initiator', event_at = $3, due_at = NULL, notify_due = $4
				WHERE id = $5 AND state = $6 AND lease = ''`, Cancelled, int(pap.OK), now, notify, all[i].Row, Pending)
			if err != nil {
				return fmt.Errorf("cancel a delivery: %w", err)
			}
			n, err := res.RowsAffected()
			if err != nil {
				return err
			}
			cancelled = append(cancelled, n == 1)
		}
		return nil
	})
	if err == nil {
		j.wake()
	}
	return all, cancelled, err
}

// ClaimResults leases up to n results that are to be told.
func (j *Journal) ClaimResults(ctx context.Context, n int, lease time.Duration) ([]Delivery, error) {
	var out []Delivery
	err := j.do(ctx, func(tx *sql.Tx) error {
		out = out[:0]
		now := time.Now()
		ids, err := tx.Query(`SELECT id FROM ppg_deliveries WHERE notify_due IS NOT NULL AND notify_due <= $1 ORDER BY notify_due, id LIMIT $2`+j.write.SkipLocked(), millis(now), n)
		var picked []int64
		if err := each(ids, err, func() error {
			var id int64
			err := ids.Scan(&id)
			picked = append(picked, id)
			return err
		}); err != nil {
			return fmt.Errorf("look for results: %w", err)
		}
		for _, id := range picked {
			if _, err := tx.Exec(`UPDATE ppg_deliveries SET notify_due = $1, notify_lease = $2 WHERE id = $3`, millis(now.Add(lease)), j.instance, id); err != nil {
				return fmt.Errorf("lease a result: %w", err)
			}
			rows, err := tx.Query(`SELECT `+columns+`, d.notify_attempts FROM ppg_deliveries d JOIN ppg_pushes p ON p.id = d.push WHERE d.id = $1`, id)
			if err := each(rows, err, func() error {
				var attempts int
				d, err := scan(rows, &attempts)
				d.Attempts = attempts
				out = append(out, d)
				return err
			}); err != nil {
				return fmt.Errorf("read a result: %w", err)
			}
		}
		return nil
	})
	return out, err
}

// Told notes that a result need not be told any more; a next moment other than zero, that it will be tried again.
func (j *Journal) Told(ctx context.Context, d *Delivery, next time.Time) error {
	var due sql.NullInt64
	if !next.IsZero() {
		due = sql.NullInt64{Int64: millis(next), Valid: true}
	}
	return j.do(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE ppg_deliveries SET notify_due = $1, notify_lease = '', notify_attempts = notify_attempts + 1 WHERE id = $2 AND notify_lease = $3`, due, d.Row, j.instance)
		return err
	})
}

// NextDue gives the moment of the next work, if there is any.
func (j *Journal) NextDue(ctx context.Context) (time.Time, bool, error) {
	var next time.Time
	for _, column := range []string{"due_at", "notify_due"} {
		var at sql.NullInt64
		if err := j.read.QueryRowContext(ctx, `SELECT MIN(`+column+`) FROM ppg_deliveries WHERE `+column+` IS NOT NULL`).Scan(&at); err != nil {
			return time.Time{}, false, err
		}
		if t := fromMillis(at.Int64); at.Valid && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next, !next.IsZero(), nil
}

// Count gives how many deliveries have work ahead.
func (j *Journal) Count(ctx context.Context) (n int, err error) {
	err = j.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM ppg_deliveries WHERE due_at IS NOT NULL`).Scan(&n)
	return n, err
}

// Sweep removes pushes accepted before a moment that have no work ahead, some hundred at a time; it gives how many.
func (j *Journal) Sweep(ctx context.Context, before time.Time) (int, error) {
	var picked []int64
	err := j.do(ctx, func(tx *sql.Tx) error {
		picked = picked[:0]
		rows, err := tx.Query(`SELECT p.id FROM ppg_pushes p WHERE p.accepted_at < $1 AND NOT EXISTS
			(SELECT 1 FROM ppg_deliveries d WHERE d.push = p.id AND (d.due_at IS NOT NULL OR d.notify_due IS NOT NULL)) ORDER BY p.accepted_at LIMIT 200`, millis(before))
		if err := each(rows, err, func() error {
			var id int64
			err := rows.Scan(&id)
			picked = append(picked, id)
			return err
		}); err != nil {
			return fmt.Errorf("look for old pushes: %w", err)
		}
		for _, id := range picked {
			_, err1 := tx.Exec(`DELETE FROM ppg_segments WHERE delivery IN (SELECT id FROM ppg_deliveries WHERE push = $1)`, id)
			_, err2 := tx.Exec(`DELETE FROM ppg_deliveries WHERE push = $1`, id)
			_, err3 := tx.Exec(`DELETE FROM ppg_pushes WHERE id = $1`, id)
			if err := errors.Join(err1, err2, err3); err != nil {
				return fmt.Errorf("remove an old push: %w", err)
			}
		}
		return nil
	})
	return len(picked), err
}
