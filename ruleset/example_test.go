package ruleset_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// The tests of this file follow the worked examples of
// spec/ruleset-language.md §11; their names begin with the example's number.

// fillers let a ruleset load that brings one kind of top-level decoder only.
const fillers = `<decoder name="filler-a"><program_name>^no such program$</program_name></decoder>
<decoder name="filler-b"><prematch>^no such text at all$</prematch></decoder>`

// decoderT is the decoder t of the examples, baseRule its rule B.
const decoderT = `<decoder name="t"><prematch>^T </prematch></decoder>
<decoder name="t-c"><parent>t</parent>
  <regex>id=(\S+) ip=(\S+) u=(\S+) f=(\S+)</regex><order>id, srcip, srcuser, ff</order></decoder>`

const baseRule = `<rule id="100001" level="3"><decoded_as>t</decoded_as><description>base</description></rule>`

const eventT = "T id=1 ip=10.0.0.1 u=bob f=x"

// child is a rule below B.
func child(id, level int, attrs, body string) string {
	return fmt.Sprintf(`<rule id="%d" level="%d" %s><if_sid>100001</if_sid>%s<description>rule %d</description></rule>`, id, level, attrs, body, id)
}

func inGroup(rules ...string) string {
	return `<group name="local,">` + strings.Join(rules, "\n") + `</group>`
}

func source(decoders, rules string, lists map[string]string) ruleset.Source {
	s := ruleset.Source{
		Decoders: []ruleset.File{{Name: "0.xml", Path: "decoders/0.xml", Data: []byte(fillers)}, {Name: "1.xml", Path: "decoders/1.xml", Data: []byte(decoders)}},
		Rules:    []ruleset.File{{Name: "1.xml", Path: "rules/1.xml", Data: []byte(rules)}},
	}
	if decoders == "" {
		s.Decoders = s.Decoders[:1]
	}
	for n, v := range lists {
		s.Lists = append(s.Lists, ruleset.File{Name: n, Path: "lists/" + n, Data: []byte(v)})
	}
	return s
}

func compile(t testing.TB, s ruleset.Source) (*program.Program, []int) {
	t.Helper()
	p, problems, err := ruleset.Compile(s)
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	var codes []int
	for _, x := range problems {
		codes = append(codes, x.Code)
	}
	return p, codes
}

// doc is an alert document.
type doc map[string]any

// get finds a member by its dotted path; a missing member is "-".
func (d doc) get(path string) string {
	var v any = map[string]any(d)
	for k := range strings.SplitSeq(path, "/") {
		m, ok := v.(map[string]any)
		if !ok {
			return "-"
		}
		if v, ok = m[k]; !ok {
			return "-"
		}
	}
	switch x := v.(type) {
	case string:
		return x
	default:
		b, _ := json.Marshal(x)
		return string(b)
	}
}

// session judges events in turn.
type session struct {
	t   testing.TB
	eng *engine.Engine
	s   *engine.Keyed
	now time.Time
	// explained judges the same events by Engine.Explain, which must not differ.
	explained *engine.Keyed
}

