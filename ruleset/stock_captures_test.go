package ruleset_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// capturedAddress finds addresses, and numbers of paragraphs that look like them.
// Those were replaced in the messages, not in the answers, and so was a directory.
var capturedAddress = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+\b`)

// TestStockAnswersCaptures judges the state messages of a real agent and
// compares with the recorded alerts. Some of these came about only by the
// agent's earlier state, and some messages give none because of it. So each
// recorded alert must be among ours, and ours may be more where the state would
// have kept one back.
func TestStockAnswersCaptures(t *testing.T) {
	t.Parallel()
	dir := stockDir(t)
	captures := filepath.Join(dir, "..", "captures")
	if _, err := os.Stat(captures); err != nil {
		t.Skipf("no captured agent messages: %v", err)
	}
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := ruleset.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	eng := engine.New(p, engine.Config{ManagerName: "manager"})
	// The parts of an alert that follow from the message alone.
	type alert struct {
		Rule     map[string]any `json:"rule"`
		Data     map[string]any `json:"data"`
		Syscheck map[string]any `json:"syscheck"`
		Decoder  map[string]any `json:"decoder"`
		FullLog  string         `json:"full_log"`
		Location string         `json:"location"`
	}
	for _, kind := range []string{"fim", "rootcheck", "sca"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			read := func(t *testing.T, line []byte) (string, alert) {
				t.Helper()
				var a alert
				line = capturedAddress.ReplaceAll(line, []byte("N.N.N.N"))
				line = bytes.ReplaceAll(line, []byte("/var/ossec/watched"), []byte("/srv/www"))
				if err := json.Unmarshal(line, &a); err != nil {
					t.Fatal(err)
				}
				delete(a.Rule, "firedtimes") // follows from the state
				delete(a.Rule, "mitre")      // that engine had no ATT&CK data
				b, err := json.Marshal(a.Data["sca"])
				if err != nil {
					t.Fatal(err)
				}
				var sca struct {
					Check  struct{ ID string }
					ScanID string `json:"scan_id"`
				}
				if err := json.Unmarshal(b, &sca); err != nil {
					t.Fatal(err)
				}
				return fmt.Sprint(a.Rule["id"], a.Syscheck["path"], a.Syscheck["mtime_after"], a.Syscheck["perm_after"], sca.ScanID, sca.Check.ID), a
			}
			ours := map[string]alert{}
			state := eng.NewState()
			eachLine(t, filepath.Join(captures, kind+".ndjson"), func(n int, line []byte) {
				var e struct {
					Log, Queue, Location string
					Timestamp            time.Time
					Agent                struct{ ID, Name, IP string }
				}
				if err := json.Unmarshal(line, &e); err != nil {
					t.Fatalf("line %d: %v", n, err)
				}
				ev := schemas.Event{Time: e.Timestamp, AgentID: e.Agent.ID, AgentName: e.Agent.Name, AgentIP: e.Agent.IP, Location: e.Location, Queue: e.Queue[0], Log: []byte(e.Log)}
				if r := eng.Process(state, &ev); r.Alert {
					key, a := read(t, r.AppendAlert(nil, "0.0", nil))
					if _, again := ours[key]; !again {
						ours[key] = a
					}
				}
			})
			n := 0
			eachLine(t, filepath.Join(captures, "answers", kind+".jsonl"), func(line int, want []byte) {
				n++
				key, w := read(t, want)
				got, ok := ours[key]
				if !ok {
					t.Errorf("answers/%s.jsonl:%d: no such alert: %s", kind, line, key)
				} else if diff := cmp.Diff(w, got); diff != "" {
					t.Errorf("answers/%s.jsonl:%d (-want +got):\n%s", kind, line, diff)
				}
			})
			t.Logf("%d recorded alerts, %d different ones of ours", n, len(ours))
		})
	}
}
