package cluster

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// Back-off of the join loop, and its pace once nobody is missing: DNS names may get new addresses, and
// after a cut somebody has to knock.
const (
	joinFirst = 250 * time.Millisecond
	joinMost  = 15 * time.Second
)

// joins tries, for ever, the configured routers and those that went away without a farewell.
func (c *Cluster) joins(ctx context.Context) {
	wait := joinFirst
	for {
		tried, reached := c.joinOnce(ctx)
		switch {
		case tried == 0:
			wait = joinMost
		case reached > 0:
			wait = joinFirst
		}
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-c.lonely():
			t.Stop()
		}
		wait = min(2*wait, joinMost)
	}
}

// lonely is ready when this router has lost all others while it names some to join.
func (c *Cluster) lonely() <-chan struct{} { return c.alone }

func (c *Cluster) joinOnce(ctx context.Context) (tried, reached int) {
	seen := map[netip.AddrPort]bool{c.transport.advertise: true}
	try := func(at netip.AddrPort) {
		living, _ := c.members.addresses()
		if seen[at] || living[at] || ctx.Err() != nil {
			return
		}
		seen[at] = true
		tried++
		if _, err := c.list.Load().Join([]string{at.String()}); err != nil {
			c.m.joins[1].Add(1)
			if more, ok := c.complain.allow("join", at.String()); ok {
				c.log.Warn("join", "router", at.String(), "err", err, "more_since", more)
			}
			return
		}
		c.m.joins[0].Add(1)
		reached++
	}
	for _, j := range c.opt.Config.Join {
		host, port, err := splitJoin(j)
		if err != nil {
			continue // Validate has looked at it
		}
		for _, ip := range c.resolve(ctx, host) {
			try(netip.AddrPortFrom(ip, port))
		}
	}
	_, lost := c.members.addresses()
	for _, at := range append(lost, c.known...) {
		try(at)
	}
	if reached > 0 {
		c.known = nil
	}
	return tried, reached
}

// resolve gives a host's addresses; a name that can't be looked up is tried again with the next round.
func (c *Cluster) resolve(ctx context.Context, host string) []netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		if more, ok := c.complain.allow("resolve", host); ok {
			c.log.Warn("look up a router to join", "name", host, "err", err, "more_since", more)
		}
		return nil
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips
}
