package takeover

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// State is keepalived's word on a router's addresses at this machine.
type State string

// The states; Unknown until keepalived has said one.
const (
	Unknown State = "unknown"
	Master  State = "master" // they are here
	Backup  State = "backup"
	Fault   State = "fault"
	Stopped State = "stop"
)

// Holding is what this machine knows of one router's service addresses.
type Holding struct {
	Router    string    `json:"router"` // whose they are
	Addresses []string  `json:"addresses"`
	State     State     `json:"state"` // as keepalived said last
	Since     time.Time `json:"since,omitzero"`
	Here      []string  `json:"here"` // those that the machine has now, as the kernel says
}

// HoldersOptions is what NewHolders needs.
type HoldersOptions struct {
	Config  Config
	Metrics prometheus.Registerer
	Log     *slog.Logger
	// Data is node.data; empty: nothing is written.
	Data string
	// Local gives the addresses of this machine; nil: the kernel's answer.
	Local func() ([]netip.Addr, error)
	Now   func() time.Time
}

// Holders keeps who holds what, as keepalived's notify script tells and the kernel shows. Safe for use by many
// goroutines.
type Holders struct {
	o       HoldersOptions
	changes *prometheus.CounterVec

	doubled doubled

	mu    sync.Mutex
	state map[string]*Holding
	local []netip.Addr // the kernel's last answer
	blind bool         // it gives none now
}

// NewHolders makes one.
func NewHolders(o HoldersOptions) (*Holders, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Local == nil {
		o.Local = localAddresses
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Holders{o: o, state: map[string]*Holding{}, doubled: doubled{since: map[string]time.Time{}, told: map[string]bool{}}, changes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mmsrouter_takeover_changes_total", Help: "Changes that keepalived told, by whose addresses and what became of them here."},
		[]string{"router", "state"})}
	for _, r := range o.Config.Routers {
		h.state[r.Name] = &Holding{Router: r.Name, State: Unknown}
		for _, p := range r.prefixes() {
			h.state[r.Name].Addresses = append(h.state[r.Name].Addresses, p.Addr().String())
		}
	}
	if o.Metrics != nil {
		if err := o.Metrics.Register(h.changes); err != nil {
			return nil, fmt.Errorf("takeover: %w", err)
		}
		if err := o.Metrics.Register(held{h}); err != nil {
			return nil, fmt.Errorf("takeover: %w", err)
		}
	}
	return h, nil
}

// localAddresses asks the kernel.
func localAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("this machine's addresses: %w", err)
	}
	out := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out, nil
}

// List gives every router's addresses, in the order of the configuration.
func (h *Holders) List() []Holding {
	here := map[string]bool{}
	local, err := h.o.Local()
	h.mu.Lock()
	defer h.mu.Unlock()
	// Without an answer, as when there are no descriptors, they are where they were: to think that they had gone would move them.
	if err != nil {
		if local = h.local; !h.blind {
			h.o.Log.Error("the machine's addresses can't be looked at; counting on the last look", "err", err)
		}
	}
	h.local, h.blind = local, err != nil
	for _, a := range local {
		here[a.String()] = true
	}
	out := make([]Holding, 0, len(h.o.Config.Routers))
	for _, r := range h.o.Config.Routers {
		row := *h.state[r.Name]
		row.Here = []string{}
		for _, a := range row.Addresses {
			if here[a] {
				row.Here = append(row.Here, a)
			}
		}
		out = append(out, row)
	}
	return out
}

// Held gives the service addresses that this machine has now: what the routers tell each other.
func (h *Holders) Held() []string {
	all := []string{}
	for _, r := range h.List() {
		all = append(all, r.Here...)
	}
	return all
}

// report is what the notify script posts.
type report struct {
	Instance string `json:"instance"`
	State    string `json:"state"`
	Priority string `json:"priority"`
}

// ServeHTTP takes a report of the notify script (POST), or gives the list (GET).
func (h *Holders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, text string) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": text}) // the caller has gone; there is nobody to tell
	}
	switch r.Method {
	case http.MethodGet:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(h.List()) // the caller has gone; there is nobody to tell
		return
	case http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, POST")
		refuse(http.StatusMethodNotAllowed, "want GET or POST")
		return
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, 4096))
	var rep report
	if err != nil || json.Unmarshal(b, &rep) != nil {
		refuse(http.StatusBadRequest, `want {"instance":"…","state":"…"}`)
		return
	}
	if err := h.Told(rep.Instance, rep.State); err != nil {
		refuse(http.StatusBadRequest, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Told takes keepalived's word on a router's addresses: MASTER, BACKUP, FAULT or STOP.
func (h *Holders) Told(router, state string) error {
	s := State(strings.ToLower(state))
	if s != Master && s != Backup && s != Fault && s != Stopped {
		return fmt.Errorf("state %.20q: want MASTER, BACKUP, FAULT or STOP", state)
	}
	h.mu.Lock()
	row := h.state[router]
	if row == nil {
		h.mu.Unlock()
		return fmt.Errorf("router %.64q is not in takeover.routers", router)
	}
	old := row.State
	if old != s {
		row.State, row.Since = s, h.o.Now()
	}
	addresses := row.Addresses
	h.mu.Unlock()
	if old == s {
		return nil
	}
	h.changes.WithLabelValues(router, string(s)).Inc() // routers of the configuration: a closed set
	level := slog.LevelInfo
	if s == Fault {
		level = slog.LevelWarn
	}
	h.o.Log.Log(context.Background(), level, "service addresses", "router", router, "state", string(s), "was", string(old), "addresses", addresses)
	return nil
}

// held shows the kernel's answer as a metric.
type held struct{ h *Holders }

var descHeld = prometheus.NewDesc("mmsrouter_takeover_held", "Service addresses of a router that this machine has now.", []string{"router"}, nil)

func (c held) Describe(ch chan<- *prometheus.Desc) { ch <- descHeld; ch <- descDoubled }

func (c held) Collect(ch chan<- prometheus.Metric) {
	for _, r := range c.h.List() {
		ch <- prometheus.MustNewConstMetric(descHeld, prometheus.GaugeValue, float64(len(r.Here)), r.Router)
	}
	ch <- prometheus.MustNewConstMetric(descDoubled, prometheus.GaugeValue, float64(len(c.h.Doubled())))
}
