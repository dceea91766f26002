package ingest

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/ingest/listen"
	"vedette/ingest/session"
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
	pushes           *prometheus.CounterVec
	pushBytes        prometheus.Counter
	pushWaiting      prometheus.Gauge
	requests         *prometheus.CounterVec
	commands         *prometheus.CounterVec
}

// reason is why a unit was refused.
type reason = listen.Reason

func newMetrics(reg prometheus.Registerer, inflightBytes func() float64, totalBytes float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_ingest_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "vedette_ingest_" + name, Help: help})
	}
	vec := func(name, label, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_ingest_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		listen: listen.Metrics{
			Accepted:    counter("connections_total", "Connections accepted."),
			Connections: gauge("connections", "Open connections."),
			Strangers:   gauge("strangers", "Connections without an authenticated message yet."),
			Paused:      gauge("paused_connections", "Connections that are not read because their events wait for the brokers."),
			Closed:      vec("connections_closed_total", "reason", "Connections that ended, by reason."),
			ReadBytes:   counter("read_bytes_total", "Bytes read from agents."),
			OutDropped:  counter("outbound_dropped_total", "Messages to agents dropped because the agent's queue was full or the connection over."),
		},
		inflight: gauge("in_flight_events", "Events handed to the brokers and not yet acknowledged."),
		received: vec("events_received_total", "source", "Events taken from agents, or raised by the gateway about them: written + refused + in flight."),
		written:  counter("events_written_total", "Events the brokers have acknowledged."),
		refused:  vec("events_refused_total", "reason", "Events that were not written, by reason."),
		units:    vec("units_refused_total", "reason", "Units refused before they could be understood; each ends its connection."),
		control:  vec("control_messages_total", "kind", "Messages from agents that are not events."),
		labels:   counter("labels_cut_total", "Keepalives with more labels than are kept."),
		presence: vec("presence_writes_total", "result", "Presence records written, or not."),

		moved:       counter("agents_moved_total", "Connections here whose agent has connected elsewhere."),
		conflicts:   counter("key_conflicts_total", "Times two peers were found to hold one agent's key."),
		pushes:      vec("config_pushes_total", "result", "Merged files sent to agents, or not."),
		pushBytes:   counter("config_push_bytes_total", "Bytes of merged files sent to agents."),
		pushWaiting: gauge("config_pushes_waiting", "Agents that wait for their merged file."),
		requests:    vec("request_answers_total", "result", "Answers of agents to requests."),
	}
	m.commands = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_ingest_commands_total", Help: "Commands to agents connected here, by what came of them."}, []string{"kind", "result"})
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
	bytes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vedette_ingest_in_flight_bytes", Help: "Bytes handed to the brokers and not yet acknowledged."}, inflightBytes)
	capacity := gauge("in_flight_bytes_max", "Bytes that may be in flight before sockets are no longer read.")
	capacity.Set(totalBytes)
	register(reg, &m.listen.Accepted)
	register(reg, &m.listen.Connections)
	register(reg, &m.listen.Strangers)
	register(reg, &m.listen.Paused)
	register(reg, &m.listen.Closed)
	register(reg, &m.listen.ReadBytes)
	register(reg, &m.listen.OutDropped)
	register(reg, &m.inflight)
	register(reg, &m.received)
	register(reg, &m.written)
	register(reg, &m.refused)
	register(reg, &m.units)
	register(reg, &m.control)
	register(reg, &m.labels)
	register(reg, &m.presence)
	register(reg, &m.moved)
	register(reg, &m.conflicts)
	register(reg, &m.pushes)
	register(reg, &m.pushBytes)
	register(reg, &m.pushWaiting)
	register(reg, &m.requests)
	register(reg, &m.commands)
	register(reg, &bytes)
	register(reg, &capacity)
	m.receivedAgent, m.receivedGateway = m.received.WithLabelValues(sourceAgent), m.received.WithLabelValues(sourceGateway)
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
