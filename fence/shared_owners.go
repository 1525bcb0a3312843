package fence

import (
	"context"
	"sync"
	"time"
)

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
