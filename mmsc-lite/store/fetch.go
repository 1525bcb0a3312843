package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"
)

// Fetchable is a message as one recipient may fetch it.
type Fetchable struct {
	Message     Ref
	Recipient   Ref
	Address     string
	Kind        Kind
	State       State
	Sender      string
	Hidden      bool
	CreatedAt   time.Time
	ExpiresAt   time.Time // of this recipient
	Head        []byte
	ContentType []byte
	Size        int64 // octets of the body
	Subject     string
	Class       string
	Priority    int
	ReadReport  bool
	DelivReport bool
	Marks       Marks
	content     ID
	store       *Store
}

// Lookup finds what the location ref leads to. ErrNotFound: no such message, another secret, or the content is purged.
func (s *Store) Lookup(ctx context.Context, ref Ref) (*Fetchable, error) {
	f := &Fetchable{Recipient: ref, store: s}
	var token, secret []byte
	var hidden, readReport, delivReport int
	var created, expires int64
	var marks string
	err := s.read.QueryRowContext(ctx, `SELECT r.token, r.address, r.kind, r.state, r.expires_at, m.id, m.secret, m.sender, m.hidden, m.created_at, m.head,
		m.subject, m.class, m.priority, m.read_report, m.delivery_report, m.marks, c.id, c.size, c.content_type
		FROM recipients r JOIN messages m ON m.id = r.message_id JOIN contents c ON c.id = m.content_id WHERE r.id = $1`, int64(ref.ID)).
		Scan(&token, &f.Address, &f.Kind, &f.State, &expires, &f.Message.ID, &secret, &f.Sender, &hidden, &created, &f.Head,
			&f.Subject, &f.Class, &f.Priority, &readReport, &delivReport, &marks, &f.content, &f.Size, &f.ContentType)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, s.readError(ctx, "look up a location", err)
	}
	if subtle.ConstantTimeCompare(token, ref.Secret[:]) != 1 {
		return nil, ErrNotFound
	}
	copy(f.Message.Secret[:], secret)
	if err := f.Marks.read(marks); err != nil {
		return nil, &Unavailable{Err: err}
	}
	f.Hidden, f.ReadReport, f.DelivReport = hidden == 1, readReport == 1, delivReport == 1
	f.CreatedAt, f.ExpiresAt = fromMillis(created), fromMillis(expires)
	return f, nil
}

// WriteBody writes the body to w, a piece at a time. No transaction stays open between pieces, so a slow reader keeps
// nothing from being moved or purged; if the content is purged meanwhile the error is io.ErrUnexpectedEOF. What is damaged on the disk never
// arrives whole.
func (f *Fetchable) WriteBody(ctx context.Context, w io.Writer) error {
	return f.store.writeContent(ctx, w, f.content, f.Size)
}

// readError tells a caller who went away from an engine that does not answer.
func (s *Store) readError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return &Unavailable{Err: fmt.Errorf("%s: %w", what, err), Full: isFull(err)}
}
