package agentless

import (
	"github.com/prometheus/client_golang/prometheus"

	metric "vedette/internal/metrics"
)

// Results of a run.
const (
	resultOK          = "ok"
	resultCredentials = "credentials"
	resultConnect     = "connect"
	resultHostUnknown = "host_key_unknown"
	resultHostChanged = "host_key_changed"
	resultLogin       = "login"
	resultSession     = "session"
	resultTooLarge    = "output_too_large"
	resultTimeout     = "timeout"
	resultStopped     = "stopped"
)

type metrics struct {
	runs    *prometheus.CounterVec
	written prometheus.Counter
	refused prometheus.Counter
	running prometheus.Gauge
	owned   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	set := metric.Set{Registerer: reg, Prefix: "vedette_ingest_agentless_"}
	m := &metrics{
		runs:    set.CounterVec("runs_total", "Runs of a check on a host, by result.", "result"),
		written: set.Counter("events_written_total", "Events that the brokers have acknowledged."),
		refused: set.Counter("events_refused_total", "Events that the brokers refused, or that an end overtook."),
		running: set.Gauge("running", "Runs under way."),
		owned:   set.Gauge("owned_checks", "Checks of a host that this node runs."),
	}
	for _, r := range []string{
		resultOK, resultCredentials, resultConnect, resultHostUnknown, resultHostChanged, resultLogin, resultSession, resultTooLarge, resultTimeout, resultStopped,
	} {
		m.runs.WithLabelValues(r)
	}
	return m
}
