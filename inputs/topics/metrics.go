package topics

import (
	"github.com/prometheus/client_golang/prometheus"

	metric "vedette/internal/metrics"
)

type metrics struct {
	received *prometheus.CounterVec
	written  *prometheus.CounterVec
	refused  *prometheus.CounterVec
	inflight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, topics []Config) *metrics {
	set := metric.Set{Registerer: reg, Prefix: "vedette_ingest_kafka_"}
	m := &metrics{
		received: set.CounterVec("records_received_total", "Records taken from topics of others: written + refused + in flight.", "topic"),
		written:  set.CounterVec("events_written_total", "Events that the brokers have acknowledged.", "topic"),
		refused:  set.CounterVec("records_refused_total", "Records that were not written, by reason; they stand in the dead letter, but for empty ones.", "topic", "reason"),
		inflight: set.Gauge("in_flight_events", "Events handed to the brokers and not yet acknowledged."),
	}
	for _, c := range topics { // configured, so a closed set
		m.received.WithLabelValues(c.Topic)
		m.written.WithLabelValues(c.Topic)
		for _, r := range []string{causeEmpty, causeTooLarge, causeNotJSON, causeNoMessage, causeProduce} {
			m.refused.WithLabelValues(c.Topic, r)
		}
	}
	return m
}
