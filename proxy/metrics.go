package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Result is what became of a message: a label value, a closed set.
type Result uint8

// The results of a message.
const (
	Answered   Result = iota // an MMSC's answer went to the client, a good one
	Permanent                // an MMSC refused for good, and that went to the client
	Transient                // MMSCs refused for now, and that went to the client
	Refused                  // we refused: nobody qualified, a limit, the deadline
	Fenced                   // answered from the duplicate fence
	Rejected                 // not for us, malformed, too large
	ClientGone               // the upload broke off
	Superseded               // broken in favour of the same subscriber's newer post
	Kept                     // accepted durably for later forwarding
	numResults
)

var resultNames = [numResults]string{"answered", "permanent", "transient", "refused", "fenced", "rejected", "client_gone", "superseded", "held"}

func (r Result) String() string { return resultNames[r] }

// Phase is how an attempt ended: a label value, a closed set.
type Phase uint8

// The phases of an attempt, in the order of the design's table.
const (
	PhaseConnect   Phase = iota // refused, unreachable: nothing sent
	PhaseTLS                    // TLS failure: nothing sent
	PhaseQueue                  // no place at the MMSC: nothing sent
	PhaseBody                   // broke before the body was whole
	PhaseRefused                // a transient refusal
	PhaseAbsent                 // its application is not there (401, 403, 404, 405, 407, 501 without a PDU)
	PhaseNotFound               // this MMSC does not hold the message
	PhaseAnswered               // an answer for the client
	PhaseAmbiguous              // body whole, and no telling what became of it
	PhaseCut                    // an answer broke off while it streamed to the client
	PhaseCancelled              // we broke it: client gone, superseded, too large
	numPhases
)

// phaseStale is no outcome of an attempt: its kept connection was found unfit, and another is taken.
const phaseStale = numPhases

var phaseNames = [numPhases]string{"connect", "tls", "queue", "body", "refused", "absent", "not_found", "answered", "ambiguous", "cut", "cancelled"}

func (p Phase) String() string { return phaseNames[p] }

// pduSlots: the known PDUs, then get, then unknown.
const (
	pduGet     = 0x18
	pduUnknown = 0x19
	pduSlots   = 0x1A
)

func pduSlot(get bool, t mms.Type) int {
	switch {
	case get:
		return pduGet
	case t.Known():
		return int(t) & 0x7f
	}
	return pduUnknown
}

func pduLabel(slot int) string {
	switch slot {
	case pduGet:
		return "get"
	case pduUnknown:
		return "unknown"
	}
	return mms.Type(slot | 0x80).String()
}

// targetStats counts for one MMSC ("none" for messages that no MMSC answered). Arrays of counters instead
// of label look-ups: a message costs a few atomic additions and no allocation.
type targetStats struct {
	name     string
	messages [pduSlots][numResults]atomic.Uint64
	attempts [numPhases]atomic.Uint64
	octets   atomic.Uint64
}

// metrics is a prometheus.Collector over these counters.
type metrics struct {
	mu      sync.RWMutex
	targets map[string]*targetStats
	none    *targetStats

	ambiguous    atomic.Uint64 // retries after an ambiguous result
	uploads      atomic.Uint64 // octets read from clients
	connections  atomic.Int64
	accepted     atomic.Uint64
	refusedConn  atomic.Uint64
	badRequests  [len(badReasons)]atomic.Uint64
	fenceOff     atomic.Uint64
	fenceJoined  atomic.Uint64
	unreadable   atomic.Uint64
	foreign      atomic.Uint64
	stripped     atomic.Uint64
	panics       atomic.Uint64
	logDropped   atomic.Uint64
	certificates atomic.Uint64
	inFlight     func(yield func(name string, n int64))
	sizes        func() (fence, owners int, memory, spilled int64)
	seconds      prometheus.Histogram
}

// badReasons is the closed set of reasons for refusing a request before it is routed.
var badReasons = [...]string{"head", "method", "host", "size", "timeout", "body", "overload"}

const (
	badHead = iota
	badMethod
	badHost
	badSize
	badTimeout
	badBody
	badOverload
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mmsrouter_proxy_"+name, help, labels, nil)
}

