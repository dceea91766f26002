package ruleset_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vedette/ruleset"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// caseAnswer is the expected answer to a line of a case. A rule "none" means no
// rule.
type caseAnswer struct {
	Rule    string            `json:"rule"`
	Level   *int              `json:"level"`
	Decoder string            `json:"decoder"`
	Data    map[string]string `json:"data"`
	Absent  []string          `json:"absent"`
}

// TestStockCases runs the cases of public reports: rules and decoders of a user
// beside the stock ruleset, lines, and the expected answer to each.
func TestStockCases(t *testing.T) {
	t.Parallel()
	dir := stockDir(t)
	cases, err := filepath.Glob(filepath.Join(dir, "..", "cases", "*", "expected.json"))
	if err != nil || len(cases) == 0 {
		t.Skipf("no cases beside the stock ruleset: %v", err)
	}
	stock, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ruleset.LoadFS(content.FS)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range cases {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testCase(t, stock, filepath.Dir(file))
		})
		if strings.Contains(name, "builtin") {
			t.Run(name+" beside the builtin rules", func(t *testing.T) {
				t.Parallel()
				testCase(t, ours, filepath.Dir(file))
			})
		}
	}
}

func testCase(t *testing.T, beside ruleset.Source, dir string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Load  string
		Lines []caseAnswer
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields() // an unknown member must not pass
	if err := d.Decode(&want); err != nil {
		t.Fatal(err)
	}
	own, err := ruleset.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := ruleset.Compile(ruleset.Merge(beside, own))
	if (err == nil) != (want.Load == "ok") {
		t.Fatalf("load: %v, want %s", err, want.Load)
	}
	if err != nil {
		return
	}
	input, err := os.ReadFile(filepath.Join(dir, "input.log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(input), "\n"), "\n")
	if len(lines) != len(want.Lines) {
		t.Fatalf("%d lines, %d answers", len(lines), len(want.Lines))
	}
	eng := engine.New(p, engine.Config{ManagerName: "manager", Logtest: true})
	s := eng.NewState()
	for i, line := range lines {
		ev := schemas.Event{Time: stockNow, AgentID: schemas.ManagerID, Location: "stdin", Queue: '1', Log: []byte(line)}
		r := eng.Process(s, &ev)
		var alert struct{ Data map[string]any }
		if err := json.Unmarshal(r.AppendAlert(nil, "0.0", nil), &alert); err != nil {
			t.Fatal(err)
		}
		w := want.Lines[i]
		rule := "none"
		if r.RuleID > 0 {
			rule = fmt.Sprint(r.RuleID)
		}
		if w.Rule != "" && rule != w.Rule {
			t.Errorf("line %d: rule %s, want %s", i+1, rule, w.Rule)
		}
		if w.Level != nil && r.Level != *w.Level {
			t.Errorf("line %d: level %d, want %d", i+1, r.Level, *w.Level)
		}
		if w.Decoder != "" && r.Decoder != w.Decoder {
			t.Errorf("line %d: decoder %q, want %q", i+1, r.Decoder, w.Decoder)
		}
		for name, v := range w.Data {
			if got := fmt.Sprint(field(alert.Data, name)); got != v {
				t.Errorf("line %d: %s=%q, want %q", i+1, name, got, v)
			}
		}
		for _, name := range w.Absent {
			if got := field(alert.Data, name); got != nil {
				t.Errorf("line %d: %s=%q, want none", i+1, name, got)
			}
		}
	}
}

// field finds a member by its dotted name.
func field(data map[string]any, name string) any {
	var at any = data
	for key := range strings.SplitSeq(name, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[key]
	}
	return at
}
