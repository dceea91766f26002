package api

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vedette/api/manager"
	"vedette/api/rest"
	"vedette/schemas"
)

func testSettings() manager.Settings {
	remote := []rest.Ordered{
		{{Key: "connection", Value: "secure"}, {Key: "port", Value: "1514"}, {Key: "protocol", Value: manager.Joined{"tcp", "udp"}}},
		{{Key: "connection", Value: "syslog"}, {Key: "port", Value: "514"}, {Key: "allowed-ips", Value: []string{"10.0.0.0/8", "192.0.2.1"}}},
	}
	return manager.Settings{
		Sections: []manager.Section{{Name: "global", Value: rest.Ordered{{Key: "white_list", Value: []string{"a & <b>"}}, {Key: "logall_json", Value: "no"}}}, {Name: "remote", Value: remote}},
		Components: []manager.Component{
			{Component: "request", Configuration: "remote", Role: "ingest", Value: rest.Ordered{{Key: "remote", Value: remote}}},
			{Component: "auth", Configuration: "auth", Value: rest.Ordered{{Key: "auth", Value: rest.Ordered{{Key: "use_password", Value: "yes"}}}}},
			{Component: "wmodules", Configuration: "wmodules", Value: rest.Ordered{{Key: "wmodules", Value: []string{}}}},
		},
	}
}

func TestTheConfigurationIsShownInSections(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const (
		global  = `"global":{"white_list":["a & <b>"],"logall_json":"no"}`
		remote  = `"remote":[{"connection":"secure","port":"1514","protocol":["tcp","udp"]},{"connection":"syslog","port":"514","allowed-ips":["10.0.0.0/8","192.0.2.1"]}]`
		cluster = `"cluster":{"name":"siem","node_name":"node1","node_type":"master","nodes":["node1"],"hidden":"no","disabled":"yes"}`
	)
	for query, want := range map[string]string{
		"":                                    `[{` + global + `,` + remote + `,` + cluster + `}]`,
		"?section=GLOBAL":                     `[{` + global + `}]`,
		"?section=remote":                     `[{` + remote + `}]`,
		"?section=cluster&distinct=true":      `[{` + cluster + `}]`,
		"?section=global&field=logall_json":   `[{"global":{"logall_json":"no"}}]`,
		"?section=remote&field=port":          `[{"remote":[{"port":"1514"},{"port":"514"}]}]`,
		"?section=remote&field=allowed-ips":   `[{"remote":[{"allowed-ips":["10.0.0.0/8","192.0.2.1"]}]}]`,
		"?section=cluster&field=node_name":    `[{"cluster":{"node_name":"node1"}}]`,
		"?section=cluster&field=nodes&raw=no": "",
	} {
		if want == "" {
			s.refused(s.do("GET", "/manager/configuration"+query, ""), 400, "Bad Request", 0, "boolean")
			continue
		}
		s.shows("/manager/configuration"+query, want)
	}
	s.refused(s.do("GET", "/manager/configuration?section=syscheck", ""), 400, "Bad Request", 1106, "")
	s.refused(s.do("GET", "/manager/configuration?section=global&field=nope", ""), 400, "Bad Request", 1103, "")
	s.refused(s.do("GET", "/manager/configuration?section=remote&field=nope", ""), 400, "Bad Request", 1103, "")
	s.refused(s.do("GET", "/manager/configuration?section=nope", ""), 400, "Bad Request", 0, "")
	s.refused(s.do("GET", "/manager/configuration?field=port", ""), 400, "Bad Request", 0, "section")
	s.fakes.cluster()
	s.shows("/cluster/node1/configuration?section=global", `[{`+global+`}]`)
	s.refused(s.do("GET", "/cluster/outside-node/configuration", ""), 400, "Bad Request", 3023, "")
	s.as("reader")
	s.refused(s.do("GET", "/manager/configuration", ""), 403, "Permission Denied", 4000, "")
	s.refused(s.do("GET", "/cluster/node1/configuration", ""), 403, "Permission Denied", 4000, "")
}

func TestTheConfigurationIsShownAsAFile(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("GET", "/manager/configuration?raw=true", "")
	want := `<ossec_config>
  <global>
    <white_list>a &amp; &lt;b&gt;</white_list>
    <logall_json>no</logall_json>
  </global>
  <remote>
    <connection>secure</connection>
    <port>1514</port>
    <protocol>tcp,udp</protocol>
  </remote>
  <remote>
    <connection>syslog</connection>
    <port>514</port>
    <allowed-ips>10.0.0.0/8</allowed-ips>
    <allowed-ips>192.0.2.1</allowed-ips>
  </remote>
  <cluster>
    <name>siem</name>
    <node_name>node1</node_name>
    <node_type>master</node_type>
    <nodes>
      <node>node1</node>
    </nodes>
    <hidden>no</hidden>
    <disabled>yes</disabled>
  </cluster>
</ossec_config>
`
	if r.status != 200 || r.body != want || r.header.Get("Content-Type") != "application/xml; charset=utf-8" {
		t.Errorf("%d %s %s\nwant %s", r.status, r.header.Get("Content-Type"), r.body, want)
	}
	if err := xml.Unmarshal([]byte(r.body), new(struct{})); err != nil {
		t.Errorf("the file is no XML: %v", err)
	}
}

