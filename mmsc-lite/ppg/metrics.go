package ppg

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg/journal"
)

type metrics struct {
	requests   *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	attempts   *prometheus.CounterVec
	results    *prometheus.CounterVec
	receipts   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_ppg_requests_total",
			Help: "Requests of push initiators, by element and result code; http for those that were refused before."}, []string{"element", "code"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_ppg_deliveries_total",
			Help: "Deliveries that came to an end, by message-state."}, []string{"state"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_ppg_attempts_total",
			Help: "Attempts to hand a push to a bearer, by bearer and result: taken, failed, unknown, refused."}, []string{"bearer", "result"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_ppg_result_notifications_total",
			Help: "Result notifications, by result: told, failed (tried again), given_up."}, []string{"result"}),
		receipts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_ppg_receipts_total",
			Help: "Delivery receipts, by match: found, nobody (no push waits for it), dropped."}, []string{"match"}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.requests), reg.Register(m.deliveries), reg.Register(m.attempts), reg.Register(m.results), reg.Register(m.receipts))
}

// codeLabel keeps the set of labels closed: the gateway's own codes.
func codeLabel(c pap.Code) string { return fmt.Sprintf("%d", int(c)) }

func (m *metrics) ended(s journal.State) { m.deliveries.WithLabelValues(string(s.PAP())).Inc() }
