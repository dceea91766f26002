package content_test

import (
	"bytes"
	"fmt"
	"io/fs"
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

// What 4.14 does with ignore= surprises: our rules do without.
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
	eng := engine.New(p, engine.Config{ManagerName: "vedette", AlertLevel: 1})
	// last judges events in turn, five seconds apart unless an event says
	// otherwise, and returns the rule of the last one.
	last := func(t *testing.T, events []event) int {
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
	for _, x := range slices.Concat(examples, linuxExamples, webExamples, auditExamples, windowsExamples, cloudExamples, servicesExamples) {
		covered = append(covered, x.rule)
		t.Run(fmt.Sprint(x.rule), func(t *testing.T) {
			t.Parallel()
			if len(x.fires) == 0 || len(x.misses) == 0 {
				t.Fatal("it needs a log that fires it and one that does not")
			}
			for _, e := range x.fires {
				if got := last(t, e); got != x.rule {
					t.Errorf("%q gives rule %d", e[len(e)-1].log, got)
				}
			}
			for _, e := range x.misses {
				if got := last(t, e); got == x.rule {
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
