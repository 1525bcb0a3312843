package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/mmsrouter/mmsrouter/admin"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// messages gives the admin room the embedded MMSC's messages, in the admin room's words.
type messages struct{ m *mmsc.MMSC }

// List implements admin.Messages.
func (a messages) List(ctx context.Context, f admin.MessageFilter) ([]admin.Message, error) {
	filter := store.Filter{Number: f.Number, After: f.After, Before: f.Before, Limit: f.Limit}
	if f.State != "" {
		var ok bool
		if filter.State, ok = store.ParseState(f.State); !ok {
			return nil, fmt.Errorf("%w: state %q: want one of %v", admin.ErrFilter, f.State, store.States())
		}
	}
	found, err := a.m.List(ctx, filter)
	if err != nil {
		return nil, err
	}
	list := make([]admin.Message, len(found))
	for i := range found {
		list[i] = a.message(&found[i])
	}
	return list, nil
}

// Show implements admin.Messages.
func (a messages) Show(ctx context.Context, id string) (admin.Message, error) {
	s, events, err := a.m.Show(ctx, id)
	if err != nil {
		return admin.Message{}, known(err)
	}
	m := a.message(s)
	for _, e := range events {
		m.Timeline = append(m.Timeline, admin.MessageEvent{Time: e.At, Recipient: e.Recipient, Event: e.Kind, Detail: e.Detail})
	}
	return m, nil
}

// Requeue implements admin.Messages.
func (a messages) Requeue(ctx context.Context, id string) (int, error) {
	n, err := a.m.Requeue(ctx, id)
	return n, known(err)
}

// Cancel implements admin.Messages.
func (a messages) Cancel(ctx context.Context, id string) (int, error) {
	n, err := a.m.Cancel(ctx, id)
	return n, known(err)
}

func (a messages) message(s *store.Summary) admin.Message {
	m := admin.Message{ID: a.m.MessageID(s.Message), Origin: s.Origin.String(), Created: s.CreatedAt, Expires: s.ExpiresAt, Sender: s.Sender,
		Subject: s.Subject, Class: s.Class, Size: s.Size, Purged: s.Purged, Recipients: []admin.Recipient{}}
	for _, r := range s.Recipients {
		m.Recipients = append(m.Recipients, admin.Recipient{Kind: r.Kind.String(), Address: r.Address, State: r.State.String(),
			Attempts: r.Attempts, Due: r.DueAt, Fetched: r.FetchedAt, Final: r.FinalAt, LastError: r.LastError})
	}
	return m
}

func known(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return admin.ErrNoMessage
	}
	return err
}
