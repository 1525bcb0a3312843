package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/cluster"
	"github.com/mmsrouter/mmsrouter/cluster/takeover"
	"github.com/mmsrouter/mmsrouter/cluster/view"
	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
)

// overridesFile, in node.data, is where operators' drains outlive a restart.
const overridesFile = "overrides.json"

// maxZoneAddresses bounds what the routers together put into one DNS answer.
const maxZoneAddresses = 64

// following is what this router last told the others, and what it has already looked into.
type following struct {
	mu       sync.Mutex // held while the Board takes over what the cluster says; taken before nothing else of App
	told     view.Router
	verdicts map[string]view.Verdict
	heard    map[string]time.Time // "router/MMSC": since when it is down there
	blind    bool
}

// makeCluster joins this router to others, or makes it remember for itself what operators say.
func (a *App) makeCluster(c *Config, undo *[]func()) (err error) {
	a.following.verdicts, a.following.heard = map[string]view.Verdict{}, map[string]time.Time{}
	var others view.Cluster
	if c.Cluster.Enabled() {
		o := cluster.Options{Config: c.Cluster, Node: c.Node.Name, Version: a.version, Now: a.clock, Metrics: a.reg, Log: a.room("cluster")}
		if tcp, udp := a.elder.pair("cluster.listen", c.Cluster.Listen); tcp != nil {
			o.TCP, o.UDP = tcp, udp[0]
		}
		if a.cluster, err = cluster.New(o); err != nil {
			return err
		}
		*undo = append(*undo, func() { _ = a.cluster.Close() }) // the error that led here is the one to tell
		a.cluster.Handle(kindSizes, a.tellSizes)
		a.cluster.Handle(kindYield, a.askedToYield)
		others = a.cluster
	}
	if c.Takeover.Enabled() {
		if a.holders, err = takeover.NewHolders(takeover.HoldersOptions{Config: c.Takeover, Data: c.Node.Data, Metrics: a.reg, Log: a.room("takeover")}); err != nil {
			return err
		}
	}
	if a.view, err = view.New(view.Options{Cluster: others, Node: c.Node.Name, File: filepath.Join(c.Node.Data, overridesFile), Log: a.room("cluster")}); err != nil {
		return err
	}
	a.forgetPlan()
	return nil
}

// follow carries what the Board knows to the other routers, and what they and the operators say to the Board.
func (a *App) follow(ctx context.Context) error {
	changed, end := a.view.Watch()
	defer end()
	tick := time.NewTicker(25 * time.Millisecond) // the Board rings no bell: its generation is looked at
	defer tick.Stop()
	var seen uint64
	var last time.Time
	ready := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case now := <-tick.C:
			old := a.holders != nil && now.Sub(last) > time.Second // service addresses move without a word to us
			if s := a.board.Load(); s.Generation == seen && a.hasVerdicts() == ready && !old {
				continue
			}
			last = now
		}
		seen, ready = a.board.Load().Generation, a.hasVerdicts()
		a.following.mu.Lock()
		a.tell(a.cfg.Load())
		a.tellVerdicts()
		a.applyDrains()
		a.applyAddresses(a.cfg.Load())
		a.lookAtOnce()
		a.following.mu.Unlock()
	}
}

func (a *App) hasVerdicts() bool {
	select {
	case <-a.checker.Ready():
		return true
	default:
		return false
	}
}

// tell says who this router is, if that has changed.
func (a *App) tell(c *Config) {
	r := view.Router{Version: a.version, Digest: c.digest(), Started: a.started.UTC().Truncate(time.Second), Ready: a.hasVerdicts(), Zones: map[string][]string{}}
	if a.holders != nil {
		r.Holds = a.holders.Held()
	}
	zones, err := c.DNS.BoardZones()
	if err != nil {
		return // Validate has read them
	}
	for _, z := range zones {
		for _, at := range z.Addresses {
			r.Zones[z.Name] = append(r.Zones[z.Name], at.String())
		}
	}
	f := &a.following
	if reflect.DeepEqual(f.told, r) {
		return
	}
	if err := a.view.SetRouter(r); err != nil {
		a.log.Error("tell the other routers of this one", "err", err)
		return
	}
	f.told = r
}

// tellVerdicts says what this router thinks of the MMSCs. The embedded one is each router's own, so it is left out.
func (a *App) tellVerdicts() {
	f, s := &a.following, a.board.Load()
	present := map[string]bool{}
	for i := range s.MMSCs {
		m := &s.MMSCs[i]
		if m.Local || !m.Known {
			continue
		}
		present[m.Name] = true
		v := view.Verdict{Up: m.Up, Why: m.Why, Since: m.Since}
		if old, ok := f.verdicts[m.Name]; ok && old.Up == v.Up && old.Since.Equal(v.Since) {
			continue
		}
		if err := a.view.SetVerdict(m.Name, &v); err != nil {
			a.log.Error("tell the other routers of an MMSC", "mmsc", m.Name, "err", err)
			continue
		}
		f.verdicts[m.Name] = v
	}
	for name := range f.verdicts {
		if !present[name] {
			delete(f.verdicts, name)
			if err := a.view.SetVerdict(name, nil); err != nil {
				a.log.Error("tell the other routers of an MMSC", "mmsc", name, "err", err)
			}
		}
	}
}