func newSession(t testing.TB, p *program.Program, c engine.Config) *session {
	if c.ManagerName == "" {
		c.ManagerName = "mgr.example.org"
	}
	e := engine.New(p, c)
	return &session{t: t, eng: e, s: e.NewState(), explained: e.NewState(), now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
}

func logtestSession(t testing.TB, p *program.Program) *session {
	return newSession(t, p, engine.Config{Logtest: true})
}

func (x *session) event(ev schemas.Event) (*engine.Result, doc) {
	x.t.Helper()
	if ev.Time.IsZero() {
		ev.Time = x.now
	}
	if ev.AgentID == "" {
		ev.AgentID = schemas.ManagerID
	}
	if ev.Queue == 0 {
		ev.Queue = '1'
	}
	// Each way of judging goes on from the state that the other left.
	x.s, x.explained = x.explained, x.s
	r := x.eng.Process(x.s, &ev)
	var d doc
	raw := r.AppendAlert(nil, "1.0", nil)
	if r.Alert {
		checkAlert(x.t, raw)
	}
	explained, trace := x.eng.Explain(x.explained, &ev)
	if diff := cmp.Diff(string(raw), string(explained.AppendAlert(nil, "1.0", nil))); diff != "" {
		x.t.Errorf("explained event %q differs (-plain +explained):\n%s", ev.Log, diff)
	}
	if trace.Outcome == "" {
		x.t.Errorf("event %q: no outcome", ev.Log)
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		x.t.Fatalf("alert is no JSON: %v\n%s", err, raw)
	}
	return r, d
}

func (x *session) log(log string) (*engine.Result, doc) {
	x.t.Helper()
	return x.event(schemas.Event{Location: "stdin", Log: []byte(log)})
}

func TestPredecoding(t *testing.T) {
	t.Parallel()
	p, _ := compile(t, source("", inGroup(`<rule id="100001" level="3"><match>zzz</match><description>d</description></rule>`), nil))
	const none = "-"
	for _, tc := range []struct{ name, log, timestamp, program, hostname string }{
		{"E1 nonsense of the right shape", "xxx yy zz:zz:zz host app: text", "xxx yy zz:zz:zz", "app", none},
		{"E2 fraction and Z eat the host", "2009-05-22T09:36:46.214994Z host app: hi there", "2009-05-22T09:36:46.214994Z hos", "app", none},
		{"E2a seconds and Z are no header", "2009-05-22T09:36:46Z host app: hello there all", none, none, none},
		{"E2b program without host", "Dec 25 20:45:02 app: hello", "Dec 25 20:45:02", "app", "app:"},
		{"E2c pid without colon", "Dec 25 20:45:02 host app[12] hello", "Dec 25 20:45:02", "app", "host"},
		{"E2d pid that is no number", "Dec 25 20:45:02 host app[x]: hello", "Dec 25 20:45:02", none, "host"},
		{"E2e no colon", "Dec 25 20:45:02 host app hello", "Dec 25 20:45:02", none, "host"},
		{"E2f no blank after the colon", "Dec 25 20:45:02 host app:hello", "Dec 25 20:45:02", "app", "host"},
		{"E2g two blanks before the host", "Dec 25 20:45:02  host app: x", "Dec 25 20:45:02", "app", none},
		{"empty program name", "Aug 31 08:11:00 2017 : homer : x", "Aug 31 08:11:00", "", "2017"},
		{"german month", "M\u00e4r 25 20:45:02 host app: x", "M\u00e4r 25 20:45:0", "app", none},
		{"comma fraction", "2015-04-16 21:51:02,805 host app: x", "2015-04-16 21:51:02,805", "app", none},
		{"year first", "2015 Dec 29 10:00:01 host app: x", "2015 Dec 29 10:00:01", "app", none},
		{"zone with colon", "2007-06-14T15:48:55-04:00 host app: x and more", "2007-06-14T15:48:55-04:00", "app", none},
		{"milliseconds", "2022-12-19T15:02:53.288+00:00 host app: x and more", "2022-12-19T15:02:53.288+00:00", "app", none},
		{"microseconds", "2009-05-22T09:36:46.214994-07:00 host app: x", "2009-05-22T09:36:46.214994-07:00", "app", none},
		{"microseconds with a blank", "2021-04-21 10:16:09.404756-0700 host app: x", "2021-04-21 10:16:09.404756-0700", "app", none},
		{"xferlog", "Mon Apr 17 18:27:14 2006 1 64.160.42.130 0", "Mon Apr 17 18:27:14 2006", none, none},
		{"snort", "01/28-09:13:16.240702  [**] x", "01/28-09:13:16.240702", none, none},
		{"suricata", "01/28/1979-09:13:16.240702  [**] x", "01/28/1979-09:13:16.240702", none, none},
		{"apache", "[Fri Feb 11 18:06:35 2004] [error] x", "Fri Feb 11 18:06:35 2004", none, none},
		{"asl", "[Time 2006.12.28 15:53:55 UTC] [Facility auth] [Sender sshd] [Message hi] [Host h]", none, "sshd", none},
		{"squid", "1140804070.368   11623 192.168.2.3 TCP_MISS/200", "1140804070.368  ", none, none},
		{"empty", "", none, none, none},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, d := logtestSession(t, p).log(tc.log)
			got := []string{d.get("predecoder/timestamp"), d.get("predecoder/program_name"), d.get("predecoder/hostname")}
			if diff := cmp.Diff([]string{tc.timestamp, tc.program, tc.hostname}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLocations(t *testing.T) {
	t.Parallel()
	p, _ := compile(t, source("", inGroup(
		`<rule id="100001" level="3"><hostname>^web1$</hostname><location>^(web1) 10.0.0.5->/var/log/a$</location><description>$(hostname)</description></rule>`), nil))
	x := logtestSession(t, p)
	want := map[string]string{"rule/id": "100001", "agent/id": "001", "agent/name": "web1", "agent/ip": "10.0.0.5", "location": "/var/log/a"}
	check := func(name string, ev schemas.Event, want map[string]string) {
		t.Helper()
		_, d := x.event(ev)
		for path, v := range want {
			if got := d.get(path); got != v {
				t.Errorf("%s: %s is %q, want %q", name, path, got, v)
			}
		}
	}
	check("E2h agent in the location", schemas.Event{Location: "[001] (web1) 10.0.0.5->/var/log/a", Log: []byte("x")}, want)
	check("agent in the headers", schemas.Event{AgentID: "001", AgentName: "web1", AgentAddress: "10.0.0.5", Location: "/var/log/a", Log: []byte("x")}, want)
	want["agent/ip"] = "192.0.2.7"
	check("agent that says where it is", schemas.Event{AgentID: "001", AgentName: "web1", AgentIP: "192.0.2.7", AgentAddress: "10.0.0.5", Location: "/var/log/a", Log: []byte("x")}, want)
	check("E2i agentless", schemas.Event{Location: "(ssh_x) user@host->dev", Log: []byte("x")},
		map[string]string{"agent": "-", "agentless/script": "ssh_x", "agentless/user": "user", "agentless/host": "host", "location": "dev"})
	check("agent without address", schemas.Event{AgentID: "002", AgentName: "n", AgentIP: "any", Location: "/l", AgentLabels: []byte(`{"a":{"b":"c"}}`), Log: []byte("x")},
		map[string]string{"agent/ip": "-", "agent/labels/a/b": "c"})
	check("id alone", schemas.Event{Location: "[001]", Log: []byte("x")}, map[string]string{"agent/id": "001", "location": "", "agent/name": "-"})
	check("manager", schemas.Event{Location: "/l", Log: []byte("x")},
		map[string]string{"agent/id": "000", "agent/name": "mgr.example.org", "manager/name": "mgr.example.org"})
	if r, _ := x.event(schemas.Event{Location: "[001", Log: []byte("x")}); !r.Rejected {
		t.Error("location [001 is not rejected")
	}
}

// An agent that moves is the same agent: first-time-seen, check_diff and composite
// rules go by the registered address.
func TestAnAgentThatMoves(t *testing.T) {
	t.Parallel()
	const decoders = `<decoder name="p"><program_name>^p$</program_name></decoder><decoder name="d"><prematch>^x</prematch></decoder>` +
		`<decoder name="d1"><parent>d</parent><prematch>u=</prematch><regex>u=(\w+)</regex><order>srcuser</order><fts>name, srcuser, location</fts></decoder>`
	p, _ := compile(t, source(decoders, inGroup(
		`<rule id="100001" level="3"><decoded_as>d</decoded_as><location>^(web1) any->/l$</location><description>d</description></rule>`,
		`<rule id="100002" level="4"><if_sid>100001</if_sid><if_fts/><description>new</description></rule>`,
		`<rule id="100003" level="10" frequency="4" timeframe="60"><if_matched_sid>100001</if_matched_sid><same_location/><description>many</description></rule>`), nil))
	x := logtestSession(t, p)
	for i, want := range []int{100002, 100001, 100001, 100001, 100003} {
		ev := schemas.Event{AgentID: "001", AgentName: "web1", AgentAddress: []string{"", "any"}[i%2], Location: "/l", Log: []byte("x u=ann")}
		if i > 0 { // nothing is known of the address before the first keepalive
			ev.AgentIP = fmt.Sprintf("192.0.2.%d", i)
		}
		r, d := x.event(ev)
		if r.RuleID != want {
			t.Errorf("event %d: rule %d, want %d", i, r.RuleID, want)
		}
		if ip := d.get("agent/ip"); i > 0 && ip != ev.AgentIP || i == 0 && ip != "-" {
			t.Errorf("event %d: the alert shows the address %s, want %s", i, ip, ev.AgentIP)
		}
	}
}

// ruleCase is a ruleset and the rules that a sequence of events gives; 0 is none.
type ruleCase struct {
	name     string
	decoders string // decoderT when empty
	rules    string
	lists    map[string]string
	logs     []string // eventT when nil
	want     []int
	warnings []int
}

func (tc ruleCase) run(t *testing.T) {
	t.Parallel()
	decoders := tc.decoders
	if decoders == "" {
		decoders = decoderT
	}
	p, codes := compile(t, source(decoders, tc.rules, tc.lists))
	if diff := cmp.Diff(tc.warnings, codes); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	logs := tc.logs
	if logs == nil {
		logs = slices.Repeat([]string{eventT}, len(tc.want))
	}
	x := logtestSession(t, p)
	var got []int
	for _, l := range logs {
		r, _ := x.log(l)
		got = append(got, r.RuleID)
	}
	if diff := cmp.Diff(tc.want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func match(body string) string {
	return inGroup(`<rule id="100001" level="3">` + body + `<description>d</description></rule>`)
}

func TestRuleTexts(t *testing.T) {
	t.Parallel()
	for _, tc := range []ruleCase{
		{name: "E3 entities are text", rules: match(`<match>a&amp;b</match>`), logs: []string{"x a&b", "x a&amp;b"}, want: []int{0, 100001}},
		{name: "E3a escaped markup", rules: match(`<regex>x\<y</regex>`), logs: []string{"a x<y"}, want: []int{100001}},
		{name: "E4 blanks count", rules: match(`<match> zebra</match>`), logs: []string{"zebra", "a zebra"}, want: []int{0, 100001}},
		{name: "E4a variable", rules: `<var name="A">zeb</var>` + match(`<match>$A|zz</match>`), logs: []string{"a zeb"}, want: []int{100001}},
		{name: "E4b no variable", rules: match(`<match>$B</match>`), logs: []string{"x $B"}, want: []int{100001}},
		{name: "E30a repeated element", rules: match(`<match>id=1</match><match>|zzz</match>`), want: []int{100001}},
		{name: "E46 maxsize", rules: inGroup(`<rule id="100001" level="3" maxsize="60"><match>T</match><description>d</description></rule>`),
			logs: []string{eventT, eventT + strings.Repeat("y", 60)}, want: []int{0, 100001}},
		{name: "E81 inverted osmatch", rules: match(`<match>!a|b</match>`), logs: []string{"b", "c"}, want: []int{0, 100001}},
		{name: "E82 no escapes in osmatch", rules: match(`<match>a\.c</match>`), logs: []string{"abc"}, want: []int{0}},
		{name: "E83 empty alternative", rules: match(`<match>a||b</match>`), logs: []string{"zzz"}, want: []int{100001}},
		{name: "E84 anchors per alternative", rules: match(`<match>^a|c$</match>`), logs: []string{"xc"}, want: []int{100001}},
		{name: "E85 pcre2 keeps case", rules: match(`<match type="pcre2">abc</match>`), logs: []string{"ABC", "abc"}, want: []int{0, 100001}},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestRuleTree(t *testing.T) {
	t.Parallel()
	idRule := func(id, level int, attrs, re string) string {
		return child(id, level, attrs, "<id>"+re+"</id>")
	}
	withID := func(id string) string { return strings.Replace(eventT, "id=1", "id="+id, 1) }
	for _, tc := range []ruleCase{
		{name: "E17 higher level first", rules: inGroup(baseRule, child(100002, 4, "", ""), child(100003, 9, "", "")), want: []int{100003}},
		{name: "E18 same level, load order", rules: inGroup(baseRule, child(100002, 4, "", ""), child(100003, 4, "", "")), want: []int{100002}},
		{name: "E19 level 0 first", rules: inGroup(baseRule, child(100002, 15, "", ""), child(100003, 0, "", "")), want: []int{100003}},
		{name: "E20 accuracy 0 last", rules: inGroup(baseRule, child(100002, 15, `accuracy="0"`, ""), child(100003, 4, "", "")), want: []int{100003}},
		{name: "E20a noalert is passed over", rules: inGroup(baseRule, child(100002, 9, `noalert="1"`, ""), child(100003, 4, "", "")), want: []int{100003}},
		{name: "E20b noalert with a child", rules: inGroup(baseRule, child(100002, 9, `noalert="1"`, ""),
			`<rule id="100003" level="5"><if_sid>100002</if_sid><id>^9</id><description>d</description></rule>`),
			logs: []string{withID("1"), withID("9")}, want: []int{100001, 100003}},
		{name: "E21 parent after child", rules: inGroup(child(100002, 4, "", ""), baseRule), want: []int{100001}, warnings: []int{7617, 7619}},
		{name: "E21a one parent unknown", rules: inGroup(baseRule, `<rule id="100002" level="4"><if_sid>100001, 555555</if_sid><description>d</description></rule>`),
			want: []int{100002}, warnings: []int{7617}},
		{name: "E21b malformed parent", rules: inGroup(baseRule, `<rule id="100002" level="4"><if_sid>abc</if_sid><description>d</description></rule>`),
			want: []int{100001}, warnings: []int{7618}},
		{name: "E21c several parents", rules: inGroup(baseRule, idRule(100002, 4, "", "^1"), idRule(100003, 4, "", "^2"),
			`<rule id="100004" level="7"><if_sid>100002, 100003</if_sid><description>d</description></rule>`),
			logs: []string{withID("1"), withID("2"), withID("3")}, want: []int{100004, 100004, 100001}},
		{name: "E22 if_level takes level 0 too", rules: inGroup(baseRule, idRule(100002, 6, "", "^1"),
			`<rule id="100003" level="9"><if_level>5</if_level><description>d</description></rule>`), logs: []string{withID("2")}, want: []int{100003}},
		{name: "E23 if_group is a substring", rules: `<group name="local,">` +
			`<rule id="100001" level="3"><decoded_as>t</decoded_as><group>mygroup_a,</group><description>d</description></rule>` +
			`<rule id="100002" level="4"><if_group>group_</if_group><description>d</description></rule></group>`, want: []int{100002}},
		{name: "E24 missing field, negated", rules: inGroup(baseRule, child(100002, 4, "", `<field name="nope" negate="yes">x</field>`)), want: []int{100001}},
		{name: "E24a other value, negated", rules: inGroup(baseRule, child(100002, 4, "", `<field name="ff" negate="yes">^x$</field>`)),
			logs: []string{eventT, "T id=1 ip=10.0.0.1 u=bob f=y"}, want: []int{100001, 100002}},
		{name: "E25 if_group beside if_sid", rules: inGroup(baseRule, child(100002, 4, "", `<if_group>no_such_group</if_group>`)), want: []int{100002}},
		{name: "E26 exclamation mark ignored", rules: inGroup(baseRule, child(100002, 4, "", `<srcip>!192.168.0.0/16</srcip>`)),
			logs: []string{"T id=1 ip=192.168.1.1 u=b f=x", "T id=1 ip=8.8.8.8 u=b f=x"}, want: []int{100002, 100001}},
		{name: "E27 negated addresses", rules: inGroup(baseRule, child(100002, 4, "", `<srcip negate="yes">10.0.0.0/8</srcip><srcip negate="yes">192.168.0.0/16</srcip>`)),
			logs: []string{"T id=1 ip=10.1.2.3 u=b f=x", "T id=1 ip=8.8.8.8 u=b f=x", "T id=1 ip=notip u=b f=x"}, want: []int{100001, 100002, 100002}},
		{name: "E27a action is compared whole", decoders: `<decoder name="t"><prematch>^T </prematch></decoder>
			<decoder name="t-c"><parent>t</parent><regex>a=(\S+)</regex><order>action</order></decoder>`,
			rules: inGroup(baseRule, child(100002, 4, "", `<action>block</action>`)),
			logs:  []string{"T a=BLOCK", "T a=blocked", "T a=block"}, want: []int{100001, 100001, 100002}},
		{name: "E28 overwrite drops old conditions", rules: inGroup(baseRule, idRule(100002, 4, "", "^1"), idRule(100002, 12, `overwrite="yes"`, "^2")),
			logs: []string{withID("1"), withID("2")}, want: []int{100001, 100002}},
		{name: "E29 overwrite keeps the order", rules: inGroup(baseRule, child(100002, 4, "", ""), child(100003, 8, "", ""), child(100002, 12, `overwrite="yes"`, "")), want: []int{100003}},
		{name: "E30 overwrite keeps the parent", rules: inGroup(baseRule, child(100002, 4, "", ""),
			`<rule id="100002" level="5" overwrite="yes"><if_sid>1</if_sid><description>d</description></rule>`), want: []int{100002}, warnings: []int{7605}},
		{name: "duplicate id", rules: inGroup(baseRule, baseRule), want: []int{100001}, warnings: []int{7612}},
		{name: "overwrite of nothing", rules: inGroup(strings.Replace(baseRule, "level", `overwrite="yes" level`, 1)), want: []int{100001}, warnings: []int{7613}},
		{name: "E47 category without parent", rules: inGroup(`<rule id="100001" level="3"><category>ids</category><decoded_as>t</decoded_as><description>d</description></rule>`), want: []int{0}},
		{name: "E48 category below a rule", rules: inGroup(baseRule, child(100002, 4, "", `<category>ids</category>`)), want: []int{100002}},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestDescription(t *testing.T) {
	t.Parallel()
	const text = `A $(srcuser)/$(user)/$(dstuser) $(ff) $(nope)| $(unclosed`
	p, _ := compile(t, source(decoderT, inGroup(`<rule id="100001" level="3"><decoded_as>t</decoded_as><description>`+text+`</description></rule>`), nil))
	x := logtestSession(t, p)
	if _, d := x.log(eventT); d.get("rule/description") != "A bob// x | $(unclosed" {
		t.Errorf("E35: %q", d.get("rule/description"))
	}
	if _, d := x.log("T id=1 ip=1.1.1.1 u=" + strings.Repeat("u", 1100) + " f=x"); d.get("rule/description") != text {
		t.Errorf("too long: %q", d.get("rule/description"))
	}
}

func TestDecoders(t *testing.T) {
	t.Parallel()
	kv := `<decoder name="kv"><prematch>^KV </prematch></decoder>
<decoder name="kv"><parent>kv</parent><regex>a=(\w+)</regex><order>a</order></decoder>
<decoder name="kv"><parent>kv</parent><regex %s>b=(\w+)</regex><order>b</order></decoder>
<decoder name="kv"><parent>kv</parent><regex %s>c=(\w+)</regex><order>c</order></decoder>`
	after := `offset="after_regex"`
	resume := `<decoder name="s"><prematch>^S </prematch></decoder>
<decoder name="s"><parent>s</parent><regex>^S (\d+)</regex><order>n1</order></decoder>
<decoder name="s"><parent>s</parent><regex offset="after_regex">(\w+)</regex><order>n2</order></decoder>`
	q := `<decoder name="q"><prematch>^Q </prematch></decoder>
<decoder name="qa"><parent>q</parent><prematch>alpha</prematch><regex>x=(\d+)</regex><order>x</order></decoder>
<decoder name="qa"><parent>q</parent><regex>y=(\d+)</regex><order>y</order></decoder>
<decoder name="qb"><parent>q</parent><prematch>beta</prematch><regex>x=(\d+)</regex><order>bx</order></decoder>`
	own := `<decoder name="u"><prematch>^U </prematch></decoder>
<decoder name="u-own"><parent>u</parent><use_own_name>true</use_own_name><prematch>own</prematch><regex>k=(\d)</regex><order>k</order></decoder>
<decoder name="u-own2"><parent>u</parent><use_own_name>true</use_own_name><regex>j=(\d)</regex><order>j</order></decoder>`
	js := `<decoder name="j"><prematch>^{</prematch>%s<plugin_decoder>JSON_Decoder</plugin_decoder></decoder>`
	for _, tc := range []struct {
		name, decoders, log string
		want                string // decoder and data as JSON
	}{
		{"E5 prematch", `<decoder name="foo"><prematch>^hello</prematch></decoder>`, "hello x", `{"name":"foo"} -`},
		{"E5 program name keeps it away", `<decoder name="foo"><prematch>^hello</prematch></decoder>`, "Dec 25 20:45:02 h app: hello x", `{} -`},
		{"E5a other program", `<decoder name="app"><program_name>^app$</program_name></decoder>`, "Dec 25 20:45:02 h apps[1]: x", `{} -`},
		{"E6 first wins", `<decoder name="first"><prematch>^Z</prematch></decoder><decoder name="second"><prematch>^ZZ</prematch><regex>k=(\d+)</regex><order>k</order></decoder>`, "ZZ k=1", `{"name":"first"} -`},
		{"E7 only the first child", `<decoder name="p"><prematch>^P </prematch></decoder><decoder name="p1"><parent>p</parent><regex>x=(\d+)</regex><order>x</order></decoder><decoder name="p2"><parent>p</parent><regex>y=(\d+)</regex><order>y</order></decoder>`, "P x=1 y=2", `{"name":"p"} {"x":"1"}`},
		{"E7 which may fail", `<decoder name="p"><prematch>^P </prematch></decoder><decoder name="p1"><parent>p</parent><regex>x=(\d+)</regex><order>x</order></decoder><decoder name="p2"><parent>p</parent><regex>y=(\d+)</regex><order>y</order></decoder>`, "P y=2", `{"name":"p"} -`},
		{"E8 siblings of one name", fmt.Sprintf(kv, "", ""), "KV b=2 a=1 c=3", `{"name":"kv"} {"a":"1","b":"2","c":"3"}`},
		{"E9 after the last match", fmt.Sprintf(kv, after, after), "KV b=2 a=1 c=3", `{"name":"kv"} {"a":"1","c":"3"}`},
		{"E9a after nothing", fmt.Sprintf(kv, after, after), "KV c=3", `{"name":"kv"} {"c":"3"}`},
		{"E10 resume within a number", resume, "S 123 abc", `{"name":"s"} {"n1":"123","n2":"23"}`},
		{"E10a resume after one digit", resume, "S 1 abc", `{"name":"s"} {"n1":"1","n2":"abc"}`},
		{"E11 prematch chooses a group", q, "Q alpha y=2", `{"name":"q","parent":"q"} {"y":"2"}`},
		{"E11a the next group", q, "Q beta x=1 y=2", `{"name":"q","parent":"q"} {"bx":"1"}`},
		{"E11b none", q, "Q gamma", `{"name":"q"} -`},
		{"E12 parent's regex is inert", `<decoder name="r"><prematch>^R </prematch><regex>z=(\d+)</regex><order>z</order></decoder><decoder name="k"><parent>r</parent><prematch>kid</prematch></decoder>`, "R z=1", `{"name":"r"} -`},
		{"E13 plugin offset of the event's decoder", `<decoder name="w"><prematch>^w: </prematch></decoder><decoder name="wc"><parent>w</parent><plugin_decoder offset="after_parent">JSON_Decoder</plugin_decoder></decoder>`, `w: {"k":"v"}`, `{"name":"w"} -`},
		{"E13a plugin after a prematch", `<decoder name="w"><program_name>^w$</program_name></decoder><decoder name="wc"><parent>w</parent><prematch offset="after_parent">^pre </prematch><plugin_decoder offset="after_prematch">JSON_Decoder</plugin_decoder></decoder>`, `Dec 25 20:45:02 h w: pre {"k":"v"}`, `{"name":"w","parent":"w"} {"k":"v"}`},
		{"E13b own name", own, "U own k=1", `{"name":"u-own","parent":"u"} {"k":"1"}`},
		{"E13b own name without prematch", own, "U j=3", `{"name":"u"} {"j":"3"}`},
		{"E15 static replaced, dynamic kept", `<decoder name="d"><prematch>^D </prematch></decoder><decoder name="d"><parent>d</parent><regex>a=(\S+) b=(\S+)</regex><order>srcip, dyn.x</order></decoder><decoder name="d"><parent>d</parent><regex>c=(\S+) d=(\S+)</regex><order>srcip, dyn.x</order></decoder>`, "D a=1 b=2 c=3 d=4", `{"name":"d"} {"dyn":{"x":"2"},"srcip":"3"}`},
		{"E16 two parents of one name", `<decoder name="dup"><prematch>^ONE </prematch></decoder><decoder name="dup"><prematch>^TWO </prematch></decoder><decoder name="dc"><parent>dup</parent><regex>k=(\d)</regex><order>k</order></decoder>`, "TWO k=2", `{"name":"dup"} {"k":"2"}`},
		{"E16a groups count per alternative", `<decoder name="al"><prematch>^AL </prematch></decoder><decoder name="ac"><parent>al</parent><regex>x=(\d+)|y=(\d+)</regex><order>fx, fy</order></decoder>`, "AL y=7", `{"name":"al"} {"fx":"7"}`},
		{"E16b not with pcre2", `<decoder name="ap"><prematch>^AP </prematch></decoder><decoder name="ac"><parent>ap</parent><regex type="pcre2">x=(\d+)|y=(\d+)</regex><order>fx, fy</order></decoder>`, "AP y=7", `{"name":"ap"} {"fy":"7"}`},
		{"E16c concatenated", `<decoder name="cc"><prematch>^CC </prematch></decoder><decoder name="ccc"><parent>cc</parent><regex>a=(\d+) </regex><regex>b=(\d+)</regex><order>a, b</order></decoder>`, "CC a=1 b=2", `{"name":"cc"} {"a":"1","b":"2"}`},
		{"E16d JSON", fmt.Sprintf(js, ""), `{"n":null,"f":1.5,"big":12345678901,"arr":["a",1],"o":{"k":{"z":"d"}},"user":"bob","e":""}`,
			`{"name":"j"} {"arr":["a",1],"big":"12345678901.000000","dstuser":"bob","f":"1.500000","n":"null","o":{"k":{"z":"d"}}}`},
		{"E16e user beside dstuser", fmt.Sprintf(js, ""), `{"dstuser":"a","user":"b"}`, `{"name":"j"} {"dstuser":"a","user":"b"}`},
		{"E16f csv and discard", fmt.Sprintf(js, `<json_null_field>discard</json_null_field><json_array_structure>csv</json_array_structure>`), `{"arr":["a",1,null,true,{"x":1},"z"],"n":null}`, `{"name":"j"} {"arr":"a,1,null,true,z"}`},
		{"nested names", fmt.Sprintf(js, ""), `{"a":"1","a.b":"2","c.d":"3","c":"4","Z":"5","z":"6"}`, `{"name":"j"} {"Z":"5","a":"1","c":{"d":"3"}}`},
		{"array in a text", fmt.Sprintf(js, ""), `{"x":"[1,2]","y":"[1,2] no"}`, `{"name":"j"} {"x":[1,2],"y":"[1,2] no"}`},
		{"malformed JSON", fmt.Sprintf(js, ""), `{"x":"1",`, `{"name":"j"} -`},
		{"text behind JSON", fmt.Sprintf(js, ""), `{"x":"1"} and more`, `{"name":"j"} {"x":"1"}`},
		{"program name in parts", `<decoder name="pp"><program_name type="pcre2">^(?i)te</program_name><program_name type="pcre2">st$</program_name></decoder>`, "Dec 25 20:45:02 h TEST: x", `{"name":"pp"} -`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, _ := compile(t, source(tc.decoders, inGroup(`<rule id="100001" level="3"><match>zzz</match><description>d</description></rule>`), nil))
			_, d := logtestSession(t, p).log(tc.log)
			if diff := cmp.Diff(tc.want, d.get("decoder")+" "+d.get("data")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodedAs(t *testing.T) {
	own := `<decoder name="u"><prematch>^U </prematch></decoder>
<decoder name="u-own"><parent>u</parent><use_own_name>true</use_own_name><prematch>own</prematch></decoder>
<decoder name="u-kid"><parent>u</parent><prematch>kid</prematch></decoder>`
	rules := inGroup(
		`<rule id="100001" level="3"><decoded_as>u-own</decoded_as><description>d</description></rule>`,
		`<rule id="100002" level="3"><decoded_as>u-kid</decoded_as><description>d</description></rule>`,
		`<rule id="100003" level="3"><decoded_as>u</decoded_as><description>d</description></rule>`)
	ruleCase{decoders: own, rules: rules, logs: []string{"U own", "U kid", "U x"}, want: []int{100001, 100003, 100003}}.run(t)
}

func TestPrintedArrays(t *testing.T) {
	t.Parallel()
	p, _ := compile(t, source(`<decoder name="j"><prematch>^{</prematch><plugin_decoder>JSON_Decoder</plugin_decoder></decoder>`,
		inGroup(`<rule id="100001" level="3"><decoded_as>j</decoded_as><description>$(a)</description></rule>`), nil))
	_, d := logtestSession(t, p).log(`{"a":["a",{"x":1,"y":[1,2]},2.5,true,null]}`)
	want := "[\"a\", {\n\t\t\"x\":\t1,\n\t\t\"y\":\t[1, 2]\n\t}, 2.5, true, null]"
	if diff := cmp.Diff(want, d.get("rule/description")); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	if got := d.get("data/a"); got != `["a",{"x":1,"y":[1,2]},2.5,true,null]` {
		t.Errorf("shown: %s", got)
	}
}

func TestRefusedRulesets(t *testing.T) {
	t.Parallel()
	ok := inGroup(baseRule)
	for _, tc := range []struct{ name, decoders, rules, want string }{
		{"E14 child of a child", decoderT + `<decoder name="x"><parent>t-c</parent><regex>(a)</regex><order>a</order></decoder>`, ok, "decoders/1.xml:3:98: parent t-c"},
		{"E42i frequency 1", decoderT, inGroup(baseRule, `<rule id="100010" level="10" frequency="1"><if_matched_sid>100001</if_matched_sid><description>d</description></rule>`), "frequency"},
		{"E70 alternation in a group", decoderT, match(`<regex>(foo|bar)</regex>`), "parentheses"},
		{"E80 unknown escape", decoderT, match(`<regex>\q</regex>`), "escape"},
		{"unknown decoder", decoderT, match(`<decoded_as>nobody</decoded_as>`), `"nobody"`},
		{"static name in field", decoderT, match(`<field name="srcip">x</field>`), "static"},
		{"unknown element", decoderT, match(`<banana>x</banana>`), "<banana>"},
		{"no description", decoderT, inGroup(`<rule id="1" level="0"></rule>`), "description"},
		{"level too high", decoderT, inGroup(`<rule id="100001" level="17"><description>d</description></rule>`), "level"},
		{"regex without order", `<decoder name="x"><prematch>a</prematch><regex>(a)</regex></decoder>`, ok, "order"},
		{"XML", decoderT, "<group name=\"a\">\n<rule</group>", "rules/1.xml:2"},
		{"unknown variable", decoderT, `<var name="A">x</var>` + match(`<match>$NOPE x</match>`), "$NOPE"},
		{"same without history", decoderT, match(`<same_srcip/>`), "same_"},
		{"bad option", decoderT, match(`<options>loud</options>`), "loud"},
		{"bad pcre2", decoderT, match(`<regex type="pcre2">(</regex>`), "missing )"},
		{"bad address", decoderT, match(`<srcip>10.0.0.300</srcip>`), "10.0.0.300"},
		{"bad weekday", decoderT, match(`<weekday>!monday</weekday>`), "weekday"},
		{"text at fault is placed", decoderT, "<group name=\"a\">\n  <rule id=\"100001\" level=\"3\">\n    <time>noon</time><description>d</description></rule></group>", "rules/1.xml:3:5: rule 100001:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, problems, err := ruleset.Compile(source(tc.decoders, tc.rules, nil))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v does not say %q", err, tc.want)
			}
			if !slices.ContainsFunc(problems, func(p ruleset.Problem) bool { return p.Fatal }) {
				t.Error("no fatal problem reported")
			}
		})
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	nets := map[string]string{"nets": "10.0.0.1:\n10.0.:net\n"}
	list := func(attrs, path string) string { return child(100002, 5, "", "<list "+attrs+">"+path+"</list>") }
	ips := func(addr ...string) (out []string) {
		for _, a := range addr {
			out = append(out, "T id=1 ip="+a+" u=bob f=x")
		}
		return out
	}
	three := ips("10.0.0.1", "10.0.5.5", "8.8.8.8")
	users := map[string]string{"users": "bob:admin\n\"a:b\":val\n", "none": "x:y\n", "ok": "bob:\n"}
	u := func(names ...string) (out []string) {
		for _, n := range names {
			out = append(out, "T id=1 ip=1.1.1.1 u="+n+" f="+n)
		}
		return out
	}
	two := func(paths ...string) string {
		body := ""
		for _, p := range paths {
			body += `<list field="srcuser">etc/lists/` + p + `</list>`
		}
		return inGroup(baseRule, child(100002, 5, "", body))
	}
	for _, tc := range []ruleCase{
		{name: "E50 whole key", rules: inGroup(baseRule, list(`field="srcip"`, "etc/lists/nets")), lists: nets, logs: three[:2], want: []int{100002, 100001}},
		{name: "E51 address key", rules: inGroup(baseRule, list(`field="srcip" lookup="address_match_key"`, "etc/lists/nets.cdb")), lists: nets, logs: three, want: []int{100002, 100002, 100001}},
		{name: "E51a no address key", rules: inGroup(baseRule, list(`field="srcip" lookup="not_address_match_key"`, "etc/lists/nets")), lists: nets, logs: three, want: []int{100001, 100001, 100002}},
		{name: "E52 value", rules: inGroup(baseRule, list(`field="user" lookup="match_key_value" check_value="^adm"`, "etc/lists/users")), lists: users, logs: u("bob", "other"), want: []int{100002, 100001}},
		{name: "E52a quoted key, exact case", rules: inGroup(baseRule, list(`field="ff"`, "etc/lists/users")), lists: users, logs: u("a:b", "BOB"), want: []int{100002, 100001}},
		{name: "E53 inverted value of an address", rules: inGroup(baseRule, list(`field="srcip" lookup="address_match_key_value" check_value="net"`, "etc/lists/nets")), lists: map[string]string{"nets": "10.0.0.1:\n10.0.5.:net\n"}, logs: three, want: []int{100002, 100001, 100002}},
		{name: "E54 three lists, two count", rules: two("none", "ok", "users"), lists: users, want: []int{100002}},
		{name: "E54a two lists, both count", rules: two("none", "ok"), lists: users, want: []int{100001}},
		{name: "E55 list not loaded", rules: two("nothing"), want: []int{100001}, warnings: []int{7616}},
		{name: "not_match_key", rules: inGroup(baseRule, list(`field="srcip" lookup="not_match_key"`, "etc/lists/nets")), lists: nets, logs: three[:2], want: []int{100001, 100002}},
	} {
		t.Run(tc.name, tc.run)
	}
}

func TestFirstTimeSeen(t *testing.T) {
	t.Parallel()
	dec := `<decoder name="t"><prematch>^T </prematch></decoder>
<decoder name="t-c"><parent>t</parent>%s<regex>id=(\S+) ip=(\S+)</regex><order>id, srcip</order><fts>name, srcip</fts></decoder>`
	with := fmt.Sprintf(dec, "<prematch>id=</prematch>")
	one := child(100002, 5, "", "<if_fts/>")
	ev := func(id, ip string) string { return "T id=" + id + " ip=" + ip }
	for _, tc := range []ruleCase{
		{name: "E43 first rule tested takes it", decoders: with, rules: inGroup(baseRule, one, child(100003, 7, "", "<if_fts/><id>^9</id>")),
			logs: []string{ev("9", "1"), ev("1", "1"), ev("9", "3"), ev("9", "3")}, want: []int{100003, 100001, 100003, 100001}},
		{name: "E43a per key", decoders: with, rules: inGroup(baseRule, one), logs: []string{ev("1", "1"), ev("1", "1"), ev("1", "2")}, want: []int{100002, 100001, 100002}},
		{name: "E43b child without prematch", decoders: fmt.Sprintf(dec, ""), rules: inGroup(baseRule, one), logs: []string{ev("1", "1")}, want: []int{100001}},
		{name: "E44 recorded though the rule fails", decoders: with, rules: inGroup(baseRule, child(100002, 5, "", `<if_fts/><list field="srcip">etc/lists/l</list>`), child(100003, 4, "", "<if_fts/>")),
			lists: map[string]string{"l": "x:y\n"}, logs: []string{ev("1", "1"), ev("1", "1")}, want: []int{100001, 100001}},
		{name: "E45 check_diff", decoders: with, rules: inGroup(baseRule, child(100002, 5, "", "<check_diff/>")),
			logs: []string{"T x", "T x", "T b", "T b"}, want: []int{100001, 100001, 100002, 100001}},
	} {
		t.Run(tc.name, tc.run)
	}
}

func composite(id, level int, attrs, body string) string {
	return fmt.Sprintf(`<rule id="%d" level="%d" %s>%s<description>rule %d</description></rule>`, id, level, attrs, body, id)
}

func TestCompositeRules(t *testing.T) {
	t.Parallel()
	const b, c = 100001, 100010
	sid := func(attrs, body string) string {
		return composite(c, 10, attrs+` timeframe="60"`, "<if_matched_sid>100001</if_matched_sid>"+body)
	}
	rules := func(r ...string) string { return inGroup(append([]string{baseRule}, r...)...) }
	ip := func(ips ...string) (out []string) {
		for _, a := range ips {
			out = append(out, "T id=1 ip="+a+" u=bob f="+a)
		}
		return out
	}
	user := func(us ...string) (out []string) {
		for _, u := range us {
			out = append(out, "T id=1 ip=1.1.1.1 u="+u+" f="+u)
		}
		return out
	}
	noIP := []string{"T none", "T none"}
	grp := strings.Replace(baseRule, "<description>", "<group>grpx,</group><description>", 1)
	for _, tc := range []ruleCase{
		{name: "E31 three", rules: rules(sid(`frequency="3"`, "")), want: []int{b, b, c, b, b, c, b, b}},
		{name: "E32 two", rules: rules(sid(`frequency="2"`, "")), want: []int{b, c, c, c, c, c}},
		{name: "E33 no frequency", rules: rules(sid("", "")), want: []int{b, c, c, c}},
		{name: "E34 different address", rules: rules(sid(`frequency="3"`, "<different_srcip/>")), logs: ip("A", "A", "B"), want: []int{b, b, c}},
		{name: "E34a same address", rules: rules(sid(`frequency="3"`, "<same_srcip/>")), logs: ip("A", "B", "A", "B", "A", "A"), want: []int{b, b, b, b, c, b}},
		{name: "E37 level 0 never counts", rules: inGroup(strings.Replace(baseRule, `level="3"`, `level="0"`, 1), sid(`frequency="2"`, "")), want: []int{b, b, b, b}},
		{name: "E38 children do not count", rules: rules(child(100002, 4, "", "<user>root</user>"), sid(`frequency="3"`, "")),
			logs: user("root", "root", "bob", "bob", "bob"), want: []int{100002, 100002, b, b, c}},
		{name: "E39 tree parent beside the history", rules: rules(child(100003, 4, "", `<field name="ff">go</field>`),
			composite(c, 10, `frequency="3" timeframe="60"`, "<if_sid>100003</if_sid><if_matched_sid>100001</if_matched_sid>")),
			logs: user("x", "x", "x", "go", "go", "go"), want: []int{b, b, b, c, 100003, 100003}},
		{name: "E39a composite of a composite", rules: rules(
			composite(100011, 6, `frequency="3" timeframe="60"`, "<if_matched_sid>100001</if_matched_sid>"),
			composite(c, 10, `frequency="2" timeframe="60"`, "<if_matched_sid>100011</if_matched_sid>")), want: []int{b, b, 100011, b, b, c, b, b}},
		{name: "E40 lower composite takes the events", rules: rules(sid(`frequency="4"`, ""),
			composite(100011, 6, `frequency="2" timeframe="60"`, "<if_matched_sid>100001</if_matched_sid>")), want: []int{b, 100011, 100011, 100011, 100011}},
		{name: "E42 a history by id hides that by group", rules: inGroup(grp, composite(c, 10, `frequency="3" timeframe="60"`, "<if_matched_group>grpx</if_matched_group>"),
			composite(100011, 6, `frequency="2" timeframe="60"`, "<if_matched_sid>100001</if_matched_sid><match>never</match>")), want: []int{b, b, b, b, b}},
		{name: "E42a group", rules: inGroup(grp, composite(c, 10, `frequency="3" timeframe="60"`, "<if_matched_group>grpx</if_matched_group>")), want: []int{b, b, c, b, b, c, b, b}},
		{name: "E42b same field", rules: rules(sid(`frequency="2"`, "<same_field>ff</same_field>")), logs: user("a", "b", "a"), want: []int{b, b, c}},
		{name: "E42c different field", rules: rules(sid(`frequency="2"`, "<different_field>ff</different_field>")), logs: user("a", "a", "b"), want: []int{b, b, c}},
		{name: "E42d same_user is dstuser", rules: rules(sid(`frequency="2"`, "<same_user/>")), want: []int{b, b}},
		{name: "E42e same without the field", rules: rules(sid(`frequency="2"`, "<same_srcip/>")), logs: noIP, want: []int{b, b}},
		{name: "E42e different without the field", rules: rules(sid(`frequency="2"`, "<different_srcip/>")), logs: noIP, want: []int{b, c}},
		{name: "E42f overwritten frequency", rules: rules(sid(`frequency="3"`, ""),
			composite(c, 11, `frequency="4" timeframe="60" overwrite="yes"`, "<if_matched_sid>100001</if_matched_sid>")), want: []int{b, b, b, c, b}},
		{name: "E42h regex over all events", rules: rules(composite(c, 10, `frequency="2" timeframe="60"`, "<if_matched_regex>f=zed</if_matched_regex><if_sid>100001</if_sid>")),
			logs: user("zed", "x", "x"), want: []int{b, c, c}},
		{name: "E42j two places count twice", rules: inGroup(baseRule,
			child(100004, 4, "", "<group>grpx,</group>"),
			`<rule id="100005" level="4"><if_sid>100001</if_sid><match>never</match><description>d</description></rule>`,
			`<rule id="100006" level="6"><if_sid>100004, 100005</if_sid><group>grpx,</group><description>d</description></rule>`,
			composite(c, 10, `frequency="4" timeframe="60"`, "<if_matched_group>grpx</if_matched_group>")), want: []int{100006, 100006, c, 100006}},
	} {
		t.Run(tc.name, tc.run)
	}
	t.Run("E41 group rule loaded later", func(t *testing.T) {
		t.Parallel()
		late := `<rule id="100003" level="4"><if_sid>100001</if_sid><group>late,</group><description>d</description></rule>`
		comp := composite(c, 10, `frequency="2" timeframe="60"`, "<if_matched_group>late</if_matched_group><if_sid>100001</if_sid>")
		for _, o := range []struct {
			rules []string
			want  []int
		}{
			{[]string{baseRule, comp, late}, []int{100003, 100003, 100003}},
			{[]string{baseRule, late, comp}, []int{100003, c, c}},
		} {
			p, _ := compile(t, source(decoderT, inGroup(o.rules...), nil))
			x := logtestSession(t, p)
			var got []int
			for range o.want {
				r, _ := x.log(eventT)
				got = append(got, r.RuleID)
			}
			if diff := cmp.Diff(o.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
}

func TestCompositeWindows(t *testing.T) {
	t.Parallel()
	const b, c = 100001, 100010
	rule := func(attrs, body string) *program.Program {
		p, _ := compile(t, source(decoderT, inGroup(baseRule, composite(c, 10, attrs, "<if_matched_sid>100001</if_matched_sid>"+body)), nil))
		return p
	}
	t.Run("E33a timeframe", func(t *testing.T) {
		t.Parallel()
		x := logtestSession(t, rule(`frequency="3" timeframe="2"`, ""))
		var got []int
		for i := range 4 {
			if i == 1 {
				x.now = x.now.Add(4 * time.Second)
			}
			r, _ := x.log(eventT)
			got = append(got, r.RuleID)
		}
		if diff := cmp.Diff([]int{b, b, b, c}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	for _, tc := range []struct {
		name, body string
		agents     []string
		want       []int
	}{
		{"E36 agents apart", "", []string{"1", "2", "1", "2", "1"}, []int{b, b, b, b, c}},
		{"E36a agents together", "<global_frequency/>", []string{"1", "2", "3"}, []int{b, b, c}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// Agents in the location share the record key 000.
			x := logtestSession(t, rule(`frequency="3" timeframe="60"`, tc.body))
			var got []int
			for _, a := range tc.agents {
				r, _ := x.event(schemas.Event{Location: "[00" + a + "] (h" + a + ") any->/l", Log: []byte(eventT)})
				got = append(got, r.RuleID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("E42g ignore in the log test", func(t *testing.T) {
		t.Parallel()
		x := logtestSession(t, rule(`frequency="2" timeframe="60" ignore="3"`, ""))
		var got []string
		for i := range 5 {
			if i == 3 {
				x.now = x.now.Add(4 * time.Second)
			}
			r, _ := x.log(eventT)
			got = append(got, strconv.Itoa(r.RuleID)+" "+strconv.FormatBool(r.Alert))
		}
		if diff := cmp.Diff([]string{"100001 true", "100010 true", "100010 false", "100010 true", "100010 true"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("ignore in the live engine", func(t *testing.T) {
		t.Parallel()
		p, _ := compile(t, source(decoderT, inGroup(baseRule, child(100002, 5, `ignore="3"`, "")), nil))
		x := newSession(t, p, engine.Config{})
		var got []string
		for i := range 4 {
			if i == 2 {
				x.now = x.now.Add(4 * time.Second)
			}
			r, _ := x.log(eventT)
			got = append(got, strconv.Itoa(r.RuleID)+" "+strconv.FormatBool(r.Alert))
		}
		// A silenced firing alerts with the rule above.
		if diff := cmp.Diff([]string{"100002 true", "100001 true", "100002 true", "100001 true"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("previous output, newest first", func(t *testing.T) {
		t.Parallel()
		x := logtestSession(t, rule(`frequency="3" timeframe="60"`, ""))
		x.log(eventT + "1")
		x.log(eventT + "2")
		if _, d := x.log(eventT + "3"); d.get("previous_output") != eventT+"2\n"+eventT+"1" {
			t.Errorf("previous_output %q", d.get("previous_output"))
		}
	})
}
