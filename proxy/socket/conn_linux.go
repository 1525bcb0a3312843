package socket

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Bits of Conn.use above the count of operations under way.
const (
	closing = 1 << 30 // Close was called
	closed  = 1 << 29 // the descriptor is given back
)

// Conn is one TCP connection.
type Conn struct {
	poller        *Poller
	fd            uintptr
	local, remote netip.AddrPort
	began         time.Time // what deadlines count from

	use atomic.Int32 // operations under way, and the bits

	entry  sync.Mutex  // of entering the poller
	known  atomic.Bool // the poller has it
	number uint64      // there

	mu   sync.Mutex // guards both sides
	r, w side
}

// side is one direction.
type side struct {
	cond    sync.Cond
	ready   bool          // an event has come since the last look
	over    bool          // the peer sends no more, or the connection has failed: there is no more waiting
	waiting int           // goroutines that wait
	until   time.Duration // the deadline, from Conn.began on; 0: none
	armed   time.Duration // when the timer goes off; 0: it is not set
	timer   *time.Timer
}

func newConn(p *Poller, fd uintptr, local, remote netip.AddrPort) *Conn {
	c := &Conn{poller: p, fd: fd, local: local, remote: remote, began: time.Now()}
	c.r.cond.L, c.w.cond.L = &c.mu, &c.mu
	return c
}

// told says that there may be something to do; the lock is held.
func (s *side) told(over bool) {
	s.ready, s.over = true, s.over || over
	if s.waiting > 0 {
		s.cond.Broadcast()
	}
}

// begin holds the descriptor for an operation.
func (c *Conn) begin() error {
	if c.use.Add(1)&closing != 0 {
		c.end()
		return net.ErrClosed
	}
	return nil
}

// end lets it go.
func (c *Conn) end() {
	if c.use.Add(-1) == closing {
		c.destroy()
	}
}

// Close ends the connection; what waits on it returns net.ErrClosed. The descriptor goes with the last operation.
func (c *Conn) Close() error {
	for {
		n := c.use.Load()
		if n&closing != 0 {
			return net.ErrClosed
		}
		if !c.use.CompareAndSwap(n, (n|closing)+1) {
			continue
		}
		if n > 0 {
			c.mu.Lock()
			c.r.told(false)
			c.w.told(false)
			c.mu.Unlock()
		}
		c.end()
		return nil
	}
}

// destroy gives the descriptor back.
func (c *Conn) destroy() {
	if !c.use.CompareAndSwap(closing, closing|closed) {
		return // an operation that came late has done it
	}
	c.mu.Lock()
	for _, s := range [...]*side{&c.r, &c.w} {
		if s.timer != nil {
			s.timer.Stop()
		}
	}
	c.mu.Unlock()
	if c.known.Load() {
		c.poller.forget(c)
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, c.fd, 0, 0) // there is nobody to tell
}

// operate calls f until it says that it is done, and waits for the side in between; with empty, which says that the last look left nothing,
// also before the first call, unless something has come since.
func (c *Conn) operate(s *side, empty bool, f func(fd uintptr) bool) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	c.mu.Lock()
	empty = empty && !s.ready && !s.over
	s.ready = false // an event from here on comes behind what f sees
	late := s.until != 0 && c.left(s) <= 0
	c.mu.Unlock()
	for {
		if late {
			return os.ErrDeadlineExceeded
		}
		if !empty && f(c.fd) {
			return nil
		}
		empty = false
		if err := c.enter(); err != nil {
			return err
		}
		var err error
		if late, err = c.wait(s); err != nil {
			return err
		}
	}
}

// Try calls f, which reads what is there.
func (c *Conn) Try(f func(fd uintptr)) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	c.mu.Lock()
	c.r.ready = false // an event from here on comes behind what f sees
	c.mu.Unlock()
	f(c.fd)
	return nil
}

// Await calls f, which reads, until it says that it is done, and waits in between until the read deadline. With empty, which says that the last
// read left nothing, it waits first, unless something has come since: a call that would find nothing is saved.
func (c *Conn) Await(empty bool, f func(fd uintptr) bool) error { return c.operate(&c.r, empty, f) }

// enter makes the connection known to the poller.
func (c *Conn) enter() error {
	if c.known.Load() {
		return nil
	}
	c.entry.Lock() // the other side may want it too
	defer c.entry.Unlock()
	if c.known.Load() {
		return nil
	}
	if err := c.poller.enter(c); err != nil {
		return err
	}
	c.known.Store(true)
	return nil
}

func (c *Conn) left(s *side) time.Duration { return s.until - time.Since(c.began) }

// wait parks until the side is ready or late.
func (c *Conn) wait(s *side) (late bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !s.ready {
		if c.use.Load()&closing != 0 {
			return false, net.ErrClosed
		}
		if s.until != 0 {
			left := c.left(s)
			if left <= 0 {
				return true, nil
			}
			c.arm(s, left)
		}
		s.waiting++
		s.cond.Wait()
		s.waiting--
	}
	s.ready = false
	if c.use.Load()&closing != 0 {
		return false, net.ErrClosed
	}
	return false, nil
}

// arm sets the timer to the deadline; the lock is held. One that goes off earlier stays: to be woken by it once costs less than to set it for each
// wait.
func (c *Conn) arm(s *side, left time.Duration) {
	if s.armed != 0 && s.armed <= s.until {
		return
	}
	s.armed = s.until
	if s.timer != nil {
		s.timer.Reset(left)
		return
	}
	s.timer = time.AfterFunc(left, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.armed = 0
		s.cond.Broadcast() // who waits looks at the clock
	})
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(t, &c.r, &c.w) }

// SetReadDeadline is heard by reads that wait already.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(t, &c.r) }

// SetWriteDeadline is heard by writes that wait already.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(t, &c.w) }

func (c *Conn) deadline(t time.Time, sides ...*side) error {
	until := time.Duration(0)
	if !t.IsZero() {
		until = max(t.Sub(c.began), 1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.use.Load()&closing != 0 {
		return net.ErrClosed
	}
	for _, s := range sides {
		if s.until = until; s.waiting > 0 {
			s.cond.Broadcast()
		}
	}
	return nil
}
