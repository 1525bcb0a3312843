package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Due is a recipient on whom there is work, claimed by this process.
type Due struct {
	Recipient      Ref
	Message        Ref
	Address        string
	State          State
	Attempts       int
	CreatedAt      time.Time
	ExpiresAt      time.Time
	FetchedAt      time.Time
	Sender         string
	Hidden         bool
	Version        byte
	Class          string
	Priority       int
	Subject        string
	Size           int64
	DeliveryReport bool
	Head           []byte
	Marks          Marks
	leaseUntil     int64
}

// claim marks rows of a table that are due as this process's until the lease ends; until names them.
func (tx *Tx) claim(table string, limit int, lease time.Duration, now time.Time) (until, n int64, err error) {
	until = tx.s.leaseEnd(table, now.Add(lease))
	n, err = tx.exec(`UPDATE `+table+` SET lease = $1, due_at = $2 WHERE id IN (SELECT id FROM `+table+`
		WHERE due_at IS NOT NULL AND due_at <= $3 ORDER BY due_at LIMIT $4`+tx.s.engine.skipLocked()+`)`, tx.s.instance, until, millis(now), limit)
	if err != nil {
		return 0, 0, fmt.Errorf("claim %s: %w", table, err)
	}
	return until, n, nil
}

// leaseEnd gives the end of a lease in milliseconds, another for each claim of a table: rows of one claim are found by it.
// Tables are apart, since their leases are of different lengths.
func (s *Store) leaseEnd(table string, t time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[table] = max(s.leases[table]+1, millis(t))
	return s.leases[table]
}

// Claim takes up to limit recipients on whom work is due. Their leases run out by themselves when this process dies.
func (s *Store) Claim(ctx context.Context, limit int, lease time.Duration) ([]Due, error) {
	var out []Due
	err := s.later(ctx, func(tx *Tx) error {
		out = out[:0]
		until, n, err := tx.claim("recipients", limit, lease, time.Now())
		if err != nil || n == 0 {
			return err
		}
		return tx.rows(`SELECT r.id, r.token, r.message_id, m.secret, r.address, r.state, r.attempts, m.created_at, r.expires_at, r.fetched_at, m.sender, m.hidden,
			m.version, m.class, m.priority, m.subject, m.size, m.delivery_report, m.head, m.marks
			FROM recipients r JOIN messages m ON m.id = r.message_id WHERE r.due_at = $1 AND r.lease = $2 ORDER BY r.id`, []any{until, s.instance},
			func(scan func(...any) error) error {
				d := Due{leaseUntil: until}
				var token, secret []byte
				var created, expires, fetched int64
				var hidden, report int
				var marks string
				if err := scan(&d.Recipient.ID, &token, &d.Message.ID, &secret, &d.Address, &d.State, &d.Attempts, &created, &expires, &fetched, &d.Sender, &hidden,
					&d.Version, &d.Class, &d.Priority, &d.Subject, &d.Size, &report, &d.Head, &marks); err != nil {
					return err
				}
				if err := d.Marks.read(marks); err != nil {
					return err
				}
				copy(d.Recipient.Secret[:], token)
				copy(d.Message.Secret[:], secret)
				d.CreatedAt, d.ExpiresAt, d.FetchedAt = fromMillis(created), fromMillis(expires), fromMillis(fetched)
				d.Hidden, d.DeliveryReport = hidden == 1, report == 1
				out = append(out, d)
				return nil
			})
	})
	return out, err
}

// NextDue gives the moment at which there is work next; false if there is none.
func (s *Store) NextDue(ctx context.Context) (time.Time, bool, error) {
	var next sql.NullInt64
	for _, table := range []string{"recipients", "reports"} {
		var due sql.NullInt64
		err := s.read.QueryRowContext(ctx, `SELECT due_at FROM `+table+` WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1`).Scan(&due)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return time.Time{}, false, s.readError(ctx, "look for work", err)
		}
		if !next.Valid || due.Int64 < next.Int64 {
			next = due
		}
	}
	return fromMillis(next.Int64), next.Valid, nil
}

// Defer notes that the handset will fetch later; the recipient is due again at next. ErrFinal: too late.
func (s *Store) Defer(ctx context.Context, id ID, next time.Time, allowed bool) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error {
		e, err := tx.load(id)
		if err != nil {
			return err
		}
		switch {
		case e.state.Final():
			return ErrFinal
		case e.state == Fetched:
			return nil // it has the message already: this answer was overtaken
		}
		if err := tx.queue(`UPDATE recipients SET state = $1, due_at = $2, lease = '', attempts = 0, report_allowed = $3 WHERE id = $4`,
			Deferred, min(millis(next), e.expires), bit(allowed), id); err != nil {
			return fmt.Errorf("defer: %w", err)
		}
		tx.soon(s.Wake.Delivery, fromMillis(min(millis(next), e.expires)), time.Now())
		return tx.event(e.message, id, time.Now(), Deferred.String(), "")
	})
}

// Fetched notes a complete GET: no notification follows, and at `retrieved` the recipient counts as having it, should it
// not acknowledge before. Repeated GETs change nothing.
func (s *Store) Fetched(ctx context.Context, id ID, retrieved time.Time) error {
	return s.later(ctx, func(tx *Tx) error {
		e, err := tx.load(id)
		if err != nil {
			return err
		}
		now := time.Now()
		if e.state.Final() || e.state == Fetched {
			return tx.event(e.message, id, now, "fetched again", "")
		}
		if err := tx.queue(`UPDATE recipients SET state = $1, fetched_at = $2, due_at = $3, lease = '' WHERE id = $4`,
			Fetched, millis(now), millis(retrieved), id); err != nil {
			return fmt.Errorf("note retrieval: %w", err)
		}
		tx.soon(s.Wake.Delivery, retrieved, now)
		return tx.event(e.message, id, now, Fetched.String(), "")
	})
}

// Read notes that a recipient has read or deleted a message, and makes the sender's report if it asked for one.
// ErrFinal: it had said so before.
func (s *Store) Read(ctx context.Context, id ID, status byte) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error {
		e, err := tx.load(id)
		if err != nil {
			return err
		}
		now := time.Now()
		n, err := tx.exec(`UPDATE recipients SET read_status = $1 WHERE id = $2 AND read_status = 0`, int(status), id)
		if err != nil {
			return fmt.Errorf("note read status: %w", err)
		}
		if n == 0 {
			return ErrFinal
		}
		what := "read"
		if status == 0x81 {
			what = "deleted unread"
		}
		if err := tx.event(e.message, id, now, what, ""); err != nil {
			return err
		}
		if e.readReport == 0 || e.sender == "" {
			return nil
		}
		return tx.report(e, ReadReport, int(status), "", now)
	})
}