func TestComponentsAnswerForTheirConfiguration(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const remote = `{"remote":[{"connection":"secure","port":"1514","protocol":["tcp","udp"]},{"connection":"syslog","port":"514","allowed-ips":["10.0.0.0/8","192.0.2.1"]}]}`
	s.shows("/manager/configuration/request/remote", `[`+remote+`]`)
	s.shows("/manager/configuration/WMODULES/wmodules", `[{"wmodules":[]}]`)
	s.shows("/manager/configuration/com/cluster", `[{"cluster":{"name":"siem","node_name":"node1","node_type":"master","nodes":["node1"],"hidden":"no","disabled":true}}]`)
	if r := s.do("GET", "/agents/000/config/request/remote", ""); r.status != 200 || r.body != `{"data":`+remote+`,"error":0}` {
		t.Errorf("agent 000 answers %d %s", r.status, r.body)
	}
	// Pairs that 4.14 refuses, and daemons that are not there.
	for pair, code := range map[string]int{"analysis/logging": 1128, "monitor/logging": 1128, "auth/remote": 1128, "mail/global": 1117, "csyslog/csyslog": 1117, "monitor/global": 1117} {
		s.refused(s.do("GET", "/manager/configuration/"+pair, ""), 400, "Bad Request", code, "")
	}
	s.refused(s.do("GET", "/manager/configuration/other/remote", ""), 400, "Bad Request", 0, "")
	s.fakes.cluster()
	s.shows("/cluster/node1/configuration/request/remote", `[`+remote+`]`)
	s.refused(s.do("GET", "/cluster/outside-node/configuration/request/remote", ""), 400, "Bad Request", 3023, "")
	// Without a gateway on any node nobody listens.
	s.fakes.nodes = []schemas.Node{{Name: "node1", Roles: []string{"api"}, Updated: time.Now().UnixMilli()}}
	s.refused(s.do("GET", "/manager/configuration/request/remote", ""), 400, "Bad Request", 1117, "")
	s.as("reader")
	s.refused(s.do("GET", "/manager/configuration/request/remote", ""), 403, "Permission Denied", 4000, "")
}

func TestAConfigurationIsCheckedBeforeItIsTakenOver(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	asked := 0
	broken := errors.New("rules/a.xml:2: broken\nrules/b.xml:3: too")
	var answer error
	s.deps.Settings.Check = func(context.Context) error { asked++; return answer }
	s.rebuild()
	s.shows("/manager/configuration/validation", `[{"name":"node1","status":"OK"}]`)
	answer = broken
	const ko = `[{"name":"node1","status":"KO","details":["rules/a.xml:2: broken","rules/b.xml:3: too"]}]`
	s.shows("/manager/configuration/validation", ko)
	r := s.do("GET", "/cluster/configuration/validation", "")
	if items, _ := json.Marshal(dug(r.json, "data.affected_items")); r.json["error"] != 2.0 || !strings.Contains(string(items), `"KO"`) || !strings.Contains(r.body, `"code":3023`) || !strings.Contains(r.body, `"id":["outside-node"]`) {
		t.Errorf("all nodes: %s", r.body)
	}
	s.shows("/cluster/configuration/validation?nodes_list=node1", ko)
	if asked != 4 {
		t.Errorf("the configuration was checked %d times, want 4", asked)
	}
	s.as("reader")
	s.refused(s.do("GET", "/manager/configuration/validation", ""), 403, "Permission Denied", 4000, "")
	if asked != 4 {
		t.Error("a user without rights lets the server check its configuration")
	}
}

func TestTheAPITellsItsOwnSettings(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) {
		c.Listen, c.MaxLoginAttempts, c.BlockTime, c.MaxRequestsPerMinute = ":55001", 7, 90*time.Second, 1000
	})
	s.fakes.cluster()
	want := `{"node_name":"node1","node_api_config":{"host":"0.0.0.0","port":55001,"experimental_features":false,"max_upload_size":10485760,"intervals":{"request_timeout":10},` +
		`"https":{"enabled":true,"use_ca":false},"cors":{"enabled":false},"access":{"max_login_attempts":7,"block_time":90,"max_request_per_minute":1000}}}`
	s.shows("/manager/api/config", `[`+want+`]`)
	s.shows("/cluster/api/config?nodes_list=node1", `[`+want+`]`)
	if r := s.do("GET", "/cluster/api/config", ""); r.json["error"] != 2.0 || !strings.Contains(r.body, want) || !strings.Contains(r.body, `"code":3023`) {
		t.Errorf("all nodes: %s", r.body)
	}
	s.as("reader")
	s.refused(s.do("GET", "/manager/api/config", ""), 403, "Permission Denied", 4000, "")
}

func TestNobodyLooksForNewerVersions(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.as("nobody") // a token is enough
	want := fmt.Sprintf(`{"data":{"uuid":%q,"last_check_date":"","current_version":"v4.14.7","update_check":false,"last_available_major":{},"last_available_minor":{},"last_available_patch":{}},"error":0}`, s.cfg.Identity.InstallationID)
	for _, query := range []string{"", "?force_query=true", "?force_query=false"} {
		if r := s.do("GET", "/manager/version/check"+query, "{}"); r.status != 200 || r.body != want {
			t.Errorf("%s: %d %s, want %s", query, r.status, r.body, want)
		}
	}
}
