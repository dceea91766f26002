package manager

import (
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"

	"vedette/api/problem"
	"vedette/api/rest"
)

// counters are the metrics of this process by their names.
type counters map[string]*dto.MetricFamily

// readCounters reads the metrics of this process. Every metric stands for what the
// process has counted since its start.
func (a *Service) readCounters(c *rest.Call) counters {
	if a.Metrics == nil {
		return nil
	}
	families, err := a.Metrics.Gather()
	if err != nil {
		c.Log().Warn("some metrics were not read for the API", "err", err)
	}
	out := counters{}
	for _, f := range families {
		out[f.GetName()] = f
	}
	return out
}

// sum adds the counters or gauges of a name that have the labels, given as names
// and values; nil if there is none.
func (c counters) sum(name string, labels ...string) *float64 {
	f := c[name]
	if f == nil {
		return nil
	}
	var total float64
	found := false
	for _, m := range f.Metric {
		if has(m, labels) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			found = true
		}
	}
	if !found {
		return nil
	}
	if math.IsNaN(total) || math.IsInf(total, 0) {
		return nil // JSON has no such number
	}
	return &total
}

func has(m *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
			return false
		}
	}
	return true
}

// Names of the metrics that answers are made of.
const (
	ingestEvents      = "vedette_ingest_events_received_total"
	ingestRefused     = "vedette_ingest_events_refused_total"
	ingestControl     = "vedette_ingest_control_messages_total"
	ingestConnections = "vedette_ingest_connections"
	ingestBytes       = "vedette_ingest_read_bytes_total"
	ingestInFlight    = "vedette_ingest_in_flight_bytes"
	ingestInFlightMax = "vedette_ingest_in_flight_bytes_max"
	analyzeEvents     = "vedette_analyze_events_total"
	analyzeAlerts     = "vedette_analyze_alerts_total"
	analyzeArchives   = "vedette_analyze_archives_total"
	consumed          = "vedette_kafka_consumed_records_total"
)

// remotedStats is what the role ingest has counted, under the names of 4.14. The
// sizes of queues are bytes: what is not acknowledged, and its bound.
type remotedStats struct {
	QueueSize          *float64 `json:"queue_size,omitempty"`
	TotalQueueSize     *float64 `json:"total_queue_size,omitempty"`
	Sessions           *float64 `json:"tcp_sessions,omitempty"`
	Events             *float64 `json:"evt_count,omitempty"`
	Control            *float64 `json:"ctrl_msg_count,omitempty"`
	Discarded          *float64 `json:"discarded_count,omitempty"`
	Received           *float64 `json:"recv_bytes,omitempty"`
	DequeuedAfterClose *float64 `json:"dequeued_after_close,omitempty"`
}

const statsRead = "Statistical information for each node was successfully read"

func (a *Service) remotedStats(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	n := a.readCounters(c)
	if n[ingestEvents] == nil {
		return nil, problem.New(problem.NoStats, "No gateway runs in this process")
	}
	return rest.Single(remotedStats{
		QueueSize: n.sum(ingestInFlight), TotalQueueSize: n.sum(ingestInFlightMax), Sessions: n.sum(ingestConnections),
		Events: n.sum(ingestEvents, "source", "agent"), Control: n.sum(ingestControl), Discarded: n.sum(ingestRefused), Received: n.sum(ingestBytes),
		DequeuedAfterClose: n.sum(ingestRefused, "reason", "connection_over"),
	}, statsRead), nil
}

// analysisdStats is what the role analyze has counted, under the names of 4.14.
type analysisdStats struct {
	Decoded   *float64 `json:"total_events_decoded,omitempty"`
	Processed *float64 `json:"events_processed,omitempty"`
	Received  *float64 `json:"events_received,omitempty"`
	Alerts    *float64 `json:"alerts_written,omitempty"`
}

func (a *Service) analysisdStats(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	n := a.readCounters(c)
	if n[analyzeEvents] == nil {
		return nil, problem.New(problem.NoStats, "This process does not analyze")
	}
	return rest.Single(analysisdStats{
		Decoded: n.sum(analyzeEvents), Processed: n.sum(analyzeEvents), Received: n.sum(consumed, "group", "analyze"), Alerts: n.sum(analyzeAlerts),
	}, statsRead), nil
}

// daemonStats is what a role has counted, in the newer form of 4.14.
type daemonStats struct {
	Name      string    `json:"name"`
	Timestamp rest.Date `json:"timestamp"`
	// Uptime is when the process began to count.
	Uptime  rest.Date `json:"uptime"`
	Metrics any       `json:"metrics"`
}

