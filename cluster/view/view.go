// Package view is what the routers of a cluster tell each other, in types: who they are and which addresses they
// answer for, what each thinks of each MMSC, and what operators have drained.
//
// It owns three states of the cluster (routers and verdicts, each entry its router's own; overrides, anybody's) and
// the file in which overrides outlive a restart. Without a cluster it works for the one router.
//
// Promises on failure: an override that was accepted is on disk. A file that can't be read is put aside, told, and
// does not keep the router from starting. What another router says is bounded in number and size; what can't be read is
// left out.
package view

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster"
)

// Cluster is what View needs of a *cluster.Cluster.
type Cluster interface {
	State(name string, m cluster.Merger) error
	Members() []cluster.Member
	Watch() (<-chan struct{}, func())
}

// Options is what New needs.
type Options struct {
	Cluster Cluster // nil: this router is alone
	Node    string
	File    string // where overrides are kept; "": nowhere
	Log     *slog.Logger
}

// View is one router's knowledge of all. Safe for use by many goroutines.
type View struct {
	o         Options
	log       *slog.Logger
	routers   *cluster.Map
	verdicts  *cluster.Map
	overrides *cluster.Map
	save      sync.Mutex // one writer of the file at a time

	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

// A router's entries end everywhere when it has been silent for that long.
const lifetime = time.Hour

// New makes the states, reads the file and registers the states with the cluster, which must not run yet.
func New(o Options) (*View, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	v := &View{o: o, log: o.Log, watchers: map[chan struct{}]struct{}{},
		routers:   cluster.NewMap(cluster.MapOptions{Node: o.Node, Owned: true, Lifetime: lifetime, Entries: 1024}),
		verdicts:  cluster.NewMap(cluster.MapOptions{Node: o.Node, Owned: true, Lifetime: lifetime, Entries: 8192}),
		overrides: cluster.NewMap(cluster.MapOptions{Node: o.Node, Entries: 1024, Octets: 256 << 10, Keep: 7 * 24 * time.Hour})}
	if err := v.load(); err != nil {
		return nil, err
	}
	if o.Cluster == nil {
		return v, nil
	}
	return v, errors.Join(o.Cluster.State("routers", v.routers), o.Cluster.State("verdicts", v.verdicts), o.Cluster.State("overrides", v.overrides))
}

// Watch gives a channel that receives after changes of anything here, while Run runs, and the function that ends it.
func (v *View) Watch() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watchers[c] = struct{}{}
	return c, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.watchers, c)
	}
}

// Run keeps the file, tells watchers, and, for a router that is alone, ends what ends by itself.
func (v *View) Run(ctx context.Context) error {
	routers, end := v.routers.Watch()
	defer end()
	verdicts, end := v.verdicts.Watch()
	defer end()
	overrides, end := v.overrides.Watch()
	defer end()
	var members <-chan struct{}
	var tick <-chan time.Time
	if v.o.Cluster != nil {
		members, end = v.o.Cluster.Watch()
		defer end()
	} else {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-members:
		case <-routers:
		case <-verdicts:
		case <-overrides:
			if err := v.store(); err != nil {
				v.log.Error("keep the overrides", "err", err)
			}
		case <-tick:
			v.routers.Tick()
			v.verdicts.Tick()
			v.overrides.Tick()
			continue
		}
		v.ring()
	}
}

func (v *View) ring() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.watchers {
		select {
		case c <- struct{}{}:
		default: // it has not looked yet at the ring before
		}
	}
}

// members are the cluster's, or this router alone.
func (v *View) members() []cluster.Member {
	if v.o.Cluster != nil {
		return v.o.Cluster.Members()
	}
	return []cluster.Member{{Name: v.o.Node, State: cluster.Alive, Self: true}}
}

// Router is what a router tells of itself.
type Router struct {
	Version string              `json:"version"`
	Digest  string              `json:"digest"` // of its configuration, without what is each router's own
	Started time.Time           `json:"started"`
	Ready   bool                `json:"ready"`
	Zones   map[string][]string `json:"zones"` // its own addresses in each DNS zone
	Holds   []string            `json:"holds"` // service addresses that it holds now
}

// RouterView is a router as this one sees it.
type RouterView struct {
	cluster.Member
	Router
	Version  string    // of its program
	Known    bool      // it has told
	Blind    bool      // it sees no MMSC up, while another router sees one: its path is broken
	Drain    *Override // it was drained by an operator
	Mismatch bool      // its configuration differs from this one's
}

