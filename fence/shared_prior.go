package fence

import (
	"slices"
	"time"
)

// SharedPrior is an earlier submission under the same key, here or at another router.
type SharedPrior struct {
	s     *Shared
	key   string
	local *Prior
	rec   Remote

	twin   *twin // who has it, if that is the other process of this router
	missed int   // questions that the twin did not answer
}

// Next is Prior.Next across routers: the body was compared with p in vain.
func (p *SharedPrior) Next(now time.Time, wait time.Duration, abort func()) (*SharedTicket, *SharedPrior) {
	var t *Ticket
	var prior *Prior
	if p.local != nil {
		t, prior = p.local.Next(now, wait, abort)
	} else {
		t, prior = p.s.o.Fence.Enter(p.key, now, wait, abort)
	}
	if prior != nil {
		return nil, &SharedPrior{s: p.s, key: p.key, local: prior}
	}
	if len(p.key) <= maxSharedKey {
		p.s.tell(p.s.holders(p.key), kindNote, appendKey(p.key))
	}
	return &SharedTicket{s: p.s, t: t}, nil
}

// The pauses between two questions for an answer that another router awaits.
const (
	askFirst = 20 * time.Millisecond
	askMost  = 500 * time.Millisecond
)

// Answer gives the earlier submission's final answer if its body was the same, waiting while it is still awaited. Nil: it
// differed, ended without a final answer in time, or its router does not answer any more.
func (p *SharedPrior) Answer(wait time.Duration, length int64, digest uint64) []byte {
	if p.local != nil {
		return p.local.Answer(wait, length, digest)
	}
	end := time.Now().Add(wait)
	rec, pause, missed := p.rec, askFirst, 0
	for {
		if rec.Phase < Whole || rec.Length != length || rec.Digest != digest {
			return nil
		}
		if rec.Phase == Answered {
			return rec.Answer
		}
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		t := time.NewTimer(min(pause, left))
		<-t.C
		pause = min(2*pause, askMost)
		if p.twin != nil {
			var ok bool
			if rec, ok = p.heardTwin(); !ok {
				return nil
			}
			p.rec = rec
			continue
		}
		var now Remote
		heard := false
		p.s.ask([]string{rec.Node}, kindAsk, appendKey(p.key), func(b []byte) bool {
			r, err := readRemote(b)
			now, heard = r, err == nil
			return true
		})
		switch {
		case heard && (now.Phase == Whole || now.Phase == Answered):
			now.Node, missed = rec.Node, 0
			rec = now
		case heard:
			return nil
		default:
			// It may have given the answer to the two before it fell silent.
			if now, ok := p.s.Lookup(p.key); ok && now.Phase == Answered {
				rec = now
				continue
			}
			if missed++; missed >= 3 || !slices.Contains(p.s.o.Peers.Living(), rec.Node) {
				p.s.m.found[foundLost].Inc()
				return nil
			}
		}
	}
}
