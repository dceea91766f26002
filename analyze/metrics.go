package analyze

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	events     prometheus.Counter
	rerun      prometheus.Counter
	alerts     prometheus.Counter
	archives   prometheus.Counter
	rekeyed    prometheus.Counter
	repeated   prometheus.Counter
	lost       prometheus.Counter
	deadletter *prometheus.CounterVec
	busy       prometheus.Counter
	steps      prometheus.Counter
	evicted    prometheus.Counter

	rulesets       *prometheus.GaugeVec
	rulesetChanges prometheus.Counter
	rulesetGone    prometheus.Counter

	checkpointWritten     prometheus.Counter
	checkpointLoaded      prometheus.Counter
	checkpointBytes       prometheus.Counter
	checkpointSeconds     prometheus.Counter
	checkpointLoadSeconds prometheus.Counter
	checkpointFailed      *prometheus.CounterVec
	checkpointRejected    *prometheus.CounterVec
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
		repeated: counter("repeated_events_total", "Events dropped because their source had written them before (event.id)."),
		lost:     counter("lost_events_total", "Events that retention removed before they were judged."),
		steps:    counter("pattern_budget_exceeded_total", "Matches given up because a pattern took more steps than it may."),
		evicted:  counter("evicted_keys_total", "Record keys whose state was given up to keep within memory: the longest unused first."),
		busy:     counter("busy_seconds_total", "Time spent judging events."),
		deadletter: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_analyze_deadletter_total", Help: "Records written to the dead letter, by cause.",
		}, []string{"reason"}),
	}
	m.rulesets = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "vedette_analyze_ruleset_partitions", Help: "Owned partitions by the version of the ruleset that judges them.",
	}, []string{"ruleset"})
	m.rulesetChanges = counter("ruleset_changes_total", "Changes to another version of the ruleset, by partition.")
	m.rulesetGone = counter("ruleset_gone_total", "Stretches of events re-read by the current ruleset because the one that had judged them is not published any more.")
	m.checkpointWritten = counter("checkpoints_written_total", "Checkpoints whose manifest was acknowledged.")
	m.checkpointLoaded = counter("checkpoints_loaded_total", "Partitions whose state was loaded from a checkpoint.")
	m.checkpointBytes = counter("checkpoint_bytes_total", "Bytes of state in the checkpoints written.")
	m.checkpointSeconds = counter("checkpoint_seconds_total", "Time from the encoding of a checkpoint to its acknowledgement.")
	m.checkpointLoadSeconds = counter("checkpoint_load_seconds_total", "Time spent reading and restoring the checkpoints loaded.")
	m.checkpointFailed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vedette_analyze_checkpoints_failed_total", Help: "Checkpoints that were begun and not written, by cause.",
	}, []string{"reason"})
	m.checkpointRejected = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vedette_analyze_checkpoints_rejected_total", Help: "Checkpoints or their records that a new owner did not use, or not to the full, by cause.",
	}, []string{"reason"})
	reg.MustRegister(m.rulesets, m.deadletter, m.checkpointFailed, m.checkpointRejected)
	return m
}
