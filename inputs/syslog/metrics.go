package syslog

import (
	"github.com/prometheus/client_golang/prometheus"

	metric "vedette/internal/metrics"
)

// Transports, as metrics name them.
const (
	transportUDP = "udp"
	transportTCP = "tcp"
	transportTLS = "tls"
)

// Reasons for which a message is not written.
const (
	refusedSource     = "source_not_allowed"
	refusedEmpty      = "empty"
	refusedTooLarge   = "too_large"
	refusedFraming    = "framing"
	refusedIncomplete = "incomplete"
	refusedWindow     = "window_full"
	refusedShutdown   = "shutdown"
	refusedProduce    = "produce"
)

// Reasons for which a connection ends.
const (
	closedEOF        = "end_of_stream"
	closedSource     = "source_not_allowed"
	closedTooMany    = "too_many_connections"
	closedOfSource   = "too_many_of_one_source"
	closedHandshake  = "tls_handshake"
	closedTooLarge   = "message_too_large"
	closedFraming    = "framing"
	closedIdle       = "idle"
	closedIncomplete = "message_not_complete_in_time"
	closedNetwork    = "network_error"
	closedShutdown   = "shutdown"
)

type metrics struct {
	received    *prometheus.CounterVec
	written     *prometheus.CounterVec
	refused     *prometheus.CounterVec
	inflight    prometheus.Gauge
	connections prometheus.Gauge
	paused      prometheus.Gauge
	accepted    prometheus.Counter
	closed      *prometheus.CounterVec
	readBytes   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, kernelDrops func() float64) *metrics {
	set := metric.Set{Registerer: reg, Prefix: "vedette_ingest_syslog_"}
	m := &metrics{
		received:    set.CounterVec("messages_received_total", "Messages taken from devices: written + refused + in flight.", "transport"),
		written:     set.CounterVec("messages_written_total", "Messages that the brokers have acknowledged.", "transport"),
		refused:     set.CounterVec("messages_refused_total", "Messages that were not written, by reason.", "transport", "reason"),
		inflight:    set.Gauge("in_flight_messages", "Messages handed to the brokers and not yet acknowledged."),
		connections: set.Gauge("connections", "Open connections."),
		paused:      set.Gauge("paused_connections", "Connections that are not read because their messages wait for the brokers."),
		closed:      set.CounterVec("connections_closed_total", "Connections that ended, by reason.", "reason"),
		readBytes:   set.CounterVec("read_bytes_total", "Bytes read from devices.", "transport"),
	}
	m.accepted = set.Counter("connections_total", "Connections accepted.")
	set.CounterFunc("kernel_dropped_total", "Datagrams the kernel dropped because a socket's receive buffer was full.", kernelDrops)
	for _, t := range []string{transportUDP, transportTCP, transportTLS} {
		m.received.WithLabelValues(t)
		m.written.WithLabelValues(t)
		m.readBytes.WithLabelValues(t)
		for _, r := range []string{refusedEmpty, refusedShutdown, refusedProduce} {
			m.refused.WithLabelValues(t, r)
		}
		only := []string{refusedTooLarge, refusedFraming, refusedIncomplete}
		if t == transportUDP {
			only = []string{refusedSource, refusedWindow}
		}
		for _, r := range only {
			m.refused.WithLabelValues(t, r)
		}
	}
	for _, r := range []string{
		closedEOF, closedSource, closedTooMany, closedOfSource, closedHandshake, closedTooLarge, closedFraming, closedIdle,
		closedIncomplete, closedNetwork, closedShutdown,
	} {
		m.closed.WithLabelValues(r)
	}
	return m
}

// transport holds the counters of one transport, looked up once.
type transport struct {
	name                         string
	received, written, readBytes prometheus.Counter
}

func (m *metrics) of(name string) transport {
	return transport{name, m.received.WithLabelValues(name), m.written.WithLabelValues(name), m.readBytes.WithLabelValues(name)}
}
