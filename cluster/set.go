package cluster

import (
	"slices"
	"sync"
)

// Set is a set that only grows; merging is union. It is bounded: what has no room is refused and counted.
// Safe for use by many goroutines.
type Set struct {
	most    int
	bell    bell
	publish func(Delta)

	mu  sync.Mutex
	all map[string]struct{}
}

// NewSet makes one for at most that many elements of up to 512 octets (most 0: 1024).
func NewSet(most int) *Set {
	if most <= 0 {
		most = 1024
	}
	return &Set{most: most, publish: func(Delta) {}, all: map[string]struct{}{}}
}

// Bind is for the Cluster.
func (s *Set) Bind(publish func(Delta)) { s.publish = publish }

// Watch gives a channel that receives after changes, and the function that ends it.
func (s *Set) Watch() (<-chan struct{}, func()) { return s.bell.watch() }

// Tick does nothing: a set has no lifetimes.
func (s *Set) Tick() {}

// Add adds an element and passes it on.
func (s *Set) Add(e string) error {
	if e == "" || len(e) > maxKey {
		return ErrTooLarge
	}
	s.mu.Lock()
	if _, ok := s.all[e]; ok {
		s.mu.Unlock()
		return nil
	}
	if len(s.all) >= s.most {
		s.mu.Unlock()
		return ErrFull
	}
	s.all[e] = struct{}{}
	s.mu.Unlock()
	s.publish(element(e))
	s.bell.ring()
	return nil
}

func element(e string) Delta {
	return Delta{Key: e, Payload: appendString([]byte{wireVersion}, e)}
}

// Has says whether e is in the set.
func (s *Set) Has(e string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.all[e]
	return ok
}

// All gives the elements, sorted.
func (s *Set) All() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]string, 0, len(s.all))
	for e := range s.all {
		all = append(all, e)
	}
	slices.Sort(all)
	return all
}

// Full gives the whole set as one payload.
func (s *Set) Full() []byte {
	b := []byte{wireVersion}
	for _, e := range s.All() {
		b = appendString(b, e)
	}
	return b
}

// Merge adds the elements of a payload.
func (s *Set) Merge(payload []byte) Outcome {
	var out Outcome
	r := reader{b: payload}
	if v := r.byte(); r.bad || v != wireVersion {
		out.refuse(versionOrCorrupt(r.bad))
		return out
	}
	s.mu.Lock()
	for len(r.b) > 0 {
		e := r.str(maxKey)
		if r.bad || e == "" {
			out.refuse(ReasonCorrupt)
			break
		}
		if _, ok := s.all[e]; ok {
			continue
		}
		if len(s.all) >= s.most {
			out.refuse(ReasonFull)
			continue
		}
		s.all[e] = struct{}{}
		out.Changed = append(out.Changed, element(e))
	}
	s.mu.Unlock()
	if len(out.Changed) > 0 {
		s.bell.ring()
	}
	return out
}
