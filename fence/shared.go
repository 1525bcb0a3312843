package fence

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Phase is how far a submission has come, as one router tells another.
type Phase uint8

// The phases. Unknown is also "ended without a final answer": the next post is new.
const (
	Unknown   Phase = iota
	Uploading       // its octets still come in; broken off when a newer post of the same transaction appears
	Whole           // its answer is awaited
	Answered
)

// Remote is what is known elsewhere of a submission.
type Remote struct {
	Phase  Phase
	Node   string // the router that has it
	Length int64  // from Whole on
	Digest uint64 // from Whole on
	Answer []byte // of an answered one
}

// SharedOptions of a Shared.
type SharedOptions struct {
	Fence   *Fence  // this router's; nil: the duplicate fence is off
	Owners  *Owners // this router's
	Peers   Peers   // the other routers; nil: there are none
	Node    string  // this router's name among them
	Window  time.Duration
	Entries int           // most submissions kept for other routers
	Cap     time.Duration // the longest that one question may hold a message up; 0: 20ms
	Metrics prometheus.Registerer
}

// Shared is the duplicate fence and the owner table across routers. A submission's beginning and its answer
// go to two other living routers, so that the same post through another router, or after this one died, finds them;
// what is not known here is asked of the two that would have it.
//
// It is best effort, as the fence itself is: each question costs at most Cap and then the message goes on, counted. Whoever
// has no other routers has what Fence and Owners give, at no cost.
//
// Enter, Next and the tickets stand for those of Fence, Learn and FindAny for those of Owners.
type Shared struct {
	o           SharedOptions
	m           *sharedMetrics
	kept        *table
	peersHealth sync.Map // name -> *health; as many as there are routers
	twinState
}

// NewShared makes one and registers its handlers with the peers; this must come before the cluster runs.
func NewShared(o SharedOptions) (*Shared, error) {
	if o.Owners == nil {
		return nil, errors.New("fence: Owners is needed")
	}
	if o.Cap <= 0 {
		o.Cap = 20 * time.Millisecond
	}
	s := &Shared{o: o, kept: newTable(o.Entries, o.Window)}
	var err error
	if s.m, err = newSharedMetrics(o.Metrics, func() float64 { return float64(s.kept.len()) }); err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	if o.Peers != nil {
		for kind, h := range map[string]func(from string, b []byte) ([]byte, error){
			kindHead: s.onHead, kindNote: s.onNote, kindTake: s.onTake, kindAsk: s.onAsk,
			kindSettle: s.onSettle, kindGone: s.onGone, kindLearn: s.onLearn, kindFind: s.onFind} {
			o.Peers.Handle(kind, func(_ context.Context, from string, b []byte) ([]byte, error) {
				reply, err := h(from, b)
				if err != nil {
					s.m.corrupt.Inc()
				}
				return reply, err
			})
		}
	}
	return s, nil
}

// Len counts the submissions of this router that are remembered.
func (s *Shared) Len() int {
	if s.o.Fence == nil {
		return 0
	}
	return s.o.Fence.Len()
}

// Kept counts the submissions that are kept for other routers.
func (s *Shared) Kept() int { return s.kept.len() }

// Enter is Fence.Enter across routers. A key that is not known here is asked of the two routers that would have it;
// if another one is still uploading it, that upload is broken off there.
func (s *Shared) Enter(key string, now time.Time, wait time.Duration, abort func()) (*SharedTicket, *SharedPrior) {
	t, prior := s.o.Fence.Enter(key, now, wait, abort)
	if prior != nil {
		return nil, &SharedPrior{s: s, key: key, local: prior}
	}
	ticket := &SharedTicket{s: s, t: t}
	switch rec, from, over := s.enterTwin(key); {
	case over: // the same post is coming in there, and is the newer one
		s.o.Fence.giveUp(key)
		return ticket, nil
	case rec.Phase != Unknown:
		s.m.found[foundTwin].Inc()
		t.Drop() // until it was compared, it is nobody's
		return nil, &SharedPrior{s: s, key: key, rec: rec, twin: from}
	}
	two := s.holders(key)
	if len(two) == 0 || len(key) > maxSharedKey || t.Taken() {
		return ticket, nil
	}
	rec := s.kept.get(key, now) // this router may be one of the two of another
	if rec.Phase != Answered {
		if heard := s.lookup(two, kindHead, key); heard.Phase > rec.Phase {
			rec = heard
		}
	}
	if rec.Phase == Unknown || rec.Phase != Answered && rec.Node == s.o.Node {
		return ticket, nil // the two have noted that it is ours
	}
	if rec.Phase != Answered {
		rec = s.take(rec.Node, key)
	}
	switch rec.Phase {
	case Answered:
		s.m.found[foundAnswer].Inc()
	case Whole:
		s.m.found[foundProgress].Inc()
	default:
		s.tell(two, kindNote, appendKey(key))
		return ticket, nil
	}
	t.Drop() // until it was compared, it is nobody's
	return nil, &SharedPrior{s: s, key: key, rec: rec}
}

// take asks the router that has a submission to give it up. Unknown: it is ours now.
func (s *Shared) take(node, key string) Remote {
	var rec Remote
	err := errShared
	s.ask([]string{node}, kindTake, appendKey(key), func(b []byte) bool {
		rec, err = readRemote(b)
		return true
	})
	switch {
	case err != nil:
		s.m.found[foundLost].Inc()
		return Remote{}
	case rec.Phase == Uploading: // it was; it is broken off
		s.m.found[foundBroken].Inc()
		return Remote{}
	}
	rec.Node = node
	return rec
}

// lookup asks the given routers about a key and gives the best answer.
func (s *Shared) lookup(nodes []string, kind, key string) Remote {
	var best Remote
	s.ask(nodes, kind, appendKey(key), func(b []byte) bool {
		if rec, err := readRemote(b); err != nil {
			s.m.corrupt.Inc()
		} else if rec.Phase > best.Phase {
			best = rec
		}
		return best.Phase == Answered
	})
	return best
}

// Lookup gives what is known of other routers' submissions under a key, here or at the two that would have it, without
// entering anything. False: none.
func (s *Shared) Lookup(key string) (Remote, bool) {
	rec := s.kept.get(key, time.Now())
	if two := s.holders(key); len(two) > 0 && rec.Phase != Answered {
		if heard := s.lookup(two, kindAsk, key); heard.Phase > rec.Phase {
			rec = heard
		}
	}
	return rec, rec.Phase != Unknown
}
