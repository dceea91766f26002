package forward

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	in, out, unrouted, retries *prometheus.CounterVec
	failed                     *prometheus.CounterVec
	deliver                    *prometheus.HistogramVec
	up                         *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	c := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_forward_" + name, Help: help}, append([]string{"destination"}, labels...))
	}
	m := &metrics{
		in:       c("in_alerts_total", "Alert records read for a destination."),
		out:      c("out_alerts_total", "Alerts a destination took."),
		unrouted: c("unrouted_alerts_total", "Alerts that the destination's conditions leave out."),
		failed:   c("failed_alerts_total", "Alerts that went to the dead letter topic instead, by reason.", "reason"),
		retries:  c("retries_total", "Batches that were tried again."),
		deliver: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vedette_forward_deliver_duration_seconds", Help: "How long a batch took that a destination took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"destination"}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "vedette_forward_destination_up", Help: "1 when the destination answered last time."}, []string{"destination"}),
	}
	if reg != nil {
		reg.MustRegister(m.in, m.out, m.unrouted, m.failed, m.retries, m.deliver, m.up)
	}
	return m
}
