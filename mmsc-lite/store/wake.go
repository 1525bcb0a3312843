package store

// Wakers tell loops outside the store that there is work before their timers would.
type Wakers struct {
	Delivery Waker // a recipient or a report may be due
	CDR      Waker // a CDR was written
	Held     Waker // a held PDU may be due
}

// Waker is a flag that can be waited for.
type Waker chan struct{}

func newWaker() Waker { return make(chan struct{}, 1) }

func (w Waker) set() {
	select {
	case w <- struct{}{}:
	default: // it is set already
	}
}
