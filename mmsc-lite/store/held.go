package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"
)

// HeldState is where a held PDU stands.
type HeldState int

// The states; their numbers stand in the database.
const (
	Holding       HeldState = 1 // waits for an MMSC
	HeldForwarded HeldState = 2 // an MMSC has it
	HeldRefused   HeldState = 3 // an MMSC refused it for good
	HeldExpired   HeldState = 4 // no MMSC came back in time
)

// String gives a word.
func (h HeldState) String() string { return word(int(h), "holding", "forwarded", "refused", "expired") }

// Holdable is a PDU to be accepted for an MMSC that is down.
type Holdable struct {
	Subscriber    string // orders what one sends; empty: unknown, then nothing is ordered or deduplicated
	TransactionID string
	PDU           byte   // message type
	Request       string // what is needed to forward it, as the caller writes it
	ExpiresAt     time.Time
	Upload        *Upload // the whole PDU
}

// Held is a PDU that is held.
type Held struct {
	Ref           Ref
	Subscriber    string
	TransactionID string
	PDU           byte
	Request       string
	CreatedAt     time.Time
	ExpiresAt     time.Time
	State         HeldState
	Attempts      int
	Target        string // MMSC that answered last
	UpstreamID    string // its Message-ID
	Status        byte   // its Response-Status
	FinalAt       time.Time
	LastError     string
	Size          int64

	content    ID
	leaseUntil int64
	store      *Store
}

// WriteTo writes the PDU to w, a row at a time.
func (h *Held) Write(ctx context.Context, w io.Writer) error {
	return h.store.writeContent(ctx, w, h.content, h.Size)
}

// Hold stores a PDU; when it returns nil the PDU is durable. One that comes again gets the first one's Ref.
func (s *Store) Hold(ctx context.Context, h *Holdable) (ref Ref, duplicate bool, err error) {
	now := time.Now()
	var key []byte
	if h.Subscriber != "" && h.TransactionID != "" {
		d, err := h.Upload.Digest()
		if err != nil {
			return Ref{}, false, s.failed(err)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "held\x00%s\x00%d\x00%s\x00%x", h.Subscriber, len(h.TransactionID), h.TransactionID, d))
		key = sum[:16]
	}
	c, err := s.place(h.Upload, 0, nil)
	if err != nil {
		return Ref{}, false, err
	}
	err = s.do(ctx, h.Upload.Size(), c.extents(), func(tx *Tx) error {
		ref, duplicate = Ref{ID: s.ids.next(now), Secret: newSecret()}, false
		if key != nil {
			n, err := tx.exec(`INSERT INTO submissions (digest, message_id, at) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING`, key, ref.ID, millis(now))
			if err != nil {
				return fmt.Errorf("note submission: %w", err)
			}
			if n == 0 {
				var secret []byte
				duplicate = true
				err := tx.row(`SELECT h.id, h.secret FROM submissions s JOIN held h ON h.id = s.message_id WHERE s.digest = $1`, []any{key}, &ref.ID, &secret)
				copy(ref.Secret[:], secret)
				return err
			}
		}
		content, err := tx.insertContent(c, now)
		if err != nil {
			return err
		}
		err = tx.queue(`INSERT INTO held (id, secret, content_id, sender, transaction_id, pdu, request, created_at, expires_at, state, due_at, lease, attempts,
			target, upstream_id, status, final_at, last_error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '', 0, '', '', 0, NULL, '')`,
			ref.ID, ref.Secret[:], content, h.Subscriber, h.TransactionID, h.PDU, h.Request, millis(now), millis(h.ExpiresAt), Holding, millis(now))
		if err != nil {
			return fmt.Errorf("insert held PDU: %w", err)
		}
		tx.after = append(tx.after, s.Wake.Held.set)
		return nil
	})
	c.end(err == nil && !duplicate, err)
	if err != nil {
		return Ref{}, false, err
	}
	return ref, duplicate, nil
}

const heldQuery = `SELECT h.id, h.secret, h.sender, h.transaction_id, h.pdu, h.request, h.created_at, h.expires_at, h.state, h.attempts, h.target,
	h.upstream_id, h.status, h.final_at, h.last_error, h.content_id, COALESCE(c.size, 0) FROM held h LEFT JOIN contents c ON c.id = h.content_id `

func (s *Store) scanHeld(scan func(...any) error) (Held, error) {
	h := Held{store: s}
	var secret []byte
	var created, expires int64
	var final sql.NullInt64
	err := scan(&h.Ref.ID, &secret, &h.Subscriber, &h.TransactionID, &h.PDU, &h.Request, &created, &expires, &h.State, &h.Attempts, &h.Target,
		&h.UpstreamID, &h.Status, &final, &h.LastError, &h.content, &h.Size)
	copy(h.Ref.Secret[:], secret)
	h.CreatedAt, h.ExpiresAt, h.FinalAt = fromMillis(created), fromMillis(expires), fromMillis(final.Int64)
	return h, err
}

