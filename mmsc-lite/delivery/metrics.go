package delivery

import (
	"errors"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	pushes *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{pushes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_pushes_total",
		Help: "PDUs handed to a carrier, by PDU and result: taken, failed (tried again), refused (for good)."}, []string{"pdu", "result"})}
	if reg == nil {
		return m, nil
	}
	return m, reg.Register(m.pushes)
}

func (m *metrics) pushed(t mms.Type, err error) {
	result := "taken"
	if errors.Is(err, ErrNoRoute) {
		result = "refused"
	} else if err != nil {
		result = "failed"
	}
	m.pushes.WithLabelValues(t.String(), result).Inc()
}
