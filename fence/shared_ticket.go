package fence

import "time"

// SharedTicket is one submission's own entry, here and at the two. It must end with Answer or Drop.
type SharedTicket struct {
	s     *Shared
	t     *Ticket
	ended bool
}

// Whole is Ticket.Whole.
func (t *SharedTicket) Whole(length int64, digest uint64) bool { return t.t.Whole(length, digest) }

// Taken is Ticket.Taken.
func (t *SharedTicket) Taken() bool { return t.t.Taken() }

// Answer settles the submission with a final answer (the slice becomes the fence's own). It returns when the two have
// it, or after the cap: it must be called before the client sees the answer.
func (t *SharedTicket) Answer(answer []byte) {
	if t.ended {
		return
	}
	t.ended = true
	e := t.t.e
	key := e.key
	two, tw := t.s.holders(key), t.s.twin.Load()
	shard := t.s.o.Fence.at(e.hash)
	shard.mu.Lock()
	rec := Remote{Phase: Answered, Node: t.s.o.Node, Length: e.length, Digest: e.digest, Answer: answer}
	comparable := e.phase == whole && len(answer) > 0 && len(answer) <= maxSharedAnswer && len(key) <= maxSharedKey
	shard.mu.Unlock()
	switch {
	case comparable:
		t.s.settleTwin(tw, key, rec)
		if len(two) > 0 {
			t.s.ask(two, kindSettle, appendRemote(appendKey(key), rec), func([]byte) bool { return false })
		}
	case len(key) <= maxSharedKey:
		// an answer that came before the upload's end can't be compared with a later post
		t.s.gone(two, key)
	}
	t.t.Answer(answer)
	if now := t.s.twin.Load(); comparable && tw == nil && now != nil {
		t.s.settleTwin(now, key, rec) // an export that has just begun may have passed it by
	}
}

// gone tells the two, or who is in our place among the routers, that a submission ended without an answer.
func (s *Shared) gone(two []string, key string) {
	if s.parted.Load() {
		s.tellTwin(kindGone, appendKey(key))
		return
	}
	s.tell(two, kindGone, appendKey(key))
}

// Drop settles it without one: the next post is new, through any router. After Answer it does nothing.
func (t *SharedTicket) Drop() {
	if t.ended {
		return
	}
	t.ended = true
	t.t.Drop()
	key := t.t.e.key
	if len(key) > maxSharedKey || t.s.o.Fence.peek(key, time.Now()).Phase != Unknown {
		return // a newer post through this router has taken the key over
	}
	t.s.gone(t.s.holders(key), key)
}
