package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// MapOptions of a Map. A limit of 0 means its default.
type MapOptions struct {
	Node    string        // this node; author of what is set here
	Entries int           // most keys, deleted ones included (4096)
	Octets  int           // most octets of keys and values (1 MiB)
	Keep    time.Duration // how long a deletion is remembered (24h): a node that was away for longer may bring the entry back
	// Owned: the part of a key before its first slash is the name of the node that the entry belongs to; nobody
	// else may set it. Its owner says it again every third of Lifetime, and without that it ends everywhere.
	Owned    bool
	Lifetime time.Duration
	Now      func() time.Time // nil: time.Now. Only differences are used
}

// farAhead is how far a counter may be ahead of ours. No cluster makes so many changes, so such a stamp is
// corrupt or forged; accepting it would leave no room for later ones. A node that comes in with nothing still
// takes what a cluster has counted in its life.
const farAhead = 1 << 32

// Map is a map where the last writer wins: of two entries for one key the one with the higher logical counter
// counts, then the greater node name, then deletion, then the greater value, so that all nodes choose alike
// whatever they hear first. No node's clock takes part: lifetimes travel as what is left of them. Safe
// for use by many goroutines.
type Map struct {
	o       MapOptions
	bell    bell
	publish func(Delta)

	mu      sync.Mutex
	clock   uint64 // the highest counter seen
	octets  int
	entries map[string]*record
}

// record is one key's state. Absent value: deleted.
type record struct {
	counter uint64
	node    string
	deleted bool
	value   []byte
	until   time.Time // zero: for ever
	ended   bool      // its lifetime is over here; kept so that a slower copy does not bring it back
	doubt   bool      // until comes from a file: the first peer that knows better is believed
	again   time.Time // owned: when it is said again
}

// Entry is a value of a Map.
type Entry struct {
	Key     string
	Value   []byte
	Node    string        // who set it
	Counter uint64        // logical time of the setting: among entries of one Map, the greater is the later
	Left    time.Duration // of its lifetime; 0: it has none
}

// NewMap makes an empty one.
func NewMap(o MapOptions) *Map {
	if o.Entries == 0 {
		o.Entries = 4096
	}
	if o.Octets == 0 {
		o.Octets = 1 << 20
	}
	if o.Keep == 0 {
		o.Keep = 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Map{o: o, publish: func(Delta) {}, entries: map[string]*record{}}
}

// Bind is for the Cluster.
func (m *Map) Bind(publish func(Delta)) { m.publish = publish }

// Watch gives a channel that receives after changes, and the function that ends it.
func (m *Map) Watch() (<-chan struct{}, func()) { return m.bell.watch() }

// Errors of Set.
var (
	ErrTooLarge = errors.New("too large for the cluster's state")
	ErrFull     = errors.New("the cluster's state is full")
)

// Set sets a key for lifetime (0: for ever, or MapOptions.Lifetime where it is owned) and passes it on.
func (m *Map) Set(key string, value []byte, lifetime time.Duration) error {
	if key == "" || len(key) > maxKey || len(value) > maxValue {
		return fmt.Errorf("set %.40q, %d octets: %w", key, len(value), ErrTooLarge)
	}
	if m.o.Owned && ownerOf(key) != m.o.Node {
		return fmt.Errorf("set %.40q: it is not this node's", key)
	}
	m.mu.Lock()
	now := m.o.Now()
	old := m.entries[key]
	if old != nil && lifetime == 0 && !old.deleted && !old.ended && bytes.Equal(old.value, value) && (m.o.Owned || old.until.IsZero()) {
		m.mu.Unlock()
		return nil
	}
	r := &record{node: m.o.Node, value: slices.Clone(value)}
	if lifetime == 0 && m.o.Owned {
		lifetime = m.o.Lifetime
	}
	if lifetime > 0 {
		r.until = now.Add(lifetime)
	}
	if !m.roomFor(key, r) {
		m.mu.Unlock()
		return fmt.Errorf("set %.40q: %w", key, ErrFull)
	}
	m.stamp(r, now)
	m.put(key, r)
	d := m.delta(key, r, now)
	m.mu.Unlock()
	m.publish(d)
	m.bell.ring()
	return nil
}

// Delete removes a key and passes that on; false: there was none.
func (m *Map) Delete(key string) bool {
	m.mu.Lock()
	now := m.o.Now()
	old := m.entries[key]
	if old == nil || old.deleted || old.ended || m.o.Owned && ownerOf(key) != m.o.Node {
		m.mu.Unlock()
		return false
	}
	r := &record{node: m.o.Node, deleted: true, until: now.Add(m.o.Keep)}
	m.stamp(r, now)
	m.put(key, r)
	d := m.delta(key, r, now)
	m.mu.Unlock()
	m.publish(d)
	m.bell.ring()
	return true
}

// Get gives a key's value; it must not be changed.
func (m *Map) Get(key string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.entries[key]
	if r == nil || r.dead(m.o.Now()) {
		return nil, false
	}
	return r.value, true
}

// All gives the entries, sorted by key.
func (m *Map) All() []Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.o.Now()
	all := make([]Entry, 0, len(m.entries))
	for k, r := range m.entries {
		if r.dead(now) {
			continue
		}
		e := Entry{Key: k, Value: r.value, Node: r.node, Counter: r.counter}
		if !r.until.IsZero() {
			e.Left = r.until.Sub(now)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func (r *record) dead(now time.Time) bool {
	return r.deleted || r.ended || !r.until.IsZero() && !now.Before(r.until)
}

// stamp gives r the next logical time; the lock is held.
func (m *Map) stamp(r *record, now time.Time) {
	m.clock++
	r.counter = m.clock
	if m.o.Owned && m.o.Lifetime > 0 && !r.deleted {
		r.again = now.Add(m.o.Lifetime / 3)
	}
}

func (m *Map) roomFor(key string, r *record) bool {
	octets := m.octets + len(key) + len(r.value)
	old, known := m.entries[key]
	if known {
		octets -= len(key) + len(old.value)
	}
	return octets <= m.o.Octets && (known || len(m.entries) < m.o.Entries)
}

func (m *Map) put(key string, r *record) {
	m.drop(key)
	m.entries[key] = r
	m.octets += len(key) + len(r.value)
}

func (m *Map) drop(key string) {
	if old := m.entries[key]; old != nil {
		m.octets -= len(key) + len(old.value)
		delete(m.entries, key)
	}
}

// ownerOf is the node that an owned key belongs to.
func ownerOf(key string) string {
	owner, _, _ := strings.Cut(key, "/")
	return owner
}

// Tick ends lifetimes, forgets old deletions and says again what is this node's own.
func (m *Map) Tick() {
	m.mu.Lock()
	now := m.o.Now()
	var say []Delta
	changed := false
	for k, r := range m.entries {
		switch {
		case !r.again.IsZero() && !now.Before(r.again):
			r.until = now.Add(m.o.Lifetime)
			m.stamp(r, now)
			say = append(say, m.delta(k, r, now))
		case r.until.IsZero() || now.Before(r.until):
		case r.deleted || r.ended:
			m.drop(k)
		default:
			r.ended, r.until, changed = true, now.Add(m.o.Keep), true
		}
	}
	m.mu.Unlock()
	for _, d := range say {
		m.publish(d)
	}
	if changed {
		m.bell.ring()
	}
}
