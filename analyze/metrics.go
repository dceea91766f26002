package analyze

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	events   prometheus.Counter
	rerun    prometheus.Counter
	alerts   prometheus.Counter
	archives prometheus.Counter
	rekeyed  prometheus.Counter
	repeated prometheus.Counter
	steps    prometheus.Counter
	evicted  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_analyze_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	return &metrics{
		events:   counter("events_total", "Events judged, each once per owner."),
		rerun:    counter("rerun_events_total", "Events judged again, silently, to rebuild windows."),
		alerts:   counter("alerts_total", "Alerts acknowledged by the brokers."),
		archives: counter("archives_total", "Archive documents acknowledged by the brokers."),
		rekeyed:  counter("rekeyed_events_total", "Events produced once more under the right key."),
		repeated: counter("repeated_events_total", "Events dropped because their source had written them before (event.id)."),
		steps:    counter("pattern_budget_exceeded_total", "Matches given up because a pattern took more steps than it may."),
		evicted:  counter("evicted_keys_total", "Record keys whose state was given up to keep within memory: the longest unused first."),
	}
}
