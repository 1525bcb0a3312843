package handset

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	events [kinds]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mmsrouter_handset_events_total", Help: "What happened to the phones, by kind."}, []string{"event"})
	if r != nil {
		if err := r.Register(v); err != nil {
			return nil, err
		}
	}
	m := &metrics{}
	for k := range kinds {
		m.events[k] = v.WithLabelValues(k.String())
	}
	return m, nil
}
