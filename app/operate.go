package app

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/cluster/view"
)

// operators gives the admin room what operators say and have said; it holds on all routers.
type operators struct{ a *App }

func kindOf(router bool) view.Kind {
	if router {
		return view.RouterDrain
	}
	return view.MMSCDrain
}

// Drain implements admin.Operators. It returns when the word is on disk and on this router's Board.
func (o operators) Drain(router bool, glob string, why admin.Reason, lifetime time.Duration) error {
	err := o.a.view.SetOverride(view.Override{Kind: kindOf(router), Glob: glob, On: true, By: why.By, Reason: why.Reason,
		Since: time.Now().UTC().Truncate(time.Second)}, lifetime)
	o.apply()
	return err
}

// Undrain implements admin.Operators.
func (o operators) Undrain(router bool, glob string, why admin.Reason) (bool, error) {
	defer o.apply()
	lifted, err := o.a.view.LiftOverride(kindOf(router), glob)
	if err != nil || lifted && strings.ContainsAny(glob, `*?[`) {
		return lifted, err
	}
	more, err := o.a.view.Undrain(kindOf(router), glob, view.Override{By: why.By, Reason: why.Reason, Since: time.Now().UTC().Truncate(time.Second)})
	return lifted || more, err
}

// apply does not wait for the room that follows the cluster.
func (o operators) apply() {
	o.a.following.mu.Lock()
	defer o.a.following.mu.Unlock()
	o.a.applyDrains()
}

// List implements admin.Operators.
func (o operators) List() []admin.Override {
	all := []admin.Override{}
	for _, x := range o.a.view.Overrides() {
		all = append(all, admin.Override{Kind: string(x.Kind), Glob: x.Glob, On: x.On, By: x.By, Reason: x.Reason, Since: x.Since,
			Node: x.Node, Left: x.Left.Round(time.Second).Seconds()})
	}
	return all
}

// members gives the admin room the routers, with the sizes of their tables as they tell them now.
func (a *App) members() []admin.Member {
	routers := a.view.Routers()
	told := a.askSizes(routers)
	out := make([]admin.Member, 0, len(routers))
	for i := range routers {
		r := &routers[i]
		m := admin.Member{Name: r.Name, Address: r.Address, State: string(r.State), Version: r.Router.Version, Self: r.Self, Since: r.Since, Known: r.Known,
			Ready: r.Ready, Blind: r.Blind, Digest: r.Digest, Mismatch: r.Mismatch, Zones: r.Zones, Holds: r.Holds,
			InDNS: r.Qualifies(), RTT: float64(r.RTT.Microseconds()) / 1000, ClockOffset: r.ClockOffset.Round(time.Millisecond).Seconds()}
		if m.Version == "" {
			m.Version = r.Member.Version
		}
		if r.Drain != nil {
			m.Drain = &admin.Drain{By: r.Drain.By, Reason: r.Drain.Reason, Since: r.Drain.Since}
		}
		if s := told[i]; s != nil {
			m.Fence, m.Kept, m.Owners = &s.Fence, s.Kept, &s.Owners
		}
		out = append(out, m)
	}
	return out
}

// sizesTime bounds what the slowest router may cost a status.
const sizesTime = 300 * time.Millisecond

// askSizes asks all living routers at once; nil for one that did not answer.
func (a *App) askSizes(routers []view.RouterView) []*sizes {
	told := make([]*sizes, len(routers))
	ctx, cancel := context.WithTimeout(context.Background(), sizesTime)
	defer cancel()
	var wg sync.WaitGroup
	for i := range routers {
		r := &routers[i]
		if r.Self {
			s := a.sizes()
			told[i] = &s
			continue
		}
		if a.cluster == nil || !r.State.Living() {
			continue
		}
		wg.Go(func() {
			b, err := a.cluster.Request(ctx, r.Name, kindSizes, nil)
			var s sizes
			if err == nil && json.Unmarshal(b, &s) == nil { // one that does not answer is shown without sizes
				told[i] = &s
			}
		})
	}
	wg.Wait()
	return told
}

// verdicts gives the admin room what each router thinks of each MMSC.
func (a *App) verdicts() map[string]map[string]admin.Opinion {
	out := map[string]map[string]admin.Opinion{}
	for mmsc, by := range a.view.Verdicts() {
		out[mmsc] = map[string]admin.Opinion{}
		for node, v := range by {
			out[mmsc][node] = admin.Opinion{Up: v.Up, Why: v.Why, Since: v.Since}
		}
	}
	return out
}