// SetRouter tells the others of this router.
func (v *View) SetRouter(r Router) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("tell the cluster of this router: %w", err)
	}
	return v.routers.Set(v.o.Node, b, 0)
}

// Routers gives all routers that are known, this one first.
func (v *View) Routers() []RouterView {
	told := map[string]Router{}
	for _, e := range v.routers.All() {
		var r Router
		if err := json.Unmarshal(e.Value, &r); err == nil { // another program's form: it counts as not told
			told[e.Key] = r
		}
	}
	sees := v.sees()
	mine, digest := told[v.o.Node]
	var all []RouterView
	for _, m := range v.members() {
		r, known := told[m.Name]
		rv := RouterView{Member: m, Router: r, Version: cmp.Or(m.Version, r.Version), Known: known, Blind: sees.blind(m.Name), Mismatch: known && digest && r.Digest != mine.Digest}
		if o, ok := v.Drained(RouterDrain, m.Name); ok {
			rv.Drain = &o
		}
		all = append(all, rv)
	}
	return all
}

// Qualifies says whether DNS may name a router: it lives, does not drain, is ready, and sees an MMSC if any router does.
func (r *RouterView) Qualifies() bool {
	return r.State == cluster.Alive && r.Known && r.Ready && !r.Blind && r.Drain == nil
}

// Addresses gives those of a zone, of the routers that qualify, sorted, each once. If none qualifies: those of all that
// have not said farewell, since an answer that may work is better than none.
func (v *View) Addresses(zone string) []string {
	var good, all []string
	for _, r := range v.Routers() {
		if r.Qualifies() {
			good = append(good, r.Zones[zone]...)
		}
		if r.State != cluster.Left {
			all = append(all, r.Zones[zone]...)
		}
	}
	if len(good) == 0 {
		good = all
	}
	slices.Sort(good)
	return slices.Compact(good)
}

// Verdict is what a router thinks of an MMSC.
type Verdict struct {
	Up    bool      `json:"up"`
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

const verdictMark = "/mmsc/"

// SetVerdict tells the others what this router thinks of an MMSC; nil takes it back.
func (v *View) SetVerdict(mmsc string, verdict *Verdict) error {
	key := v.o.Node + verdictMark + mmsc
	if verdict == nil {
		v.verdicts.Delete(key)
		return nil
	}
	w := *verdict
	w.Why = clip(w.Why, 200)
	b, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("tell the cluster of %s: %w", mmsc, err)
	}
	return v.verdicts.Set(key, b, 0)
}

// Verdicts gives what each router thinks of each MMSC, by MMSC and router; of routers that live.
func (v *View) Verdicts() map[string]map[string]Verdict { return v.sees().byMMSC }

// DownElsewhere names the MMSCs that another living router holds for down: reason to look at once.
func (v *View) DownElsewhere() []string {
	var down []string
	for mmsc, by := range v.sees().byMMSC {
		for node, w := range by {
			if node != v.o.Node && !w.Up {
				down = append(down, mmsc)
				break
			}
		}
	}
	slices.Sort(down)
	return down
}

// Blind says that this router sees no MMSC up while another living one does.
func (v *View) Blind() bool { return v.sees().blind(v.o.Node) }

type sight struct {
	byMMSC map[string]map[string]Verdict
	told   map[string]bool // router has a verdict
	sees   map[string]bool // router sees at least one up
}

func (v *View) sees() *sight {
	living := map[string]bool{}
	for _, m := range v.members() {
		living[m.Name] = m.State.Living()
	}
	s := &sight{byMMSC: map[string]map[string]Verdict{}, told: map[string]bool{}, sees: map[string]bool{}}
	for _, e := range v.verdicts.All() {
		node, mmsc, ok := strings.Cut(e.Key, verdictMark)
		var w Verdict
		if !ok || !living[node] || json.Unmarshal(e.Value, &w) != nil { // another program's form: it counts as not told
			continue
		}
		if s.byMMSC[mmsc] == nil {
			s.byMMSC[mmsc] = map[string]Verdict{}
		}
		s.byMMSC[mmsc][node] = w
		s.told[node] = true
		s.sees[node] = s.sees[node] || w.Up
	}
	return s
}

func (s *sight) blind(node string) bool {
	if !s.told[node] || s.sees[node] {
		return false
	}
	for other, up := range s.sees {
		if other != node && up {
			return true
		}
	}
	return false
}

// clip bounds a text, on whole characters.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}
