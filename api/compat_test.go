package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vedette/ruleset/program"
)

// unbound asks without a type of the body.
func unbound(r *http.Request) { r.Header.Del("Content-Type") }

func TestAnOffsetThatIsTooLarge(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const beyond = "9223372036854775808123" // no 64-bit number
	for path, database := range map[string]bool{
		"/agents": true, "/agents/no_group": true, "/groups/web/agents": true, "/tasks/status": true,
		"/groups": false, "/groups/default/files": false, "/groups/default/configuration": false, "/rules": false, "/decoders": false,
	} {
		r := s.do("GET", path+"?offset="+beyond, "")
		switch {
		case database && (r.status != 400 || r.json["error"] != 2003.0 || r.json["title"] != "Bad Request"):
			t.Errorf("%s: %d %s, want 400 with 2003", path, r.status, r.body)
		case !database && (r.status != 200 || !strings.Contains(r.body, `"affected_items":[]`)):
			t.Errorf("%s: %d %s, want 200 and no items", path, r.status, r.body)
		}
		if r := s.do("GET", path+"?offset=4294967296", ""); r.status != 200 || !strings.Contains(r.body, `"affected_items":[]`) {
			t.Errorf("%s: %d %s, want an offset of 33 bits to be past the end", path, r.status, r.body)
		}
		s.refused(s.do("GET", path+"?limit="+beyond, ""), 400, "Bad Request", 0, "greater than the maximum")
		s.refused(s.do("GET", path+"?offset=-"+beyond, ""), 400, "Bad Request", 0, "less than the minimum")
	}
}

func TestARequestWithoutItsBody(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, x := range []string{
		"POST /agents", "POST /agents/insert", "POST /groups", "PUT /groups/default/configuration", "PUT /active-response", "PUT /logtest",
	} {
		method, path, _ := strings.Cut(x, " ")
		s.refused(s.do(method, path, "", unbound), 400, "Bad Request", 0, "RequestBody is required")
		s.refused(s.do(method, path, "x", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }), 415, "Unsupported Media Type", 0, "Invalid Content-type (text/plain)")
		s.refused(s.do(method, path, "x", unbound), 415, "Unsupported Media Type", 0, "")
	}
	// Operations without a body take any.
	if r := s.do("GET", "/agents", "x", unbound); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// Outcomes have three messages each, which scripts compare.
func TestMessagesSayWhetherAllSomeOrNoneWereDone(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const restart, agents = "Restart command was ", " agents information was "
	for _, x := range []struct{ method, path, body, want string }{
		{"GET", "/agents", "", "All selected agents information was returned"},
		{"GET", "/agents?agents_list=001,999", "", "Some" + agents + "not returned"},
		{"GET", "/agents?agents_list=999", "", "No agent information was returned"},
		{"GET", "/agents/no_group", "", "All selected agents information was returned"},
		{"GET", "/groups/web/agents", "", "All selected agents information was returned"},
		{"GET", "/groups", "", "All selected groups information was returned"},
		{"GET", "/groups?groups_list=nope", "", "No group information was returned"},
		{"GET", "/groups/default/files", "", "All selected groups files were returned"},
		{"DELETE", "/groups?groups_list=web", "", "All selected groups were deleted"},
		{"DELETE", "/groups?groups_list=default,web", "", "Some groups were not deleted"},
		{"DELETE", "/groups?groups_list=default", "", "No group was deleted"},
		{"POST", "/groups", `{"group_id":"new"}`, "Group 'new' created"},
		{"PUT", "/groups/web/configuration", "<agent_config></agent_config>", "Agent configuration was successfully updated"},
		{"PUT", "/agents/002/group/web", "", "All selected agents were assigned to web"},
		{"PUT", "/agents/999/group/web", "", "No agents were assigned to web"},
		{"PUT", "/agents/group?group_id=default&agents_list=001,999&force_single_group=true", "", "Some agents were not assigned to default and removed from the other groups"},
		{"DELETE", "/agents/group?group_id=web&agents_list=001", "", "All selected agents were removed from group web"},
		{"DELETE", "/agents/001/group/web", "", "Agent '001' removed from 'web'."},
		{"DELETE", "/agents/001/group?groups_list=web", "", "Specified agent was removed from returned groups"},
		{"GET", "/agents/001/key", "", "Obtained keys for all selected agents"},
		{"GET", "/agents/001/group/is_sync", "", "Sync info was returned for all selected agents"},
		{"GET", "/agents/001/stats/agent", "", "Statistical information for each agent was successfully read"},
		{"PUT", "/agents/restart?agents_list=001", "", restart + "sent to all agents"},
		{"PUT", "/agents/restart", "", restart + "not sent to some agents"},
		{"PUT", "/agents/002/restart", "", restart + "not sent to any agent"},
		{"PUT", "/agents/reconnect?agents_list=001", "", "Force reconnect command was sent to all agents"},
		{"PUT", "/active-response?agents_list=001", `{"command":"!block"}`, "AR command was sent to all agents"},
		{"GET", "/rules", "", "All selected rules were returned"},
		{"GET", "/decoders?decoder_names=nope", "", "No decoder was returned"},
		{"GET", "/tasks/status", "", "No task's status was returned"},
		{"GET", "/manager/status", "", "Processes status was successfully read in specified node"},
		{"GET", "/manager/info", "", "Basic information was successfully read in specified node"},
		{"DELETE", "/agents?agents_list=002&status=all&older_than=0s", "", "All selected agents were deleted"},
	} {
		r := s.do(x.method, x.path, x.body, func(r *http.Request) {
			if strings.HasSuffix(x.path, "configuration") {
				r.Header.Set("Content-Type", "application/xml")
			}
		})
		if r.status != 200 || r.json["message"] != x.want {
			t.Errorf("%s %s: %d %s, want the message %q", x.method, x.path, r.status, r.body, x.want)
		}
	}
}

