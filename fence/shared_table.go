package fence

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// table keeps what other routers entrusted to this one: bounded in number and age, the oldest go first. It is cut
// into shards; no lock is held while a caller's function runs, but for update's.
type table struct {
	keep  time.Duration
	shard [shards]tableShard
}

type tableShard struct {
	mu   sync.Mutex
	of   map[string]*slot
	ring []*slot
	next int
}

type slot struct {
	key  string
	born time.Time
	rec  Remote
}

func newTable(entries int, keep time.Duration) *table {
	t := &table{keep: keep}
	for i := range t.shard {
		t.shard[i].of = map[string]*slot{}
		t.shard[i].ring = make([]*slot, max(1, entries/shards))
	}
	return t
}

// update gives f what is kept under the key (zero: nothing) and keeps what it returns; a Remote without a phase
// drops the entry. f runs under the shard's lock and must not block.
func (t *table) update(key string, now time.Time, f func(Remote) Remote) {
	s := &t.shard[xxhash.Sum64String(key)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.of[key]
	var rec Remote
	if old != nil && now.Sub(old.born) <= t.keep {
		rec = old.rec
	}
	rec = f(rec)
	if rec.Phase == Unknown {
		delete(s.of, key) // the ring's place ages out by itself
		return
	}
	if old != nil {
		old.rec, old.born = rec, now
		return
	}
	e := &slot{key: key, born: now, rec: rec}
	if out := s.ring[s.next]; out != nil && s.of[out.key] == out {
		delete(s.of, out.key)
	}
	s.ring[s.next] = e
	s.next = (s.next + 1) % len(s.ring)
	s.of[key] = e
}

func (t *table) get(key string, now time.Time) Remote {
	s := &t.shard[xxhash.Sum64String(key)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.of[key]; e != nil && now.Sub(e.born) <= t.keep {
		return e.rec
	}
	return Remote{}
}

func (t *table) len() int {
	n := 0
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		n += len(s.of)
		s.mu.Unlock()
	}
	return n
}
