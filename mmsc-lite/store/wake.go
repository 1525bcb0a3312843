package store

import "time"

// Wakers tell loops outside the store that there is work before their timers would.
type Wakers struct {
	Delivery Waker // a recipient or a report may be due
	CDR      Waker // a CDR was written
	Held     Waker // a held PDU may be due
}

// Waker is a flag that can be waited for.
type Waker chan struct{}

func newWaker() Waker { return make(chan struct{}, 1) }

func (w Waker) set() { w.Set() }

// Set wakes who waits.
func (w Waker) Set() {
	select {
	case w <- struct{}{}:
	default: // it is set already
	}
}

// Poll is how often loops that wait for a Waker look for work all the same: another node's wake-ups are not heard.
const Poll = 5 * time.Second

// soon wakes a loop, once the transaction is durable, for work that is due before the loop would look by itself.
func (tx *Tx) soon(w Waker, next, now time.Time) {
	if next.Sub(now) < Poll {
		tx.after = append(tx.after, w.set)
	}
}