// counted are the daemons of which there can be counters, and the metric that a
// process has if it keeps them.
var counted = []struct {
	name, needs string
	metrics     func(counters) rest.Ordered
}{
	{"wazuh-analysisd", analyzeEvents, analysisdMetrics},
	{"wazuh-remoted", ingestEvents, remotedMetrics},
	{"wazuh-db", "", nil},
}

type daemonList struct {
	Daemons []string `param:"daemons_list"`
}

// daemonStats answers for the daemons that the process has counters of. One that
// the request names and that has none is an error.
func (a *Service) daemonStats(c *rest.Call, p *daemonList) (rest.Answer, error) {
	n, items := a.readCounters(c), []daemonStats{}
	for _, d := range counted {
		switch {
		case p.Daemons != nil && !slices.Contains(p.Daemons, d.name):
		case n[d.needs] != nil:
			items = append(items, daemonStats{d.name, rest.Date{Time: c.Now}, rest.Date{Time: a.Identity.Started}, d.metrics(n)})
		case p.Daemons != nil:
			return nil, problem.Newf(problem.NoCounters, "This process keeps no counters of %s", d.name)
		}
	}
	return rest.Items(items, rest.Messages{
		All: "Statistical information for each daemon was successfully read", Some: "Statistical information for some daemons was not read", None: "Statistical information for no daemon was read",
	}), nil
}

// some makes an object of the members that are known.
func some(members ...rest.Member) rest.Ordered {
	return slices.DeleteFunc(rest.Ordered(members), func(m rest.Member) bool { n, ok := m.Value.(*float64); return ok && n == nil })
}

func analysisdMetrics(n counters) rest.Ordered {
	return some(rest.Member{Key: "events", Value: some(
		rest.Member{Key: "processed", Value: n.sum(analyzeEvents)},
		rest.Member{Key: "received", Value: n.sum(consumed, "group", "analyze")},
		rest.Member{Key: "written_breakdown", Value: some(rest.Member{Key: "alerts", Value: n.sum(analyzeAlerts)}, rest.Member{Key: "archives", Value: n.sum(analyzeArchives)})},
	)})
}

func remotedMetrics(n counters) rest.Ordered {
	kinds := some()
	for _, kind := range []string{"keepalive", "request", "shutdown", "startup"} {
		kinds = append(kinds, some(rest.Member{Key: kind, Value: n.sum(ingestControl, "kind", kind)})...)
	}
	return some(
		rest.Member{Key: "bytes", Value: some(rest.Member{Key: "received", Value: n.sum(ingestBytes)})},
		rest.Member{Key: "messages", Value: some(rest.Member{Key: "received_breakdown", Value: some(
			rest.Member{Key: "control", Value: n.sum(ingestControl)},
			rest.Member{Key: "control_breakdown", Value: kinds},
			rest.Member{Key: "dequeued_after", Value: n.sum(ingestRefused, "reason", "connection_over")},
			rest.Member{Key: "discarded", Value: n.sum(ingestRefused)},
			rest.Member{Key: "event", Value: n.sum(ingestEvents, "source", "agent")},
		)})},
		rest.Member{Key: "queues", Value: some(rest.Member{Key: "received", Value: some(
			rest.Member{Key: "size", Value: n.sum(ingestInFlightMax)}, rest.Member{Key: "usage", Value: n.sum(ingestInFlight)},
		)})},
		rest.Member{Key: "tcp_sessions", Value: n.sum(ingestConnections)},
	)
}

type dayStats struct {
	Date string `param:"date"`
}

// dayStats, hourStats: the process keeps no totals by hour.
func (a *Service) dayStats(*rest.Call, *dayStats) (rest.Answer, error) {
	return nil, problem.New(problem.NoStats, "")
}

func (a *Service) hourStats(*rest.Call, *rest.None) (rest.Answer, error) {
	return nil, problem.New(problem.NoStats, "")
}

// Of a node: what this process has counted, if the node is this one.

func (a *Service) nodeRemotedStats(c *rest.Call, p *oneNode) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.remotedStats(c, nil)
}

func (a *Service) nodeAnalysisdStats(c *rest.Call, p *oneNode) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.analysisdStats(c, nil)
}

type nodeDaemons struct {
	oneNode
	daemonList
}

func (a *Service) nodeDaemonStats(c *rest.Call, p *nodeDaemons) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.daemonStats(c, &p.daemonList)
}

type nodeDay struct {
	oneNode
	dayStats
}

func (a *Service) nodeDayStats(c *rest.Call, p *nodeDay) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.dayStats(c, &p.dayStats)
}

func (a *Service) nodeHourStats(c *rest.Call, p *oneNode) (rest.Answer, error) {
	if err := a.this(p.Node); err != nil {
		return nil, err
	}
	return a.hourStats(c, nil)
}
