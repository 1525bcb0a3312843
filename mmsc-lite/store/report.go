package store

import (
	"context"
	"fmt"
	"time"
)

// ReportKind is what a report tells the sender, or in one case the recipient.
type ReportKind int

// The kinds; their numbers stand in the database. A recipient causes at most one of each.
const (
	DeliveryReport ReportKind = 1 // M-Delivery.ind
	ReadReport     ReportKind = 2 // M-Read-Orig.ind
	CancelRequest  ReportKind = 3 // M-Cancel.req, to the recipient
)

// String gives a word.
func (k ReportKind) String() string { return word(int(k), "delivery", "read", "cancel") }

// reportStatus is what M-Delivery.ind says of a final state (OMA-MMS-ENC 7.3.54).
var reportStatus = map[State]byte{Expired: 0x80, Retrieved: 0x81, Rejected: 0x82, Indeterminate: 0x85, Forwarded: 0x86, Unreachable: 0x87,
	Cancelled: 0x85}

// Reported gives the word for what a delivery report says, that of the state it speaks of.
func Reported(status byte) string {
	for _, s := range States() {
		if b, ok := reportStatus[s]; ok && b == status {
			return s.String()
		}
	}
	return "unknown"
}

// Report is a report on its way.
type Report struct {
	ID         ID
	Kind       ReportKind
	Message    Ref
	Address    string // whom it is pushed to
	About      string // the recipient it speaks of
	Status     byte   // X-Mms-Status or X-Mms-Read-Status
	Detail     string
	At         time.Time // when what it tells happened
	ExpiresAt  time.Time
	Attempts   int
	Marks      Marks  // of the message
	Submission string // transaction id that the message was submitted with
	leaseUntil int64
}

// reportLife is how long a report is tried.
const reportLife = 72 * time.Hour

func (tx *Tx) report(e *envelope, kind ReportKind, status int, detail string, now time.Time) error {
	address := e.sender
	if kind == CancelRequest {
		address = e.address
	}
	err := tx.queue(`INSERT INTO reports (id, recipient_id, message_id, kind, address, about, status, detail, at, expires_at, due_at, lease, attempts, done_at, last_error)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '', 0, NULL, '') ON CONFLICT (recipient_id, kind) DO NOTHING`,
		tx.s.ids.next(now), e.recipient, e.message, kind, address, e.address, status, clip(detail), millis(now), millis(now.Add(reportLife)), millis(now))
	if err != nil {
		return fmt.Errorf("insert report: %w", err)
	}
	tx.after = append(tx.after, tx.s.Wake.Delivery.set)
	return nil
}

// ClaimReports takes up to limit reports that are due; they are this process's until the lease ends.
func (s *Store) ClaimReports(ctx context.Context, limit int, lease time.Duration) ([]Report, error) {
	var out []Report
	err := s.later(ctx, func(tx *Tx) error {
		out = out[:0]
		now := time.Now()
		until, n, err := tx.claim("reports", limit, lease, now)
		if err != nil || n == 0 {
			return err
		}
		return tx.rows(`SELECT p.id, p.kind, p.message_id, m.secret, p.address, p.about, p.status, p.detail, p.at, p.expires_at, p.attempts, m.marks, m.transaction_id
			FROM reports p JOIN messages m ON m.id = p.message_id WHERE p.due_at = $1 AND p.lease = $2 ORDER BY p.id`, []any{until, s.instance},
			func(scan func(...any) error) error {
				r := Report{leaseUntil: until}
				var secret []byte
				var at, expires int64
				var marks string
				if err := scan(&r.ID, &r.Kind, &r.Message.ID, &secret, &r.Address, &r.About, &r.Status, &r.Detail, &at, &expires, &r.Attempts, &marks, &r.Submission); err != nil {
					return err
				}
				if err := r.Marks.read(marks); err != nil {
					return err
				}
				copy(r.Message.Secret[:], secret)
				r.At, r.ExpiresAt = fromMillis(at), fromMillis(expires)
				out = append(out, r)
				return nil
			})
	})
	return out, err
}
