package fence

import (
	"context"
	"sync/atomic"
	"time"
)

// Twin is the other process of this same router while an upgrade is under way.
type Twin interface {
	// Ask puts a question to it and waits for its answer until ctx ends.
	Ask(ctx context.Context, kind string, payload []byte) ([]byte, error)
	// Tell sends it a message.
	Tell(kind string, payload []byte) error
}

// twin is a Twin and how it does.
type twin struct {
	Twin
	older  bool // it is the process before this one
	health health
}

// How long a question to the twin may hold a message up; it lives on the same machine. An answer of its own gets more, since with it the
// memory of a message goes over.
const (
	twinCap    = 250 * time.Millisecond
	twinSettle = 2 * time.Second
)

// Pair joins the tables of this process with those of another one of the same router: what is not known here is asked there, so that a
// submission which meets the new process while the old one still has its first post finds it. The older one's answers and learned owners go
// to the younger one as they come; what it knew before goes by Export and Import. nil: it has gone.
func (s *Shared) Pair(t Twin, older bool) {
	if t == nil {
		s.twin.Store(nil)
		return
	}
	s.twin.Store(&twin{Twin: t, older: older})
}

// Part ends the questions to the other routers: another process of this router has taken the place among them.
func (s *Shared) Part() { s.parted.Store(true) }

// TwinKinds names what Hear takes: questions and messages.
func TwinKinds() (asks, notes []string) {
	return []string{kindTake, kindAsk, kindSettle, kindFind}, []string{kindGone, kindLearn}
}

// Hear answers what the twin asks or tells.
func (s *Shared) Hear(kind string, b []byte) ([]byte, error) {
	reply, err := s.hear(kind, b)
	if err != nil {
		s.m.corrupt.Inc()
	}
	return reply, err
}

func (s *Shared) hear(kind string, b []byte) ([]byte, error) {
	now := time.Now()
	switch kind {
	case kindTake:
		key, _, err := readKey(b)
		if err != nil {
			return nil, err
		}
		return appendRemote(nil, s.giveUp(key)), nil
	case kindAsk:
		key, _, err := readKey(b)
		if err != nil {
			return nil, err
		}
		return appendRemote(nil, s.here(key, now)), nil
	case kindSettle:
		return s.onTwinSettle(b, now)
	case kindGone:
		key, _, err := readKey(b)
		if err != nil {
			return nil, err
		}
		if s.here(key, now).Phase == Unknown {
			s.tell(s.holders(key), kindGone, b)
		}
		return nil, nil
	case kindLearn:
		return s.onLearn("", b)
	case kindFind:
		return s.onFind("", b)
	}
	return nil, errShared
}

// onTwinSettle keeps an answer that the older process has just got, here and, in its place, at the other routers.
func (s *Shared) onTwinSettle(b []byte, now time.Time) ([]byte, error) {
	key, rest, err := readKey(b)
	if err != nil {
		return nil, err
	}
	rec, err := readRemote(rest)
	if err != nil || rec.Phase != Answered {
		return nil, errShared
	}
	if s.o.Fence != nil {
		s.o.Fence.adopt(key, rec, now)
	}
	if two := s.holders(key); len(two) > 0 {
		s.ask(two, kindSettle, b, func([]byte) bool { return false })
	}
	return []byte{sharedVersion}, nil
}

