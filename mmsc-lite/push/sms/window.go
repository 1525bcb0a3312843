package sms

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linxGnu/gosmpp/pdu"
)

// errNotSent is a submission that has not left.
var errNotSent = errors.New("the session has ended")

// start submits one PDU when the window has room for it. An error means that nothing has left. With keep the place in
// the window is still taken when the answer has come (without an error): release gives it on.
func (s *session) start(ctx context.Context, p pdu.PDU, keep bool) (uint32, chan answer, error) {
	if err := s.link.admit(ctx); err != nil {
		return 0, nil, err
	}
	select {
	case s.window <- struct{}{}:
	case <-s.gone:
		return 0, nil, errNotSent
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
	ch := make(chan answer, 1)
	s.mu.Lock()
	if s.ended != nil || s.leaving {
		s.mu.Unlock()
		<-s.window
		return 0, nil, errNotSent
	}
	sequence := s.nextLocked()
	s.pending[sequence] = submission{ch, keep}
	s.mu.Unlock()
	if err := s.send(marshal(p, sequence)); err != nil {
		s.end(fmt.Errorf("write: %w", err)) // ch gets it: a part may have left
	}
	return sequence, ch, nil
}

// wait waits for the answer to a submission, for as long as the SMSC may take.
func (s *session) wait(ctx context.Context, sequence uint32, ch chan answer, limit *time.Timer) answer {
	var why error
	select {
	case a := <-ch:
		return a
	case <-limit.C:
		why = fmt.Errorf("no answer within %s", s.link.client.opt.Config.Timeout)
	case <-ctx.Done():
		why = ctx.Err()
	}
	s.mu.Lock()
	_, mine := s.pending[sequence]
	delete(s.pending, sequence)
	s.emptyLocked()
	s.mu.Unlock()
	if mine {
		<-s.window
		return answer{err: why}
	}
	return <-ch // it came at the last moment
}

// release gives the place of an answered submission on.
func (s *session) release() { <-s.window }
