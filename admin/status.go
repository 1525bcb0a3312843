package admin

import (
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/mmsrouter/mmsrouter/router"
)

// Status is the answer of GET /api/v1/status.
type Status struct {
	Node     Node                          `json:"node"`
	Members  []Member                      `json:"members"`
	Drains   []Override                    `json:"drains"`
	Verdicts map[string]map[string]Opinion `json:"verdicts"` // by MMSC and router
	MMSCs    []MMSC                        `json:"mmscs"`
	Zones    []Zone                        `json:"zones"`
	Counters map[string]float64            `json:"counters"` // each counter's sum over its labels
}

// Node is the router that answers.
type Node struct {
	Name       string              `json:"name"`
	Version    string              `json:"version"`
	State      string              `json:"state"` // starting, ready or draining
	Why        string              `json:"why,omitempty"`
	Started    time.Time           `json:"started"`
	Uptime     float64             `json:"uptime_seconds"`
	Generation uint64              `json:"generation"` // of the Board; the DNS serial follows it
	Listen     map[string][]string `json:"listen,omitempty"`
	Drain      *Progress           `json:"drain,omitempty"` // of this router itself
	Drill      string              `json:"drill,omitempty"` // that breaks things here now, in words
	Before     *Before             `json:"before,omitempty"`
}

// Before is the process of this router that an upgrade has replaced, while it finishes what it has.
type Before struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Clients int    `json:"clients"` // connections; -1: it has not said
}

// Member is a router of the cluster.
type Member struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
	State   string `json:"state"`
	Version string `json:"version,omitempty"`
	Self    bool   `json:"self,omitempty"`

	Known    bool                `json:"known"` // it has told what follows
	Since    time.Time           `json:"since,omitzero"`
	Ready    bool                `json:"ready"`
	InDNS    bool                `json:"in_dns"`          // DNS names it, unless none qualifies: then it names all
	Blind    bool                `json:"blind,omitempty"` // it sees no MMSC, while another router sees one
	Drain    *Drain              `json:"drain,omitempty"` // taken out of the DNS answers by an operator
	Zones    map[string][]string `json:"zones,omitempty"` // its own addresses in each zone
	Holds    []string            `json:"holds,omitempty"` // service addresses that its machine has now
	Digest   string              `json:"digest,omitempty"`
	Mismatch bool                `json:"mismatch,omitempty"` // its configuration differs from this router's
	Fence    *int                `json:"fence,omitempty"`    // submissions that its duplicate fence remembers
	Kept     *int                `json:"kept,omitempty"`     // submissions of other routers that it keeps for them
	Owners   *int                `json:"owners,omitempty"`   // learned owners

	RTT         float64 `json:"rtt_ms,omitempty"`
	ClockOffset float64 `json:"clock_offset_seconds,omitempty"` // its clock less ours
}

// Opinion is what one router thinks of an MMSC.
type Opinion struct {
	Up    bool      `json:"up"`
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// Override is an operator's word that holds on all routers.
type Override struct {
	Kind   string    `json:"kind"` // drain, drain-router
	Glob   string    `json:"glob"` // the names it is about
	On     bool      `json:"on"`   // false: an exception from a wider one
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Node   string    `json:"node,omitempty"`         // where it was said
	Left   float64   `json:"left_seconds,omitempty"` // until it ends by itself; 0: it stays
}

// Progress is how far the drain of this router itself has come.
type Progress struct {
	Step  string    `json:"step"`
	Until time.Time `json:"until"` // when the step ends at the latest
	Left  float64   `json:"left_seconds"`
}

// MMSC is one MMSC as this node sees it.
type MMSC struct {
	Name     string       `json:"name"`
	URL      string       `json:"url"`
	State    router.State `json:"state"` // up, down or draining
	Why      string       `json:"why"`
	Since    time.Time    `json:"since,omitzero"`
	InFlight int          `json:"in_flight"`
	Weight   int          `json:"weight"`
	Tier     int          `json:"tier"`
	Share    uint8        `json:"share_percent"` // below 100 while it starts slowly after a recovery
	Local    bool         `json:"local,omitempty"`
	Spare    bool         `json:"spare,omitempty"` // reached by a rule or when all others are down
	Ejected  bool         `json:"ejected,omitempty"`
	Fault    string       `json:"fault,omitempty"`
	Drain    *Drain       `json:"drain,omitempty"`
}

// Drain says who took an MMSC out of balancing.
type Drain struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// Zone is a DNS zone and the addresses that its apex has now.
type Zone struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
}

