package outgoing

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_outgoing_requests_total",
			Help: "Guarded HTTP requests to providers by result: ok (any status), or why there was no answer."}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "mmsrouter_mmsc_outgoing_request_seconds",
			Help: "Time of guarded HTTP requests, to the answer's last octet.", Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) done(began time.Time, err *Error) {
	result := "ok"
	if err != nil {
		result = err.Kind.String()
	}
	m.requests.WithLabelValues(result).Inc()
	m.seconds.Observe(time.Since(began).Seconds())
}
