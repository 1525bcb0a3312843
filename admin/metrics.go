package admin

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests *prometheus.CounterVec
	refused  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mmsrouter_admin_requests_total", Help: "Requests to the admin address, by what was asked."}, []string{"door"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mmsrouter_admin_refused_total", Help: "Requests to the admin address that were refused, by reason."}, []string{"why"}),
	}
	r.MustRegister(m.requests, m.refused)
	for _, why := range []string{"host", "cross_site", "token"} {
		m.refused.WithLabelValues(why)
	}
	return m
}
