package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"vedette/ingest/listen"
	"vedette/ingest/session"
	metric "vedette/internal/metrics"
)

// Reasons to close a connection, besides the reasons of listen. All but the last
// three are refused units.
const (
	reasonEmpty      listen.Reason = "empty_unit"
	reasonID         listen.Reason = "identifier_malformed"
	reasonUnknown    listen.Reason = "agent_unknown"
	reasonAddress    listen.Reason = "address_not_allowed"
	reasonOther      listen.Reason = "another_agent"
	reasonTag        listen.Reason = "no_cipher_tag"
	reasonKey        listen.Reason = "wrong_key"
	reasonInflate    listen.Reason = "damaged_compression"
	reasonTooLong    listen.Reason = "text_too_long"
	reasonTooShort   listen.Reason = "text_too_short"
	reasonChecksum   listen.Reason = "checksum_mismatch"
	reasonCounters   listen.Reason = "counters_malformed"
	reasonKeyInUse   listen.Reason = "key_in_use"
	reasonOvertaken  listen.Reason = "overtaken"
	reasonKeyChanged listen.Reason = "agent_removed"
	reasonElsewhere  listen.Reason = "connected_elsewhere"
)

// reasonNoRoom refuses datagrams that come faster than they can be handled.
const reasonNoRoom listen.Reason = "no_room"

// Reasons for which an event is refused.
const (
	refusedMalformed = "malformed"
	refusedKeepalive = "keepalive_location"
	refusedProduce   = "produce"
	refusedShutdown  = "shutdown"
	refusedOver      = "connection_over"
)

// Sources of events.
const (
	sourceAgent   = "agent"
	sourceGateway = "gateway"
)

type metrics struct {
	listen   listen.Metrics
	inflight prometheus.Gauge // events
	received *prometheus.CounterVec
	written  prometheus.Counter
	refused  *prometheus.CounterVec
	units    *prometheus.CounterVec
	control  *prometheus.CounterVec
	labels   prometheus.Counter
	// The two sources of received, looked up once.
	receivedAgent, receivedGateway prometheus.Counter
	presence                       *prometheus.CounterVec

	moved, conflicts prometheus.Counter
}

// reason is why a unit was refused.
type reason = listen.Reason

func newMetrics(reg prometheus.Registerer, inflightBytes func() float64, totalBytes float64) *metrics {
	set := metric.Set{Registerer: reg, Prefix: "vedette_ingest_"}
	m := &metrics{
		listen: listen.Metrics{
			Accepted:    set.Counter("connections_total", "Connections accepted."),
			Connections: set.Gauge("connections", "Open connections."),
			Strangers:   set.Gauge("strangers", "Connections without an authenticated message yet."),
			Paused:      set.Gauge("paused_connections", "Connections that are not read because their events wait for the brokers."),
			Closed:      set.CounterVec("connections_closed_total", "Connections that ended, by reason.", "reason"),
			ReadBytes:   set.Counter("read_bytes_total", "Bytes read from agents."),
			OutDropped:  set.Counter("outbound_dropped_total", "Messages to agents dropped because the agent's queue was full or the connection over."),
		},
		inflight: set.Gauge("in_flight_events", "Events handed to the brokers and not yet acknowledged."),
		received: set.CounterVec("events_received_total", "Events taken from agents, or raised by the gateway about them: written + refused + in flight.", "source"),
		written:  set.Counter("events_written_total", "Events the brokers have acknowledged."),
		refused:  set.CounterVec("events_refused_total", "Events that were not written, by reason.", "reason"),
		units:    set.CounterVec("units_refused_total", "Units refused before they could be understood; each ends its connection.", "reason"),
		control:  set.CounterVec("control_messages_total", "Messages from agents that are not events.", "kind"),
		labels:   set.Counter("labels_cut_total", "Keepalives with more labels than are kept."),
		presence: set.CounterVec("presence_writes_total", "Presence records written, or not.", "result"),

		moved:     set.Counter("agents_moved_total", "Connections here whose agent has connected elsewhere."),
		conflicts: set.Counter("key_conflicts_total", "Times two peers were found to hold one agent's key."),
	}
	for _, r := range append(listen.Reasons(), reasonEmpty, reasonID, reasonUnknown, reasonAddress, reasonOther, reasonTag, reasonKey,
		reasonInflate, reasonTooLong, reasonTooShort, reasonChecksum, reasonCounters, reasonKeyInUse, reasonOvertaken, reasonKeyChanged, reasonElsewhere) {
		m.listen.Closed.WithLabelValues(string(r))
	}
	for _, r := range []string{refusedMalformed, refusedKeepalive, refusedProduce, refusedShutdown, refusedOver} {
		m.refused.WithLabelValues(r)
	}
	for _, k := range session.Kinds()[1:] {
		m.control.WithLabelValues(k.String())
	}
	set.GaugeFunc("in_flight_bytes", "Bytes handed to the brokers and not yet acknowledged.", inflightBytes)
	set.Gauge("in_flight_bytes_max", "Bytes that may be in flight before sockets are no longer read.").Set(totalBytes)
	m.receivedAgent, m.receivedGateway = m.received.WithLabelValues(sourceAgent), m.received.WithLabelValues(sourceGateway)
	return m
}
