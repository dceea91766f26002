package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"vedette/api/rest"
	"vedette/ruleset"
	"vedette/ruleset/engine"
)

const logtestDecoders = `<decoder name="door"><program_name>^door$</program_name></decoder>
<decoder name="door-open"><parent>door</parent><regex>opened by (\S+)</regex><order>srcuser</order></decoder>
<decoder name="gate"><prematch>^gate </prematch></decoder>`

const logtestRules = `<group name="door,">
<rule id="100001" level="3"><decoded_as>door</decoded_as><description>Opened by $(srcuser).</description></rule>
<rule id="100002" level="0"><decoded_as>gate</decoded_as><description>Gate.</description></rule>
<rule id="100003" level="8" frequency="3" timeframe="60"><if_matched_sid>100001</if_matched_sid><description>%s</description></rule>
</group>`

// withLogtest gives the server a ruleset whose composite rule says so.
func (s *server) withLogtest(often string, warnings ...string) {
	s.t.Helper()
	p, problems, err := ruleset.Compile(ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(logtestDecoders)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: fmt.Appendf(nil, logtestRules, often)}},
	})
	if err != nil || len(problems) > 0 {
		s.t.Fatal(problems, err)
	}
	s.fakes.logtest = func() (*engine.Engine, []string) {
		return engine.New(p, engine.Config{ManagerName: "siem", Logtest: true}), warnings
	}
}

const openedLog = "Nov 22 01:00:00 h door: opened by ann"

func (s *server) logtest(token, event string) reply {
	return s.do("PUT", "/logtest", fmt.Sprintf(`{"token":%q,"log_format":"syslog","location":"/var/log/door","event":%q}`, token, event))
}

// tested reads an answer: its data, and the rule in short.
func tested(t *testing.T, r reply) (data map[string]any, rule string) {
	t.Helper()
	data, _ = r.json["data"].(map[string]any)
	if r.status != 200 || r.json["error"] != 0.0 || data == nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	out := data["output"].(map[string]any)
	if m, ok := out["rule"].(map[string]any); ok {
		rule = fmt.Sprint(m["id"], " level ", m["level"], " alert ", data["alert"], " ", m["description"])
	}
	return data, rule
}

func messages(data map[string]any) string { return fmt.Sprint(data["messages"]) }

func TestLogtestKeepsASession(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.withLogtest("Often.", "rules/x.xml:1: something is odd")
	r := s.do("PUT", "/logtest", fmt.Sprintf(`{"log_format":"syslog","location":"[001] (web1) 10.0.0.5->/var/log/door","event":%q}`, openedLog))
	data, rule := tested(t, r)
	token, _ := data["token"].(string)
	if rule != "100001 level 3 alert true Opened by ann." || len(token) != 8 || data["codemsg"] != 1.0 {
		t.Errorf("%s: %s", rule, r.body)
	}
	if m := messages(data); !strings.Contains(m, "INFO: (7202): ") || !strings.Contains(m, token) || !strings.Contains(m, "WARNING: rules/x.xml:1: something is odd") {
		t.Error(m)
	}
	out := data["output"].(map[string]any)
	if dug(out, "agent.id") != "001" || dug(out, "agent.name") != "web1" || out["location"] != "/var/log/door" || !strings.HasSuffix(out["id"].(string), ".0") {
		t.Error(r.body)
	}

	data, rule = tested(t, s.logtest(token, "gate x"))
	if rule != "100002 level 0 alert false Gate." || data["token"] != token || data["codemsg"] != 0.0 || messages(data) != "[]" {
		t.Errorf("%s: %v", rule, data)
	}
	data, rule = tested(t, s.logtest(token, "nothing"))
	if rule != "" || data["alert"] != false {
		t.Errorf("%s: %v", rule, data)
	}

	// Events of one agent count together; the session of another token knows nothing of them.
	for range 2 {
		tested(t, s.logtest(token, openedLog))
	}
	if _, rule := tested(t, s.logtest(token, openedLog)); rule != "100003 level 8 alert true Often." {
		t.Error(rule)
	}
	data, rule = tested(t, s.logtest("", openedLog))
	if rule != "100001 level 3 alert true Opened by ann." || data["token"] == token {
		t.Errorf("%s: %v", rule, data)
	}
}

