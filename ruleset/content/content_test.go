package content_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"vedette/ruleset"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/ruleset/mitre"
	"vedette/ruleset/program"
	"vedette/schemas"
	"vedette/schemas/jsonschema"
)

func compile(t *testing.T) *program.Program {
	t.Helper()
	src, err := ruleset.LoadFS(content.FS)
	if err != nil {
		t.Fatal(err)
	}
	p, problems, err := ruleset.Compile(src)
	for _, x := range problems {
		t.Errorf("problem: %v", x)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The effect of ignore= in 4.14 surprises: our rules do without.
func TestNoRuleIsIgnored(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(content.FS, "rules/*.xml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	for _, f := range files {
		b, err := fs.ReadFile(content.FS, f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("ignore=")) {
			t.Errorf("%s has a rule with ignore=", f)
		}
	}
}

func TestEveryRuleHasAPlaceAndTags(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for _, r := range compile(t).Rules() {
		if r.ID < 10 {
			continue // roots of the categories
		}
		if r.ID < 900000 || r.ID > 999999 || seen[r.ID] {
			t.Errorf("rule %d: outside of 900000 to 999999, or twice", r.ID)
		}
		seen[r.ID] = true
		for _, id := range r.Mitre {
			if _, ok := mitre.Find(id); !ok {
				t.Errorf("rule %d: no such technique: %s", r.ID, id)
			}
		}
		if r.Level >= 10 && len(r.Mitre) == 0 {
			t.Errorf("rule %d of level %d names no technique", r.ID, r.Level)
		}
		if r.Level >= 3 && len(r.Compliance) == 0 && r.ID != 900603 {
			t.Errorf("rule %d of level %d names no compliance entry", r.ID, r.Level)
		}
	}
}

// beside compiles our rules with rules of a user.
func beside(t *testing.T, rules string) *engine.Engine {
	t.Helper()
	src, err := ruleset.LoadFS(content.FS)
	if err != nil {
		t.Fatal(err)
	}
	own := ruleset.Source{Rules: []ruleset.File{{Name: "local_rules.xml", Data: []byte(`<group name="local,">` + rules + `</group>`)}}}
	p, problems, err := ruleset.Compile(ruleset.Merge(src, own))
	for _, x := range problems {
		t.Errorf("problem: %v", x)
	}
	if err != nil {
		t.Fatal(err)
	}
	return engine.New(p, engine.Config{ManagerName: "vedette", AlertLevel: 1})
}

// withProbes adds a rule of level 1 below each grouping rule and returns their ids
// by the grouping rule's.
func withProbes(t *testing.T, p *program.Program) (*engine.Engine, map[int]int) {
	t.Helper()
	probes := map[int]int{}
	var b strings.Builder
	for _, r := range p.AllRules {
		if r.ID > 9 && r.NoAlert {
			probes[r.ID] = 100000 + len(probes)
			fmt.Fprintf(&b, `<rule id="%d" level="1"><if_sid>%d</if_sid><description>probe</description></rule>`, probes[r.ID], r.ID)
		}
	}
	return beside(t, b.String()), probes
}

// allExamples are the events that show that our rules fire.
func allExamples() []example {
	return slices.Concat(examples, linuxExamples, webExamples, auditExamples, windowsExamples, cloudExamples, servicesExamples, apiExamples)
}

// A grouping rule must not end an event before a user's rule beside it is asked:
// a rule with <decoded_as> takes every event that we decode without an alert.
func TestRulesBesideOursFire(t *testing.T) {
	t.Parallel()
	p := compile(t)
	var b strings.Builder
	own := map[int]string{}
	for i, name := range slices.Sorted(maps.Keys(p.DecoderIDs)) {
		if name == "" {
			continue
		}
		id := 100000 + i
		own[id] = name
		// A rule without a parent is under the root of its category.
		for _, category := range []string{"syslog", "ossec", "web-log", "firewall", "ids", "squid", "windows"} {
			fmt.Fprintf(&b, `<rule id="%d" level="1"><category>%s</category><decoded_as>%s</decoded_as><description>own</description></rule>`, id, category, name)
			id += 1000
			own[id] = name
		}
	}
	both := beside(t, b.String())
	alone := engine.New(p, engine.Config{ManagerName: "vedette", AlertLevel: 1})
	silent := map[int]bool{} // rules of ours that are there to be silent
	for _, r := range p.AllRules {
		silent[r.ID] = r.ID > 9 && r.Level == 0 && !r.NoAlert
	}
	decoders := map[string]bool{}
	for _, x := range allExamples() {
		for _, events := range slices.Concat(x.fires, x.misses) {
			one, two := alone.NewState(), both.NewState()
			now := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
			for _, e := range events {
				now = now.Add(e.after)
				ev := schemas.Event{Time: now, AgentID: "001", AgentName: "web1", AgentIP: "10.1.0.9", Location: e.location, Queue: e.queue, Log: []byte(e.log)}
				r := alone.Process(one, &ev)
				rule, alert, judged := r.RuleID, r.Alert, r.Judged && r.Decoder != ""
				got := both.Process(two, &ev)
				switch {
				case !judged || silent[rule]:
				case alert && got.RuleID != rule:
					t.Errorf("%q gives rule %d beside other rules, rule %d alone", e.log, got.RuleID, rule)
				case !alert && (own[got.RuleID] != got.Decoder || !got.Alert):
					t.Errorf("%q, decoder %s, gives rule %d: the user's rule is not asked", e.log, got.Decoder, got.RuleID)
				case !alert:
					decoders[got.Decoder] = true
				}
			}
		}
	}
	if len(decoders) < 25 {
		t.Errorf("only %d decoders have an example without an alert: %v", len(decoders), slices.Sorted(maps.Keys(decoders)))
	}
}

// The first rules that people write.
func TestFirstRulesBesideOursFire(t *testing.T) {
	t.Parallel()
	eng := beside(t, `
		<rule id="100200" level="5"><decoded_as>json</decoded_as><field name="app">shop</field><description>shop says $(msg)</description></rule>
		<rule id="100300" level="5"><decoded_as>sshd</decoded_as><match>Foobar</match><description>own</description></rule>
		<rule id="100400" level="5"><if_sid>900900</if_sid><field name="app">till</field><description>own</description></rule>
		<rule id="100500" level="5"><program_name>^sshd$</program_name><match>Barfoo</match><description>own</description></rule>
		<rule id="100600" level="5"><match>whatever it says</match><description>own</description></rule>`)
	for log, want := range map[string]int{
		`{"app":"shop","msg":"hi"}`:                        100200,
		"Dec 10 01:02:02 host sshd[1234]: Foobar happened": 100300,
		`{"app":"till"}`:                                   100400,
		"Dec 10 01:02:02 host sshd[1234]: Barfoo happened": 100500,
		"Dec 10 01:02:02 host cron[12]: whatever it says":  100600,
	} {
		ev := schemas.Event{Time: time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC), AgentID: "001", AgentName: "web1", Location: "/var/log/x", Queue: '1', Log: []byte(log)}
		r := eng.Process(eng.NewState(), &ev)
		if r.RuleID != want || !r.Alert {
			t.Errorf("%s: rule %d, alert %v, want %d", log, r.RuleID, r.Alert, want)
		}
	}
}

func TestEveryRuleFiresAndItsNearMissDoesNot(t *testing.T) {
	t.Parallel()
	p := compile(t)
	doc, err := validator.UnmarshalJSON(bytes.NewReader(jsonschema.Alert()))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource(jsonschema.Base+jsonschema.AlertName, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(jsonschema.Base + jsonschema.AlertName)
	if err != nil {
		t.Fatal(err)
	}
	ours := engine.New(p, engine.Config{ManagerName: "vedette", AlertLevel: 1})
	// A grouping rule is not chosen itself: it fires if a rule below it does.
	probed, probes := withProbes(t, p)
	// last judges events in turn, five seconds apart unless an event says
	// otherwise, and returns the rule of the last one.
	last := func(t *testing.T, eng *engine.Engine, events []event) int {
		t.Helper()
		s := eng.NewState()
		now, id := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC), 0
		for _, e := range events {
			now = now.Add(e.after)
			ev := schemas.Event{
				Time: now, AgentID: "001", AgentName: "web1", AgentIP: "10.1.0.9", Location: e.location, Queue: e.queue, Log: []byte(e.log),
			}
			if strings.HasPrefix(e.location, "(") { // a device without an agent
				ev.AgentID, ev.AgentName, ev.AgentIP = schemas.ManagerID, "", ""
			}
			r := eng.Process(s, &ev)
			id = r.RuleID
			if !r.Alert {
				continue
			}
			alert := r.AppendAlert(nil, "1.0", nil)
			v, err := validator.UnmarshalJSON(bytes.NewReader(alert))
			if err == nil {
				err = schema.Validate(v)
			}
			if err != nil {
				t.Errorf("alert against the schema: %v\n%s", err, alert)
			}
		}
		return id
	}
	var covered []int
	for _, x := range allExamples() {
		covered = append(covered, x.rule)
		t.Run(fmt.Sprint(x.rule), func(t *testing.T) {
			t.Parallel()
			if len(x.fires) == 0 || len(x.misses) == 0 {
				t.Fatal("it needs a log that fires it and one that does not")
			}
			eng, want := ours, x.rule
			if probe, grouping := probes[x.rule]; grouping {
				eng, want = probed, probe
			}
			for _, e := range x.fires {
				if got := last(t, eng, e); got != want {
					t.Errorf("%q gives rule %d, want %d", e[len(e)-1].log, got, want)
				}
			}
			for _, e := range x.misses {
				if got := last(t, eng, e); got == want {
					t.Errorf("%q gives the rule", e[len(e)-1].log)
				}
			}
		})
	}
	for _, r := range p.Rules() {
		if r.ID > 9 && !slices.Contains(covered, r.ID) {
			t.Errorf("rule %d has no example", r.ID)
		}
	}
}
