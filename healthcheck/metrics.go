package healthcheck

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics of the room; the label mmsc is a name of the configuration.
type metrics struct {
	up        *prometheus.GaugeVec
	fault     *prometheus.GaugeVec
	probes    *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	changes   *prometheus.CounterVec
	failures  *prometheus.CounterVec
	ejections *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		up: f.NewGaugeVec(prometheus.GaugeOpts{Name: "mmsrouter_mmsc_up",
			Help: "1 while the MMSC passes detection, else 0."}, []string{"mmsc"}),
		fault: f.NewGaugeVec(prometheus.GaugeOpts{Name: "mmsrouter_healthcheck_fault",
			Help: "1 while a probe shows that the MMSC is misconfigured, else 0."}, []string{"mmsc"}),
		probes: f.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_healthcheck_probes_total",
			Help: "Probes by result: up or down."}, []string{"mmsc", "result"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{Name: "mmsrouter_healthcheck_probe_duration_seconds",
			Help: "Time a probe took.", Buckets: []float64{.001, .005, .02, .1, .5, 2, 10}}, []string{"mmsc"}),
		changes: f.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_healthcheck_changes_total",
			Help: "Changes of the verdict, the first included: up, down (by probes) or ejected (by live traffic)."}, []string{"mmsc", "to"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_healthcheck_traffic_failures_total",
			Help: "Failed attempts of live traffic that detection was told of."}, []string{"mmsc"}),
		ejections: f.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_healthcheck_ejections_total",
			Help: "Ejections by live traffic: done, or spared because too many are out."}, []string{"mmsc", "result"}),
	}
}

// born makes the series of a target, so that they exist before anything happens.
func (m *metrics) born(name string) {
	m.up.WithLabelValues(name).Set(0)
	m.fault.WithLabelValues(name).Set(0)
	for _, r := range []string{"up", "down"} {
		m.probes.WithLabelValues(name, r)
	}
	for _, to := range []string{"up", "down", "ejected"} {
		m.changes.WithLabelValues(name, to)
	}
	m.failures.WithLabelValues(name)
	for _, r := range []string{"done", "spared"} {
		m.ejections.WithLabelValues(name, r)
	}
}

// gone removes the series of a target that is no longer configured.
func (m *metrics) gone(name string) {
	l := prometheus.Labels{"mmsc": name}
	m.up.DeletePartialMatch(l)
	m.fault.DeletePartialMatch(l)
	m.probes.DeletePartialMatch(l)
	m.seconds.DeletePartialMatch(l)
	m.changes.DeletePartialMatch(l)
	m.failures.DeletePartialMatch(l)
	m.ejections.DeletePartialMatch(l)
}

// count counts what an observation brought about.
func (m *metrics) count(name string, e event) {
	switch e {
	case cameUp:
		m.changes.WithLabelValues(name, "up").Inc()
	case wentDown, confirmed:
		m.changes.WithLabelValues(name, "down").Inc()
	case ejected:
		m.changes.WithLabelValues(name, "ejected").Inc()
		m.ejections.WithLabelValues(name, "done").Inc()
	case spared:
		m.ejections.WithLabelValues(name, "spared").Inc()
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
