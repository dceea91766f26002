package analyze

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	events     prometheus.Counter
	rerun      prometheus.Counter
	alerts     prometheus.Counter
	archives   prometheus.Counter
	rekeyed    prometheus.Counter
	lost       prometheus.Counter
	deadletter *prometheus.CounterVec
	busy       prometheus.Counter
	steps      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_analyze_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		events:   counter("events_total", "Events judged, each once per owner."),
		rerun:    counter("rerun_events_total", "Events judged again, silently, to rebuild windows."),
		alerts:   counter("alerts_total", "Alerts acknowledged by the brokers."),
		archives: counter("archives_total", "Archive documents acknowledged by the brokers."),
		rekeyed:  counter("rekeyed_events_total", "Events produced once more under the right key."),
		lost:     counter("lost_events_total", "Events that retention removed before they were judged."),
		steps:    counter("pattern_budget_exceeded_total", "Matches given up because a pattern took more steps than it may."),
		busy:     counter("busy_seconds_total", "Time spent judging events."),
		deadletter: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_analyze_deadletter_total", Help: "Records written to the dead letter, by cause.",
		}, []string{"reason"}),
	}
	reg.MustRegister(m.deadletter)
	return m
}
