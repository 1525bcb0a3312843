package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Summary is a message as a list shows it.
type Summary struct {
	Message    Ref
	Origin     Origin
	CreatedAt  time.Time
	ExpiresAt  time.Time
	Sender     string
	Subject    string
	Class      string
	Size       int64
	Parent     ID
	Purged     bool // the content is gone
	Recipients []RecipientInfo
}

// RecipientInfo is a recipient as a list shows it.
type RecipientInfo struct {
	Ref       Ref
	Kind      Kind
	Address   string
	State     State
	Attempts  int
	DueAt     time.Time // zero: no work is due
	FetchedAt time.Time
	FinalAt   time.Time
	LastError string
}

// Event is one line of a timeline.
type Event struct {
	At        time.Time
	Recipient string // address; empty: the message as a whole
	Kind      string
	Detail    string
}

// Filter chooses messages; zero fields choose all.
type Filter struct {
	Number string // sender or recipient, normalised
	State  State  // at least one recipient is in it
	After  time.Time
	Before time.Time
	Limit  int // newest first; 100
}

const summaryQuery = `SELECT m.id, m.secret, m.origin, m.created_at, m.expires_at, m.sender, m.subject, m.class, m.size, m.parent_id, m.content_id FROM messages m`

// List gives the newest messages that the filter chooses.
func (s *Store) List(ctx context.Context, f Filter) ([]Summary, error) {
	if f.Limit <= 0 || f.Limit > 1000 {
		f.Limit = 100
	}
	var where []string
	var args []any
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	if !f.After.IsZero() {
		where = append(where, "m.id >= "+arg(int64(after(f.After))))
	}
	if !f.Before.IsZero() {
		where = append(where, "m.id < "+arg(int64(after(f.Before))))
	}
	if f.Number != "" {
		n := arg(f.Number)
		where = append(where, "(m.sender = "+n+" OR m.id IN (SELECT message_id FROM recipients WHERE address = "+n+"))")
	}
	if f.State != 0 {
		where = append(where, "EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.id AND r.state = "+arg(int(f.State))+")")
	}
	query := summaryQuery
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	query += " ORDER BY m.id DESC LIMIT " + arg(f.Limit)
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.readError(ctx, "list messages", err)
	}
	var out []Summary
	if err := eachRow(rows, func(scan func(...any) error) error {
		m, err := scanSummary(scan)
		out = append(out, m)
		return err
	}); err != nil {
		return nil, s.readError(ctx, "list messages", err)
	}
	for i := range out {
		if out[i].Recipients, err = s.recipientsOf(ctx, out[i].Message.ID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func scanSummary(scan func(...any) error) (Summary, error) {
	var m Summary
	var secret []byte
	var created, expires int64
	var content ID
	err := scan(&m.Message.ID, &secret, &m.Origin, &created, &expires, &m.Sender, &m.Subject, &m.Class, &m.Size, &m.Parent, &content)
	copy(m.Message.Secret[:], secret)
	m.CreatedAt, m.ExpiresAt, m.Purged = fromMillis(created), fromMillis(expires), content == 0
	return m, err
}

func (s *Store) recipientsOf(ctx context.Context, message ID) ([]RecipientInfo, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, token, kind, address, state, attempts, due_at, fetched_at, final_at, last_error
		FROM recipients WHERE message_id = $1 ORDER BY id`, int64(message))
	if err != nil {
		return nil, s.readError(ctx, "list recipients", err)
	}
	var out []RecipientInfo
	err = eachRow(rows, func(scan func(...any) error) error {
		var r RecipientInfo
		var token []byte
		var due, final sql.NullInt64
		var fetched int64
		err := scan(&r.Ref.ID, &token, &r.Kind, &r.Address, &r.State, &r.Attempts, &due, &fetched, &final, &r.LastError)
		copy(r.Ref.Secret[:], token)
		r.DueAt, r.FetchedAt, r.FinalAt = fromMillis(due.Int64), fromMillis(fetched), fromMillis(final.Int64)
		out = append(out, r)
		return err
	})
	if err != nil {
		return nil, s.readError(ctx, "list recipients", err)
	}
	return out, nil
}

// Show gives a message and its timeline. ErrNotFound: there is none, or it is older than what is kept.
func (s *Store) Show(ctx context.Context, id ID) (*Summary, []Event, error) {
	m, err := scanSummary(s.read.QueryRowContext(ctx, summaryQuery+` WHERE m.id = $1`, int64(id)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, s.readError(ctx, "show message", err)
	}
	if m.Recipients, err = s.recipientsOf(ctx, id); err != nil {
		return nil, nil, err
	}
	names := make(map[ID]string, len(m.Recipients))
	for _, r := range m.Recipients {
		names[r.Ref.ID] = r.Address
	}
	events := []Event{{At: m.CreatedAt, Kind: "accepted", Detail: m.Origin.String()}}
	rows, err := s.read.QueryContext(ctx, `SELECT at, recipient_id, kind, detail FROM events WHERE message_id = $1 ORDER BY id`, int64(id))
	if err != nil {
		return nil, nil, s.readError(ctx, "read timeline", err)
	}
	err = eachRow(rows, func(scan func(...any) error) error {
		var e Event
		var at int64
		var recipient ID
		err := scan(&at, &recipient, &e.Kind, &e.Detail)
		e.At, e.Recipient = fromMillis(at), names[recipient]
		events = append(events, e)
		return err
	})
	if err != nil {
		return nil, nil, s.readError(ctx, "read timeline", err)
	}
	return &m, events, nil
}

// Requeue lets delivery begin again, now, for the open recipients of a message; it gives their number. A final state
// stays final.
func (s *Store) Requeue(ctx context.Context, message ID) (int, error) {
	var n int64
	err := s.do(ctx, 0, nil, func(tx *Tx) error {
		var err error
		now := time.Now()
		n, err = tx.exec(`UPDATE recipients SET state = $1, due_at = $2, lease = '', attempts = 0 WHERE message_id = $3 AND final_at IS NULL`,
			Queued, millis(now), message)
		if err != nil || n == 0 {
			return err
		}
		tx.after = append(tx.after, s.Wake.Delivery.set)
		return tx.event(message, 0, now, "requeued", "by the operator")
	})
	return int(n), err
}

// Cancel finishes the open recipients of a message; those who may know of it are asked to drop it (M-Cancel.req). It gives
// their number.
func (s *Store) Cancel(ctx context.Context, message ID) (int, error) {
	n := 0
	err := s.do(ctx, 0, nil, func(tx *Tx) error {
		n = 0
		var open []ID
		err := tx.rows(`SELECT id FROM recipients WHERE message_id = $1 AND final_at IS NULL ORDER BY id`, []any{int64(message)}, func(scan func(...any) error) error {
			var id ID
			err := scan(&id)
			open = append(open, id)
			return err
		})
		if err != nil {
			return err
		}
		now := time.Now()
		for _, id := range open {
			e, err := tx.load(id)
			if err != nil {
				return err
			}
			if err := tx.finish(e, Outcome{State: Cancelled, Detail: "by the operator"}, now); err != nil {
				return err
			}
			if e.state != Queued {
				if err := tx.report(e, CancelRequest, 0, "", now); err != nil {
					return err
				}
			}
			n++
		}
		return nil
	})
	return n, err
}

// Recipient finds a recipient by its id, or by message and address when id is 0.
func (s *Store) Recipient(ctx context.Context, id, message ID, address string) (RecipientInfo, Ref, error) {
	var r RecipientInfo
	var msg Ref
	var token, secret []byte
	query, args := `r.id = $1`, []any{int64(id)}
	if id == 0 {
		query, args = `r.message_id = $1 AND r.address = $2`, []any{int64(message), address}
	}
	err := s.read.QueryRowContext(ctx, `SELECT r.id, r.token, r.kind, r.address, r.state, r.attempts, m.id, m.secret FROM recipients r
		JOIN messages m ON m.id = r.message_id WHERE `+query, args...).Scan(&r.Ref.ID, &token, &r.Kind, &r.Address, &r.State, &r.Attempts, &msg.ID, &secret)
	if errors.Is(err, sql.ErrNoRows) {
		return r, msg, ErrNotFound
	}
	if err != nil {
		return r, msg, s.readError(ctx, "find recipient", err)
	}
	copy(r.Ref.Secret[:], token)
	copy(msg.Secret[:], secret)
	return r, msg, nil
}
