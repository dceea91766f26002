package manager

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"vedette/api/problem"
	"vedette/api/rest"
)

// Names of counters, which processes announce. Those of a role are there if the
// process runs it.
const (
	ingestEvents      = "ingest.events"
	ingestRefused     = "ingest.refused"
	ingestOver        = "ingest.refused.connection_over"
	ingestControl     = "ingest.control"
	ingestConnections = "ingest.connections"
	ingestBytes       = "ingest.read_bytes"
	ingestInFlight    = "ingest.in_flight_bytes"
	ingestInFlightMax = "ingest.in_flight_bytes_max"
	analyzeEvents     = "analyze.events"
	analyzeReceived   = "analyze.received"
	analyzeAlerts     = "analyze.alerts"
	analyzeArchives   = "analyze.archives"
)

// controlKinds are the kinds of control messages that 4.14 counts.
var controlKinds = []string{"keepalive", "request", "shutdown", "startup"}

// metricOf is the metric that each counter sums up, and labels that it must have, as
// names and values.
var metricOf = func() map[string][]string {
	m := map[string][]string{
		ingestEvents: {"vedette_ingest_events_received_total", "source", "agent"}, ingestRefused: {"vedette_ingest_events_refused_total"},
		ingestOver: {"vedette_ingest_events_refused_total", "reason", "connection_over"}, ingestControl: {"vedette_ingest_control_messages_total"},
		ingestConnections: {"vedette_ingest_connections"}, ingestBytes: {"vedette_ingest_read_bytes_total"},
		ingestInFlight: {"vedette_ingest_in_flight_bytes"}, ingestInFlightMax: {"vedette_ingest_in_flight_bytes_max"},
		analyzeEvents: {"vedette_analyze_events_total"}, analyzeAlerts: {"vedette_analyze_alerts_total"}, analyzeArchives: {"vedette_analyze_archives_total"},
		analyzeReceived: {"vedette_kafka_consumed_records_total", "group", "analyze"},
	}
	for _, kind := range controlKinds {
		m[ingestControl+"."+kind] = []string{"vedette_ingest_control_messages_total", "kind", kind}
	}
	return m
}()

// ReadCounters returns the counts of this process since its start, by names that
// other processes know. Counters that it does not have are left out.
func ReadCounters(from prometheus.Gatherer) (map[string]float64, error) {
	families, err := from.Gather() // what can be read is there in spite of an error
	by := map[string]*dto.MetricFamily{}
	for _, f := range families {
		by[f.GetName()] = f
	}
	out := map[string]float64{}
	for name, metric := range metricOf {
		if total, ok := sum(by[metric[0]], metric[1:]); ok {
			out[name] = total
		}
	}
	return out, err
}

// sum adds the counters or gauges of a family that have the labels; ok is false if
// there is none.
func sum(f *dto.MetricFamily, labels []string) (total float64, ok bool) {
	for _, m := range f.GetMetric() {
		if has(m, labels) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			ok = true
		}
	}
	return total, ok && !math.IsNaN(total) && !math.IsInf(total, 0) // JSON has no such number
}

func has(m *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == labels[i] && l.GetValue() == labels[i+1] }) {
			return false
		}
	}
	return true
}

// counters are the counts of a node from one time to another.
type counters struct {
	since, until time.Time
	by           map[string]float64
}

// get returns a counter, nil if it is not there.
func (n *counters) get(name string) *float64 {
	if v, ok := n.by[name]; ok {
		return &v
	}
	return nil
}

// counters returns the counts of a node: of this process at this moment, of others as
// they have announced it.
func (a *Service) counters(c *rest.Call, n *node) *counters {
	out := &counters{since: n.Started, until: n.Updated, by: maps.Clone(n.Counters)}
	if n.Name != a.Identity.Node || a.Metrics == nil {
		return out
	}
	own, err := ReadCounters(a.Metrics)
	if err != nil {
		c.Log().Warn("some metrics were not read for the API", "err", err)
	}
	if out.by == nil {
		out.by = map[string]float64{}
	}
	maps.Copy(out.by, own)
	out.since, out.until = a.Identity.Started, c.Now
	return out
}

// remotedStats are the counts of the role ingest, under the names of 4.14. The sizes
// of queues are bytes: those not acknowledged, and their bound.
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

func remotedOf(n *counters) (rest.Answer, error) {
	if n.get(ingestEvents) == nil {
		return nil, problem.New(problem.NoStats, "No gateway runs on this node")
	}
	return rest.Single(remotedStats{
		QueueSize: n.get(ingestInFlight), TotalQueueSize: n.get(ingestInFlightMax), Sessions: n.get(ingestConnections), Events: n.get(ingestEvents),
		Control: n.get(ingestControl), Discarded: n.get(ingestRefused), Received: n.get(ingestBytes), DequeuedAfterClose: n.get(ingestOver),
	}, statsRead), nil
}

// analysisdStats are the counts of the role analyze, under the names of 4.14.
type analysisdStats struct {
	Decoded   *float64 `json:"total_events_decoded,omitempty"`
	Processed *float64 `json:"events_processed,omitempty"`
	Received  *float64 `json:"events_received,omitempty"`
	Alerts    *float64 `json:"alerts_written,omitempty"`
}