func TestLogtestOpensANewSessionForAnUnknownToken(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.withLogtest("Often.")
	data, _ := tested(t, s.logtest("deadbeef", openedLog))
	if m := messages(data); data["token"] == "deadbeef" || !strings.Contains(m, "WARNING: There is no session 'deadbeef'") || data["codemsg"] != 1.0 {
		t.Error(data)
	}
	token := data["token"].(string)
	// Another user's session holds that user's logs.
	s.fakes.users["other"] = rest.User{Name: "other", Roles: []int{1}}
	s.as("other")
	if data, _ := tested(t, s.logtest(token, openedLog)); data["token"] == token {
		t.Error(data)
	}
}

func TestLogtestSessionsEnd(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.withLogtest("Often.")
	data, _ := tested(t, s.logtest("", openedLog))
	token := data["token"].(string)
	path := "/logtest/sessions/" + token
	r := s.do("DELETE", path, "")
	if m := messages(r.json["data"].(map[string]any)); r.status != 200 || !strings.Contains(m, "INFO: (7206): ") || !strings.Contains(m, token) || !strings.Contains(r.body, `"codemsg":0`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.refused(s.do("DELETE", path, ""), 400, "Bad Request", 7000, token)
	s.refused(s.do("DELETE", "/logtest/sessions/a%3Bb", ""), 400, "Bad Request", 0, "token")
	s.refused(s.do("DELETE", "/logtest/sessions/%20", ""), 400, "Bad Request", 7001, "")
}

func TestLogtestOfANewRuleset(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.withLogtest("Before.")
	last := func(token string) (string, string) {
		var rule string
		for range 3 {
			var data map[string]any
			data, rule = tested(t, s.logtest(token, openedLog))
			token = data["token"].(string)
		}
		return token, rule
	}
	old, rule := last("")
	if !strings.HasSuffix(rule, "Before.") {
		t.Error(rule)
	}
	s.withLogtest("After.")
	if _, rule := last(old); !strings.HasSuffix(rule, "Before.") {
		t.Error(rule)
	}
	if _, rule := last(""); !strings.HasSuffix(rule, "After.") {
		t.Error(rule)
	}
}

func TestLogtestRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.refused(s.logtest("", openedLog), 500, "Wazuh Internal Error", 1017, "")
	s.withLogtest("Often.")
	long := strings.Repeat("x", 65_536)
	if r := s.logtest("", long); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.refused(s.logtest("", long+"x"), 400, "Bad Request", 7000, "65536")
	s.refused(s.logtest("", ""), 400, "Bad Request", 7000, "empty")
	s.refused(s.do("PUT", "/logtest", `{"log_format":"syslog","location":"[001","event":"x"}`), 400, "Bad Request", 7000, "location")
	s.refused(s.do("PUT", "/logtest", `{"log_format":"syslog","event":"x"}`), 400, "Bad Request", 0, "'location' is a required property")
	s.refused(s.do("PUT", "/logtest", `{"log_format":"syslog","location":"l","event":{"a":1}}`), 400, "Bad Request", 0, "is not of type 'string' - 'event'")
	s.refused(s.do("PUT", "/logtest", `{"log_format":"syslog","location":"l","event":"x","options":{}}`), 400, "Bad Request", 0, "Invalid field")
	s.refused(s.do("PUT", "/logtest", ``), 400, "Bad Request", 1018, "")
	s.as("nobody")
	s.refused(s.logtest("", openedLog), 403, "Permission Denied", 4000, "")
	s.refused(s.do("DELETE", "/logtest/sessions/deadbeef", ""), 403, "Permission Denied", 4000, "")
}

func TestLogtestSessionIsUsedByOneRequestAtATime(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.withLogtest("Often.")
	data, _ := tested(t, s.logtest("", openedLog))
	token := data["token"].(string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if r := s.logtest(token, openedLog); r.status != 200 {
					t.Errorf("%d %s", r.status, r.body)
				}
			}
		})
	}
	wg.Wait()
}
