package registry

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	applied    *prometheus.CounterVec
	unverified *prometheus.CounterVec
	agents     prometheus.Gauge
	presences  prometheus.Gauge
	pending    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		applied: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_registry_proposals_total",
			Help: "Proposals read, by kind and outcome (accepted, or the reason of the refusal)."}, []string{"kind", "outcome"}),
		unverified: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_registry_rejected_records_total",
			Help: "Records that were not applied: mac, shape, sealed, presence."}, []string{"reason"}),
		agents:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_registry_agents", Help: "Agents that may connect."}),
		presences: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_registry_presences", Help: "Agents with a presence record."}),
		pending:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_registry_pending_proposals", Help: "Own proposals whose outcome is not known yet."}),
	}
	register(reg, &m.applied)
	register(reg, &m.unverified)
	register(reg, &m.agents)
	register(reg, &m.presences)
	register(reg, &m.pending)
	return m
}

// register adds a collector, or takes over the one that stands there already,
// so that a role that is made anew in one process goes on counting.
func register[C prometheus.Collector](reg prometheus.Registerer, c *C) {
	if reg == nil {
		return
	}
	if err := reg.Register(*c); err != nil {
		var are prometheus.AlreadyRegisteredError
		if errors.As(err, &are) {
			if old, ok := are.ExistingCollector.(C); ok {
				*c = old
				return
			}
		}
		panic(err) // two different metrics under one name
	}
}
