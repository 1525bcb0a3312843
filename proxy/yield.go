package proxy

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster/hush"
)

// The pace of a hand-over of addresses.
const (
	yieldTick  = 20 * time.Millisecond
	yieldIdle  = time.Second            // so long a connection may wait for a request, whose answer tells it to close; ended sooner it could meet one
	yieldCalm  = 100 * time.Millisecond // nobody may have come for so long: who was on the way when it became silent has arrived
	yieldQuiet = 3 * time.Second        // so long new connections may wait for the new holder; beyond the second repetition of a SYN it would be 7 s
)

// Yield empties addresses that are about to move to another machine, so that nobody's connection breaks when they do. First
// everybody who is there finishes, however long that takes within ctx, and is told to close; newcomers are served. Then newcomers
// are kept waiting (they meet the new holder), until the last has gone; if one takes longer than they can be kept waiting, it starts
// again. It returns when nobody is left, or when ctx ends: with the number of connections that the move will break. Newcomers are kept
// waiting from then on until Stay.
func (p *Proxy) Yield(ctx context.Context, addresses []netip.Addr) (left int) {
	p.leaving.Store(&addresses)
	idle := time.Now().Add(yieldIdle)
	tick := time.NewTicker(yieldTick)
	defer tick.Stop()
	wait := func(done func() bool) bool {
		for !done() {
			select {
			case <-ctx.Done():
				return false
			case <-tick.C:
			}
		}
		return true
	}
	for {
		newest := p.newest()
		finished := wait(func() bool { return p.on(addresses, newest, idle) == 0 })
		p.hush(addresses)
		if !finished {
			return p.on(addresses, everybody, idle)
		}
		began, calm := time.Now(), time.Time{}
		settled := wait(func() bool {
			if p.on(addresses, everybody, idle) > 0 {
				calm = time.Time{}
				return time.Since(began) > yieldQuiet
			}
			if calm.IsZero() {
				calm = time.Now()
			}
			return time.Since(calm) >= yieldCalm
		})
		if left = p.on(addresses, everybody, idle); !settled || left == 0 {
			return left
		}
		p.hush(nil)
	}
}

// Stay ends what Yield has begun: all are served as ever.
func (p *Proxy) Stay() {
	p.leaving.Store(nil)
	p.hush(nil)
}

// hush keeps newcomers to these addresses waiting; none: nobody.
func (p *Proxy) hush(addresses []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, l := range p.listeners {
		if err := hush.Set(l, addresses); err != nil {
			p.log.Warn("newcomers can't be kept waiting while an address moves, so some may see a reset", "listen", at, "err", err)
		}
	}
}

// everybody is a number that no connection has.
const everybody = ^uint64(0)

// newest is the number of the connection that came last.
func (p *Proxy) newest() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.came
}

// on counts the connections at these addresses that came no later than one with that number, and ends those that have long waited for a
// request, once the time for that has come.
func (p *Proxy) on(addresses []netip.Addr, newest uint64, idle time.Time) (n int) {
	now := time.Now()
	long := now.Add(-yieldIdle).UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	for cl := range p.clients {
		if cl.number > newest || !slices.Contains(addresses, cl.local.Addr()) {
			continue
		}
		n++
		if now.After(idle) && cl.since.Load() < long {
			cl.wakeIdle()
		}
	}
	return n
}

// closing says that this connection shall end with the request that is under way.
func (cl *client) closing() bool {
	if cl.p.draining.Load() {
		return true
	}
	addresses := cl.p.leaving.Load()
	return addresses != nil && slices.Contains(*addresses, cl.local.Addr())
}
