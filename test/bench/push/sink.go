package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/handset/smsc"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// sink is the SMSC of the bench: it takes each short message at once, puts pushes together and counts them by number.
type sink struct {
	addr  string
	bound chan struct{} // closed by the first ESME
	stop  func()        // returns when nobody is served any more

	mu     sync.Mutex
	join   *wappush.Reassembler
	got    map[string]int // pushes by number
	bad    int            // short messages that are no notification of this number
	last   time.Time      // when the latest new one arrived
	wanted int
	there  chan struct{} // closed when so many numbers have one
}

func newSink() (*sink, error) {
	addr, err := measure.FreeAddr()
	if err != nil {
		return nil, err
	}
	s := &sink{addr: addr, bound: make(chan struct{}), join: wappush.NewReassembler(1<<16, 0), got: map[string]int{}}
	var once sync.Once
	server, err := smsc.New(smsc.Options{Listen: addr, Receive: s.receive, Bound: func(_, _ string, bound bool) {
		if bound {
			once.Do(func() { close(s.bound) })
		}
	}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Run(ctx) // what does not arrive is counted as lost
	}()
	s.stop = func() { cancel(); <-ended }
	return s, nil
}

func (s *sink) receive(m *smsc.Message) smsc.Status {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, _, err := s.join.Add(m.Source.Digits, m.Destination.Digits, m.UserData, now)
	if err == nil && whole == nil {
		return smsc.Ok // more segments to come
	}
	if err != nil || !notifies(whole, m.Destination.Digits) {
		s.bad++
		return smsc.Ok
	}
	if s.got[m.Destination.Digits]++; s.got[m.Destination.Digits] == 1 {
		s.last = now
		if s.there != nil && len(s.got) == s.wanted {
			close(s.there)
		}
	}
	return smsc.Ok
}

// notifies says whether a push is an M-Notification.ind that names the number somewhere: those of pushes do in their transaction
// id, those of the embedded MMSC are told by their type alone.
func notifies(push []byte, number string) bool {
	p, err := wappush.Decode(push)
	if err != nil || !p.IsMMS() || p.ApplicationID() != wappush.MMSApplication {
		return false
	}
	var h mms.Head
	if h.Peek(p.Body, true) == mms.Garbage || h.Type != mms.MNotificationInd {
		return false
	}
	return !bytes.HasPrefix(h.TransactionID, []byte(tidPrefix)) || string(h.TransactionID) == tidPrefix+number
}

// waitBound waits until somebody can submit.
func (s *sink) waitBound(p *measure.Process) error {
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case <-s.bound:
		return nil
	case <-p.Done():
		return fmt.Errorf("it ended (%w): %s", p.Err(), p.Output())
	case <-limit.C:
		return fmt.Errorf("it has not bound to the SMSC: %s", p.Output())
	}
}

// expect says that n more numbers will be pushed to; call it before the first push.
func (s *sink) expect(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted, s.there = len(s.got)+n, make(chan struct{})
}

// await waits for what is expected and tells when the last one came. It gives up after a minute without a new one: the rest is lost.
func (s *sink) await() time.Time {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-s.there:
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.last
		case <-tick.C:
			s.mu.Lock()
			last := s.last
			s.mu.Unlock()
			if time.Since(last) > time.Minute && time.Since(began) > time.Minute {
				return last
			}
		}
	}
}

// tally gives numbers that got a push, pushes beyond the first of a number, and what was unreadable.
func (s *sink) tally() (arrived, doubled, bad int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.got {
		doubled += n - 1
	}
	return len(s.got), doubled, s.bad
}
