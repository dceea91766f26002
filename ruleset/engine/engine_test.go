package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/regex"
	"vedette/ruleset/condition"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// testProgram has one JSON decoder and the rules given, all below one root.
func testProgram(t testing.TB, rules ...*program.Rule) *program.Program {
	t.Helper()
	prematch, err := regex.Compile(regex.OSRegex, `^{`)
	if err != nil {
		t.Fatal(err)
	}
	root := &program.Node{Rule: &program.Rule{ID: 1, NoAlert: true}}
	p := program.Program{
		Roots:          []*program.Node{root},
		WithoutProgram: []*program.Decoder{{Name: "json", NameID: 1, Prematch: prematch, Plugin: program.PluginJSON}},
		DecoderIDs:     map[string]int{"": 0, "json": 1, "windows_eventchannel": 2},
		FieldIDs:       map[string]int{},
	}
	for i, r := range rules {
		r.Index = i
		r.JSONHead = []byte(fmt.Sprintf(`,"id":"%d"`, r.ID))
		r.JSONGroups = []byte(`,"groups":[]`)
		p.AllRules = append(p.AllRules, r)
		root.Children = append(root.Children, &program.Node{Rule: r, Parent: root})
	}
	return program.NewProgram(p)
}

var testNow = time.Date(2026, 11, 22, 10, 30, 0, 84e6, time.UTC)

func logEvent(log string) *schemas.Event {
	return &schemas.Event{Time: testNow, AgentID: "000", Location: "/l", Queue: '1', Log: []byte(log)}
}

