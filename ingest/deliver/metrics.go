package deliver

import (
	"github.com/prometheus/client_golang/prometheus"

	metric "vedette/internal/metrics"
)

type metrics struct {
	pushes      *prometheus.CounterVec
	pushBytes   prometheus.Counter
	pushWaiting prometheus.Gauge
	requests    *prometheus.CounterVec
	commands    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	set := metric.Set{Registerer: reg, Prefix: "vedette_ingest_"}
	return &metrics{
		pushes:      set.CounterVec("config_pushes_total", "Merged files sent to agents, or not.", "result"),
		pushBytes:   set.Counter("config_push_bytes_total", "Bytes of merged files sent to agents."),
		pushWaiting: set.Gauge("config_pushes_waiting", "Agents that wait for their merged file."),
		requests:    set.CounterVec("request_answers_total", "Answers of agents to requests.", "result"),
		commands:    set.CounterVec("commands_total", "Commands to agents connected here, by outcome.", "kind", "result"),
	}
}
