package api

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/schemas"
)

func TestStatisticsAreThisProcessesCounters(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const remoted = `[{"queue_size":512,"total_queue_size":65536,"tcp_sessions":11,"evt_count":1000,"ctrl_msg_count":33,"discarded_count":8,"recv_bytes":123456,"dequeued_after_close":2}]`
	const analysisd = `[{"total_events_decoded":900,"events_processed":900,"events_received":950,"alerts_written":90}]`
	s.shows("/manager/stats/remoted", remoted)
	s.shows("/manager/stats/analysisd", analysisd)
	if r := s.do("GET", "/manager/stats/remoted", ""); r.header.Get("Deprecated") != "true" {
		t.Error("the answer does not say that the operation is deprecated")
	}
	s.fakes.cluster()
	s.shows("/cluster/node1/stats/remoted", remoted)
	s.shows("/cluster/node1/stats/analysisd", analysisd)
	// What another node has counted, it has announced.
	s.shows("/cluster/outside-node/stats/remoted", `[{"tcp_sessions":2,"evt_count":5,"ctrl_msg_count":3}]`)
	s.refused(s.do("GET", "/cluster/outside-node/stats/analysisd", ""), 400, "Bad Request", 1308, "analyze")
	seen := time.UnixMilli(s.fakes.nodes[2].Updated).UTC().Format("2006-01-02T15:04:05+00:00")
	s.shows("/cluster/outside-node/daemons/stats", `[{"name":"wazuh-remoted","timestamp":"`+seen+`","uptime":"`+now.Format("2006-01-02T15:04:05+00:00")+`",`+
		`"metrics":{"bytes":{},"messages":{"received_breakdown":{"control":3,"control_breakdown":{"keepalive":3},"event":5}},"queues":{"received":{}},"tcp_sessions":2}}]`)
	s.refused(s.do("GET", "/cluster/outside-node/daemons/stats?daemons_list=wazuh-analysisd", ""), 400, "Bad Request", 1121, "")
	// A node may have several processes.
	s.fakes.nodes = append(s.fakes.nodes, schemas.Node{Name: "outside-node", Roles: []string{"analyze"}, Updated: time.Now().UnixMilli(), Counters: map[string]float64{"analyze.events": 8, "ingest.events": 1}})
	s.shows("/cluster/outside-node/stats/analysisd", `[{"total_events_decoded":8,"events_processed":8}]`)
	if r := s.do("GET", "/cluster/outside-node/stats/remoted", ""); !strings.Contains(r.body, `"evt_count":6`) {
		t.Errorf("two processes of a node have counted %s, want 6 events", r.body)
	}
}

func TestDaemonsTellTheirCounters(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	for _, prefix := range []string{"/manager", "/cluster/node1"} {
		r := s.do("GET", prefix+"/daemons/stats", "")
		for _, want := range []string{
			`"name":"wazuh-analysisd"`, `"metrics":{"events":{"processed":900,"received":950,"written_breakdown":{"alerts":90,"archives":9}}}`,
			`"name":"wazuh-remoted"`, `"control_breakdown":{"keepalive":20,"request":4,"shutdown":3,"startup":1}`, `"queues":{"received":{"size":65536,"usage":512}}`,
			`"uptime":"` + now.Format("2006-01-02T15:04:05+00:00") + `"`, `"total_affected_items":2`,
		} {
			if !strings.Contains(r.body, want) {
				t.Errorf("%s: %d %s, want %s", prefix, r.status, r.body, want)
			}
		}
		if r := s.do("GET", prefix+"/daemons/stats?daemons_list=wazuh-remoted", ""); !strings.Contains(r.body, `"total_affected_items":1`) || strings.Contains(r.body, "analysisd") {
			t.Errorf("%s: a request for one daemon answers %s", prefix, r.body)
		}
		s.refused(s.do("GET", prefix+"/daemons/stats?daemons_list=wazuh-db", ""), 400, "Bad Request", 1121, "wazuh-db")
		s.refused(s.do("GET", prefix+"/daemons/stats?daemons_list=other", ""), 400, "Bad Request", 0, "")
	}
}

// What is not counted in this process is not made up.
func TestAProcessWithoutTheRoleHasNoStatistics(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, reg := range []prometheus.Gatherer{nil, prometheus.NewRegistry()} {
		s.deps.Metrics = reg
		s.rebuild()
		s.refused(s.do("GET", "/manager/stats/remoted", ""), 400, "Bad Request", 1308, "gateway")
		s.refused(s.do("GET", "/manager/stats/analysisd", ""), 400, "Bad Request", 1308, "analyze")
		s.refused(s.do("GET", "/manager/daemons/stats?daemons_list=wazuh-remoted", ""), 400, "Bad Request", 1121, "")
		s.shows("/manager/daemons/stats", `[]`)
	}
}

func TestNoTotalsAreKeptByHour(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	for _, prefix := range []string{"/manager", "/cluster/node1"} {
		for _, path := range []string{"/stats", "/stats?date=2026-01-31", "/stats/hourly", "/stats/weekly"} {
			s.refused(s.do("GET", prefix+path, ""), 400, "Bad Request", 1308, "")
		}
		s.refused(s.do("GET", prefix+"/stats?date=2026-02-31", ""), 400, "Bad Request", 0, "is not a 'date'")
	}
	s.as("reader")
	for _, path := range []string{"/manager/stats", "/manager/stats/remoted", "/manager/daemons/stats", "/cluster/node1/stats/weekly"} {
		s.refused(s.do("GET", path, ""), 403, "Permission Denied", 4000, "")
	}
}
