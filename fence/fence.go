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
	"hash/maphash"
	"sync"
	"time"
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
	Window  time.Duration // how long an answer is kept, from when it came
	Entries int           // most entries; the oldest go first
}

const shards = 64

// Fence is the duplicate fence of one router.
type Fence struct {
	opt   Options
	seed  maphash.Seed
	shard [shards]shard
}

// shard is a part of the fence. Its entries are found by their key's hash: the map is small and dense, and a look into it
// touches no key. Of two keys with one hash (the seed is secret and new in each process) the younger entry stays.
type shard struct {
	mu      sync.Mutex
	entries map[uint64]*entry
	seq     uint64  // counts submissions: of two, the higher one is the newer
	ring    []place // in order of birth; the head is overwritten when full
	next    int
}

// place is an entry in the ring, with its hash, so that the oldest need not be fetched from memory to be forgotten.
type place struct {
	hash uint64
	e    *entry
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
	key      string
	hash     uint64 // of key
	ticket   Ticket // its owner's
	seq      uint64
	phase    phase
	length   int64
	digest   uint64
	answer   []byte
	since    time.Time     // birth, or when the answer came
	abort    func()        // breaks the upload; called without the lock
	aborting int           // calls of abort under way
	quiet    chan struct{} // closed when they have returned; made by end if it must wait
	settle   chan struct{} // closed when the phase becomes answered or gone; made by the first who waits
	moved    chan struct{} // closed when the phase leaves uploading; likewise
	taken    bool          // a newer submission wants the upload to end
}

// New makes a Fence.
func New(o Options) *Fence {
	f := &Fence{opt: o, seed: maphash.MakeSeed()}
	for i := range f.shard {
		f.shard[i].entries = make(map[uint64]*entry, o.Entries/shards)
		f.shard[i].ring = make([]place, max(1, o.Entries/shards))
	}
	return f
}

// of gives a key's hash and the shard that has it.
func (f *Fence) of(key string) (uint64, *shard) {
	h := maphash.String(f.seed, key)
	return h, f.at(h)
}

func (f *Fence) at(hash uint64) *shard { return &f.shard[hash%shards] }

// find gives the entry under a key, or nil; the lock is held.
func (s *shard) find(hash uint64, key string) *entry {
	if e := s.entries[hash]; e != nil && e.key == key {
		return e
	}
	return nil
}

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

// Prior is an earlier submission under the same key whose upload was whole, or that was answered before it was.
type Prior struct {
	f   *Fence
	e   *entry
	seq uint64 // of the submission that found it
}

// Enter is called when the head of a submission has been read. No earlier submission (prior nil): the
// ticket is entered, stream at once. If an earlier one is still uploading it is broken (its abort is
// called) and waited for; it may have been answered in that moment. Prior not nil: don't stream; read the
// body whole and ask prior.Answer; if that gives nothing, call prior.Next.
//
// Of several that wait for the same one the newest goes on, whoever wakes first: an older one's abort is called and
// its ticket is taken from the start.
//
// abort is called from another submission's goroutine, or from within Enter, and never after the ticket's Answer or
// Drop has returned. It must neither wait nor end the ticket.
func (f *Fence) Enter(key string, now time.Time, wait time.Duration, abort func()) (*Ticket, *Prior) {
	h, s := f.of(key)
	s.mu.Lock()
	s.seq++
	return f.enter(s, s.seq, nil, h, key, now, wait, abort)
}

// Next is Enter for a submission whose body was compared with p in vain: it differs, or p ended without a final
// answer. p no longer stands in its way, but another twin that waited for p as well may: then it is that one's turn
// to be compared.
func (p *Prior) Next(now time.Time, wait time.Duration, abort func()) (*Ticket, *Prior) {
	s := p.f.at(p.e.hash)
	s.mu.Lock()
	return p.f.enter(s, p.seq, p.e, p.e.hash, p.e.key, now, wait, abort)
}

