package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Note is what became of a piece of work that was claimed. Notes are written many at a time: one transaction each would bound what can be
// handed on.
type Note struct {
	// Err is set by Write: a Refusal says that somebody was faster, and nothing was changed.
	Err error
	do  func(*Tx) error
}

// Write writes notes in one transaction, with whatever else is written then. An error means that none of them was written.
func (s *Store) Write(ctx context.Context, notes []*Note) error {
	return s.later(ctx, func(tx *Tx) error {
		for _, n := range notes {
			n.Err = n.do(tx)
			var no Refusal
			if n.Err != nil && !errors.As(n.Err, &no) {
				return n.Err
			}
		}
		return nil
	})
}

func (s *Store) writeOne(ctx context.Context, n *Note) error {
	if err := s.Write(ctx, []*Note{n}); err != nil {
		return err
	}
	return n.Err
}

// Attempt ends a claim after a notification: handed on (why empty) or not. The recipient is due again at next. If its
// state has changed meanwhile (the handset was faster than we) the note is refused with ErrStale.
func (d *Due) Attempt(next time.Time, why string) *Note {
	return &Note{do: func(tx *Tx) error {
		now := time.Now()
		state, what := d.State, "notification failed"
		if why == "" {
			what = "notified"
			if state == Queued {
				state = Notified
			}
		}
		n, err := tx.exec(`UPDATE recipients SET state = $1, due_at = $2, lease = '', attempts = attempts + 1, last_error = $3
			WHERE id = $4 AND lease = $5 AND due_at = $6 AND state = $7`, state, due(next), clip(why), d.Recipient.ID, tx.s.instance, d.leaseUntil, d.State)
		if err != nil {
			return fmt.Errorf("note attempt: %w", err)
		}
		if n == 0 {
			return ErrStale
		}
		tx.soon(tx.s.Wake.Delivery, next, now)
		return tx.event(d.Message.ID, d.Recipient.ID, now, what, why)
	}}
}

// Return ends a claim without an attempt: the recipient is due at next.
func (d *Due) Return(next time.Time) *Note {
	return &Note{do: func(tx *Tx) error {
		n, err := tx.exec(`UPDATE recipients SET due_at = $1, lease = '' WHERE id = $2 AND lease = $3 AND due_at = $4`,
			due(next), d.Recipient.ID, tx.s.instance, d.leaseUntil)
		if err != nil {
			return fmt.Errorf("return a claim: %w", err)
		}
		if n == 0 {
			return ErrStale
		}
		tx.soon(tx.s.Wake.Delivery, next, time.Now())
		return nil
	}}
}

// Finish ends a claim with the recipient's final state; see Store.Finish.
func (d *Due) Finish(o Outcome) *Note {
	return &Note{do: func(tx *Tx) error { return tx.finishID(d.Recipient.ID, o) }}
}

// End ends a report's claim: next zero means that it is done with (why empty: handed on; else given up), otherwise it
// is due again then. ErrStale: the lease had run out.
func (r *Report) End(next time.Time, why string) *Note {
	return &Note{do: func(tx *Tx) error {
		now := time.Now()
		var done any
		if next.IsZero() {
			done = millis(now)
		}
		n, err := tx.exec(`UPDATE reports SET due_at = $1, done_at = $2, lease = '', attempts = attempts + 1, last_error = $3
			WHERE id = $4 AND lease = $5 AND due_at = $6`, due(next), done, clip(why), r.ID, tx.s.instance, r.leaseUntil)
		if err != nil {
			return fmt.Errorf("end report: %w", err)
		}
		if n == 0 {
			return ErrStale
		}
		if !next.IsZero() {
			tx.soon(tx.s.Wake.Delivery, next, now)
			return nil
		}
		what := r.Kind.String() + " report sent"
		if why != "" {
			what = r.Kind.String() + " report given up"
		}
		return tx.event(r.Message.ID, 0, now, what, why)
	}}
}

// Return ends a report's claim without an attempt: it is due at next.
func (r *Report) Return(next time.Time) *Note {
	return &Note{do: func(tx *Tx) error {
		n, err := tx.exec(`UPDATE reports SET due_at = $1, lease = '' WHERE id = $2 AND lease = $3 AND due_at = $4`, due(next), r.ID, tx.s.instance, r.leaseUntil)
		if err != nil {
			return fmt.Errorf("return a claim: %w", err)
		}
		if n == 0 {
			return ErrStale
		}
		tx.soon(tx.s.Wake.Delivery, next, time.Now())
		return nil
	}}
}

// Attempted writes the note of an attempt.
func (s *Store) Attempted(ctx context.Context, d *Due, next time.Time, why string) error {
	return s.writeOne(ctx, d.Attempt(next, why))
}

// EndReport writes the note of a report's end.
func (s *Store) EndReport(ctx context.Context, r *Report, next time.Time, why string) error {
	return s.writeOne(ctx, r.End(next, why))
}
