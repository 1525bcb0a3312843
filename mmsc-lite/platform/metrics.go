package platform

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	contents *prometheus.CounterVec
	steps    *prometheus.CounterVec
}

var kindWords = [...]string{Unusable: "unusable", TooLarge: "too_large", Unobtainable: "unobtainable", Interrupted: "interrupted", BadRequest: "bad_request"}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		contents: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_platform_contents_total",
			Help: "Contents of providers by result: ok, split (several messages), or why no message could be made."}, []string{"result"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_mmsc_platform_changes_total",
			Help: "Changes to content by step: what was converted, made smaller, left out or could not be used."}, []string{"step"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.contents, m.steps} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) composed(r *Result, err error) {
	result := "ok"
	var e *Error
	if errors.As(err, &e) {
		m.contents.WithLabelValues(kindWords[e.Kind]).Inc()
		return
	}
	if len(r.Messages) > 1 {
		result = "split"
	}
	m.contents.WithLabelValues(result).Inc()
	for _, n := range r.Notes {
		m.steps.WithLabelValues(n.Step.String()).Inc()
	}
}