// applyDrains puts the operators' words on the Board.
func (a *App) applyDrains() {
	s := a.board.Load()
	for i := range s.MMSCs {
		m := &s.MMSCs[i]
		var d *router.Drain
		if o, ok := a.view.Drained(view.MMSCDrain, m.Name); ok {
			d = &router.Drain{By: o.By, Reason: o.Reason, Since: o.Since}
		}
		if (d == nil) == (m.Drain == nil) {
			continue
		}
		if err := a.board.SetDrain(m.Name, d); err != nil {
			continue // a reload has just removed it
		}
		if d != nil {
			a.log.Info("MMSC drains: it gets no new messages", "mmsc", m.Name, "by", d.By, "reason", d.Reason)
		} else {
			a.log.Info("MMSC no longer drains", "mmsc", m.Name)
		}
	}
}

// applyAddresses puts the addresses of the routers that live and do not drain on the Board, for DNS, and shortens the
// TTL while one of them is about to drain.
func (a *App) applyAddresses(c *Config) {
	if a.cluster == nil {
		return
	}
	zones, err := c.DNS.BoardZones()
	if err != nil {
		return // Validate has read them
	}
	for _, z := range a.clusterZones(zones) {
		if a.board.SetAddresses(z.Name, z.Addresses) {
			a.log.Info("DNS answers change", "zone", z.Name, "addresses", fmt.Sprint(z.Addresses))
		}
	}
	if a.dns != nil {
		ahead := false
		for _, r := range a.view.Routers() {
			_, planned := a.view.Drained(plannedDrain, r.Name)
			ahead = ahead || planned && r.State == cluster.Alive
		}
		a.dns.Shorten(ahead)
	}
	if blind := a.view.Blind(); blind != a.following.blind {
		a.following.blind = blind
		if blind {
			a.log.Error("this router sees no MMSC, while others do: its path is broken; it leaves the DNS answers")
		} else {
			a.log.Info("this router sees an MMSC again, or no router does")
		}
	}
}

// clusterZones replaces each zone's own addresses by those of the routers that qualify. Where that is nobody known,
// the own ones stay.
func (a *App) clusterZones(zones []router.Zone) []router.Zone {
	if a.cluster == nil {
		return zones
	}
	out := make([]router.Zone, 0, len(zones))
	for _, z := range zones {
		var all []router.Address
		for _, s := range a.view.Addresses(z.Name) {
			if at, err := router.ParseAddress(s); err == nil && len(all) < maxZoneAddresses { // another program's form is left out
				all = append(all, at)
			}
		}
		if len(all) == 0 {
			all = z.Addresses
		}
		out = append(out, router.Zone{Name: z.Name, Addresses: all})
	}
	return out
}

// lookAtOnce probes what another router has just found down and this one holds for up: so all are as fast as the
// fastest.
func (a *App) lookAtOnce() {
	f, s := &a.following, a.board.Load()
	self := a.cfg.Load().Node.Name
	now := map[string]time.Time{}
	for mmsc, by := range a.view.Verdicts() {
		i := s.Index(mmsc)
		for node, v := range by {
			if node == self || v.Up {
				continue
			}
			key := node + "/" + mmsc
			now[key] = v.Since
			if old, ok := f.heard[key]; (!ok || !old.Equal(v.Since)) && i >= 0 && s.MMSCs[i].Up {
				a.log.Info("another router holds an MMSC for down: probing it at once", "mmsc", mmsc, "router", node)
				a.checker.Trigger(mmsc)
			}
		}
	}
	f.heard = now
}

// digest tells configurations apart by what must be the same on every router; what is each router's own is left out.
// It goes to the other routers, so it holds no secret that could be guessed from it.
func (c *Config) digest() string {
	type zone struct {
		Name        string
		TTL         time.Duration
		Order       string
		Preferences []dnsserver.PreferenceConfig
	}
	type target struct {
		Name, URL, Host, Probe, Path string
		Weight, Tier                 int
	}
	shared := struct {
		Zones    []zone
		MM1      any
		MMSCs    []target
		Routing  any
		Passive  any
		Takeover any
	}{Routing: c.Routing, Passive: c.Detection.Passive, Takeover: c.Takeover}
	for _, z := range c.DNS.Zones {
		shared.Zones = append(shared.Zones, zone{z.Name, z.TTL, z.Order, z.Preferences})
	}
	for i := range c.MMSCs {
		m := &c.MMSCs[i]
		shared.MMSCs = append(shared.MMSCs, target{m.Name, m.URL, m.Host, m.Probe.Type, m.Probe.Path, m.weight(), m.Tier})
	}
	shared.MM1 = struct{ Max, Deadline, Fence, Identity, Ambiguous, Down, Refuse any }{c.MM1.MaxMessage, c.MM1.Deadline, c.MM1.Fence,
		c.MM1.Identity, c.MM1.Ambiguous, c.MM1.WhenAllDown, c.MM1.RefuseWith}
	b, err := yaml.Marshal(shared)
	if err != nil {
		return "" // plain data: it can't fail; an empty one equals nobody's
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// kindSizes asks another router how large its tables are.
const kindSizes = "app.sizes"

// sizes is its answer.
type sizes struct {
	Fence  int  `json:"fence"`          // own submissions that are remembered
	Kept   *int `json:"kept,omitempty"` // those of other routers that are kept for them; nil: it is of a version that does not tell
	Owners int  `json:"owners"`         // learned owners
}

func (a *App) sizes() sizes {
	f, o := a.mm1.Sizes()
	kept := a.mm1.Shared().Kept()
	return sizes{Fence: f, Kept: &kept, Owners: o}
}

func (a *App) tellSizes(context.Context, string, []byte) ([]byte, error) {
	return json.Marshal(a.sizes())
}

// Cluster is this router's part of the cluster, for tests and drills; nil: it is alone.
func (a *App) Cluster() *cluster.Cluster { return a.cluster }