func analysisdOf(n *counters) (rest.Answer, error) {
	if n.get(analyzeEvents) == nil {
		return nil, problem.New(problem.NoStats, "This node does not analyze")
	}
	return rest.Single(analysisdStats{
		Decoded: n.get(analyzeEvents), Processed: n.get(analyzeEvents), Received: n.get(analyzeReceived), Alerts: n.get(analyzeAlerts),
	}, statsRead), nil
}

// daemonStats are the counts of a role, in the newer form of 4.14.
type daemonStats struct {
	Name      string    `json:"name"`
	Timestamp rest.Date `json:"timestamp"`
	// Uptime is when the process began to count.
	Uptime  rest.Date `json:"uptime"`
	Metrics any       `json:"metrics"`
}

// counted are the daemons of which there can be counters, and the counter that a
// node has if it keeps them.
var counted = []struct {
	name, needs string
	metrics     func(*counters) rest.Ordered
}{
	{"wazuh-analysisd", analyzeEvents, analysisdMetrics},
	{"wazuh-remoted", ingestEvents, remotedMetrics},
	{"wazuh-db", "", nil},
}

type daemonList struct {
	Daemons []string `param:"daemons_list"`
}

// of answers for the daemons that a node has counters of. One that the request
// names and that has none is an error.
func (p *daemonList) of(n *counters) (rest.Answer, error) {
	items := []daemonStats{}
	for _, d := range counted {
		switch {
		case p.Daemons != nil && !slices.Contains(p.Daemons, d.name):
		case n.get(d.needs) != nil:
			items = append(items, daemonStats{d.name, rest.Date{Time: n.until}, rest.Date{Time: n.since}, d.metrics(n)})
		case p.Daemons != nil:
			return nil, problem.Newf(problem.NoCounters, "This node keeps no counters of %s", d.name)
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

func analysisdMetrics(n *counters) rest.Ordered {
	return some(rest.Member{Key: "events", Value: some(
		rest.Member{Key: "processed", Value: n.get(analyzeEvents)},
		rest.Member{Key: "received", Value: n.get(analyzeReceived)},
		rest.Member{Key: "written_breakdown", Value: some(rest.Member{Key: "alerts", Value: n.get(analyzeAlerts)}, rest.Member{Key: "archives", Value: n.get(analyzeArchives)})},
	)})
}

func remotedMetrics(n *counters) rest.Ordered {
	kinds := some()
	for _, kind := range controlKinds {
		kinds = append(kinds, some(rest.Member{Key: kind, Value: n.get(ingestControl + "." + kind)})...)
	}
	return some(
		rest.Member{Key: "bytes", Value: some(rest.Member{Key: "received", Value: n.get(ingestBytes)})},
		rest.Member{Key: "messages", Value: some(rest.Member{Key: "received_breakdown", Value: some(
			rest.Member{Key: "control", Value: n.get(ingestControl)},
			rest.Member{Key: "control_breakdown", Value: kinds},
			rest.Member{Key: "dequeued_after", Value: n.get(ingestOver)},
			rest.Member{Key: "discarded", Value: n.get(ingestRefused)},
			rest.Member{Key: "event", Value: n.get(ingestEvents)},
		)})},
		rest.Member{Key: "queues", Value: some(rest.Member{Key: "received", Value: some(
			rest.Member{Key: "size", Value: n.get(ingestInFlightMax)}, rest.Member{Key: "usage", Value: n.get(ingestInFlight)},
		)})},
		rest.Member{Key: "tcp_sessions", Value: n.get(ingestConnections)},
	)
}

// Of the node that answers.

func (a *Service) remotedStats(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	return remotedOf(a.counters(c, a.self()))
}

func (a *Service) analysisdStats(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	return analysisdOf(a.counters(c, a.self()))
}

func (a *Service) daemonStats(c *rest.Call, p *daemonList) (rest.Answer, error) {
	return p.of(a.counters(c, a.self()))
}

type dayStats struct {
	Date string `param:"date"`
}

// dayStats, hourStats: no process keeps totals by hour.
func (a *Service) dayStats(*rest.Call, *dayStats) (rest.Answer, error) {
	return nil, problem.New(problem.NoStats, "")
}

func (a *Service) hourStats(*rest.Call, *rest.None) (rest.Answer, error) {
	return nil, problem.New(problem.NoStats, "")
}

// Of any node.

func (a *Service) nodeRemotedStats(c *rest.Call, p *oneNode) (rest.Answer, error) {
	return remotedOf(a.counters(c, p.Node))
}

func (a *Service) nodeAnalysisdStats(c *rest.Call, p *oneNode) (rest.Answer, error) {
	return analysisdOf(a.counters(c, p.Node))
}

type nodeDaemons struct {
	oneNode
	daemonList
}

func (a *Service) nodeDaemonStats(c *rest.Call, p *nodeDaemons) (rest.Answer, error) {
	return p.of(a.counters(c, p.Node))
}

type nodeDay struct {
	oneNode
	dayStats
}

func (a *Service) nodeDayStats(c *rest.Call, p *nodeDay) (rest.Answer, error) {
	return a.dayStats(c, &p.dayStats)
}

func (a *Service) nodeHourStats(c *rest.Call, _ *oneNode) (rest.Answer, error) {
	return a.hourStats(c, nil)
}
