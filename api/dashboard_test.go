package api

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"vedette/internal/logring"
)

// dashboardCall is a call of the dashboard plugin, and the members that it reads.
//
// Source: spec/dashboard-usage.md §2 to §4.
type dashboardCall struct {
	method, path, body string
	// cluster says that there are several nodes.
	cluster bool
	// reads are dotted paths from the answer's root; numbers index arrays, and = after
	// a path gives the value that is needed.
	reads string
}

const (
	first  = "data.affected_items.0."
	counts = "data.total_affected_items data.failed_items"
)

// dashboardCalls are the calls that exist. Other tests compare the answers about files,
// agents and alerts.
var dashboardCalls = []dashboardCall{
	// Start-up, logins, each page.
	{"GET", "/", "", false, "data.api_version=4.14.7"},
	{"GET", "/agents?agents_list=000", "", false, first + "manager=siem"},
	{"GET", "/security/users/me", "", false, first + "allow_run_as " + first + "roles"},
	{"GET", "/security/users/me/policies", "", false, "data.rbac_mode"},
	{"GET", "/cluster/status", "", false, "data.enabled=no data.running=no"},
	{"GET", "/cluster/status", "", true, "data.enabled=yes data.running=yes"},
	{"GET", "/cluster/local/info", "", true, first + "node=node1 " + first + "cluster=siem " + first + "type"},
	{"GET", "/manager/info", "", false, first + "uuid " + first + "version=v4.14.7"},
	{"GET", "/manager/status", "", false, first + "wazuh-execd=running " + first + "wazuh-modulesd=running " + first + "wazuh-db=running"},
	{"GET", "/manager/status", "", true, first + "wazuh-clusterd=running"},
	{"GET", "/manager/version/check?force_query=false", "", false, "data.uuid data.update_check=false data.last_check_date data.current_version data.last_available_major data.last_available_minor data.last_available_patch"},
	// Jobs.
	{"GET", "/agents?offset=0&limit=1&q=id!=000", "", false, counts + " " + first + "id " + first + "status"},
	{"GET", "/agents?offset=0&limit=500&q=id!=000", "", false, first + "group " + first + "status_code " + first + "dateAdd " + first + "os.name"},
	{"GET", "/manager/stats/remoted", "", false, first + "tcp_sessions " + first + "evt_count " + first + "recv_bytes " + first + "queue_size " + first + "total_queue_size " + first + "discarded_count " + first + "ctrl_msg_count"},
	{"GET", "/manager/stats/analysisd", "", false, first + "events_received " + first + "events_processed " + first + "alerts_written " + first + "total_events_decoded"},
	{"GET", "/cluster/nodes?select=name", "", true, first + "name=node1 " + counts},
	{"GET", "/cluster/node1/stats/remoted", "", true, first + "tcp_sessions"},
	{"GET", "/cluster/node1/stats/analysisd", "", true, first + "events_processed"},
	// Overview and endpoints.
	{"GET", "/agents/summary/status", "", false, "data.connection.active=1 data.connection.total=3 data.configuration.synced"},
	{"GET", "/agents/summary", "", false, "data.status.active=1 data.os.ubuntu=1 data.groups.default=2"},
	{"GET", "/overview/agents", "", false, "data.nodes.0.node_name data.groups.0.name data.agent_os.0.os.platform data.agent_status.connection data.agent_version.0.version data.last_registered_agent.0.id"},
	{"GET", "/agents?limit=1&sort=-dateAdd&q=id!=000", "", false, first + "dateAdd"},
	{"GET", "/agents?distinct=true&select=os.platform&sort=%2Bos.platform&limit=30&q=os.platform~ub", "", false, first + "os.platform=ubuntu"},
	{"GET", "/agents?select=group_config_status&q=id=001", "", false, first + "group_config_status=synced"},
	{"GET", "/agents?q=id!=000;(status=active,status=pending)", "", false, first + "id=001"},
	{"GET", "/groups", "", false, first + "name " + first + "count"},
	{"GET", "/groups/web/agents", "", false, first + "id=001"},
	{"GET", "/groups/default/files", "", false, first + "filename " + first + "hash"},
	{"GET", "/groups/default/configuration", "", false, first + "filters " + first + "config data.total_affected_items"},
	{"GET", "/tasks/status?command=upgrade&status=In%20progress&q=last_update_time>2026-01-01T00:00:00Z", "", false, counts},
	{"PUT", "/agents/group?group_id=web&agents_list=002", "{}", false, first + "=002"},
	{"DELETE", "/agents/group?group_id=web&agents_list=001", "{}", false, first + "=001"},
	{"PUT", "/agents/002/group/web", "{}", false, counts},
	{"DELETE", "/agents/001/group?groups_list=web", "{}", false, counts},
	{"POST", "/groups", `{"group_id":"new"}`, false, "message"},
	{"DELETE", "/groups?groups_list=web", "{}", false, first + "=web"},
	{"DELETE", "/agents?status=all&older_than=0s&agents_list=002", "{}", false, first + "=002"},
	// Deploying an agent.
	{"GET", "/cluster/nodes", "", true, first + "name " + first + "ip=host1 " + first + "type=master " + first + "version"},
	{"GET", "/manager/api/config", "", false, first + "node_name=node1 " + first + "node_api_config.host"},
	{"GET", "/manager/configuration/request/remote", "", false, first + "remote.0.connection=secure " + first + "remote.0.protocol.0"},
	{"GET", "/cluster/node1/configuration/request/remote", "", true, first + "remote.0.connection=secure"},
	{"GET", "/manager/configuration/auth/auth", "", false, first + "auth.use_password=yes"},
	// Configuration of the server.
	{"GET", "/manager/configuration/com/cluster", "", false, first + "cluster.node_name"},
	{"GET", "/manager/configuration/wmodules/wmodules", "", false, first + "wmodules"},
	{"GET", "/manager/configuration?section=global&field=logall_json", "", false, first + "global.logall_json=no"},
	{"GET", "/manager/configuration/validation", "", false, first + "status=OK"},
	{"GET", "/cluster/configuration/validation?nodes_list=node1", "", true, first + "name=node1 " + first + "status=OK"},
	{"PUT", "/manager/analysisd/reload", "{}", false, first + "name=node1"},
	{"PUT", "/manager/restart", "{}", false, first + "=node1"},
	{"PUT", "/cluster/restart", "{}", true, first + "=node1"},
	{"PUT", "/cluster/analysisd/reload", "{}", true, first + "name=node1"},
	// Rules, decoders, lists, log tests.
	{"GET", "/rules?offset=0&limit=15&sort=%2Bid", "", false, first + "id " + first + "details " + first + "relative_dirname " + first + "mitre"},
	{"GET", "/rules?mitre=T1110", "", false, first + "id=5710"},
	{"GET", "/rules/groups?limit=15", "", false, first + "=local"},
	{"GET", "/rules/requirement/pci_dss", "", false, first + "=10.2.4"},
	{"GET", "/rules/requirement/nist-800-53", "", false, counts},
	{"GET", "/rules/requirement/mitre", "", false, first + "=T1110"},
	{"GET", "/rules/files?relative_dirname=ruleset/rules", "", false, first + "filename " + first + "status=enabled"},
	{"GET", "/rules/files/0095-sshd.xml", "", false, first + "group"},
	{"GET", "/decoders?limit=15", "", false, first + "name " + first + "position " + first + "details"},
	{"GET", "/decoders/files", "", false, first + "filename=ssh.xml"},
	{"GET", "/decoders/files/ssh.xml", "", false, first + "decoder"},
	{"GET", "/lists", "", false, first + "filename " + first + "relative_dirname " + first + "items"},
	{"GET", "/lists/files", "", false, first + "filename"},
	{"GET", "/lists/files/outside", "", false, first + "outside=yes"},
	// Logs, status, cluster.
	{"GET", "/manager/logs?offset=0&limit=100&sort=-timestamp&level=info&search=role", "", false, first + "timestamp " + first + "tag " + first + "level=info " + first + "description"},
	{"GET", "/manager/logs/summary", "", false, first + "wazuh-apid.info"},
	{"GET", "/cluster/node1/logs", "", true, first + "tag"},
	{"GET", "/cluster/node1/logs/summary", "", true, first + "wazuh-apid.all"},
	{"GET", "/cluster/node1/status", "", true, first + "wazuh-clusterd=running"},
	{"GET", "/cluster/node1/info", "", true, first + "version=v4.14.7"},
	{"GET", "/cluster/local/config", "", true, first + "name=siem " + first + "node_name " + first + "node_type"},
	{"GET", "/cluster/healthcheck", "", true, first + "info.name=node1 " + first + "info.n_active_agents=1 data.affected_items.1.status.last_keep_alive"},
	// Security.
	{"GET", "/security/roles?sort=name", "", false, first + "id " + first + "name"},
	{"GET", "/security/policies?sort=name", "", false, first + "name " + first + "policy"},
	{"GET", "/security/rules?sort=name", "", false, counts},
	{"GET", "/security/users?sort=username", "", false, first + "username " + first + "allow_run_as"},
	{"GET", "/security/actions", "", false, "data.agent:read"},
	{"GET", "/security/resources", "", false, "data.agent:id"},
	{"DELETE", "/security/user/authenticate", "{}", false, "message"},
}

