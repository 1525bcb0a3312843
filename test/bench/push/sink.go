package main

import (
	"bytes"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/traffic"
)

// sink is the SMSC of the bench: it counts pushes by number.
type sink struct {
	*traffic.SMSC

	mu     sync.Mutex
	got    map[string]int // pushes by number
	bad    int            // short messages that are no notification of this number
	last   time.Time      // when the latest new one arrived
	wanted int
	there  chan struct{} // closed when so many numbers have one
}

func newSink() (s *sink, err error) {
	s = &sink{got: map[string]int{}}
	s.SMSC, err = traffic.NewSMSC(s.take)
	return s, err
}

// take counts a push. Those that the bench has pushed name their number in the transaction id; those of the embedded MMSC are told by their
// type alone.
func (s *sink) take(p traffic.Push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Bad || bytes.HasPrefix(p.Head.TransactionID, []byte(tidPrefix)) && string(p.Head.TransactionID) != tidPrefix+p.Number {
		s.bad++
		return
	}
	if s.got[p.Number]++; s.got[p.Number] == 1 {
		s.last = p.At
		if s.there != nil && len(s.got) == s.wanted {
			close(s.there)
		}
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