func TestRulesThatAreNotThereAreNumbers(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("GET", "/rules?rule_ids=999999,9999", "")
	if want := `"id":[9999,999999]`; r.status != 200 || !strings.Contains(r.body, want) || !strings.Contains(r.body, `"code":1208`) {
		t.Errorf("%d %s, want %s", r.status, r.body, want)
	}
}

func TestExcludedFilesAreListedAsDisabled(t *testing.T) {
	t.Parallel()
	s := serve(t, func(*Config) {})
	s.fakes.excludedRules = []program.RuleInfo{{ID: 555001, Level: 3, File: "0001-off.xml", Dir: "/var/ossec/ruleset/rules", Description: "Off."}}
	s.fakes.excludedDecoders = []program.DecoderInfo{{Name: "off", File: "0001-off.xml", Dir: "/var/ossec/ruleset/decoders"}}
	for path, want := range map[string]string{
		"/rules?status=disabled&select=id,status,relative_dirname": `[map[id:555001 relative_dirname:ruleset/rules status:disabled]]`,
		"/decoders?status=disabled&select=status,filename":         `[map[filename:0001-off.xml name:off status:disabled]]`,
	} {
		if r := s.do("GET", path, ""); fmt.Sprint(dug(r.json, "data.affected_items")) != want {
			t.Errorf("%s: %d %s, want %s", path, r.status, r.body, want)
		}
	}
	for _, path := range []string{"/rules", "/decoders"} {
		var counts [3]float64
		for i, status := range []string{"enabled", "disabled", "all"} {
			counts[i], _ = dug(s.do("GET", path+"?status="+status, "").json, "data.total_affected_items").(float64)
		}
		if counts[0] == 0 || counts[1] != 1 || counts[0]+counts[1] != counts[2] {
			t.Errorf("%s: enabled, disabled and all are %v", path, counts)
		}
	}
}

func TestAgentsThatNeverConnectedHaveNoManagerYet(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("GET", "/agents?status=never_connected&select=node_name,manager,status", "")
	items, _ := json.Marshal(dug(r.json, "data.affected_items"))
	if r.status != 200 || !strings.Contains(string(items), `"node_name":"unknown"`) || strings.Contains(string(items), "manager") {
		t.Errorf("%d %s", r.status, items)
	}
	if got, n := s.items("/agents?node_name=unknown", "id"); n == 0 {
		t.Errorf("no agent is at the node unknown: %v", got)
	}
}

func TestAgentsThatNobodyNamedDoNotFailForBeingMembers(t *testing.T) {
	t.Parallel()
	s, _ := serveRegistry(t)
	for _, body := range []string{`{"name":"web1"}`, `{"name":"web2"}`} {
		if r := s.do("POST", "/agents", body); r.status != 200 {
			t.Fatal(r.body)
		}
	}
	if got := s.outcome("PUT", "/agents/001/group/default"); got != "0 [001]" {
		t.Fatal(got)
	}
	if got := s.outcome("PUT", "/agents/group?group_id=default"); got != "0 [002]" {
		t.Errorf("all agents: %s", got)
	}
	if got := s.outcome("PUT", "/agents/group?group_id=default&agents_list=001,000"); got != "1 [] 1703:[000] 1751:[001]" {
		t.Errorf("named agents: %s", got)
	}
}

func TestALogtestSessionBeginsWithoutAWarning(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.withLogtest("Often.")
	data, _ := tested(t, s.logtest("", openedLog))
	if data["codemsg"] != 0.0 || !strings.Contains(messages(data), "INFO: (7202): Session initialized with token '") {
		t.Errorf("%v", data)
	}
	data, _ = tested(t, s.logtest("00000000", openedLog))
	if data["codemsg"] != 1.0 || !strings.Contains(messages(data), "WARNING: ") {
		t.Errorf("a session that is not there: %v", data)
	}
}

func TestAlertsRefuseAnUnknownSortAndTakeSelectAndSearch(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.refused(s.do("GET", "/alerts?sort=-nonsense", ""), 400, "Bad Request", 1403, `"nonsense"; there are: timestamp, `)
	s.refused(s.do("GET", "/alerts?sort=timestamp,rule.x", ""), 400, "Bad Request", 1403, `"rule.x"`)
	r := s.do("GET", "/alerts?sort=nonsense", "")
	_, sorts, _ := strings.Cut(fmt.Sprint(r.json["detail"]), "there are: ")
	for f := range strings.SplitSeq(sorts, ", ") {
		if r := s.do("GET", "/alerts?sort=-"+f, ""); r.status != 200 || dug(r.json, "data.total_affected_items") != 12.0 {
			t.Errorf("sort=-%s: %d %.300s", f, r.status, r.body)
		}
	}
	r = s.do("GET", "/alerts?sort=rule.level&limit=1&select=rule.level,agent.name,data.nothing", "")
	if want := `"affected_items":[{"agent":{"name":"Web-0"},"rule":{"level":3}}]`; !strings.Contains(r.body, want) {
		t.Errorf("%d %s, want %s", r.status, r.body, want)
	}
	if r := s.do("GET", "/alerts?search=10.0.0.3&text=accepted", ""); r.status != 200 || dug(r.json, "data.total_affected_items") != 2.0 {
		t.Errorf("%d %.300s", r.status, r.body)
	}
	s.refused(s.do("GET", "/alerts?offset=9223372036854775807", ""), 400, "Bad Request", 1405, "")
}
