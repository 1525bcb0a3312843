package fence

import (
	"encoding/binary"
	"time"
)

// A piece of an export: version, what it is about, then records, each a length-prefixed field. What a newer program puts behind a record's
// fields is passed over.
const exportVersion = 1

const (
	pieceAnswers = 'a' // answered submissions: age in milliseconds, key, Remote
	pieceKept    = 'k' // submissions kept for other routers: the same
	pieceOwners  = 'o' // learned owners: milliseconds left, key, name
)

// pieceSize is where a piece ends; a record is at most maxRecord longer.
const (
	pieceSize = 32 << 10
	maxRecord = maxSharedKey + maxSharedName + maxSharedAnswer + 64
)

// exporter gathers records into pieces.
type exporter struct {
	kind byte
	b    []byte
	rec  []byte
	emit func([]byte) error
	err  error
}

func (x *exporter) add(fill func(b []byte) []byte) {
	if x.err != nil {
		return
	}
	if len(x.b) == 0 {
		x.b = append(x.b, exportVersion, x.kind)
	}
	x.rec = fill(x.rec[:0])
	if x.b = appendField(x.b, x.rec); len(x.b) >= pieceSize {
		x.flush()
	}
}

func (x *exporter) flush() {
	if x.err == nil && len(x.b) > 0 {
		x.err = x.emit(x.b)
	}
	x.b = x.b[:0]
}

// Export hands what is remembered to emit, piece by piece, the oldest first: answered submissions, those kept for other routers, learned
// owners. A piece is valid until emit returns. What comes while it runs goes over by Pair, which must come before.
func (s *Shared) Export(emit func(piece []byte) error) error {
	now := time.Now()
	if s.o.Fence != nil {
		x := &exporter{kind: pieceAnswers, emit: emit}
		s.o.Fence.each(now, func(key string, rec Remote, since time.Time) {
			x.add(func(b []byte) []byte { return appendAged(b, now.Sub(since), key, rec) })
		})
		if x.flush(); x.err != nil {
			return x.err
		}
	}
	x := &exporter{kind: pieceKept, emit: emit}
	s.kept.each(now, func(key string, rec Remote, born time.Time) {
		x.add(func(b []byte) []byte { return appendAged(b, now.Sub(born), key, rec) })
	})
	if x.flush(); x.err != nil {
		return x.err
	}
	x = &exporter{kind: pieceOwners, emit: emit}
	s.o.Owners.each(now, func(key, name string, till time.Time) {
		x.add(func(b []byte) []byte {
			b = binary.AppendUvarint(b, uint64(till.Sub(now)/time.Millisecond))
			return appendField(appendField(b, key), name)
		})
	})
	x.flush()
	return x.err
}

func appendAged(b []byte, age time.Duration, key string, rec Remote) []byte {
	b = binary.AppendUvarint(b, uint64(max(age, 0)/time.Millisecond))
	return appendRemote(appendField(b, key), rec)
}

// Import takes a piece of another process's export. What is known here already is not replaced by what is older. An error says that the
// piece could not be read, or only its beginning.
func (s *Shared) Import(piece []byte) error {
	if len(piece) < 2 || piece[0] != exportVersion {
		return errShared
	}
	now := time.Now()
	for rest := piece[2:]; len(rest) > 0; {
		rec, more, ok := field(rest, maxRecord)
		if !ok {
			return errShared
		}
		if err := s.importOne(piece[1], rec, now); err != nil {
			return err
		}
		rest = more
	}
	return nil
}

func (s *Shared) importOne(kind byte, b []byte, now time.Time) error {
	ms, n := binary.Uvarint(b)
	if n <= 0 || ms > uint64(365*24*time.Hour/time.Millisecond) {
		return errShared
	}
	d := time.Duration(ms) * time.Millisecond
	k, b, ok := field(b[n:], maxSharedKey)
	if !ok || len(k) == 0 {
		return errShared
	}
	key := string(k)
	if kind == pieceOwners {
		name, _, ok := field(b, maxSharedName)
		if !ok || len(name) == 0 {
			return errShared
		}
		if s.o.Owners.Find(key, now) == "" {
			s.o.Owners.learn(key, string(name), now.Add(min(d, s.o.Owners.keep)))
		}
		return nil
	}
	rec, err := readRemote(b)
	if err != nil {
		return err
	}
	switch kind {
	case pieceAnswers:
		if rec.Phase == Answered && s.o.Fence != nil && d <= s.o.Fence.opt.Window {
			s.o.Fence.adopt(key, rec, now.Add(-d))
		}
	case pieceKept:
		s.kept.update(key, now.Add(-d), func(old Remote) Remote {
			if old.Phase != Unknown || d > s.kept.keep {
				return old
			}
			return rec
		})
	default:
		return errShared
	}
	return nil
}

// each gives the answers that are kept, of each shard the oldest first. f runs without a lock.
func (f *Fence) each(now time.Time, give func(key string, rec Remote, since time.Time)) {
	type row struct {
		key   string
		rec   Remote
		since time.Time
	}
	var rows []row
	for i := range f.shard {
		s := &f.shard[i]
		rows = rows[:0]
		s.mu.Lock()
		for k := range s.ring {
			e := s.ring[(s.next+k)%len(s.ring)].e
			if e == nil || e.phase != answered || s.entries[e.hash] != e || now.Sub(e.since) > f.opt.Window ||
				len(e.key) > maxSharedKey || len(e.answer) == 0 || len(e.answer) > maxSharedAnswer {
				continue
			}
			rows = append(rows, row{e.key, Remote{Phase: Answered, Length: e.length, Digest: e.digest, Answer: e.answer}, e.since})
		}
		s.mu.Unlock()
		for _, r := range rows {
			give(r.key, r.rec, r.since)
		}
	}
}

// each is as the Fence's.
func (t *table) each(now time.Time, give func(key string, rec Remote, born time.Time)) {
	var rows []slot
	for i := range t.shard {
		s := &t.shard[i]
		rows = rows[:0]
		s.mu.Lock()
		for k := range s.ring {
			if e := s.ring[(s.next+k)%len(s.ring)]; e != nil && s.of[e.key] == e && now.Sub(e.born) <= t.keep {
				rows = append(rows, *e)
			}
		}
		s.mu.Unlock()
		for _, r := range rows {
			give(r.key, r.rec, r.born)
		}
	}
}

// each is as the Fence's.
func (o *Owners) each(now time.Time, give func(key, name string, till time.Time)) {
	type row struct {
		key string
		owner
	}
	var rows []row
	for i := range o.shard {
		s := &o.shard[i]
		rows = rows[:0]
		s.mu.Lock()
		for k := range s.ring {
			slot := (s.next + k) % len(s.ring)
			key := s.ring[slot]
			if e, ok := s.of[key]; ok && key != "" && e.slot == slot && e.till.After(now) && len(key) <= maxSharedKey && len(e.name) <= maxSharedName {
				rows = append(rows, row{key, e})
			}
		}
		s.mu.Unlock()
		for _, r := range rows {
			give(r.key, r.name, r.till)
		}
	}
}
