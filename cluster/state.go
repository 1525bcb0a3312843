package cluster

import (
	"sync"
	"time"
)

// Reason says why something that came in has no effect. It is the label of a metric: a closed set.
type Reason string

// The reasons.
const (
	ReasonKey      Reason = "key"      // can't be decrypted: another key, or none
	ReasonLabel    Reason = "label"    // another cluster's name
	ReasonVersion  Reason = "version"  // a form that this program does not know
	ReasonCorrupt  Reason = "corrupt"  // not a payload
	ReasonSize     Reason = "size"     // larger than allowed
	ReasonAhead    Reason = "ahead"    // a stamp far ahead of ours
	ReasonOwner    Reason = "owner"    // an entry by another node than the one that it belongs to
	ReasonFull     Reason = "full"     // no room for another entry or member
	ReasonConflict Reason = "conflict" // two nodes with one name
	ReasonMember   Reason = "member"   // a name that no router can have
	ReasonBusy     Reason = "busy"     // more at a time than is worked on
	ReasonUnknown  Reason = "unknown"  // a state or kind of message that nobody registered here
	ReasonClock    Reason = "clock"    // a clock that differs: told, nothing refused
)

var reasons = []Reason{ReasonKey, ReasonLabel, ReasonVersion, ReasonCorrupt, ReasonSize, ReasonAhead, ReasonOwner, ReasonFull,
	ReasonConflict, ReasonMember, ReasonBusy, ReasonUnknown, ReasonClock}

// Delta is a change to pass on. A later delta with the same key replaces one that is still waiting.
type Delta struct {
	Key     string
	Payload []byte
}

// Outcome is what a merge did.
type Outcome struct {
	Changed []Delta        // what was news here, to pass on
	Refused map[Reason]int // entries without effect
}

func (o *Outcome) refuse(r Reason) {
	if o.Refused == nil {
		o.Refused = map[Reason]int{}
	}
	o.Refused[r]++
}

// Merger is a state that every node holds a copy of. Merging must be commutative, associative and
// idempotent, so that all copies become equal whatever way the payloads take. Map and Set are Mergers.
type Merger interface {
	// Merge takes a payload of another node: a delta or a whole state. It keeps no part of the slice.
	Merge(payload []byte) Outcome
	// Full gives the whole state as one payload.
	Full() []byte
	// Bind is called once, before anything else: publish passes on what was changed here. It may be called
	// from any goroutine, without locks held.
	Bind(publish func(Delta))
	// Tick is called about once a second, for what ends by itself.
	Tick()
}

// bell tells watchers that something changed. A ring is never lost, several may become one.
type bell struct {
	mu  sync.Mutex
	all map[chan struct{}]struct{}
}

// watch gives a channel that receives after each change, and the function that ends it.
func (b *bell) watch() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = map[chan struct{}]struct{}{}
	}
	b.all[c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all, c)
	}
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.all {
		select {
		case c <- struct{}{}:
		default: // it has not looked yet at the ring before
		}
	}
}

// ceilMillis turns what is left of a lifetime into milliseconds, at least one.
func ceilMillis(d time.Duration) uint64 {
	return uint64(max(1, (d+time.Millisecond-1)/time.Millisecond))
}
