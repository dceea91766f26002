package api

import (
	"strings"
	"testing"
)

func TestAgentsAreCountedByStatePlatformAndGroup(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for query, want := range map[string]string{
		"":                           `{"status":{"active":1,"disconnected":1,"never_connected":1,"pending":0},"os":{"ubuntu":1,"windows":1},"groups":{"default":2,"web":1}}`,
		"?agents_list=002,010,000":   `{"status":{"active":0,"disconnected":1,"never_connected":1,"pending":0},"os":{"windows":1},"groups":{"default":1}}`,
		"?agents_list=000&pretty=no": ``,
	} {
		r := s.do("GET", "/agents/summary"+query, "{}")
		if want == "" {
			s.refused(r, 400, "Bad Request", 0, "boolean")
		} else if r.status != 200 || r.body != `{"data":`+want+`,"error":0}` {
			t.Errorf("%s: %d %s, want %s", query, r.status, r.body, want)
		}
	}
	s.as("nobody")
	if r := s.do("GET", "/agents/summary", ""); !strings.Contains(r.body, `"os":{},"groups":{}`) {
		t.Errorf("a user without rights sees %s", r.body)
	}
	s.refused(s.do("GET", "/agents/summary?agents_list=001", ""), 403, "Permission Denied", 4000, "")
}

func TestAgentsAreCountedByFields(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const path = "/agents/stats/distinct?fields="
	s.shows(path+"os.platform", `[{"count":2,"os":{"platform":"N/A"}},{"count":1,"os":{"platform":"ubuntu"}},{"count":1,"os":{"platform":"windows"}}]`)
	s.shows(path+"status,node_name&q=id!=000", `[{"count":1,"node_name":"node1","status":"active"},{"count":1,"node_name":"node1","status":"disconnected"},{"count":1,"node_name":"unknown","status":"never_connected"}]`)
	s.shows(path+"node_name&sort=-node_name", `[{"count":1,"node_name":"unknown"},{"count":3,"node_name":"node1"}]`)
	s.shows(path+"node_name&sort=node_name&offset=1&limit=1", `[{"count":1,"node_name":"unknown"}]`)
	s.shows(path+"manager&search=web", `[{"count":2,"manager":"siem"}]`)
	s.shows(path+"group&q=id=2", `[{"count":1,"group":["default"]}]`)
	if r := s.do("GET", "/agents/stats/distinct", ""); dug(r.json, "data.total_affected_items") != 4.0 {
		t.Errorf("without fields each agent is one of its kind: %s", r.body)
	}
	s.refused(s.do("GET", path+"os.nope", ""), 400, "Bad Request", 1724, "os.nope")
	s.refused(s.do("GET", path+"status&sort=nope", ""), 400, "Bad Request", 1403, "")
	s.refused(s.do("GET", path+"status&q=nope=1", ""), 400, "Bad Request", 1408, "")
	s.refused(s.do("GET", path+"status&offset=9223372036854775807", ""), 400, "Bad Request", 2003, "")
	s.as("nobody")
	if r := s.do("GET", path+"status", ""); !nothing(r.json["data"]) {
		t.Errorf("a user without rights sees %s", r.body)
	}
}

func TestOnlyWhoMayUninstallsAgents(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if r := s.do("GET", "/agents/uninstall", ""); r.status != 200 || r.body != `{"message":"User has permission to uninstall agents.","error":0}` {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.as("reader")
	s.refused(s.do("GET", "/agents/uninstall", ""), 403, "Permission Denied", 4000, "")
}

func TestNoCountersAreKeptByAgent(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for path, code := range map[string]string{"001": "1121", "000": "1703", "999": "1701"} {
		if r := s.do("GET", "/agents/"+path+"/daemons/stats?daemons_list=wazuh-remoted", ""); r.json["error"] != 1.0 || !strings.Contains(r.body, `"code":`+code) {
			t.Errorf("%s: %d %s, want a failed item with %s", path, r.status, r.body, code)
		}
	}
	s.refused(s.do("GET", "/agents/001/daemons/stats?daemons_list=wazuh-db", ""), 400, "Bad Request", 0, "")
}