// enter is Enter over the entry that need not be heeded. The lock is held, and given back.
func (f *Fence) enter(s *shard, seq uint64, over *entry, hash uint64, key string, now time.Time, wait time.Duration, abort func()) (*Ticket, *Prior) {
	for {
		e := s.find(hash, key)
		switch {
		case e == nil, e == over, e.phase == gone, e.phase == answered && now.Sub(e.since) > f.opt.Window:
			t := s.put(f, seq, hash, key, now, abort)
			s.mu.Unlock()
			return t, nil
		case e.phase != uploading:
			s.mu.Unlock()
			return nil, &Prior{f: f, e: e, seq: seq}
		case e.seq > seq: // a newer one came while this one waited
			s.mu.Unlock()
			abort()
			return &Ticket{f: f, e: &entry{key: key, hash: hash, taken: true}}, nil
		}
		if !s.interrupt(e, wait) {
			over = e // it neither ended nor became whole in time: two uploads run side by side, as without a fence
		}
	}
}

// interrupt breaks an upload and waits for what becomes of it; false: nothing did in time. The lock is held, but for
// the abort and the wait.
func (s *shard) interrupt(e *entry, wait time.Duration) bool {
	e.taken = true
	if e.moved == nil {
		e.moved = make(chan struct{})
	}
	e.aborting++
	stop, moved := e.abort, e.moved
	s.mu.Unlock()
	stop()
	s.mu.Lock()
	if e.aborting--; e.aborting == 0 {
		wake(e.quiet)
	}
	s.mu.Unlock()
	ok := within(moved, wait)
	s.mu.Lock()
	return ok
}

// within waits for c to close, for at most d. What is closed already needs no time.
func within(c <-chan struct{}, d time.Duration) bool {
	select {
	case <-c:
		return true
	default:
	}
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// Replace enters a submission over whatever stands under its key, unseen. Where a Prior was compared, its Next goes
// before: it minds the twins that came meanwhile.
func (f *Fence) Replace(key string, now time.Time, abort func()) *Ticket {
	h, s := f.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	return s.put(f, s.seq, h, key, now, abort)
}

// put makes a new entry; the lock is held.
func (s *shard) put(f *Fence, seq, hash uint64, key string, now time.Time, abort func()) *Ticket {
	e := &entry{key: key, hash: hash, seq: seq, since: now, abort: abort}
	if old := s.ring[s.next]; old.e != nil && s.entries[old.hash] == old.e {
		delete(s.entries, old.hash)
	}
	s.ring[s.next] = place{hash, e}
	s.next = (s.next + 1) % len(s.ring)
	s.entries[hash] = e
	e.ticket = Ticket{f: f, e: e}
	return &e.ticket
}

// Whole is called before the write that carries the upload's last octet. False: a newer submission has
// taken over, and this one must break before its end.
func (t *Ticket) Whole(length int64, digest uint64) bool {
	s := t.f.at(t.e.hash)
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
	s := t.f.at(t.e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.e.taken && t.e.phase == uploading
}

// Answer settles the submission with a final answer, which the fence keeps (the slice becomes its own).
func (t *Ticket) Answer(answer []byte) { t.end(answered, answer) }

// Drop settles it without one: the next post is new. After Answer it does nothing.
func (t *Ticket) Drop() { t.end(gone, nil) }

func (t *Ticket) end(p phase, answer []byte) {
	s := t.f.at(t.e.hash)
	e := t.e
	s.mu.Lock()
	if e.phase == answered || e.phase == gone {
		s.mu.Unlock()
		return
	}
	if e.phase == uploading {
		wake(e.moved)
	}
	e.phase, e.answer, e.abort = p, answer, nil
	wake(e.settle)
	switch {
	case p == answered:
		e.since = time.Now() // a slow upload has no shorter window
	case s.entries[e.hash] == e:
		delete(s.entries, e.hash) // the ring's slot ages out by itself
	}
	if e.aborting == 0 {
		s.mu.Unlock()
		return
	}
	// The caller's connection may carry another request next, which an abort on its way must not hit.
	quiet := make(chan struct{})
	e.quiet = quiet
	s.mu.Unlock()
	<-quiet
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
	s := p.f.at(p.e.hash)
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
