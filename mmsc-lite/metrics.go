package mmsc

import (
	"errors"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/prometheus/client_golang/prometheus"
)

// outcome is how a request ended: a closed set, for the label of a metric.
type outcome string

const (
	outcomeOk        outcome = "ok"
	outcomeDuplicate outcome = "duplicate" // a submission that came again
	outcomeRefused   outcome = "refused"   // permanent status or 4xx
	outcomeTransient outcome = "transient" // transient status or 5xx
	outcomeUnknown   outcome = "unknown"   // an indication that belongs to nothing
	outcomeBroken    outcome = "broken"    // the connection ended first
)

type metrics struct {
	requests *prometheus.CounterVec
	held     *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_requests_total",
		Help: "MM1 requests that the embedded MMSC answered, by PDU (get for a retrieval) and result."}, []string{"pdu", "result"}),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_held_done_total",
			Help: "Held messages that are done with, by result: forwarded, refused, expired."}, []string{"result"})}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.requests), reg.Register(m.held))
}

func (m *metrics) answered(t mms.Type, o outcome) {
	m.requests.WithLabelValues(t.String(), string(o)).Inc()
}

func (m *metrics) got(o outcome) { m.requests.WithLabelValues("get", string(o)).Inc() }
