package registry

import (
	"github.com/prometheus/client_golang/prometheus"

	metric "vedette/internal/metrics"
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
	set := metric.Set{Registerer: reg, Prefix: "vedette_registry_"}
	return &metrics{
		applied:    set.CounterVec("proposals_total", "Proposals read, by kind and outcome (accepted, or the reason of the refusal).", "kind", "outcome"),
		unverified: set.CounterVec("rejected_records_total", "Records that were not applied: mac, shape, sealed, presence.", "reason"),
		agents:     set.Gauge("agents", "Agents that may connect."),
		presences:  set.Gauge("presences", "Agents with a presence record."),
		pending:    set.Gauge("pending_proposals", "Own proposals whose outcome is not known yet."),
		halted:     set.Gauge("halted", "1 if a newer program has written to the registry, so that this process reads it no further."),

		snapshots:      set.Counter("snapshots_total", "Snapshots of the registry this process wrote."),
		badSnapshots:   set.CounterVec("rejected_snapshots_total", "Snapshots that were not used: topic (of another registry), gap (the log begins behind them), chunks (removed), broken, newer (of a later version of this program).", "reason"),
		snapshotOffset: set.Gauge("snapshot_offset", "Offset that the newest snapshot holds."),
	}
}
