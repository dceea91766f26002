package responses

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func set(t *testing.T, c Config) *Set {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var commands = []Command{
	{Name: "firewall-drop", Executable: "firewall-drop", TimeoutAllowed: true, ExtraArgs: []string{"a", "b"}},
	{Name: "customx", Executable: "customx"},
}

func TestAgentsAreToldOfEveryEnabledResponse(t *testing.T) {
	t.Parallel()
	s := set(t, Config{Commands: commands, Responses: []Response{
		{Command: "firewall-drop", Location: "local", Timeout: 60, Level: 5},
		{Command: "customx", Location: "all", Timeout: 30, Level: 5},
		{Command: "customx", Location: "server", Level: 1, Disabled: true},
	}})
	want := arHead + "firewall-drop60 - firewall-drop - 60\ncustomx0 - customx - 0\n"
	if d := cmp.Diff(want, string(s.ARConf())); d != "" {
		t.Error(d)
	}
	if len(s.Warnings) != 1 {
		t.Errorf("%q", s.Warnings)
	}
}

func TestAllProblemsAreToldTogether(t *testing.T) {
	t.Parallel()
	_, err := New(Config{
		Commands: []Command{{Name: "!x", Executable: "y"}, {Name: "p", Executable: "../p"}, {Name: "ok", Executable: "ok"}},
		Responses: []Response{
			{Command: "missing", Location: "local"}, {Command: "ok", Location: "nowhere"}, {Command: "ok", Location: "defined-agent"},
			{Command: "ok", Location: "defined-agent", AgentID: "000"}, {Command: "ok", Location: "local", Level: 21}, {Command: "ok", Location: "local", RulesGroup: "("},
		},
		WhiteList: []string{"any"}, RepeatedOffenders: []int{0},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{
		`commands[0].name`, `commands[1].executable`, `responses[0].command: "missing" is no command; there are ok`, `responses[1].location`,
		`responses[2].agent_id`, `responses[3].agent_id: "000" is the server`, `responses[4].level`, `responses[5].rules_group`, "white_list", "repeated_offenders",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}

const alert = `{"timestamp":"t","rule":{"level":10,"id":"5712","groups":["sshd","authentication_failures"],"pci_dss":["10.2.4"]},"agent":{"id":"005"},"id":"1795309085.238","full_log":"x","data":{"srcip":"10.2.3.4","dstuser":"bob"},"location":"/var/log/auth.log"}`

func TestRulesOrLevelOrGroupDecide(t *testing.T) {
	t.Parallel()
	f := func(r Response, want bool) {
		t.Helper()
		r.Command, r.Location = "customx", "local"
		_, orders, skip := set(t, Config{Commands: commands, Responses: []Response{r}}).Orders([]byte(alert), "n")
		if (len(orders) == 1) != want || skip != SkipNothing {
			t.Errorf("%+v: %d orders, %s", r, len(orders), skip)
		}
	}
	f(Response{}, false)
	f(Response{Level: 10}, true)
	f(Response{Level: 11}, false)
	f(Response{RulesGroup: "authentication_failures"}, true)
	f(Response{RulesGroup: "pci_dss_10.2.4"}, true)
	f(Response{RulesGroup: "web|sshd"}, true)
	f(Response{RulesGroup: "^authentication"}, false)
	f(Response{Level: 11, RulesGroup: "sshd"}, false)
	f(Response{Level: 10, RulesGroup: "sshd"}, true)
	f(Response{Level: 11, RulesID: []int{5710, 5712}}, true)
	f(Response{RulesID: []int{5710}}, false)
}

func TestMessagesAreWordedAsAgentsExpect(t *testing.T) {
	t.Parallel()
	s := set(t, Config{Commands: commands, Responses: []Response{{Command: "firewall-drop", Location: "local", Timeout: 600, Level: 1}}})
	a, orders, skip := s.Orders([]byte(alert), "node01")
	if len(orders) != 1 || skip != SkipNothing {
		t.Fatalf("%d orders, %s", len(orders), skip)
	}
	want := `{"version":1,"origin":{"name":"node01","module":"wazuh-analysisd"},"command":"firewall-drop600","parameters":{"extra_args":["a","b"],"alert":` + alert + `}}`
	if d := cmp.Diff(want, orders[0].Text); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("firewall-drop600 bob 10.2.3.4 1795309085.238 5712 /var/log/auth.log - a b", orders[0].Legacy); d != "" {
		t.Error(d)
	}
	if a.AgentID != "005" || a.RuleID != "5712" {
		t.Errorf("%+v", a)
	}
	// A member that is too long is left out, not cut.
	long := strings.Replace(alert, `"full_log":"x"`, `"full_log":"`+strings.Repeat("y", 70_000)+`"`, 1)
	_, orders, _ = s.Orders([]byte(long), "node01")
	if len(orders) != 1 || len(orders[0].Text) > 65_000 || !json.Valid([]byte(orders[0].Text)) || !strings.Contains(orders[0].Text, `"srcip":"10.2.3.4"`) {
		t.Error("a long alert gives no usable message")
	}
}

func TestCraftedFieldsAndFriendsRunNothing(t *testing.T) {
	t.Parallel()
	s := set(t, Config{
		Commands: commands, Responses: []Response{{Command: "customx", Location: "local", Level: 1}},
		WhiteList: []string{"127.0.0.1", "10.0.0.0/8", "^friend.example$"},
	})
	f := func(ip, user string, want Skip) {
		t.Helper()
		doc := strings.Replace(strings.Replace(alert, "10.2.3.4", ip, 1), "bob", user, 1)
		if _, orders, skip := s.Orders([]byte(doc), "n"); skip != want || (len(orders) == 1) != (want == SkipNothing) {
			t.Errorf("%s %s: %q, %d orders", ip, user, skip, len(orders))
		}
	}
	f("192.0.2.1", "bob", SkipNothing)
	f("::ffff:192.0.2.1", "bob", SkipNothing)
	f("192.0.2.1;reboot", "bob", SkipCrafted)
	f("192.0.2.1", "$(x)", SkipCrafted)
	f("10.9.9.9", "bob", SkipWhiteList)
	f("::ffff:10.9.9.9", "bob", SkipWhiteList)
	f("friend.example", "bob", SkipWhiteList)
	if _, _, skip := s.Orders([]byte(`{"rule":`), "n"); skip != SkipUnread {
		t.Error(skip)
	}
}

func TestWhoComesBackIsHeldLonger(t *testing.T) {
	t.Parallel()
	b, err := NewRunner(t.TempDir(), "", []int{30, 60}, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	due := func() time.Duration {
		b.hold("k", "block", m, time.Second)
		d := time.Until(b.pending["k"].Due).Round(time.Second)
		delete(b.pending, "k")
		return d
	}
	for _, want := range []time.Duration{time.Second, 30 * time.Minute, time.Hour, time.Hour} {
		if got := due(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
