package fence

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// SharedTicket is one submission's own entry, here and at the two. It must end with Answer or Drop.
type SharedTicket struct {
	s     *Shared
	t     *Ticket
	ended bool
}

// SharedPrior is an earlier submission under the same key, here or at another router.
type SharedPrior struct {
	s     *Shared
	key   string
	local *Prior
	rec   Remote

	twin   *twin // who has it, if that is the other process of this router
	missed int   // questions that the twin did not answer
}

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

// Next is Prior.Next across routers: the body was compared with p in vain.
func (p *SharedPrior) Next(now time.Time, wait time.Duration, abort func()) (*SharedTicket, *SharedPrior) {
	var t *Ticket
	var prior *Prior
	if p.local != nil {
		t, prior = p.local.Next(now, wait, abort)
	} else {
		t, prior = p.s.o.Fence.Enter(p.key, now, wait, abort)
	}
	if prior != nil {
		return nil, &SharedPrior{s: p.s, key: p.key, local: prior}
	}
	if len(p.key) <= maxSharedKey {
		p.s.tell(p.s.holders(p.key), kindNote, appendKey(p.key))
	}
	return &SharedTicket{s: p.s, t: t}, nil
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

// Whole is Ticket.Whole.
func (t *SharedTicket) Whole(length int64, digest uint64) bool { return t.t.Whole(length, digest) }

// Taken is Ticket.Taken.
func (t *SharedTicket) Taken() bool { return t.t.Taken() }

// Answer settles the submission with a final answer (the slice becomes the fence's own). It returns when the two have
// it, or after the cap: it must be called before the client sees the answer.
func (t *SharedTicket) Answer(answer []byte) {
	if t.ended {
		return
	}
	t.ended = true
	e := t.t.e
	key := e.key
	two, tw := t.s.holders(key), t.s.twin.Load()
	shard := t.s.o.Fence.at(e.hash)
	shard.mu.Lock()
	rec := Remote{Phase: Answered, Node: t.s.o.Node, Length: e.length, Digest: e.digest, Answer: answer}
	comparable := e.phase == whole && len(answer) > 0 && len(answer) <= maxSharedAnswer && len(key) <= maxSharedKey
	shard.mu.Unlock()
	switch {
	case comparable:
		t.s.settleTwin(tw, key, rec)
		if len(two) > 0 {
			t.s.ask(two, kindSettle, appendRemote(appendKey(key), rec), func([]byte) bool { return false })
		}
	case len(key) <= maxSharedKey:
		// an answer that came before the upload's end can't be compared with a later post
		t.s.gone(two, key)
	}
	t.t.Answer(answer)
	if now := t.s.twin.Load(); comparable && tw == nil && now != nil {
		t.s.settleTwin(now, key, rec) // an export that has just begun may have passed it by
	}
}

// gone tells the two, or who is in our place among the routers, that a submission ended without an answer.
func (s *Shared) gone(two []string, key string) {
	if s.parted.Load() {
		s.tellTwin(kindGone, appendKey(key))
		return
	}
	s.tell(two, kindGone, appendKey(key))
}

// Drop settles it without one: the next post is new, through any router. After Answer it does nothing.
func (t *SharedTicket) Drop() {
	if t.ended {
		return
	}
	t.ended = true
	t.t.Drop()
	key := t.t.e.key
	if len(key) > maxSharedKey || t.s.o.Fence.peek(key, time.Now()).Phase != Unknown {
		return // a newer post through this router has taken the key over
	}
	t.s.gone(t.s.holders(key), key)
}

// The pauses between two questions for an answer that another router awaits.
const (
	askFirst = 20 * time.Millisecond
	askMost  = 500 * time.Millisecond
)

// Answer gives the earlier submission's final answer if its body was the same, waiting while it is still awaited. Nil: it
// differed, ended without a final answer in time, or its router does not answer any more.
func (p *SharedPrior) Answer(wait time.Duration, length int64, digest uint64) []byte {
	if p.local != nil {
		return p.local.Answer(wait, length, digest)
	}
	end := time.Now().Add(wait)
	rec, pause, missed := p.rec, askFirst, 0
	for {
		if rec.Phase < Whole || rec.Length != length || rec.Digest != digest {
			return nil
		}
		if rec.Phase == Answered {
			return rec.Answer
		}
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		t := time.NewTimer(min(pause, left))
		<-t.C
		pause = min(2*pause, askMost)
		if p.twin != nil {
			var ok bool
			if rec, ok = p.heardTwin(); !ok {
				return nil
			}
			p.rec = rec
			continue
		}
		var now Remote
		heard := false
		p.s.ask([]string{rec.Node}, kindAsk, appendKey(p.key), func(b []byte) bool {
			r, err := readRemote(b)
			now, heard = r, err == nil
			return true
		})
		switch {
		case heard && (now.Phase == Whole || now.Phase == Answered):
			now.Node, missed = rec.Node, 0
			rec = now
		case heard:
			return nil
		default:
			// It may have given the answer to the two before it fell silent.
			if now, ok := p.s.Lookup(p.key); ok && now.Phase == Answered {
				rec = now
				continue
			}
			if missed++; missed >= 3 || !slices.Contains(p.s.o.Peers.Living(), rec.Node) {
				p.s.m.found[foundLost].Inc()
				return nil
			}
		}
	}
}

// Learn notes, here and at the two, that the MMSC of that name holds what the keys name.
func (s *Shared) Learn(name string, now time.Time, keys ...string) {
	if len(keys) == 0 {
		return
	}
	for _, k := range keys {
		s.o.Owners.Learn(k, name, now)
	}
	if len(name) > maxSharedName {
		return
	}
	if t := s.twin.Load(); t != nil && !t.older {
		s.tellTwin(kindLearn, appendOwner(name, short(keys)))
	}
	if s.o.Peers == nil {
		return
	}
	for node, list := range s.byHolder(keys) {
		s.tell([]string{node}, kindLearn, appendOwner(name, list))
	}
}

// byHolder sorts keys by the routers that keep them.
func (s *Shared) byHolder(keys []string) map[string][]string {
	by := map[string][]string{}
	for _, k := range keys[:min(len(keys), maxSharedKeys)] {
		if len(k) == 0 || len(k) > maxSharedKey {
			continue
		}
		for _, node := range s.holders(k) {
			by[node] = append(by[node], k)
		}
	}
	return by
}

// Find gives the name of the MMSC that is known here to hold what a key names; "" if none is. It asks nobody.
func (s *Shared) Find(key string, now time.Time) string { return s.o.Owners.Find(key, now) }

// FindAny gives the MMSC that holds what one of the keys names: as known here, else as the routers know that would have
// it, all of them asked at once.
func (s *Shared) FindAny(now time.Time, keys ...string) string {
	for _, k := range keys {
		if name := s.o.Owners.Find(k, now); name != "" {
			return name
		}
	}
	if len(keys) == 0 {
		return ""
	}
	if name := s.findAtTwin(now, keys); name != "" {
		return name
	}
	if s.o.Peers == nil {
		return ""
	}
	by := s.byHolder(keys)
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Cap)
	defer cancel()
	names := make(chan string, len(by))
	var wg sync.WaitGroup
	for node, list := range by {
		wg.Go(func() {
			b, err := s.askOne(ctx, node, kindFind, appendOwner("", list))
			if err != nil {
				b = nil
			}
			if len(b) > maxSharedName {
				s.m.corrupt.Inc()
				b = nil
			}
			names <- string(b)
		})
	}
	defer wg.Wait() // the cap or cancel has ended them
	for range by {
		if name := <-names; name != "" {
			cancel()
			s.m.found[foundOwner].Inc()
			for _, k := range keys {
				s.o.Owners.Learn(k, name, now)
			}
			return name
		}
	}
	return ""
}
