package proxy

import "sync"

// crewMost bounds the goroutines that wait for a connection.
const crewMost = 256

// crew keeps the goroutines that have served a connection, each with its client, for the connections to come: their
// stacks have grown and their buffers are made, which costs a connection of one message more than all else that is
// ours to save.
type crew struct {
	mu    sync.Mutex
	idle  []*client // the last to finish at the end: its memory is the hottest
	least int       // the fewest that were idle since the last thin
	ended bool
}

// take gives a client whose goroutine waits on its next, or nil.
func (c *crew) take() *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle)
	if n == 0 {
		return nil
	}
	cl := c.idle[n-1]
	c.idle[n-1] = nil
	c.idle = c.idle[:n-1]
	c.least = min(c.least, n-1)
	return cl
}

// rest says whether the client's goroutine shall wait on its next; if not, it ends.
func (c *crew) rest(cl *client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || len(c.idle) >= crewMost {
		return false
	}
	c.idle = append(c.idle, cl)
	return true
}

// thin lets go, once a second, of half of those that were idle all the time.
func (c *crew) thin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dismiss((c.least + 1) / 2)
	c.least = len(c.idle)
}

// end lets all go, and those who finish later.
func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.dismiss(len(c.idle))
}

// dismiss ends the n that have waited longest; the lock is held.
func (c *crew) dismiss(n int) {
	for i, cl := range c.idle[:n] {
		close(cl.next)
		c.idle[i] = nil
	}
	c.idle = append(c.idle[:0], c.idle[n:]...)
}
