package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	batch    prometheus.Histogram
	seconds  prometheus.Histogram
	failures *prometheus.CounterVec
	faults   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Store) (*metrics, error) {
	m := &metrics{
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "mmsrouter_mmsc_commit_writes",
			Help: "Writes that shared a transaction and its sync.", Buckets: prometheus.ExponentialBuckets(1, 2, 8)}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "mmsrouter_mmsc_commit_seconds",
			Help: "Time of a transaction, its sync included.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_store_failures_total",
			Help: "Writes that the database did not do, by cause: full (no space left) or other."}, []string{"cause"}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{Name: "mmsrouter_mmsc_content_faults_total",
			Help: "Contents that were asked for and could not be read from their file: damaged or missing."}),
	}
	m.failures.WithLabelValues("full")
	m.failures.WithLabelValues("other")
	if reg == nil {
		return m, nil
	}
	memory := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "mmsrouter_mmsc_upload_memory_bytes",
		Help: "Memory that uploads hold; beyond the limit they go to a file."}, func() float64 { return float64(s.memory.used.Load()) })
	for _, c := range []prometheus.Collector{m.batch, m.seconds, m.failures, m.faults, memory} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) commit(n int, took time.Duration, err error) {
	if err == nil {
		m.batch.Observe(float64(n))
		m.seconds.Observe(took.Seconds())
	}
}

func (m *metrics) failed(full bool) {
	if full {
		m.failures.WithLabelValues("full").Inc()
		return
	}
	m.failures.WithLabelValues("other").Inc()
}
