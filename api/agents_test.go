package api

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOverviewOfAgents(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for path, wants := range map[string][]string{
		"/overview/agents": {
			`"nodes":[{"node_name":"node1","count":2},{"node_name":"unknown","count":1}],"groups":[{"count":2,"name":"default"},{"count":1,"name":"web"}],`,
			`"agent_os":[{"os":{"name":"N/A","platform":"N/A","version":"N/A"},"count":1},{"os":{"name":"Ubuntu","platform":"ubuntu","version":"22.04"},"count":1},`,
			`"agent_status":{"configuration":{"not_synced":1,"synced":2,"total":3},"connection":{`,
			`"agent_version":[{"version":"N/A","count":1},{"version":"Wazuh v4.14.7","count":1},{"version":"Wazuh v4.9.2","count":1}],"last_registered_agent":[{`,
		},
		"/agents/summary/os": {`"affected_items":["ubuntu","windows"],"total_affected_items":2`},
		"/agents/outdated":   {`"id":"002"`, `"total_affected_items":1`},
	} {
		r := s.do("GET", path, "")
		for _, w := range wants {
			if r.status != 200 || !strings.Contains(r.body, w) {
				t.Errorf("%s: %d, no %s in %s", path, r.status, w, r.body)
			}
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("GET", "/agents/summary/status", "")
	want := `{"data":{"configuration":{"not_synced":1,"synced":2,"total":3},"connection":{"active":1,"disconnected":1,"never_connected":1,"pending":0,"total":3}},"error":0}`
	if d := cmp.Diff(want, r.body); d != "" {
		t.Error(d)
	}
}

func TestAgentLists(t *testing.T) {
	t.Parallel()
	s := serve(t)
	f := func(query string, total int, want ...string) {
		t.Helper()
		got, n := s.items("/agents?"+query, "id")
		if d := cmp.Diff(want, got); d != "" || n != total {
			t.Errorf("%s: total %d, want %d; %s", query, n, total, d)
		}
	}
	f("", 4, "000", "001", "002", "010")
	f("limit=2&offset=1", 4, "001", "002")
	f("offset=9", 4, []string{}...)
	f("agents_list=010,001,001", 2, "001", "010")
	f("status=active", 2, "000", "001")
	f("status=ACTIVE,disconnected", 3, "000", "001", "002")
	f("name=WEB1", 1, "001")
	f("group=web", 1, "001")
	f("os.platform=Ubuntu", 1, "001")
	f("version=4.9.2", 1, "002")
	f("version=v4.9.2", 1, "002")
	f("version=Wazuh%20v4.9.2", 1, "002")
	f("older_than=5d", 1, "002")
	f("older_than=1h", 2, "002", "010")
	f("group_config_status=not%20synced", 1, "010")
	f("manager=siem&node_name=node1&ip=10.0.0.1", 1, "001")
	f("search=WEB", 2, "001", "002")
	f("search=-web", 2, "000", "010")
	f("search=10&status=never_connected", 1, "010")
	f("q=id!=000;status=active", 1, "001") // a raw semicolon
	f("q=(id=1,id=2);os.name~win", 1, "002")
	f("q=id>1", 2, "002", "010")
	f("q=name~eb", 2, "001", "002")
	f("q=group=web", 1, "001")
	f("q=group!=web;id!=000", 1, "002")
	f("q=group~we", 1, "001")
	f("q=version=Wazuhv4.14.7", 2, "000", "001")
	f("q=lastKeepAlive>2h", 1, "002") // without 000
	f("q=lastKeepAlive<2h", 1, "001")
	f("q=dateAdd>2000-01-01", 3, "001", "002", "010")
	f("q=os.name=null", 2, "000", "010")
	f("sort=-id", 4, "010", "002", "001", "000")
	f("sort=name", 4, "010", "000", "001", "002")
	f("sort=%2Bversion", 4, "010", "002", "000", "001")
	f("sort=version", 4, "010", "002", "000", "001")
	f("sort=-os.version&q=id!=000", 3, "001", "002", "010")
	f("sort=os.name,id", 4, "000", "010", "001", "002")

	r := s.do("GET", "/agents?agents_list=001", "")
	want := map[string]any{
		"id": "001", "name": "web1", "ip": "10.0.0.1", "registerIP": "any", "status": "active", "status_code": 0.0, "version": "Wazuh v4.14.7",
		"group": []any{"default", "web"}, "os": map[string]any{"name": "Ubuntu", "platform": "ubuntu", "version": "22.04", "major": "22", "minor": "04"},
		"node_name": "node1", "mergedSum": "m", "manager": "siem", "group_config_status": "synced",
		"dateAdd": now.AddDate(0, -1, 0).Format("2006-01-02T15:04:05+00:00"), "lastKeepAlive": now.Format("2006-01-02T15:04:05+00:00"),
	}
	got := dug(r.json, "data").(map[string]any)["affected_items"].([]any)[0]
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	r = s.do("GET", "/agents?agents_list=000&select=manager,lastKeepAlive", "")
	if d := cmp.Diff(`{"data":{"affected_items":[{"id":"000","lastKeepAlive":"9999-12-31T23:59:59+00:00","manager":"siem"}],"total_affected_items":1,"total_failed_items":0,"failed_items":[]},"message":"All selected agents information was returned","error":0}`, r.body); d != "" {
		t.Error(d)
	}
	r = s.do("GET", "/agents?select=os.name,status&q=id=2", "")
	if !strings.Contains(r.body, `[{"id":"002","os":{"name":"Windows"},"status":"disconnected"}]`) {
		t.Error(r.body)
	}
	r = s.do("GET", "/agents?select=manager&distinct=true", "")
	if !strings.Contains(r.body, `"affected_items":[{"manager":"siem"}],"total_affected_items":1`) {
		t.Error(r.body)
	}
	r = s.do("GET", "/agents?select=os.platform&distinct=true", "")
	if !strings.Contains(r.body, `"affected_items":[{"os":{"platform":"ubuntu"}},{"os":{"platform":"windows"}}]`) {
		t.Error(r.body)
	}
}

func TestNamedAgentsThatAreNotThereFail(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("GET", "/agents?agents_list=001,999,050", "")
	if r.json["error"] != 2.0 || !strings.Contains(r.body, `"total_failed_items":2,"failed_items":[{"error":{"code":1701,`) || !strings.Contains(r.body, `"id":["050","999"]`) {
		t.Error(r.body)
	}
	if r := s.do("GET", "/agents?agents_list=999", ""); r.status != 200 || r.json["error"] != 1.0 {
		t.Error(r.body)
	}
}

func TestAddAndDeleteAgents(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("POST", "/agents", `{"name":"new","ip":"10.1.0.0/16","force":{"enabled":true,"disconnected_time":{"enabled":false},"after_registration_time":"2h"}}`)
	if d := cmp.Diff(`{"data":{"id":"004","key":"a2V5"},"error":0}`, r.body); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]NewAgent{{Name: "new", IP: "10.1.0.0/16", Force: &Force{Enabled: true, AfterRegistration: 2 * time.Hour, Disconnected: time.Hour}}}, s.fakes.added); d != "" {
		t.Error(d)
	}
	s.refused(s.do("POST", "/agents", `{"name":"new"}`), 400, "Bad Request", 1705, "")
	if r := s.do("POST", "/agents", `{"name":"plain"}`); r.status != 200 || s.fakes.added[1].IP != "any" || s.fakes.added[1].Force != nil {
		t.Errorf("%s %+v", r.body, s.fakes.added)
	}

	r = s.do("DELETE", "/agents?agents_list=000,001,002,999&status=disconnected", "")
	if r.status != 200 || r.json["error"] != 2.0 || !strings.Contains(r.body, `"affected_items":["002"]`) || !strings.Contains(r.body, `"older_than":"7d"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, code := range []string{`"code":1701`, `"code":1703`, `"code":1731`} {
		if !strings.Contains(r.body, code) {
			t.Errorf("no %s in %s", code, r.body)
		}
	}
	r = s.do("DELETE", "/agents?agents_list=all&status=all&older_than=0s&q=name~web&purge=true", "")
	if !strings.Contains(r.body, `"affected_items":["001"]`) || r.json["error"] != 0.0 {
		t.Error(r.body)
	}
	r = s.do("DELETE", "/agents?agents_list=all&status=all", "") // 7d
	if r.json["error"] != 0.0 || !strings.Contains(r.body, `"affected_items":[],"total_affected_items":0,"total_failed_items":0`) {
		t.Error(r.body)
	}
}
