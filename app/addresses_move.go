package app

import (
	"context"
	"net/netip"
	"time"
)

// othersQualify says whether another router could take what this one gives up. Who has no cluster does not know, and hopes.
func (a *App) othersQualify() bool {
	if a.cluster == nil {
		return true
	}
	for _, r := range a.view.Routers() {
		if !r.Self && r.Qualifies() {
			return true
		}
	}
	return false
}

// emptyAddresses waits within ctx until nobody is on the service addresses that this machine has, and tells keepalived to move
// them. The caller holds emptying.
func (a *App) emptyAddresses(ctx context.Context) {
	var list []netip.Addr
	for _, s := range a.holders.Held() {
		if at, err := netip.ParseAddr(s); err == nil {
			list = append(list, at)
		}
	}
	if len(list) == 0 {
		return
	}
	a.mm1.Stay() // what was begun for another router
	began := time.Now()
	if left := a.mm1.Yield(ctx, list); left > 0 {
		a.log.Warn("service addresses: connections will break when they move", "addresses", list, "connections", left)
	} else {
		a.log.Info("service addresses: nobody is left on them", "addresses", list, "took", time.Since(began).Round(time.Millisecond))
	}
	if err := a.holders.Yield(true); err != nil {
		a.log.Error("service addresses: tell keepalived", "err", err)
	}
}

// leaveAddresses is the drain's part: the service addresses are emptied, and go, while this router still serves. Then who holds on to one is
// answered by the next router.
func (a *App) leaveAddresses(ctx context.Context, began time.Time) {
	if a.holders == nil || len(a.holders.Held()) == 0 || !a.othersQualify() {
		return
	}
	c := a.cfg.Load()
	end := began.Add(max(c.Drain.Max-c.moveTime(), c.Drain.Max/2))
	a.ladder.at(stepEmptying, end)
	ectx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	a.addresses.emptying.Lock()
	defer a.addresses.emptying.Unlock()
	a.emptyAddresses(ectx)
	end = time.Now().Add(c.moveTime())
	a.ladder.at(stepMoving, end)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(a.holders.Held()) > 0 {
		if time.Now().After(end) {
			a.log.Warn("drain: the service addresses have not moved", "held", a.holders.Held())
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
