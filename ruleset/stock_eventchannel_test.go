package ruleset_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// TestStockAnswersWindows judges Windows events as agents send them and compares
// rule, level and data with the recorded answers.
func TestStockAnswersWindows(t *testing.T) {
	t.Parallel()
	dir := stockDir(t)
	events := filepath.Join(dir, "windows", "events.ndjson")
	if _, err := os.Stat(events); err != nil {
		t.Skipf("no recorded Windows events: %v", err)
	}
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := ruleset.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Alert bool           `json:"alert"`
		Rule  string         `json:"rule"`
		Level int            `json:"level"`
		Data  map[string]any `json:"data"`
	}
	var want []*answer
	eachLine(t, filepath.Join(dir, "windows", "answers.jsonl"), func(n int, line []byte) {
		var a *answer
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("answers.jsonl:%d: %v", n, err)
		}
		want = append(want, a)
	})
	for _, reference := range []bool{false, true} {
		s := engine.New(p, engine.Config{ManagerName: "manager", Reference: reference})
		state, same, total := s.NewState(), 0, 0
		eachLine(t, events, func(n int, line []byte) {
			var e struct {
				Log, Location string
				Agent         struct{ ID, Name, IP string }
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("events.ndjson:%d: %v", n, err)
			}
			if n > len(want) {
				t.Fatalf("events.ndjson:%d: there are only %d answers", n, len(want))
			}
			ev := schemas.Event{Time: stockNow, AgentID: e.Agent.ID, AgentName: e.Agent.Name, AgentIP: e.Agent.IP, Location: e.Location, Queue: 'f', Log: []byte(e.Log)}
			r := s.Process(state, &ev)
			var got *answer
			if r.Alert {
				var alert struct{ Data map[string]any }
				if err := json.Unmarshal(r.AppendAlert(nil, "0.0", nil), &alert); err != nil {
					t.Fatalf("events.ndjson:%d: %v", n, err)
				}
				got = &answer{Alert: true, Rule: strconv.Itoa(r.RuleID), Level: r.Level, Data: alert.Data}
			}
			w := want[n-1]
			if w != nil && !w.Alert {
				w = nil
			}
			total++
			if diff := cmp.Diff(w, got); diff != "" {
				t.Errorf("events.ndjson:%d, plain walk %v (-want +got):\n%.1500s", n, reference, diff)
				return
			}
			same++
		})
		t.Logf("plain walk %v: %d of %d answers are equal", reference, same, total)
	}
}
