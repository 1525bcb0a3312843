package ppg

import (
	"context"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg/journal"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/sms"
)

// Sick makes a gateway's memory fail: fail is asked before each call that a test is about, by its name. It is for before Run.
func (p *PPG) Sick(fail func(call string) error) { p.journal = &sick{p.journal, fail} }

type sick struct {
	Journal
	fail func(call string) error
}

func (s *sick) Accept(ctx context.Context, p *journal.Push) error {
	if err := s.fail("accept"); err != nil {
		return err
	}
	return s.Journal.Accept(ctx, p)
}

func (s *sick) Claim(ctx context.Context, n int, lease time.Duration) ([]journal.Delivery, error) {
	if err := s.fail("claim"); err != nil {
		return nil, err
	}
	return s.Journal.Claim(ctx, n, lease)
}

func (s *sick) Finish(ctx context.Context, d *journal.Delivery, state journal.State, code pap.Code, detail string) error {
	if err := s.fail("finish"); err != nil {
		return err
	}
	return s.Journal.Finish(ctx, d, state, code, detail)
}

func (s *sick) Status(ctx context.Context, initiator, pushID string) ([]journal.Delivery, error) {
	if err := s.fail("status"); err != nil {
		return nil, err
	}
	return s.Journal.Status(ctx, initiator, pushID)
}

func (s *sick) Cancel(ctx context.Context, initiator, pushID string, want func(journal.Address) bool) ([]journal.Delivery, []bool, error) {
	if err := s.fail("cancel"); err != nil {
		return nil, nil, err
	}
	return s.Journal.Cancel(ctx, initiator, pushID, want)
}

// GiveUp tries to write down that a push was sent until ctx ends, and says whether its note in the file was let go.
func (p *PPG) GiveUp(ctx context.Context) (letGo bool) {
	n := p.noting(&journal.Delivery{})
	n.committed = func() { letGo = true }
	p.taken(ctx, n.d, sms.Sent{}, n)
	return letGo
}
