package topics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	received *prometheus.CounterVec
	written  *prometheus.CounterVec
	refused  *prometheus.CounterVec
	inflight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, topics []Config) *metrics {
	const prefix = "vedette_ingest_kafka_"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels))
	}
	m := &metrics{
		received: counter("records_received_total", "Records taken from topics of others: written + refused + in flight.", "topic"),
		written:  counter("events_written_total", "Events that the brokers have acknowledged.", "topic"),
		refused:  counter("records_refused_total", "Records that were not written, by reason; they stand in the dead letter, but for empty ones.", "topic", "reason"),
		inflight: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "in_flight_events", Help: "Events handed to the brokers and not yet acknowledged."})),
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

// register adds a collector, or returns the registered one of that name. So a
// role that is made anew in one process goes on counting.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if err := reg.Register(c); err != nil {
		var are prometheus.AlreadyRegisteredError
		if errors.As(err, &are) {
			if old, ok := are.ExistingCollector.(C); ok {
				return old
			}
		}
		panic(err) // two different metrics under one name
	}
	return c
}
