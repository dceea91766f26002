package listen

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/ingest/secure"
)

// Limits bounds the resources of connections. docs/limits.md gives the reasons.
type Limits struct {
	// Connections at most; further ones are closed at once.
	Connections int
	// Strangers are connections without an authenticated unit yet; when there
	// are more, the oldest is closed, because a real agent is one for
	// milliseconds only.
	Strangers int
	// StrangerGrace is for how long none of them is closed for that: while all are
	// younger, further ones wait to be accepted, so that agents that all connect
	// at once do not push one another out.
	StrangerGrace time.Duration
	// FirstUnit is how long a connection may stay a stranger.
	FirstUnit time.Duration
	// PartialUnit is how long a unit may take from its first byte to its last.
	PartialUnit time.Duration
	// UnitBytes is the largest unit.
	UnitBytes int
	// WindowBytes is how much of one connection may be unacknowledged before
	// its socket is no longer read; TotalBytes is the same for all together.
	WindowBytes int64
	TotalBytes  int64
	// LifeInterval is how often a peer that is not read gets a sign of life.
	LifeInterval time.Duration
	// OutBytes and OutUnits bound the data that waits to be written to one peer.
	OutBytes int
	OutUnits int
	// WriteTimeout is how long a peer may take to accept written data.
	WriteTimeout time.Duration
	// ReceiveBuffer is the socket's, in bytes. Its content is lost when the
	// process is killed, so it is kept small.
	ReceiveBuffer int
	// SendBuffer is the socket's, in bytes. It bounds the kernel memory of a
	// peer that does not read.
	SendBuffer int
	// DrainRead is how long peers may finish sending when the server ends, and
	// Drain how long acknowledgements are waited for.
	DrainRead time.Duration
	Drain     time.Duration
}

// DefaultLimits returns the limits of an agent port.
func DefaultLimits() Limits {
	return Limits{
		Connections: 100_000, Strangers: 8192, StrangerGrace: 2 * time.Second, FirstUnit: 10 * time.Second, PartialUnit: 60 * time.Second, UnitBytes: secure.MaxUnit,
		WindowBytes: 256 << 10, TotalBytes: 64 << 20, LifeInterval: 10 * time.Second,
		OutBytes: 128 << 10, OutUnits: 256, WriteTimeout: 10 * time.Second, ReceiveBuffer: 64 << 10, SendBuffer: 128 << 10,
		DrainRead: 10 * time.Second, Drain: 30 * time.Second,
	}
}

// Metrics are kept by the caller, which names and registers them.
type Metrics struct {
	Accepted    prometheus.Counter
	Connections prometheus.Gauge
	Strangers   prometheus.Gauge
	Paused      prometheus.Gauge
	// Closed counts connections that ended, by Reason.
	Closed *prometheus.CounterVec
	// ReadBytes and Units count arrivals.
	ReadBytes prometheus.Counter
	// OutDropped counts units that found a peer's queue full.
	OutDropped prometheus.Counter
}

// Reason is why a connection ended. As an error of Peer.Unit it closes the
// connection; the set of all reasons is closed.
type Reason string

func (r Reason) Error() string { return string(r) }

// Reasons of this package; a Handler has its own besides.
const (
	ReasonEOF         Reason = "end_of_stream"
	ReasonTruncated   Reason = "truncated_unit"
	ReasonNetwork     Reason = "network_error"
	ReasonTooLarge    Reason = "unit_too_large"
	ReasonFirstUnit   Reason = "no_unit_in_time"
	ReasonPartialUnit Reason = "unit_not_complete_in_time"
	ReasonTooMany     Reason = "too_many_connections"
	ReasonStrangers   Reason = "too_many_strangers"
	ReasonWrite       Reason = "write_failed"
	ReasonShutdown    Reason = "shutdown"
)

// Reasons returns the reasons of this package.
func Reasons() []Reason {
	return []Reason{
		ReasonEOF, ReasonTruncated, ReasonNetwork, ReasonTooLarge, ReasonFirstUnit, ReasonPartialUnit, ReasonTooMany,
		ReasonStrangers, ReasonWrite, ReasonShutdown,
	}
}