var (
	descMessages = desc("messages_total", "Messages by the MMSC that answered (none: no MMSC did), PDU and result.", "mmsc", "pdu", "result")
	descAttempts = desc("attempts_total", "Attempts by MMSC and the phase in which they ended.", "mmsc", "phase")
	descOctets   = desc("forwarded_bytes_total", "Octets of uploads written to MMSCs, all attempts.", "mmsc")
	descRetries  = desc("ambiguous_retries_total", "Attempts made after an ambiguous result: each may be an extra copy.")
	descUploads  = desc("uploaded_bytes_total", "Octets of uploads read from clients.")
	descConns    = desc("connections", "Client connections now.")
	descAccepted = desc("connections_total", "Client connections accepted.")
	descTurned   = desc("connections_refused_total", "Client connections closed at once because of a limit.")
	descBad      = desc("bad_requests_total", "Requests refused before they were routed, by reason.", "reason")
	descFenceOff = desc("fence_off_total", "Submissions without an identity or transaction id: the duplicate fence could not guard them.")
	descJoined   = desc("fence_joined_total", "Submissions answered from the fence.")
	descUnread   = desc("unreadable_total", "Bodies that are not a readable PDU.")
	descForeign  = desc("foreign_host_total", "Requests for hosts that are not ours.")
	descStripped = desc("identity_stripped_total", "Identity header fields removed because the sender is not trusted.")
	descPanics   = desc("panics_total", "Requests that ended in a fault of the program.")
	descDropped  = desc("access_log_dropped_total", "Access log lines dropped because the log could not be written.")
	descCerts    = desc("certificate_failures_total", "Changes of the TLS files that could not be used; the old certificate serves on.")
	descFlight   = desc("in_flight", "Requests in flight by MMSC.", "mmsc")
	descFence    = desc("fence_entries", "Entries of the duplicate fence.")
	descOwners   = desc("owner_entries", "Entries of the table of learned owners.")
	descMemory   = desc("replay_memory_bytes", "Memory of uploads and buffers.")
	descSpilled  = desc("replay_spilled_total", "Uploads that went to a temporary file.")
)

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{targets: map[string]*targetStats{}}
	m.none = m.target("none")
	m.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "mmsrouter_proxy_message_seconds",
		Help:    "Time from a request's first octet to its answer's last.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	})
	if reg == nil {
		return m, nil
	}
	if err := reg.Register(m); err != nil {
		return nil, err
	}
	return m, reg.Register(m.seconds)
}

// target gives the counters of an MMSC; they live on when a reload removes it, as counters must.
func (m *metrics) target(name string) *targetStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.targets[name]
	if t == nil {
		t = &targetStats{name: name}
		m.targets[name] = t
	}
	return t
}

// Describe sends nothing: the collector is unchecked, its series come and go with the configuration.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends every series that has counted something, and the attempts and retries even at zero.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	m.mu.RLock()
	for name, t := range m.targets {
		for slot := range t.messages {
			for r := range t.messages[slot] {
				if v := t.messages[slot][r].Load(); v > 0 {
					counter(descMessages, v, name, pduLabel(slot), Result(r).String())
				}
			}
		}
		if t == m.none {
			continue
		}
		for p := range t.attempts {
			counter(descAttempts, t.attempts[p].Load(), name, Phase(p).String())
		}
		counter(descOctets, t.octets.Load(), name)
	}
	m.mu.RUnlock()
	for r := range m.badRequests {
		counter(descBad, m.badRequests[r].Load(), badReasons[r])
	}
	for _, c := range []struct {
		d *prometheus.Desc
		v uint64
	}{{descRetries, m.ambiguous.Load()}, {descUploads, m.uploads.Load()}, {descAccepted, m.accepted.Load()}, {descTurned, m.refusedConn.Load()},
		{descFenceOff, m.fenceOff.Load()}, {descJoined, m.fenceJoined.Load()}, {descUnread, m.unreadable.Load()}, {descForeign, m.foreign.Load()},
		{descStripped, m.stripped.Load()}, {descPanics, m.panics.Load()}, {descDropped, m.logDropped.Load()},
		{descCerts, m.certificates.Load()}} {
		counter(c.d, c.v)
	}
	gauge(descConns, m.connections.Load())
	if m.inFlight != nil {
		m.inFlight(func(name string, n int64) { gauge(descFlight, n, name) })
	}
	if m.sizes != nil {
		fence, owners, memory, spilled := m.sizes()
		gauge(descFence, int64(fence))
		gauge(descOwners, int64(owners))
		gauge(descMemory, memory)
		counter(descSpilled, uint64(spilled))
	}
}
