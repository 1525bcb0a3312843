package dispatcher

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of jobs and calls.
const (
	resultAnswered = "answered"
	resultLater    = "later" // the provider will answer by the reply URL
	resultFailed   = "failed"
	resultGarbage  = "garbage"
	resultRefused  = "refused" // the provider's status says so
	resultFallback = "fallback"
	resultDead     = "dead"
	resultDone     = "done"
)

type metrics struct {
	accepted *prometheus.CounterVec
	calls    *prometheus.CounterVec
	jobs     *prometheus.CounterVec
	seconds  prometheus.Histogram
	open     prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_dispatcher_accepted_total",
			Help: "Messages for services: taken as a turn, a stop word, unknown (no service takes them), or refused."}, []string{"result"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_dispatcher_calls_total",
			Help: "Requests to providers: answered, to be answered later, failed, refused, or garbage."}, []string{"result"}),
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_dispatcher_jobs_total",
			Help: "Turns, endings, reports and notices that are over: done, fallback (the user got the fall-back text), dead."}, []string{"kind", "result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "mmsrouter_dispatcher_call_seconds",
			Help: "Time of a request to a provider.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 11)}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "mmsrouter_dispatcher_open_breakers",
			Help: "Services whose provider has failed too often and is left alone for a while."}),
	}
	for _, r := range []string{"turn", "stop", "unknown", "refused"} {
		m.accepted.WithLabelValues(r)
	}
	for _, r := range []string{resultAnswered, resultLater, resultFailed, resultGarbage, resultRefused} {
		m.calls.WithLabelValues(r)
	}
	for _, k := range []string{kindTurn, kindEnded, kindReport, kindNotice} {
		for _, r := range []string{resultDone, resultDead} {
			m.jobs.WithLabelValues(k, r)
		}
	}
	m.jobs.WithLabelValues(kindTurn, resultFallback)
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.accepted, m.calls, m.jobs, m.seconds, m.open} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) called(result string, began time.Time) {
	m.calls.WithLabelValues(result).Inc()
	m.seconds.Observe(time.Since(began).Seconds())
}
