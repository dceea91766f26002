package shadow

import (
	"github.com/prometheus/client_golang/prometheus"

	"vedette/analyze"
	"vedette/schemas"
)

type metrics struct {
	events      prometheus.Counter
	differences *prometheus.CounterVec
}

func newMetrics(o Options) *metrics {
	m := &metrics{
		events: prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_shadow_events_total", Help: "Events judged by the shadow ruleset, each once per owner."}),
		differences: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_shadow_differences_total", Help: "Events whose verdict the shadow ruleset would change, acknowledged by the brokers.",
		}, []string{"kind"}),
	}
	for _, kind := range []schemas.ShadowKind{schemas.ShadowAdded, schemas.ShadowRemoved, schemas.ShadowChanged} {
		m.differences.WithLabelValues(string(kind))
	}
	o.Registerer.MustRegister(m.events, m.differences, info{o.Running, o.Candidate})
	return m
}

// info tells which ruleset is tried against which, once there are both.
type info struct{ running, candidate analyze.Rulesets }

var infoDesc = prometheus.NewDesc("vedette_shadow_info", "1 for the shadow ruleset and the running one it is compared with; absent while none can be tried.", []string{"ruleset", "against"}, nil)

// Describe implements prometheus.Collector.
func (i info) Describe(c chan<- *prometheus.Desc) { c <- infoDesc }

// Collect implements prometheus.Collector.
func (i info) Collect(c chan<- prometheus.Metric) {
	for _, rules := range []analyze.Rulesets{i.running, i.candidate} {
		select {
		case <-rules.Ready():
		default:
			return
		}
	}
	c <- prometheus.MustNewConstMetric(infoDesc, prometheus.GaugeValue, 1, i.candidate.Current(), i.running.Current())
}