func TestAlertDocument(t *testing.T) {
	t.Parallel()
	r := &program.Rule{ID: 100001, Level: 12, Description: program.Template{Text: "a \"test\""}}
	e := New(testProgram(t, r), Config{ManagerName: "mgr", ClusterName: "c1", Timezone: time.FixedZone("", 3600)})
	s := e.NewState()
	res := e.Process(s, logEvent(`{"srcip":"1.2.3.4","a.b":"x`+"\xff\u00e9\\u0001"+`"}`))
	got := string(res.AppendAlert([]byte("head "), "1795343400.7", []byte(`{"v":1}`)))
	want := `head {"timestamp":"2026-11-22T11:30:00.084+0100",` +
		`"rule":{"level":12,"description":"a \"test\"","id":"100001","firedtimes":1,"mail":true,"groups":[]},` +
		`"agent":{"id":"000","name":"mgr"},"manager":{"name":"mgr"},"id":"1795343400.7","cluster":{"name":"c1"},` +
		`"full_log":"{\"srcip\":\"1.2.3.4\",\"a.b\":\"x` + "\ufffd\u00e9" + `\\u0001\"}",` +
		`"decoder":{"name":"json"},"data":{"srcip":"1.2.3.4","a":{"b":"x` + "\ufffd\u00e9" + `\u0001"}},"location":"/l","vedette":{"v":1}}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !res.Alert || !res.Mail || res.RuleID != 100001 || res.Level != 12 || res.Decoder != "json" {
		t.Errorf("result %+v", res)
	}
}

func TestArchiveDocument(t *testing.T) {
	t.Parallel()
	low := &program.Rule{ID: 100001, Level: 2, Options: program.Options{NoFullLog: true}}
	e := New(testProgram(t, low), Config{ManagerName: "mgr"})
	res := e.Process(e.NewState(), logEvent("text"))
	var d map[string]any
	if err := json.Unmarshal(res.AppendArchive(nil, "1.1", nil), &d); err != nil {
		t.Fatal(err)
	}
	if d["rule"] != nil || d["full_log"] != "text" || res.Alert {
		t.Errorf("archive %v, alert %v", d, res.Alert)
	}
	if err := json.Unmarshal(res.AppendAlert(nil, "1.1", nil), &d); err != nil {
		t.Fatal(err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		level       int
		o           program.Options
		logtest     bool
		alert, mail bool
	}{
		{3, program.Options{}, false, true, false},
		{2, program.Options{}, false, false, false},
		{2, program.Options{Log: true}, false, true, false},
		{2, program.Options{Log: true}, true, false, false},
		{5, program.Options{NoLog: true}, false, false, false},
		{5, program.Options{NoLog: true}, true, true, false},
		{12, program.Options{}, false, true, true},
		{12, program.Options{NoMail: true}, false, true, false},
		{3, program.Options{Mail: true}, false, true, true},
	} {
		e := New(testProgram(t, &program.Rule{ID: 100001, Level: tc.level, Options: tc.o}), Config{Logtest: tc.logtest})
		res := e.Process(e.NewState(), logEvent("x"))
		if res.Alert != tc.alert || res.Mail != tc.mail {
			t.Errorf("%+v: alert %v, mail %v", tc, res.Alert, res.Mail)
		}
	}
}

func TestFiredTimesPerHourAndKey(t *testing.T) {
	t.Parallel()
	fired := func(logtest bool) (out []int) {
		e := New(testProgram(t, &program.Rule{ID: 100001, Level: 3}), Config{Logtest: logtest})
		s := e.NewState()
		for _, at := range []time.Duration{0, 29 * time.Minute, 10 * time.Minute, 30 * time.Minute} {
			ev := logEvent("x")
			ev.Time = ev.Time.Add(at)
			out = append(out, e.Process(s, ev).firedTimes)
		}
		ev := logEvent("x")
		ev.AgentID = "001"
		return append(out, e.Process(s, ev).firedTimes)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 1, 1}, fired(false)); diff != "" {
		t.Errorf("live (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4, 1}, fired(true)); diff != "" {
		t.Errorf("log test (-want +got):\n%s", diff)
	}
}

func TestTimeConditions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		c    program.Condition
		want bool
	}{
		{condition.TimeOfDay{From: 10 * 60, To: 10*60 + 30}, true},
		{condition.TimeOfDay{From: 10 * 60, To: 10*60 + 29}, false},
		{condition.TimeOfDay{From: 22 * 60, To: 10*60 + 30}, true},
		{condition.TimeOfDay{From: 22 * 60, To: 9 * 60, Negate: true}, true},
		{condition.Weekday(1 << time.Sunday), true},
		{condition.Weekday(0b0111110), false},
	} {
		e := New(testProgram(t, &program.Rule{ID: 100001, Level: 3, Conds: []program.Condition{tc.c}}), Config{})
		if res := e.Process(e.NewState(), logEvent("x")); (res.RuleID != 0) != tc.want {
			t.Errorf("%+v holds: %v", tc.c, res.RuleID != 0)
		}
	}
}

func TestClockOfAKeyNeverTurnsBack(t *testing.T) {
	t.Parallel()
	e := New(testProgram(t), Config{})
	s := e.NewState()
	e.Process(s, logEvent("x"))
	early := logEvent("x")
	early.Time = testNow.Add(-time.Hour)
	res := e.Process(s, early)
	if !s.scratch.ev.now.Equal(testNow) || !res.Time().Equal(early.Time) {
		t.Errorf("now %v, shown %v", s.scratch.ev.now, res.Time())
	}
}

func TestStateIsBounded(t *testing.T) {
	t.Parallel()
	base := &program.Rule{ID: 100001, Level: 3, SidHistory: true}
	comp := &program.Rule{ID: 100002, Level: 10, Composite: &program.Composite{Sid: base, GroupList: -1, Frequency: 9999, Timeframe: time.Hour}}
	e := New(testProgram(t, comp, base), Config{Limits: Limits{Keys: 3, Events: 5, EventBytes: 1 << 20}})
	s := e.NewState()
	for i := range 50 {
		ev := logEvent("x")
		ev.AgentID = fmt.Sprintf("%03d", i%7+1)
		e.Process(s, ev)
	}
	if s.Keys() != 3 {
		t.Errorf("%d keys", s.Keys())
	}
	for range 50 {
		e.Process(s, logEvent("x"))
	}
	k := s.keys.byName["000"]
	if n := k.events; n != 5 {
		t.Errorf("%d events remembered", n)
	}
	late := logEvent("x")
	late.Time = testNow.Add(2 * time.Hour)
	e.Process(s, late)
	if n := k.events; n != 1 {
		t.Errorf("%d events remembered after the window", n)
	}
	if n := len(k.bySid[base.Index].items); n > 64 {
		t.Errorf("rule list holds %d entries", n)
	}
}

func TestAlertIsBounded(t *testing.T) {
	t.Parallel()
	base := &program.Rule{ID: 100001, Level: 3, SidHistory: true}
	comp := &program.Rule{ID: 100002, Level: 10, Composite: &program.Composite{Sid: base, GroupList: -1, Frequency: 12, Timeframe: time.Hour}}
	e := New(testProgram(t, comp, base), Config{})
	s := e.NewState()
	for _, fill := range []string{"\x01", "é", "x"} {
		log := strings.Repeat(fill, schemas.MaxEventBytes/len(fill))
		for range 12 {
			res := e.Process(s, logEvent(log))
			b := res.AppendAlert(nil, "1.1", nil)
			if len(b) > AlertMax || !json.Valid(b) || !utf8.Valid(b) {
				t.Fatalf("alert of %d bytes, valid %v", len(b), json.Valid(b))
			}
			if res.RuleID == 100002 && fill == "\x01" && !bytes.Contains(b, []byte(cutMark)) {
				t.Error("previous_output is not cut")
			}
		}
		s.Reset()
	}
	js := `{"a":"` + strings.Repeat(`\u0001`, 9000) + `","b":"` + strings.Repeat("\x02", 9000) + `"}`
	if b := e.Process(s, logEvent(js)).AppendAlert(nil, "1.1", nil); len(b) > AlertMax || !json.Valid(b) {
		t.Errorf("alert of %d bytes", len(b))
	}
}

func TestQueuesWithoutAnalysis(t *testing.T) {
	t.Parallel()
	e := New(testProgram(t, &program.Rule{ID: 100001, Level: 3}), Config{})
	for _, q := range []byte("5u") {
		ev := logEvent("x")
		ev.Queue = q
		if res := e.Process(e.NewState(), ev); res.Alert || res.RuleID != 0 {
			t.Errorf("queue %c: %+v", q, res)
		}
	}
}

func TestEventChannel(t *testing.T) {
	t.Parallel()
	xml := `<Event xmlns='x'><System><Provider Name='P' Guid='{1}'/><EventID>4719</EventID><Version>0</Version><Level>0</Level>` +
		`<Keywords>0x8020000000000000</Keywords><TimeCreated SystemTime='2026-01-01T00:00:00Z'/><Execution ProcessID='4' ThreadID='5'/>` +
		`<Channel>Security</Channel><Computer>host</Computer></System><EventData>` +
		`<Data Name='SubjectUserName'>bob &amp; co </Data><Data Name='Empty'></Data><Data Name='Dash'>-</Data><Data>one</Data><Data>two</Data>` +
		`<Data Name='CategoryId'>%%8273</Data><Data Name='SubcategoryId'>%%12544</Data><Data Name='AuditPolicyChanges'>%%8449, %%8451</Data></EventData>` +
		`<UserData><EventInfo><UserName>eve</UserName></EventInfo></UserData></Event>`
	log, err := json.Marshal(map[string]string{"Message": "the text\r\n", "Event": xml})
	if err != nil {
		t.Fatal(err)
	}
	e := New(testProgram(t), Config{})
	ev := logEvent(string(log))
	ev.Queue = 'f'
	s := e.NewState()
	res := e.Process(s, ev)
	want := `{"win":{"system":{"providerName":"P","providerGuid":"{1}","eventID":"4719","version":"0","level":"0",` +
		`"keywords":"0x8020000000000000","systemTime":"2026-01-01T00:00:00Z","processID":"4","threadID":"5","channel":"Security",` +
		`"computer":"host","severityValue":"AUDIT_SUCCESS","message":"\"the text\r\n\""},` +
		`"eventdata":{"subjectUserName":"bob &amp; co","categoryId":"%%8273","subcategoryId":"%%12544","auditPolicyChangesId":"%%8449, %%8451",` +
		`"category":"Logon/Logoff","subcategory":"Logon","auditPolicyChanges":"Success added, Failure added","data":"one, two"},` +
		`"eventInfo":{"userName":"eve"}}}`
	if diff := cmp.Diff(want, s.scratch.ev.fullLog); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if res.Decoder != "windows_eventchannel" || s.scratch.ev.category != program.Ossec {
		t.Errorf("decoder %s, category %v", res.Decoder, s.scratch.ev.category)
	}
}

func FuzzPredecode(f *testing.F) {
	for _, s := range []string{
		"Dec 25 20:45:02 host app[12]: hello", "M\u00e4r 25 20:45:02 host app: x", "[Time 2006.12.28 15:53:55 UTC] [Sender x] [Message y] [Host z]",
		"1140804070.368   11623 192.168.2.3 TCP", "2009-05-22T09:36:46.214994Z host kern|x:info prog[1]: [ID 7 a.b] x", "Mon Apr 17 18:27:14 2006 1 ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, msg string) {
		if h := predecode(msg); len(h.log) > len(msg) {
			t.Errorf("log is longer than the message")
		}
		shownHostname(msg)
	})
}

func FuzzFlatten(f *testing.F) {
	for _, s := range []string{
		`{"a":{"b":[1,{"c":null}]},"d":"\ud83d\ude00\n"}`, `{"a":-1.5e300,"b":true}`, `{"a":[[[[]]]]} x`, "\ufeff {}",
	} {
		f.Add(s)
	}
	k := New(testProgram(f), Config{}).NewState()
	r := &k.decoding.json
	f.Fuzz(func(t *testing.T, s string) {
		k.scratch.texts.reset()
		for _, r.csv = range []bool{false, true} {
			r.flatten(&k.scratch.names, s)
		}
		if b, ok := r.compactArray(s); ok && !json.Valid(b) {
			t.Errorf("compacted to what is no JSON: %s", b)
		}
	})
}

func FuzzProcess(f *testing.F) {
	f.Add(`{"Message":"m","Event":"<Event><System><Level>4</Level></System></Event>"}`, "[001] (a) b->c", byte('f'))
	f.Add(`{"srcip":"1","a":["x"]}`, "/l", byte('1'))
	f.Add("text", "(s) u@h->d", byte('8'))
	e := New(testProgram(f, &program.Rule{ID: 100001, Level: 3}), Config{Logtest: true})
	s := e.NewState()
	f.Fuzz(func(t *testing.T, log, location string, queue byte) {
		ev := logEvent(log)
		ev.Location, ev.Queue = location, queue
		res := e.Process(s, ev)
		if b := res.AppendAlert(nil, "1.0", nil); !json.Valid(b) || !utf8.Valid(b) {
			t.Errorf("no JSON: %q", b)
		}
	})
}
