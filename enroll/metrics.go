package enroll

import (
	"github.com/prometheus/client_golang/prometheus"

	"vedette/enroll/protocol"
	metric "vedette/internal/metrics"
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
	set := metric.Set{Registerer: reg, Prefix: "vedette_enroll_"}
	m := &metrics{
		connections: set.Gauge("connections", "Open enrollment connections."),
		accepted:    set.Counter("connections_total", "Enrollment connections accepted: enrolled + refused + dropped + open."),
		enrolled:    set.Counter("agents_total", "Agents enrolled."),
		refused:     set.CounterVec("refused_total", "Requests refused with a reason to the agent.", "reason"),
		dropped:     set.CounterVec("dropped_total", "Connections that ended without a delivered reply.", "reason"),
	}
	for _, c := range protocol.Causes() {
		m.refused.WithLabelValues(string(c))
	}
	for _, r := range []string{
		dropRate, dropTooMany, dropGaveWay, dropTLS, dropCertificate, dropAddress, dropTimeout, dropTooLarge, dropEnd, dropReply,
	} {
		m.dropped.WithLabelValues(r)
	}
	return m
}
