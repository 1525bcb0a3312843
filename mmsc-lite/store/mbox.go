package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Boxed is a message in a subscriber's MMBox.
type Boxed struct {
	Ref         Ref
	Owner       string
	Message     Ref  // zero: uploaded
	MMState     byte // X-Mms-MM-State
	Flags       []string
	Head        []byte // header fields as they stood
	ContentType []byte
	Size        int64 // octets of the body
	StoredAt    time.Time

	content ID
	store   *Store
}

// Boxing is a message to be put into an MMBox: a content that is stored already, or an upload.
type Boxing struct {
	Owner       string
	MMState     byte
	Flags       []string
	Head        []byte
	From        *Fetchable // shares its content
	Upload      *Upload
	BodyAt      int64
	ContentType []byte
	MaxMessages int // ErrFull beyond
	MaxOctets   int64
}

// ErrFull says that the MMBox has no room.
const ErrFull Refusal = "the MMBox is full"

// PutBox stores a message in a subscriber's MMBox, durably.
func (s *Store) PutBox(ctx context.Context, b *Boxing) (Ref, error) {
	var ref Ref
	flags, err := json.Marshal(b.Flags)
	if err != nil {
		return ref, err
	}
	cost, size := int64(0), int64(0)
	if b.Upload != nil {
		cost, size = b.Upload.Size(), b.Upload.Size()-b.BodyAt
	} else {
		size = b.From.Size
	}
	c, err := s.place(b.Upload, b.BodyAt, b.ContentType)
	if err != nil {
		return ref, err
	}
	err = s.do(ctx, cost, c.extents(), func(tx *Tx) error {
		now := time.Now()
		var n int
		var octets int64
		if err := tx.row(`SELECT COUNT(*), COALESCE(SUM(size), 0) FROM mbox WHERE owner = $1`, []any{b.Owner}, &n, &octets); err != nil {
			return err
		}
		if n >= b.MaxMessages || octets+size > b.MaxOctets {
			return ErrFull
		}
		ref = Ref{ID: s.ids.next(now), Secret: newSecret()}
		var content, message ID
		if b.Upload != nil {
			var err error
			if content, err = tx.insertContent(c, now); err != nil {
				return err
			}
		} else {
			content, message = b.From.content, b.From.Message.ID
			var there int
			if err := tx.row(`SELECT COUNT(*) FROM contents WHERE id = $1`, []any{int64(content)}, &there); err != nil {
				return err
			}
			if there == 0 {
				return ErrNotFound
			}
		}
		err := tx.queue(`INSERT INTO mbox (id, owner, token, message_id, content_id, mm_state, flags, head, size, stored_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			ref.ID, b.Owner, ref.Secret[:], message, content, int(b.MMState), string(flags), nonNil(b.Head), size, millis(now))
		return err
	})
	c.end(err == nil, err)
	return ref, err
}

const boxQuery = `SELECT b.id, b.token, b.owner, b.message_id, b.mm_state, b.flags, b.head, b.size, b.stored_at, b.content_id, c.content_type, m.secret
	FROM mbox b JOIN contents c ON c.id = b.content_id LEFT JOIN messages m ON m.id = b.message_id `

func (s *Store) scanBox(scan func(...any) error) (Boxed, error) {
	b := Boxed{store: s}
	var token, secret []byte
	var flags string
	var state, stored int64
	err := scan(&b.Ref.ID, &token, &b.Owner, &b.Message.ID, &state, &flags, &b.Head, &b.Size, &stored, &b.content, &b.ContentType, &secret)
	if err != nil {
		return b, err
	}
	copy(b.Ref.Secret[:], token)
	copy(b.Message.Secret[:], secret)
	b.MMState, b.StoredAt = byte(state), fromMillis(stored)
	return b, json.Unmarshal([]byte(flags), &b.Flags)
}

// Box gives what is in a subscriber's MMBox, oldest first.
func (s *Store) Box(ctx context.Context, owner string) ([]Boxed, error) {
	rows, err := s.read.QueryContext(ctx, boxQuery+`WHERE b.owner = $1 ORDER BY b.id`, owner)
	if err != nil {
		return nil, s.readError(ctx, "view MMBox", err)
	}
	var out []Boxed
	err = eachRow(rows, func(scan func(...any) error) error {
		b, err := s.scanBox(scan)
		out = append(out, b)
		return err
	})
	if err != nil {
		return nil, s.readError(ctx, "view MMBox", err)
	}
	return out, nil
}

// LookupBox finds a message in an MMBox by its location.
func (s *Store) LookupBox(ctx context.Context, ref Ref) (*Boxed, error) {
	b, err := s.scanBox(s.read.QueryRowContext(ctx, boxQuery+`WHERE b.id = $1`, int64(ref.ID)).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, s.readError(ctx, "look up in an MMBox", err)
	}
	if subtle.ConstantTimeCompare(b.Ref.Secret[:], ref.Secret[:]) != 1 {
		return nil, ErrNotFound
	}
	return &b, nil
}

// ChangeBox sets state and flags of a message in an MMBox; zero and nil leave them.
func (s *Store) ChangeBox(ctx context.Context, id ID, mmState byte, flags []string) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error {
		if mmState != 0 {
			if err := tx.queue(`UPDATE mbox SET mm_state = $1 WHERE id = $2`, int(mmState), id); err != nil {
				return err
			}
		}
		if flags == nil {
			return nil
		}
		text, err := json.Marshal(flags)
		if err != nil {
			return err
		}
		err = tx.queue(`UPDATE mbox SET flags = $1 WHERE id = $2`, string(text), id)
		return err
	})
}

// DropBox deletes a message from an MMBox, and its content if nothing else refers to it.
func (s *Store) DropBox(ctx context.Context, b *Boxed) error {
	return s.do(ctx, 0, nil, func(tx *Tx) error {
		n, err := tx.exec(`DELETE FROM mbox WHERE id = $1`, b.Ref.ID)
		if err != nil {
			return fmt.Errorf("delete from MMBox: %w", err)
		}
		if n == 0 {
			return ErrNotFound
		}
		return tx.dropContent(b.content)
	})
}

// Write writes the body to w, a row at a time.
func (b *Boxed) Write(ctx context.Context, w io.Writer) error {
	return b.store.writeContent(ctx, w, b.content, b.Size)
}
