package dnsserver

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// The label values of mmsrouter_dns_queries_total, closed sets; all else is `other`.
var (
	countedTypes = [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME, dns.TypePTR, dns.TypeMX, dns.TypeTXT,
		dns.TypeSRV, dns.TypeNAPTR, dns.TypeDS, dns.TypeDNSKEY, dns.TypeCAA, dns.TypeSVCB, dns.TypeHTTPS, dns.TypeEUI48, dns.TypeEUI64,
		dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR}
	countedRcodes = [...]int{dns.RcodeSuccess, dns.RcodeFormatError, dns.RcodeServerFailure, dns.RcodeNameError,
		dns.RcodeNotImplemented, dns.RcodeRefused, dns.RcodeNotAuth, dns.RcodeBadVers}
)

const (
	types  = len(countedTypes) + 1
	rcodes = len(countedRcodes) + 1
)

// counters count for one goroutine, or for a few that seldom meet, so that sockets do not share cache lines. They are
// summed up when somebody asks.
type counters struct {
	queries   [types][rcodes]atomic.Uint64
	ignored   atomic.Uint64
	truncated atomic.Uint64
	dropped   atomic.Uint64
	slipped   atomic.Uint64
	cookies   [3]atomic.Uint64 // see cookieStates
	fast      atomic.Uint64
	sends     atomic.Uint64
	sendFail  atomic.Uint64
	panics    atomic.Uint64
}

var cookieStates = [3]string{"client_only", "valid", "invalid"}

func (c *counters) query(qtype uint16, rcode int) {
	t, r := types-1, rcodes-1
	for i, k := range &countedTypes {
		if k == qtype {
			t = i
			break
		}
	}
	for i, k := range &countedRcodes {
		if k == rcode {
			r = i
			break
		}
	}
	c.queries[t][r].Add(1)
}

func (c *counters) cookie(server, valid bool) {
	switch {
	case !server:
		c.cookies[0].Add(1)
	case valid:
		c.cookies[1].Add(1)
	default:
		c.cookies[2].Add(1)
	}
}

func (c *counters) limited(v limitVerdict) {
	switch v {
	case drop:
		c.dropped.Add(1)
	case slip:
		c.slipped.Add(1)
	}
}

// metrics is the room's collector.
type metrics struct {
	mu  sync.Mutex
	all []*counters

	tcpOpen      atomic.Int64
	tcpAccepted  atomic.Uint64
	tcpRefused   [2]atomic.Uint64 // see tcpLimits
	queries      *prometheus.Desc
	ignored      *prometheus.Desc
	truncated    *prometheus.Desc
	limited      *prometheus.Desc
	cookies      *prometheus.Desc
	fast         *prometheus.Desc
	sends        *prometheus.Desc
	sendFail     *prometheus.Desc
	panics       *prometheus.Desc
	open         *prometheus.Desc
	accepted     *prometheus.Desc
	refusedConns *prometheus.Desc
}

// The TCP limits that refuse a connection, as label values.
var tcpLimits = [2]string{"max_connections", "per_client"}

func newMetrics() *metrics {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("mmsrouter_dns_"+name, help, labels, nil)
	}
	return &metrics{
		queries:      d("queries_total", "Queries answered, by type and answer.", "qtype", "rcode"),
		ignored:      d("ignored_total", "Packets that were no queries and got no answer."),
		truncated:    d("truncated_total", "Answers cut down to: ask by TCP."),
		limited:      d("rate_limited_total", "Answers beyond the rate limit, dropped or sent truncated (dns.rate_limit).", "action"),
		cookies:      d("cookies_total", "Queries with a DNS cookie, by what it was worth.", "state"),
		fast:         d("fast_total", "Queries answered from packed answers."),
		sends:        d("sends_total", "Datagrams handed to the system; answers to one client that go as one count once."),
		sendFail:     d("send_errors_total", "Answers over UDP that the system would not send."),
		panics:       d("panics_total", "Packets on which the server failed; each is logged."),
		open:         d("tcp_connections", "Open TCP connections."),
		accepted:     d("tcp_accepted_total", "TCP connections accepted."),
		refusedConns: d("tcp_refused_total", "TCP connections closed at once, by the limit (dns.tcp) that they exceeded.", "limit"),
	}
}

// counters makes a set that is part of the sums from now on.
func (m *metrics) counters() *counters {
	c := new(counters)
	m.mu.Lock()
	m.all = append(m.all, c)
	m.mu.Unlock()
	return c
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.queries, m.ignored, m.truncated, m.limited, m.cookies, m.fast, m.sends, m.sendFail, m.panics,
		m.open, m.accepted, m.refusedConns} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	all := append([]*counters(nil), m.all...)
	m.mu.Unlock()
	sum := func(f func(*counters) *atomic.Uint64) float64 {
		n := uint64(0)
		for _, c := range all {
			n += f(c).Load()
		}
		return float64(n)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	for t := range types {
		for r := range rcodes {
			if v := sum(func(c *counters) *atomic.Uint64 { return &c.queries[t][r] }); v > 0 {
				count(m.queries, v, typeLabel(t), rcodeLabel(r))
			}
		}
	}
	for i, state := range cookieStates {
		count(m.cookies, sum(func(c *counters) *atomic.Uint64 { return &c.cookies[i] }), state)
	}
	count(m.ignored, sum(func(c *counters) *atomic.Uint64 { return &c.ignored }))
	count(m.truncated, sum(func(c *counters) *atomic.Uint64 { return &c.truncated }))
	count(m.limited, sum(func(c *counters) *atomic.Uint64 { return &c.dropped }), "dropped")
	count(m.limited, sum(func(c *counters) *atomic.Uint64 { return &c.slipped }), "slipped")
	count(m.fast, sum(func(c *counters) *atomic.Uint64 { return &c.fast }))
	count(m.sends, sum(func(c *counters) *atomic.Uint64 { return &c.sends }))
	count(m.sendFail, sum(func(c *counters) *atomic.Uint64 { return &c.sendFail }))
	count(m.panics, sum(func(c *counters) *atomic.Uint64 { return &c.panics }))
	ch <- prometheus.MustNewConstMetric(m.open, prometheus.GaugeValue, float64(m.tcpOpen.Load()))
	count(m.accepted, float64(m.tcpAccepted.Load()))
	for i, l := range tcpLimits {
		count(m.refusedConns, float64(m.tcpRefused[i].Load()), l)
	}
}

func typeLabel(i int) string {
	if i == types-1 {
		return "other"
	}
	return dns.Type(countedTypes[i]).String()
}

func rcodeLabel(i int) string {
	if i == rcodes-1 {
		return "other"
	}
	if countedRcodes[i] == dns.RcodeBadVers {
		return "BADVERS" // the same number means BADSIG in a TSIG record
	}
	if s := dns.RcodeToString[countedRcodes[i]]; s != "" {
		return s
	}
	return strconv.Itoa(countedRcodes[i])
}
