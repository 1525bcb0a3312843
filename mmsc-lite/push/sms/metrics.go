package sms

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
)

type metrics struct {
	submits  *prometheus.CounterVec
	bound    *prometheus.GaugeVec
	receipts *prometheus.CounterVec
	lateOnes *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, c *Client) (*metrics, error) {
	m := &metrics{
		submits: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_sms_submits_total",
			Help: "Short messages submitted, by SMSC and result: taken, throttled, again, refused, lost (no answer)."}, []string{"smsc", "result"}),
		bound: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "mmsrouter_mmsc_sms_bound_sessions",
			Help: "Sessions bound with each SMSC."}, []string{"smsc"}),
		receipts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_sms_receipts_total",
			Help: "Delivery receipts, by SMSC and message_state."}, []string{"smsc", "state"}),
		lateOnes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_sms_late_answers_total",
			Help: "Answers to submissions whose time was over."}, []string{"smsc"}),
	}
	for _, l := range c.links {
		m.bound.WithLabelValues(l.name).Set(0)
	}
	if reg == nil {
		return m, nil
	}
	for _, col := range []prometheus.Collector{m.submits, m.bound, m.receipts, m.lateOnes} {
		if err := reg.Register(col); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) submitted(smsc string, a answer) {
	result := "lost"
	if a.err == nil {
		switch a.status.Class() {
		case smpp.Done:
			result = "taken"
		case smpp.Slow:
			result = "throttled"
		case smpp.Refused, smpp.Unsuited:
			result = "refused"
		default:
			result = "again"
		}
	}
	m.submits.WithLabelValues(smsc, result).Inc()
}

func (m *metrics) isBound(smsc string, yes bool) {
	v := 0.0
	if yes {
		v = 1
	}
	m.bound.WithLabelValues(smsc).Set(v)
}

func (m *metrics) receipt(r Receipt) {
	m.receipts.WithLabelValues(r.SMSC, r.State.String()).Inc()
}

func (m *metrics) late(smsc string) { m.lateOnes.WithLabelValues(smsc).Inc() }
