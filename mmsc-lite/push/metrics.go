package push

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/push/carrier"
)

type metrics struct {
	attempts *prometheus.CounterVec
	outcomes *prometheus.CounterVec
	squeezed prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, cfg *Config) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_push_attempts_total",
			Help: "Pushes given to a carrier, by result: taken, failed (tried again), unknown (no answer came), refused (for good)."}, []string{"carrier", "result"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_push_outcomes_total",
			Help: "What carriers told later: delivery receipts and result notifications, by state."}, []string{"carrier", "state"}),
		squeezed: prometheus.NewCounter(prometheus.CounterOpts{Name: "mmsrouter_mmsc_push_squeezed_total",
			Help: "Notifications that were too long for their short messages and lost fields."}),
	}
	for i := range cfg.Carriers {
		m.attempts.WithLabelValues(cfg.Carriers[i].Name, "taken")
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.attempts), reg.Register(m.outcomes), reg.Register(m.squeezed))
}

func (m *metrics) attempt(name string, err error) {
	result := "failed"
	switch {
	case err == nil:
		result = "taken"
	case carrier.IsFinal(err):
		result = "refused"
	case carrier.IsUnknown(err):
		result = "unknown"
	}
	m.attempts.WithLabelValues(name, result).Inc()
}