// askTwin puts one question to the twin; false: it did not answer.
func (s *Shared) askTwin(t *twin, kind string, payload []byte, patience time.Duration) ([]byte, bool) {
	if until := t.health.until.Load(); until != 0 && time.Now().UnixNano() < until {
		s.m.twins[askSkipped].Inc()
		return nil, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := t.Ask(ctx, kind, payload)
	switch {
	case err == nil:
		t.health.missed.Store(0)
		s.m.twins[askOK].Inc()
		return b, true
	case ctx.Err() != nil:
		s.m.twins[askLate].Inc()
		if t.health.missed.Add(1) >= restAfter { // a frozen process costs its time-out a few times, not with every message
			t.health.until.Store(time.Now().Add(restFor).UnixNano())
		}
	default:
		s.m.twins[askError].Inc() // it has just gone
	}
	return nil, false
}

// enterTwin asks the twin about a submission that begins here. Of two posts of one key that meet in the two processes the one at the
// younger process is the newer: new connections go there. over: the other one goes on instead of ours.
func (s *Shared) enterTwin(key string) (rec Remote, from *twin, over bool) {
	t := s.twin.Load()
	if t == nil || len(key) > maxSharedKey {
		return Remote{}, nil, false
	}
	kind := kindAsk
	if t.older {
		kind = kindTake
	}
	b, ok := s.askTwin(t, kind, appendKey(key), twinCap)
	if !ok {
		return Remote{}, nil, false
	}
	rec, err := readRemote(b)
	switch {
	case err != nil:
		s.m.corrupt.Inc()
		return Remote{}, nil, false
	case rec.Phase == Uploading:
		return Remote{}, nil, !t.older // it was broken off there for ours, or it is the newer one
	}
	return rec, t, false
}

// settleTwin gives a final answer to the younger process.
func (s *Shared) settleTwin(t *twin, key string, rec Remote) {
	if t != nil && !t.older {
		s.askTwin(t, kindSettle, appendRemote(appendKey(key), rec), twinSettle)
	}
}

// tellTwin tells the younger process something.
func (s *Shared) tellTwin(kind string, payload []byte) {
	if t := s.twin.Load(); t != nil && !t.older {
		if err := t.Tell(kind, payload); err != nil {
			s.m.twins[askError].Inc()
		}
	}
}

// findAtTwin asks the twin who holds what one of the keys names.
func (s *Shared) findAtTwin(now time.Time, keys []string) string {
	t, keys := s.twin.Load(), short(keys)
	if t == nil || len(keys) == 0 {
		return ""
	}
	b, ok := s.askTwin(t, kindFind, appendOwner("", keys), twinCap)
	if !ok || len(b) == 0 || len(b) > maxSharedName {
		return ""
	}
	for _, k := range keys {
		s.o.Owners.Learn(k, string(b), now)
	}
	return string(b)
}

// short leaves out what is too much or too long to be sent.
func short(keys []string) []string {
	out := make([]string, 0, min(len(keys), maxSharedKeys))
	for _, k := range keys[:min(len(keys), maxSharedKeys)] {
		if len(k) > 0 && len(k) <= maxSharedKey {
			out = append(out, k)
		}
	}
	return out
}

// heardTwin asks again about a submission under way at the twin; false: its fate is not known any more.
func (p *SharedPrior) heardTwin() (Remote, bool) {
	if b, ok := p.s.askTwin(p.twin, kindAsk, appendKey(p.key), twinCap); ok {
		if rec, err := readRemote(b); err == nil && rec.Phase >= Whole {
			return rec, true
		}
	}
	// It gives its answers to us before it ends.
	if rec := p.s.here(p.key, time.Now()); rec.Phase == Answered {
		return rec, true
	}
	if p.s.twin.Load() != p.twin {
		p.s.m.found[foundLost].Inc()
		return Remote{}, false
	}
	p.missed++
	return p.rec, p.missed < restAfter
}

// adopt enters an answer that another process got; what is under way here is newer and stays.
func (f *Fence) adopt(key string, rec Remote, since time.Time) {
	h, s := f.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(h, key); e != nil && (e.phase == uploading || e.phase == whole || e.phase == answered && e.since.After(since)) {
		return
	}
	s.seq++
	e := s.put(f, s.seq, h, key, since, nil).e
	e.phase, e.length, e.digest, e.answer = answered, rec.Length, rec.Digest, rec.Answer
}

// twinState is the part of Shared that is about the twin.
type twinState struct {
	twin   atomic.Pointer[twin]
	parted atomic.Bool
}
