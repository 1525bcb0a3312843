package wappush

import (
	"container/list"
	"fmt"
	"time"
)

// Defaults of a Reassembler.
const (
	DefaultMaxOpen = 1024
	DefaultMaxAge  = 5 * time.Minute
)

// Reassembler puts segments of SMS together. Memory is bounded: at most MaxOpen
// messages wait for segments, each of at most 255 times 140 octets; the oldest
// gives way, and one that waits longer than MaxAge is dropped. It is for one
// goroutine.
type Reassembler struct {
	maxOpen int
	maxAge  time.Duration
	open    map[segmentKey]*list.Element
	order   *list.List // of *assembly, oldest first
	dropped int
}

// segmentKey tells messages apart: references repeat between phones.
type segmentKey struct {
	from, to string
	ref      uint16
	wide     bool
	total    byte
	port     uint16
}

type assembly struct {
	key      segmentKey
	began    time.Time
	segments [][]byte
	have     int
}

// NewReassembler makes one; a bound of zero or below is the default.
func NewReassembler(maxOpen int, maxAge time.Duration) *Reassembler {
	if maxOpen <= 0 {
		maxOpen = DefaultMaxOpen
	}
	if maxAge <= 0 {
		maxAge = DefaultMaxAge
	}
	return &Reassembler{maxOpen: maxOpen, maxAge: maxAge, open: make(map[segmentKey]*list.Element), order: list.New()}
}

// Add takes the user data of an SMS between two addresses at the time now. It
// gives the whole payload once all segments are there, nil before. Segments may
// come in any order; one that comes again is ignored. Payloads are copied.
func (r *Reassembler) Add(from, to string, ud []byte, now time.Time) (payload []byte, u UserData, err error) {
	u, err = ParseUserData(ud)
	if err != nil {
		return nil, u, err
	}
	r.expire(now)
	if u.Total == 1 {
		return append([]byte{}, u.Payload...), u, nil
	}
	if len(u.Payload) > MaxUserData {
		return nil, u, fmt.Errorf("user data: a segment of %d octets, %d are allowed", len(u.Payload), MaxUserData)
	}
	key := segmentKey{from, to, u.Reference, u.WideReference, u.Total, u.Destination}
	e, ok := r.open[key]
	if !ok {
		if r.order.Len() >= r.maxOpen {
			r.drop(r.order.Front())
		}
		e = r.order.PushBack(&assembly{key: key, began: now, segments: make([][]byte, u.Total)})
		r.open[key] = e
	}
	a := e.Value.(*assembly)
	if a.segments[u.Sequence-1] == nil {
		a.segments[u.Sequence-1] = append([]byte{}, u.Payload...)
		a.have++
	}
	if a.have < int(u.Total) {
		return nil, u, nil
	}
	r.order.Remove(e)
	delete(r.open, key)
	payload = make([]byte, 0, a.have*MaxUserData)
	for _, s := range a.segments {
		payload = append(payload, s...)
	}
	return payload, u, nil
}

// Open gives how many messages wait for segments.
func (r *Reassembler) Open() int { return r.order.Len() }

// Dropped gives how many messages were given up, for age or for room.
func (r *Reassembler) Dropped() int { return r.dropped }

func (r *Reassembler) expire(now time.Time) {
	for e := r.order.Front(); e != nil && now.Sub(e.Value.(*assembly).began) > r.maxAge; e = r.order.Front() {
		r.drop(e)
	}
}

func (r *Reassembler) drop(e *list.Element) {
	delete(r.open, e.Value.(*assembly).key)
	r.order.Remove(e)
	r.dropped++
}
