package peer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of a handset's request for a message at a peer.
const (
	resultFetched     = "fetched"     // from the peer, and served
	resultStored      = "stored"      // served from the store
	resultUnlisted    = "unlisted"    // the location leads to no listed operator
	resultDenied      = "denied"      // by the peer, or since nobody says who asks
	resultMissing     = "missing"     // the peer has no such message
	resultUnreachable = "unreachable" // the peer did not answer, or not with a message
	resultOutside     = "outside"     // the host has no address in its operator's networks
	resultTooLarge    = "too_large"
	resultBusy        = "busy"        // too many at the same time
	resultUnavailable = "unavailable" // our store
	resultBroken      = "broken"      // the handset went away
)

// Results of an indication.
const (
	passQueued  = "queued"
	passPassed  = "passed"
	passRetried = "retried"
	passRefused = "refused" // by the peer, for good
	passExpired = "expired"
)

type metrics struct {
	retrievals  *prometheus.CounterVec
	indications *prometheus.CounterVec
	seconds     prometheus.Histogram
	octets      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		retrievals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_peer_retrievals_total",
			Help: "Requests of handsets for messages on other operators' servers, by result."}, []string{"result"}),
		indications: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_peer_indications_total",
			Help: "Handsets' answers that belong to other operators' servers: queued, then passed, retried, refused or expired."}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "mmsrouter_mmsc_peer_fetch_seconds",
			Help: "Time until a message was fetched from another operator's server and kept, all attempts together.", Buckets: prometheus.ExponentialBuckets(0.01, 2, 13)}),
		octets: prometheus.NewCounter(prometheus.CounterOpts{Name: "mmsrouter_mmsc_peer_fetched_bytes_total",
			Help: "Octets of messages fetched from other operators' servers."}),
	}
	for _, r := range []string{resultFetched, resultStored, resultUnlisted, resultDenied, resultMissing, resultUnreachable, resultOutside, resultTooLarge, resultBusy,
		resultUnavailable, resultBroken} {
		m.retrievals.WithLabelValues(r)
	}
	for _, r := range []string{passQueued, passPassed, passRetried, passRefused, passExpired} {
		m.indications.WithLabelValues(r)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.retrievals, m.indications, m.seconds, m.octets} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) got(result string)    { m.retrievals.WithLabelValues(result).Inc() }
func (m *metrics) passed(result string) { m.indications.WithLabelValues(result).Inc() }
func (m *metrics) fetched(began time.Time, octets int) {
	m.seconds.Observe(time.Since(began).Seconds())
	m.octets.Add(float64(octets))
}
