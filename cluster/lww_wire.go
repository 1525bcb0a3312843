package cluster

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// The form of a payload: version, then for each entry its length and in it: flags, key, counter, node, what is left
// of the lifetime in milliseconds (0: none), value.
const flagDeleted = 1

func appendEntry(b []byte, key string, r *record, now time.Time) []byte {
	e := make([]byte, 0, len(key)+len(r.value)+len(r.node)+32)
	flags := byte(0)
	if r.deleted {
		flags |= flagDeleted
	}
	e = append(e, flags)
	e = appendString(e, key)
	e = binary.AppendUvarint(e, r.counter)
	e = appendString(e, r.node)
	left := uint64(0)
	if !r.until.IsZero() {
		left = ceilMillis(r.until.Sub(now))
	}
	e = binary.AppendUvarint(e, left)
	e = appendBytes(e, r.value)
	return appendBytes(b, e)
}

func (m *Map) delta(key string, r *record, now time.Time) Delta {
	return Delta{Key: key, Payload: appendEntry([]byte{wireVersion}, key, r, now)}
}

// Full gives the whole state as one payload.
func (m *Map) Full() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.o.Now()
	b := append(make([]byte, 0, m.octets+64*len(m.entries)+1), wireVersion)
	keys := make([]string, 0, len(m.entries))
	for k, r := range m.entries {
		if !r.ended && (r.until.IsZero() || now.Before(r.until)) {
			keys = append(keys, k)
		}
	}
	// In the order of the counters, so that whoever could take each change when it was made can take all of them now.
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(m.entries[a].counter, m.entries[b].counter), strings.Compare(a, b))
	})
	for _, k := range keys {
		b = appendEntry(b, k, m.entries[k], now)
	}
	return b
}

// maxLifetime bounds what a peer may claim to be left.
const maxLifetime = 10 * 365 * 24 * time.Hour

// readEntry takes one entry apart. Fields behind the known ones are a newer program's, and passed over.
func readEntry(e []byte, now time.Time) (string, *record, bool) {
	r := reader{b: e}
	flags := r.byte()
	key := r.str(maxKey)
	rec := &record{deleted: flags&flagDeleted != 0, counter: r.uvarint(), node: r.str(maxNode)}
	left := r.uvarint()
	rec.value = bytes.Clone(r.bytes(maxValue))
	if r.bad || key == "" || rec.counter == 0 || !nodeName(rec.node) || left > uint64(maxLifetime/time.Millisecond) {
		return "", nil, false
	}
	if rec.deleted {
		rec.value = nil
	}
	if left > 0 {
		rec.until = now.Add(time.Duration(left) * time.Millisecond)
	}
	return key, rec, true
}

// Merge takes entries of another node.
func (m *Map) Merge(payload []byte) Outcome { return m.merge(payload, false) }

// Restore takes what Full once gave and a file kept, as far as nothing newer is known; away is how long ago that
// was by the wall clock. Because that clock may have been set since, the first peer's word on a lifetime counts more.
func (m *Map) Restore(payload []byte, away time.Duration) Outcome {
	out := m.merge(payload, true)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.entries {
		if r.doubt && !r.until.IsZero() {
			r.until = r.until.Add(-max(0, away))
		}
	}
	return out
}

func (m *Map) merge(payload []byte, file bool) Outcome {
	var out Outcome
	r := reader{b: payload}
	if v := r.byte(); r.bad || v != wireVersion {
		out.refuse(versionOrCorrupt(r.bad))
		return out
	}
	m.mu.Lock()
	now := m.o.Now()
	changed := false
	for len(r.b) > 0 {
		e := r.bytes(maxKey + maxValue + maxNode + 64)
		if r.bad {
			out.refuse(ReasonCorrupt)
			break
		}
		key, rec, ok := readEntry(e, now)
		if !ok {
			out.refuse(ReasonCorrupt)
			continue
		}
		if why := m.refuses(key, rec); why != "" {
			out.refuse(why)
			continue
		}
		m.clock = max(m.clock, rec.counter)
		if rec = m.take(key, rec, file, now); rec != nil {
			changed = true
			out.Changed = append(out.Changed, m.delta(key, rec, now))
		}
	}
	m.mu.Unlock()
	if changed {
		m.bell.ring()
	}
	return out
}

func versionOrCorrupt(bad bool) Reason {
	if bad {
		return ReasonCorrupt
	}
	return ReasonVersion
}

func (m *Map) refuses(key string, rec *record) Reason {
	switch {
	case rec.counter > m.clock && rec.counter-m.clock > farAhead:
		return ReasonAhead
	case m.o.Owned && ownerOf(key) != rec.node:
		return ReasonOwner
	case !m.roomFor(key, rec):
		return ReasonFull
	}
	return ""
}

// take puts rec over what is known, if it wins, and gives what now stands there; nil: nothing changed. The lock is
// held.
func (m *Map) take(key string, rec *record, file bool, now time.Time) *record {
	old := m.entries[key]
	if old != nil {
		switch c := compare(rec, old); {
		case c < 0:
			return nil
		case c == 0:
			m.sameAgain(rec, old, file, now)
			return nil
		}
	}
	if m.o.Owned && ownerOf(key) == m.o.Node && !file {
		// Somebody remembers what this node said in an earlier life. It says again what holds now.
		mine := &record{node: m.o.Node, deleted: true, until: now.Add(m.o.Keep)}
		if old != nil {
			cp := *old
			mine = &cp
		}
		m.stamp(mine, now)
		m.put(key, mine)
		return mine
	}
	rec.doubt = file
	m.put(key, rec)
	return rec
}

// sameAgain hears of an entry that is known: the shorter lifetime counts, except where ours comes from a file.
func (m *Map) sameAgain(rec, old *record, file bool, now time.Time) {
	switch {
	case file || rec.until.IsZero() || old.until.IsZero() && !old.doubt:
	case old.doubt:
		old.until, old.doubt, old.ended = rec.until, false, false
		m.bell.ring()
	case old.ended:
	case rec.until.Before(old.until):
		old.until = rec.until
	}
}

// compare orders two entries of one key: above 0, a wins.
func compare(a, b *record) int {
	switch {
	case a.counter != b.counter:
		if a.counter > b.counter {
			return 1
		}
		return -1
	case a.node != b.node:
		return strings.Compare(a.node, b.node)
	case a.deleted != b.deleted:
		if a.deleted {
			return 1
		}
		return -1
	}
	return bytes.Compare(a.value, b.value)
}
