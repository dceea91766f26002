package agentless

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
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
	const prefix = "vedette_ingest_agentless_"
	m := &metrics{
		runs:    register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "runs_total", Help: "Runs of a check on a host, by result."}, []string{"result"})),
		written: register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "events_written_total", Help: "Events that the brokers have acknowledged."})),
		refused: register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "events_refused_total", Help: "Events that the brokers refused, or that an end overtook."})),
		running: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "running", Help: "Runs under way."})),
		owned:   register(reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "owned_checks", Help: "Checks of a host that this node runs."})),
	}
	for _, r := range []string{
		resultOK, resultCredentials, resultConnect, resultHostUnknown, resultHostChanged, resultLogin, resultSession, resultTooLarge, resultTimeout, resultStopped,
	} {
		m.runs.WithLabelValues(r)
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