func (s *Server) status() Status {
	now, snap := s.o.Now(), s.o.Board.Load()
	st := Status{
		Node: Node{Name: s.o.Node, Version: s.o.Version, State: "ready", Started: s.o.Started,
			Uptime: now.Sub(s.o.Started).Round(time.Millisecond).Seconds(), Generation: snap.Generation},
		MMSCs:    make([]MMSC, 0, len(snap.MMSCs)),
		Zones:    make([]Zone, 0, len(snap.Zones)),
		Counters: s.counters(),
		Drains:   s.o.Operators.List(),
	}
	if s.o.Before != nil {
		st.Node.Before = s.o.Before()
	}
	if s.o.Drilling != nil {
		st.Node.Drill = s.o.Drilling()
	}
	if s.o.Progress != nil {
		st.Node.Drain = s.o.Progress()
	}
	if s.o.Verdicts != nil {
		st.Verdicts = s.o.Verdicts()
	}
	if s.o.Listen != nil {
		st.Node.Listen = s.o.Listen()
	}
	if err := s.ready(); err != nil {
		st.Node.State, st.Node.Why = "starting", err.Error()
	}
	if s.draining() {
		st.Node.State = "draining"
	}
	st.Members = s.members()
	for i := range snap.MMSCs {
		st.MMSCs = append(st.MMSCs, s.mmsc(&snap.MMSCs[i]))
	}
	for _, z := range snap.Zones {
		row := Zone{Name: z.Name, Addresses: []string{}}
		for _, a := range z.Addresses {
			row.Addresses = append(row.Addresses, a.String())
		}
		st.Zones = append(st.Zones, row)
	}
	return st
}

// members gives the routers; where nobody tells of others, this one.
func (s *Server) members() []Member {
	if s.o.Members != nil {
		if all := s.o.Members(); len(all) > 0 {
			return all
		}
	}
	state := "alive"
	if s.draining() {
		state = "draining"
	}
	return []Member{{Name: s.o.Node, State: state, Version: s.o.Version, Self: true, Known: true, Ready: s.ready() == nil}}
}

func (s *Server) mmsc(m *router.MMSC) MMSC {
	row := MMSC{Name: m.Name, URL: m.URL, State: m.State(), Why: m.Why, Since: m.Since, Weight: m.Weight, Tier: m.Tier,
		Share: m.Ramp, Local: m.Local, Spare: m.Spare, Ejected: m.Ejected, Fault: m.Fault}
	if row.Share == 0 {
		row.Share = 100
	}
	if !m.Known {
		row.Why = "no verdict yet"
	}
	if m.Drain != nil {
		row.Drain = &Drain{By: m.Drain.By, Reason: m.Drain.Reason, Since: m.Drain.Since}
		row.Since = m.Drain.Since
		row.Why = "drained by " + m.Drain.By
		if m.Drain.Reason != "" {
			row.Why += ": " + m.Drain.Reason
		}
	}
	if s.o.Traffic != nil {
		row.InFlight = s.o.Traffic.Outstanding(m.Name)
	}
	return row
}

func (s *Server) ready() error {
	if s.o.Ready == nil {
		return nil
	}
	return s.o.Ready()
}

func (s *Server) draining() bool { return s.o.Draining != nil && s.o.Draining() }

// counters sums each counter of ours over its labels. A collector that errs costs only its own rows.
func (s *Server) counters() map[string]float64 {
	sums := map[string]float64{}
	families, err := s.o.Gatherer.Gather()
	if err != nil {
		s.o.Log.Warn("gather counters", "err", err)
	}
	for _, f := range families {
		if f.GetType() != dto.MetricType_COUNTER || aboutProcess(f.GetName()) {
			continue
		}
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetCounter().GetValue()
		}
	}
	return sums
}

// aboutProcess tells the figures of Go's runtime and of the process from those of the traffic.
func aboutProcess(name string) bool {
	return strings.HasPrefix(name, "mmsrouter_go_") || strings.HasPrefix(name, "mmsrouter_process_")
}
