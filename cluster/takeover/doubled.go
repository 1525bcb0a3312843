package takeover

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// doubledAfter: for so long two routers may tell of one address while it moves: each looks once a second, and gossip takes its time.
const doubledAfter = 5 * time.Second

// doubled watches over what no switch can bear: an address on two machines that see each other, as when keepalived was killed on one of
// them and its kernel keeps what it has.
type doubled struct {
	mu    sync.Mutex
	since map[string]time.Time // by address: since when two tell of it
	told  map[string]bool
}

// Look takes which service addresses each living router has, and tells of one that two have: once when it is certain, and once when it is
// over.
func (h *Holders) Look(holds map[string][]string) {
	by := map[string][]string{}
	for router, list := range holds {
		for _, a := range list {
			by[a] = append(by[a], router)
		}
	}
	d, now := &h.doubled, h.o.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for a, routers := range by {
		if len(routers) < 2 {
			continue
		}
		if d.since[a].IsZero() {
			d.since[a] = now
		}
		if now.Sub(d.since[a]) >= doubledAfter && !d.told[a] {
			d.told[a] = true
			slices.Sort(routers)
			h.o.Log.Error("a service address is on several machines that see each other: look at keepalived there", "address", a, "routers", routers)
		}
	}
	for a := range d.since {
		if len(by[a]) >= 2 {
			continue
		}
		if d.told[a] {
			h.o.Log.Info("a service address is on one machine again", "address", a)
		}
		delete(d.since, a)
		delete(d.told, a)
	}
}

// Doubled gives the addresses that are on several machines for certain.
func (h *Holders) Doubled() (all []string) {
	h.doubled.mu.Lock()
	defer h.doubled.mu.Unlock()
	for a := range h.doubled.told {
		all = append(all, a)
	}
	slices.Sort(all)
	return all
}

var descDoubled = prometheus.NewDesc("mmsrouter_takeover_doubled", "Service addresses that are on several machines which see each other; more than 0 is a fault of keepalived or of the network.", nil, nil)
