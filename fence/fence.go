// Package fence keeps a subscriber's repeated submission from becoming a second message, and remembers
// which MMSC holds what.
//
// Fence maps (subscriber, transaction id) to the fate of the last submission under it: uploading, whole (its
// answer is awaited) or answered. Handsets post the same message again when an answer got lost, up to three
// times in three minutes; the second post must find the first one's answer. Only final answers are kept (Ok
// or permanent): after a transient one the next post is a new try.
//
// Both are bounded in number and time, and best effort across restarts: an entry that was pushed out means
// a message may be doubled, never that one is lost. Safe for use by many goroutines; no lock is held
// while a caller's function runs.
package fence

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Key joins a subscriber and a transaction id. Both are data of a peer; the zero octet can't occur in a
// transaction id (a text string).
func Key(subscriber string, transaction []byte) string {
	b := make([]byte, 0, len(subscriber)+1+len(transaction))
	b = append(b, subscriber...)
	b = append(b, 0)
	return string(append(b, transaction...))
}

// Options of a Fence.
type Options struct {
	Window  time.Duration // how long an answer is kept
	Entries int           // most entries; the oldest go first
}

const shards = 64

// Fence is the duplicate fence of one router.
type Fence struct {
	opt   Options
	shard [shards]shard
}

type shard struct {
	mu      sync.Mutex
	entries map[string]*entry
	ring    []*entry // in order of birth; the head is overwritten when full
	next    int
}

type phase uint8

const (
	uploading phase = iota
	whole
	answered
	gone // ended without a final answer, or taken over
)

// entry is one submission. Its fields are guarded by the shard's lock.
type entry struct {
	key    string
	phase  phase
	length int64
	digest uint64
	answer []byte
	born   time.Time
	abort  func()        // breaks the upload; called without the lock
	settle chan struct{} // closed when the phase becomes answered or gone; made by the first who waits
	moved  chan struct{} // closed when the phase leaves uploading; likewise
	taken  bool          // a newer submission wants the upload to end
}

// New makes a Fence.
func New(o Options) *Fence {
	f := &Fence{opt: o}
	for i := range f.shard {
		f.shard[i].entries = map[string]*entry{}
		f.shard[i].ring = make([]*entry, max(1, o.Entries/shards))
	}
	return f
}

func (f *Fence) of(key string) *shard { return &f.shard[xxhash.Sum64String(key)%shards] }

// Len counts the entries that are kept.
func (f *Fence) Len() int {
	n := 0
	for i := range f.shard {
		s := &f.shard[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

// Ticket is one submission's own entry. It must end with Answer or Drop.
type Ticket struct {
	f *Fence
	e *entry
}

// Prior is an earlier submission under the same key whose upload was whole.
type Prior struct {
	f *Fence
	e *entry
}

// Enter is called when the head of a submission has been read. No earlier submission (prior nil): the
// ticket is entered, stream at once. If an earlier one is still uploading it is broken (its abort is
// called) and waited for; it may turn out whole in that moment. Prior not nil: don't stream; read the
// body whole and ask prior.Answer; if that gives nothing, call Replace and forward as new.
func (f *Fence) Enter(key string, now time.Time, wait time.Duration, abort func()) (*Ticket, *Prior) {
	s := f.of(key)
	for {
		s.mu.Lock()
		e := s.entries[key]
		if e == nil || e.phase == gone || e.phase == answered && now.Sub(e.born) > f.opt.Window {
			t := s.enter(f, key, now, abort)
			s.mu.Unlock()
			return t, nil
		}
		if e.phase != uploading {
			s.mu.Unlock()
			return nil, &Prior{f: f, e: e}
		}
		e.taken = true
		if e.moved == nil {
			e.moved = make(chan struct{})
		}
		stop, moved := e.abort, e.moved
		s.mu.Unlock()
		stop()
		if !within(moved, wait) {
			// It neither ended nor became whole in time: two uploads run side by side, as without a fence.
			s.mu.Lock()
			t := s.enter(f, key, now, abort)
			s.mu.Unlock()
			return t, nil
		}
	}
}

// within waits for c to close, for at most d.
func within(c <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// Replace enters a submission over whatever stands under its key: it was compared and differs.
func (f *Fence) Replace(key string, now time.Time, abort func()) *Ticket {
	s := f.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enter(f, key, now, abort)
}

// enter puts a new entry; the lock is held.
func (s *shard) enter(f *Fence, key string, now time.Time, abort func()) *Ticket {
	e := &entry{key: key, born: now, abort: abort}
	if old := s.ring[s.next]; old != nil && s.entries[old.key] == old {
		delete(s.entries, old.key)
	}
	s.ring[s.next] = e
	s.next = (s.next + 1) % len(s.ring)
	s.entries[key] = e
	return &Ticket{f: f, e: e}
}

// Whole is called before the write that carries the upload's last octet. False: a newer submission has
// taken over, and this one must break before its end.
func (t *Ticket) Whole(length int64, digest uint64) bool {
	s := t.f.of(t.e.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.e.phase != uploading {
		return t.e.phase == whole
	}
	if t.e.taken {
		return false
	}
	t.e.phase, t.e.length, t.e.digest = whole, length, digest
	wake(t.e.moved)
	return true
}

// Taken says that a newer submission wants this upload broken.
func (t *Ticket) Taken() bool {
	s := t.f.of(t.e.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.e.taken && t.e.phase == uploading
}

// Answer settles the submission with a final answer, which the fence keeps (the slice becomes its own).
func (t *Ticket) Answer(answer []byte) { t.end(answered, answer) }

// Drop settles it without one: the next post is new. After Answer it does nothing.
func (t *Ticket) Drop() { t.end(gone, nil) }

func (t *Ticket) end(p phase, answer []byte) {
	s := t.f.of(t.e.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := t.e
	if e.phase == answered || e.phase == gone {
		return
	}
	if e.phase == uploading {
		wake(e.moved)
	}
	e.phase, e.answer, e.abort = p, answer, nil
	wake(e.settle)
	if p == gone && s.entries[e.key] == e {
		delete(s.entries, e.key) // the ring's slot ages out by itself
	}
}

// wake tells those who wait, if anybody does.
func wake(c chan struct{}) {
	if c != nil {
		close(c)
	}
}

// Answer gives the earlier submission's final answer if its body was the same, waiting while it is still
// awaited. Nil: it differed, or ended without a final answer in time.
func (p *Prior) Answer(wait time.Duration, length int64, digest uint64) []byte {
	s := p.f.of(p.e.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.e.length != length || p.e.digest != digest {
		return nil
	}
	if p.e.phase == whole {
		if p.e.settle == nil {
			p.e.settle = make(chan struct{})
		}
		settle := p.e.settle
		s.mu.Unlock()
		within(settle, wait)
		s.mu.Lock()
	}
	if p.e.phase != answered {
		return nil
	}
	return p.e.answer
}
