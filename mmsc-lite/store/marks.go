package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Marks say what a message is to two-way services. They stay with the server: no handset sees them.
type Marks struct {
	Service   string   `json:"service,omitempty"`    // that has sent the message; "none": the dispatcher itself
	Price     string   `json:"price,omitempty"`      // of a service's message, for the call detail record
	Hops      int      `json:"hops,omitempty"`       // services that it has gone through
	Codes     []string `json:"codes,omitempty"`      // recipients that are services
	UserAgent string   `json:"user_agent,omitempty"` // of the handset that has sent a message to a service
	Profile   string   `json:"profile,omitempty"`    // its UAProf
}

// Takes says whether a recipient is a service: it was one when the message was accepted.
func (m *Marks) Takes(address string) bool { return slices.Contains(m.Codes, address) }

// text is the form in the database.
func (m *Marks) text() (string, error) {
	b, err := json.Marshal(m)
	if err != nil || string(b) == "{}" {
		return "", err
	}
	return string(b), nil
}

func (m *Marks) read(text string) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), m); err != nil {
		return fmt.Errorf("marks of a message: %w", err)
	}
	return nil
}

// Earlier finds the message that was stored for the same submission before; false if there is none.
func (s *Store) Earlier(ctx context.Context, m *Message) (Ref, bool, error) {
	key, err := m.dedupeKey()
	if err != nil || key == nil {
		return Ref{}, false, err
	}
	var ref Ref
	var secret []byte
	err = s.read.QueryRowContext(ctx, `SELECT m.id, m.secret FROM submissions s JOIN messages m ON m.id = s.message_id WHERE s.digest = $1`, key).Scan(&ref.ID, &secret)
	if errors.Is(err, sql.ErrNoRows) {
		return Ref{}, false, nil
	}
	if err != nil {
		return Ref{}, false, s.readError(ctx, "look for an earlier submission", err)
	}
	copy(ref.Secret[:], secret)
	return ref, true, nil
}
