package enroll

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/enroll/protocol"
)

type metrics struct {
	connections prometheus.Gauge
	accepted    prometheus.Counter
	enrolled    prometheus.Counter
	refused     *prometheus.CounterVec
	dropped     *prometheus.CounterVec
}

// Reasons for which a connection ends without a reply.
const (
	dropRate        = "rate"                 // more than enroll.rate_per_source
	dropTooMany     = "too_many_connections" // every place is held by a request that is being answered
	dropGaveWay     = "gave_way"             // the longest without a request, when a place was needed
	dropTLS         = "tls"
	dropCertificate = "agent_certificate" // none, or none that chains to enroll.agent_ca
	dropAddress     = "agent_address"     // the certificate does not name where the agent comes from
	dropTimeout     = "timeout"
	dropTooLarge    = "request_too_large"
	dropEnd         = "end_of_stream"
	dropReply       = "reply_not_delivered"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_enroll_connections", Help: "Open enrollment connections."}),
		accepted:    prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_enroll_connections_total", Help: "Enrollment connections accepted: enrolled + refused + dropped + open."}),
		enrolled:    prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_enroll_agents_total", Help: "Agents enrolled."}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_enroll_refused_total", Help: "Requests refused with a reason to the agent."}, []string{"reason"}),
		dropped:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_enroll_dropped_total", Help: "Connections that ended without a delivered reply."}, []string{"reason"}),
	}
	for _, c := range protocol.Causes() {
		m.refused.WithLabelValues(string(c))
	}
	for _, r := range []string{
		dropRate, dropTooMany, dropGaveWay, dropTLS, dropCertificate, dropAddress, dropTimeout, dropTooLarge, dropEnd, dropReply,
	} {
		m.dropped.WithLabelValues(r)
	}
	register(reg, &m.connections)
	register(reg, &m.accepted)
	register(reg, &m.enrolled)
	register(reg, &m.refused)
	register(reg, &m.dropped)
	return m
}

// register adds a collector, or takes over the registered one of that name. So a
// role that is made anew in one process goes on counting.
func register[C prometheus.Collector](reg prometheus.Registerer, c *C) {
	if reg == nil {
		return
	}
	if err := reg.Register(*c); err != nil {
		var are prometheus.AlreadyRegisteredError
		if errors.As(err, &are) {
			if old, ok := are.ExistingCollector.(C); ok {
				*c = old
				return
			}
		}
		panic(err) // two different metrics under one name
	}
}