// dashboardMissing are the calls of the plugin that do not exist yet. Whoever makes
// one takes it from here to the table above.
var dashboardMissing = []string{
	"PUT /manager/configuration", "PUT /cluster/node1/configuration",
	"PUT /rules/files/a.xml", "DELETE /rules/files/a.xml", "PUT /decoders/files/a.xml", "DELETE /decoders/files/a.xml", "PUT /lists/files/a", "DELETE /lists/files/a",
	"GET /sca/001", "GET /sca/001/checks/p", "GET /syscheck/001", "GET /syscheck/001/last_scan",
	"GET /mitre/tactics", "GET /mitre/techniques", "GET /mitre/groups", "GET /mitre/software", "GET /mitre/mitigations",
}

// at returns a member of an answer; ok is false where there is none.
func at(v any, path string) (any, bool) {
	for path != "" {
		var key string
		key, path, _ = strings.Cut(path, ".")
		switch x := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = x[key]; !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func TestTheDashboardGetsTheFieldsItReads(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.lines = []logring.Line{{Time: time.Now(), Level: slog.LevelInfo, Package: "api", Text: "role started"}}
	s.deps.Rulesets = &countedRulesets{}
	s.rebuild()
	for _, call := range dashboardCalls {
		s.fakes.nodes = nil
		if call.cluster {
			s.fakes.cluster()
		}
		body := call.body
		if body == "" {
			body = `{"idHost": "default"}` // of whatever its caller passed
		}
		r := s.do(call.method, strings.ReplaceAll(call.path, ">", "%3E"), body)
		if r.status != 200 && r.status != 202 || r.json["error"] != 0.0 {
			t.Errorf("%s %s: %d %.500s, want it done", call.method, call.path, r.status, r.body)
			continue
		}
		for want := range strings.FieldsSeq(call.reads) {
			path, value, compared := strings.Cut(want, "=")
			got, ok := at(r.json, strings.TrimSuffix(path, "."))
			if !ok || compared && toText(got) != value {
				t.Errorf("%s %s: %s is %v, want %q in %.800s", call.method, call.path, path, got, value, r.body)
			}
		}
	}
}

func toText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return "no text"
}

// An unknown call ends at once: the plugin must not repeat it.
func TestCallsThatAreNotThereYetSaySo(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, call := range dashboardMissing {
		method, path, _ := strings.Cut(call, " ")
		if r := s.do(method, path, "{}"); r.status != http.StatusNotFound && r.status != http.StatusMethodNotAllowed {
			t.Errorf("%s answers %d %.200s: take it from the list of missing calls", call, r.status, r.body)
		}
	}
}
