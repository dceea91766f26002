package embedded

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	written, repeated, stale, expired prometheus.Counter
	removedDays                       *prometheus.CounterVec
	bytes                             prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	c := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_store_" + name, Help: help})
	}
	m := &metrics{
		written:  c("written_alerts_total", "Alerts written to the embedded store, repeats included."),
		repeated: c("repeated_alerts_total", "Alerts that were in the embedded store already and were written again."),
		stale:    c("stale_alerts_total", "Alerts not written because a newer owner's document stands."),
		expired:  c("expired_alerts_total", "Alerts not written because their day is beyond the store's age."),
		removedDays: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_store_removed_days_total", Help: "Days removed from the embedded store.",
		}, []string{"reason"}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_store_size_bytes", Help: "Size of the embedded store's files."}),
	}
	if reg != nil {
		reg.MustRegister(m.written, m.repeated, m.stale, m.expired, m.removedDays, m.bytes)
	}
	return m
}
