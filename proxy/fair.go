package proxy

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/mmsrouter/mmsrouter/mms"
)

// fair counts the requests that each subscriber has under way. A WAP gateway is one address for millions, so no limit of addresses keeps
// one of them from taking every place at the MMSCs with uploads and retrievals that crawl; this one does. Only a number that a trusted
// network gives counts: with one of his own choice, a stranger could use up somebody else's share.
type fair [16]struct {
	mu sync.Mutex
	of map[string]int
}

// enter counts one more; false: there are most already.
func (f *fair) enter(subscriber string, most int) bool {
	s := &f[xxhash.Sum64String(subscriber)%uint64(len(f))]
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.of[subscriber]
	if n >= most {
		return false
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.of[subscriber] = n + 1
	return true
}

// leave counts one off.
func (f *fair) leave(subscriber string) {
	s := &f[xxhash.Sum64String(subscriber)%uint64(len(f))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.of[subscriber]; n > 1 {
		s.of[subscriber] = n - 1
	} else {
		delete(s.of, subscriber)
	}
}

// share says whether the subscriber may have this request served too. If it answers no, the client has been told.
func (x *exchange) share() bool {
	most := x.set.Limits.PerSubscriber
	if most == 0 || x.asserted == "" || x.asserted[0] != '+' && (x.asserted[0] < '0' || x.asserted[0] > '9') {
		return true // a word such as "unknown" may stand for everybody
	}
	if x.p.fair.enter(x.asserted, most) {
		x.counted = true
		return true
	}
	if n, ok := x.p.crowds.pass(time.Now()); ok { // each stands in the access log
		x.p.log.Warn("request refused: its subscriber has too many under way, raise mm1.limits.per_subscriber", "subscriber", mms.Mask(x.asserted), "unsaid", n)
	}
	if !x.get && !x.drain() {
		x.giveUp()
		return false
	}
	x.result, x.words = Refused, "the subscriber has as many requests under way as mm1.limits.per_subscriber allows"
	x.refuse(mms.TransientFailure, 503, "too many requests at the same time, try again later")
	return false
}

// unshare gives back what share took.
func (x *exchange) unshare() {
	if x.counted {
		x.counted = false
		x.p.fair.leave(x.asserted)
	}
}
