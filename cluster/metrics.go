package cluster

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// The label values, closed sets.
const (
	sentMessages = iota
	gotMessages
)

const (
	askAnswered = iota
	askTimeout
	askFailed
	askBusy
)

var askLabels = [...]string{"answered", "timeout", "failed", "busy"}

// metrics counts; it is its own collector, so that the members are counted when somebody asks.
type metrics struct {
	members  *members
	octets   *[4]atomic.Uint64
	reasons  map[Reason]*atomic.Uint64
	messages [2]atomic.Uint64
	asks     [4]atomic.Uint64
	joins    [2]atomic.Uint64
}

func newMetrics(m *members, octets *[4]atomic.Uint64) *metrics {
	x := &metrics{members: m, octets: octets, reasons: map[Reason]*atomic.Uint64{}}
	for _, r := range reasons {
		x.reasons[r] = &atomic.Uint64{}
	}
	return x
}

func (x *metrics) refused(r Reason, n int) {
	if c := x.reasons[r]; c != nil {
		c.Add(uint64(n))
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mmsrouter_cluster_"+name, help, labels, nil)
}

var (
	descMembers  = desc("members", "Routers of the cluster, this one included, by state.", "state")
	descRefused  = desc("refused_total", "What came in from the cluster's network and had no effect, by reason.", "reason")
	descOctets   = desc("octets_total", "Octets of gossip.", "direction", "by")
	descMessages = desc("messages_total", "Messages and requests to single routers, and from them.", "direction")
	descAsks     = desc("requests_total", "Requests to other routers, by how they ended.", "result")
	descJoins    = desc("joins_total", "Tries to reach a router that is not in the cluster.", "result")
)

func (x *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descMembers, descRefused, descOctets, descMessages, descAsks, descJoins} {
		ch <- d
	}
}

func (x *metrics) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	states := map[MemberState]int{Alive: 0, Suspect: 0, Draining: 0, Left: 0}
	for _, m := range x.members.list() {
		states[m.State]++
	}
	for s, n := range states {
		ch <- prometheus.MustNewConstMetric(descMembers, prometheus.GaugeValue, float64(n), string(s))
	}
	for r, c := range x.reasons {
		count(descRefused, c.Load(), string(r))
	}
	count(descOctets, x.octets[packetsIn].Load(), "in", "packet")
	count(descOctets, x.octets[packetsOut].Load(), "out", "packet")
	count(descOctets, x.octets[streamsIn].Load(), "in", "stream")
	count(descOctets, x.octets[streamsOut].Load(), "out", "stream")
	count(descMessages, x.messages[sentMessages].Load(), "out")
	count(descMessages, x.messages[gotMessages].Load(), "in")
	for i, l := range askLabels {
		count(descAsks, x.asks[i].Load(), l)
	}
	count(descJoins, x.joins[0].Load(), "ok")
	count(descJoins, x.joins[1].Load(), "failed")
}
