package opensearch

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	written, stale prometheus.Counter
	retries        *prometheus.CounterVec
	bulk           prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		written: prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_indexer_written_alerts_total", Help: "Alerts the indexer acknowledged, repeats included."}),
		stale:   prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_indexer_stale_alerts_total", Help: "Alerts not written because a newer owner's document stands."}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_indexer_retries_total", Help: "Bulk requests sent again, by why."}, []string{"reason"}),
		bulk: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vedette_indexer_bulk_duration_seconds", Help: "How long a bulk request took.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
	}
	if reg != nil {
		reg.MustRegister(m.written, m.stale, m.retries, m.bulk)
	}
	return m
}
