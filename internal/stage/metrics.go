package stage

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	lost       prometheus.Counter
	busy       prometheus.Counter
	deadletter *prometheus.CounterVec

	versions       *prometheus.GaugeVec
	versionChanges prometheus.Counter
	versionGone    prometheus.Counter

	checkpointWritten     prometheus.Counter
	checkpointLoaded      prometheus.Counter
	checkpointBytes       prometheus.Counter
	checkpointSeconds     prometheus.Counter
	checkpointLoadSeconds prometheus.Counter
	checkpointFailed      *prometheus.CounterVec
	checkpointRejected    *prometheus.CounterVec
}

// newMetrics registers the metrics of a stage; those of checkpoints only where it
// writes any.
func newMetrics(name string, checkpoints bool, reg prometheus.Registerer) *metrics {
	name = "vedette_" + name + "_"
	var all []prometheus.Collector
	counter := func(metric, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name + metric, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(metric, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name + metric, Help: help}, []string{"reason"})
		all = append(all, c)
		return c
	}
	m := &metrics{
		lost:       counter("lost_events_total", "Events that retention removed before they were judged."),
		busy:       counter("busy_seconds_total", "Time spent judging events."),
		deadletter: counters("deadletter_total", "Records written to the dead letter, by cause."),

		versionChanges: counter("ruleset_changes_total", "Changes to another version of the ruleset, by partition."),
		versionGone:    counter("ruleset_gone_total", "Stretches of events re-read by the current ruleset because the one that had judged them is not published any more."),
		versions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: name + "ruleset_partitions", Help: "Owned partitions by the version of the ruleset that judges them.",
		}, []string{"ruleset"}),
	}
	all = append(all, m.versions)
	if checkpoints {
		m.checkpointWritten = counter("checkpoints_written_total", "Checkpoints whose manifest was acknowledged.")
		m.checkpointLoaded = counter("checkpoints_loaded_total", "Partitions whose state was loaded from a checkpoint.")
		m.checkpointBytes = counter("checkpoint_bytes_total", "Bytes of state in the checkpoints written.")
		m.checkpointSeconds = counter("checkpoint_seconds_total", "Time from the encoding of a checkpoint to its acknowledgement.")
		m.checkpointLoadSeconds = counter("checkpoint_load_seconds_total", "Time spent reading and restoring the checkpoints loaded.")
		m.checkpointFailed = counters("checkpoints_failed_total", "Checkpoints that were begun and not written, by cause.")
		m.checkpointRejected = counters("checkpoints_rejected_total", "Checkpoints or their records that a new owner did not use, or not to the full, by cause.")
	}
	reg.MustRegister(all...)
	return m
}
