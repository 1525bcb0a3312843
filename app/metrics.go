package app

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	reloads  *prometheus.CounterVec
	draining prometheus.Gauge
	held     *prometheus.CounterVec
	upgrades *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, version string) metrics {
	m := metrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mmsrouter_app_reloads_total", Help: "Reloads of the configuration, by result."}, []string{"result"}),
		draining: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mmsrouter_app_draining", Help: "1 while this router finishes what it has and takes nothing new."}),
	}
	m.held = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mmsrouter_app_held_attempts_total", Help: "Attempts to give a held message to an MMSC, by how they ended."}, []string{"result"})
	for _, e := range []end{notReached, ambiguous, answered} {
		m.held.WithLabelValues(e.String())
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mmsrouter_app_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()}})
	build.Set(1)
	m.upgrades = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mmsrouter_app_upgrades_total", Help: "Upgrades that this process was asked for, by result."}, []string{"result"})
	m.upgrades.WithLabelValues("ok")
	m.upgrades.WithLabelValues("refused")
	r.MustRegister(m.reloads, m.draining, m.held, m.upgrades, build)
	m.reloads.WithLabelValues("ok")
	m.reloads.WithLabelValues("refused")
	return m
}