// ClaimHeld takes up to limit held PDUs that are due, never two of one subscriber: the older goes first.
func (s *Store) ClaimHeld(ctx context.Context, limit int, lease time.Duration) ([]Held, error) {
	var out []Held
	err := s.later(ctx, func(tx *Tx) error {
		out = out[:0]
		now := time.Now()
		until := s.leaseEnd("held", now.Add(lease))
		n, err := tx.exec(`UPDATE held SET lease = $1, due_at = $2 WHERE id IN (SELECT h.id FROM held h WHERE h.due_at IS NOT NULL AND h.due_at <= $3
			AND (h.sender = '' OR NOT EXISTS (SELECT 1 FROM held o WHERE o.sender = h.sender AND o.id < h.id AND o.due_at IS NOT NULL))
			ORDER BY h.due_at LIMIT $4`+s.engine.skipLocked()+`)`, s.instance, until, millis(now), limit)
		if err != nil || n == 0 {
			return err
		}
		return tx.rows(heldQuery+`WHERE h.due_at = $1 AND h.lease = $2 ORDER BY h.id`, []any{until, s.instance}, func(scan func(...any) error) error {
			h, err := s.scanHeld(scan)
			h.leaseUntil = until
			out = append(out, h)
			return err
		})
	})
	return out, err
}

// NextHeld gives the moment at which a held PDU is due next; false if there is none.
func (s *Store) NextHeld(ctx context.Context) (time.Time, bool, error) {
	var due int64
	err := s.read.QueryRowContext(ctx, `SELECT due_at FROM held WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1`).Scan(&due)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, s.readError(ctx, "look for held PDUs", err)
	}
	return fromMillis(due), true, nil
}

// HeldOutcome is how an attempt to forward ended.
type HeldOutcome struct {
	State      HeldState // Holding: again at Next
	Next       time.Time
	Target     string
	UpstreamID string
	Status     byte
	Why        string
}

// EndHeld ends a claim. A final outcome frees the content.
func (s *Store) EndHeld(ctx context.Context, h *Held, o HeldOutcome) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error {
		now := time.Now()
		var final, next any
		content := h.content
		if o.State == Holding {
			next = millis(o.Next)
		} else {
			final, content = millis(now), 0
		}
		n, err := tx.exec(`UPDATE held SET state = $1, due_at = $2, final_at = $3, lease = '', attempts = attempts + 1, target = $4, upstream_id = $5, status = $6,
			last_error = $7, content_id = $8 WHERE id = $9 AND lease = $10 AND due_at = $11`,
			int(o.State), next, final, o.Target, o.UpstreamID, o.Status, clip(o.Why), content, h.Ref.ID, s.instance, h.leaseUntil)
		if err != nil {
			return fmt.Errorf("end held PDU: %w", err)
		}
		if n == 0 {
			return ErrStale
		}
		if final == nil {
			tx.soon(s.Wake.Held, o.Next, now)
			return nil
		}
		tx.after = append(tx.after, s.Wake.Held.set) // the next of its subscriber may be due
		return tx.dropContent(h.content)
	})
}

// FindHeld gives held PDUs by transaction id or by the UpstreamID; newest first, at most 20. A Ref in text finds its own.
func (s *Store) FindHeld(ctx context.Context, text string) ([]Held, error) {
	query, arg := `WHERE h.transaction_id = $1 OR h.upstream_id = $1 ORDER BY h.id DESC LIMIT 20`, any(text)
	if ref, ok := ParseRef(text); ok {
		query, arg = `WHERE h.id = $1`, int64(ref.ID)
	}
	rows, err := s.read.QueryContext(ctx, heldQuery+query, arg)
	if err != nil {
		return nil, s.readError(ctx, "find held PDU", err)
	}
	var out []Held
	err = eachRow(rows, func(scan func(...any) error) error {
		h, err := s.scanHeld(scan)
		out = append(out, h)
		return err
	})
	if err != nil {
		return nil, s.readError(ctx, "find held PDU", err)
	}
	return out, nil
}

// CountHeld gives the number of PDUs that wait.
func (s *Store) CountHeld(ctx context.Context) (int, error) {
	var n int
	if err := s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM held WHERE due_at IS NOT NULL`).Scan(&n); err != nil {
		return 0, s.readError(ctx, "count held PDUs", err)
	}
	return n, nil
}

// HeldDueNow makes all held PDUs due that nobody works on.
func (s *Store) HeldDueNow(ctx context.Context) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error {
		now := millis(time.Now())
		if err := tx.queue(`UPDATE held SET due_at = $1 WHERE due_at > $1 AND lease = ''`, now); err != nil {
			return fmt.Errorf("make held PDUs due: %w", err)
		}
		tx.after = append(tx.after, s.Wake.Held.set)
		return nil
	})
}
