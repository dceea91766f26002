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
	halted     prometheus.Gauge

	snapshots      prometheus.Counter
	badSnapshots   *prometheus.CounterVec
	snapshotOffset prometheus.Gauge
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
		halted:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_registry_halted", Help: "1 if a newer program has written to the registry, so that this process reads it no further."}),

		snapshots:      prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_registry_snapshots_total", Help: "Snapshots of the registry this process wrote."}),
		badSnapshots:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_registry_rejected_snapshots_total", Help: "Snapshots that were not used: topic (of another registry), gap (the log begins behind them), chunks (removed), broken, newer (of a later version of this program)."}, []string{"reason"}),
		snapshotOffset: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_registry_snapshot_offset", Help: "Offset that the newest snapshot holds."}),
	}
	register(reg, &m.applied)
	register(reg, &m.unverified)
	register(reg, &m.agents)
	register(reg, &m.presences)
	register(reg, &m.pending)
	register(reg, &m.halted)
	register(reg, &m.snapshots)
	register(reg, &m.badSnapshots)
	register(reg, &m.snapshotOffset)
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
