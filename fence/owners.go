package fence

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Owners remembers which MMSC holds the message behind a key (a path, a subscriber and transaction id, a
// subscriber and message id), as the answers that stream through teach it. It is bounded in number and
// age; the oldest entries go first. Safe for use by many goroutines.
type Owners struct {
	keep  time.Duration
	shard [shards]ownerShard
}

type ownerShard struct {
	mu   sync.Mutex
	of   map[string]owner
	ring []string
	next int
}

type owner struct {
	name string
	till time.Time
	slot int // its place in the ring, so that a key learned again is not dropped with its old place
}

// NewOwners makes a table for at most entries keys, each kept for that long.
func NewOwners(entries int, keep time.Duration) *Owners {
	o := &Owners{keep: keep}
	for i := range o.shard {
		o.shard[i].of = map[string]owner{}
		o.shard[i].ring = make([]string, max(1, entries/shards))
	}
	return o
}

func (o *Owners) shardOf(key string) *ownerShard { return &o.shard[xxhash.Sum64String(key)%shards] }

// maxOwnerKey bounds a key, in octets: a location travels in an SMS, and who makes up longer ones would fill the memory with them.
const maxOwnerKey = 512

// Learn notes that the MMSC of that name holds what key names. A key of more than 512 octets is not kept: whoever looks for it asks all.
func (o *Owners) Learn(key, name string, now time.Time) {
	if len(key) <= maxOwnerKey {
		o.learn(key, name, now.Add(o.keep))
	}
}

func (o *Owners) learn(key, name string, till time.Time) {
	s := o.shardOf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.of[key]; ok && s.young(old.slot) {
		old.name, old.till = name, till
		s.of[key] = old
		return
	}
	if out := s.ring[s.next]; out != "" {
		if e, ok := s.of[out]; ok && e.slot == s.next {
			delete(s.of, out)
		}
	}
	s.ring[s.next] = key
	s.of[key] = owner{name: name, till: till, slot: s.next}
	s.next = (s.next + 1) % len(s.ring)
}

// young says that a place is in the newer half of the ring. A key learned again moves only out of the older half, so
// that it does not take a place each time.
func (s *ownerShard) young(slot int) bool {
	age := (s.next - 1 - slot + len(s.ring)) % len(s.ring)
	return age < len(s.ring)/2
}

// Find gives the MMSC's name; "" if it is not known.
func (o *Owners) Find(key string, now time.Time) string {
	s := o.shardOf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.of[key]
	if !ok || now.After(e.till) {
		return ""
	}
	return e.name
}

// Len counts the keys that are kept.
func (o *Owners) Len() int {
	n := 0
	for i := range o.shard {
		o.shard[i].mu.Lock()
		n += len(o.shard[i].of)
		o.shard[i].mu.Unlock()
	}
	return n
}
