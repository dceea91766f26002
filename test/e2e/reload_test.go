//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/app"
	"vedette/config"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/rulesets"
	"vedette/schemas"
	"vedette/test/harness"
)

// engineOf is the engine that workers run for a ruleset.
func engineOf(t *testing.T, name string) (version string, e *engine.Engine) {
	t.Helper()
	r, err := rulesets.Load([]string{name}, "")
	if err != nil {
		t.Fatal(err)
	}
	ec, err := app.EngineConfig(config.Default(), false)
	if err != nil {
		t.Fatal(err)
	}
	return r.Version, engine.New(r.Program, ec)
}

// changes reads from which offsets which rulesets judge each partition.
func (in *installation) changes() map[int32][]schemas.RulesetChange {
	in.t.Helper()
	out := map[int32][]schemas.RulesetChange{}
	for _, rec := range in.records(schemas.TopicCheckpoints) {
		if p, ok := schemas.RulesetActivationOf(rec.Key); ok {
			a, err := schemas.ParseRulesetActivation(&rec)
			if err != nil {
				in.t.Fatal(err)
			}
			out[p] = a.Changes
		}
	}
	return out
}

// awaitChanges waits until some partition was judged by n rulesets in turn. How
// long that takes depends on the group: a member that joins while a killed one
// has not been missed yet waits for the session's end.
func (in *installation) awaitChanges(n int) {
	in.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		for _, c := range in.changes() {
			if len(c) >= n {
				return
			}
		}
		if time.Now().After(end) {
			in.t.Fatalf("no partition came to its ruleset number %d", n)
		}
	}
}

// Under load, with a worker killed while the change is on its way: each alert is
// that of the ruleset which the log of changes names for its event, judged with
// the memory from before.
func TestARulesetChangesUnderLoadAndWorkersThatDie(t *testing.T) {
	// The fleet sends until every change is seen to apply, at most for two minutes.
	const lines, eps = 144_000, 1200
	in := install(t, "reload", 6)
	edited := filepath.Join(in.dir, "edited")
	if err := os.CopyFS(edited, content.FS); err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(edited, "rules", "0100-sshd.xml")
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), "<description>", "<description>edited: ")
	if err := os.WriteFile(rules, []byte(changed), 0o644); err != nil { //nolint:gosec // read by the server's user
		t.Fatal(err)
	}
	gateway := in.launch("front", "enroll", "ingest", "api")
	front := gateway.Endpoints(t, time.Minute)
	a1 := in.launch("analyze1", "analyze")
	in.launch("analyze2", "analyze").Endpoints(t, time.Minute)
	a1.Endpoints(t, time.Minute)
	sim := harness.StartSimulate(t, harness.SimulateConfig{Agents: 30, Count: lines, EPS: eps, Front: front, PasswordFile: filepath.Join(in.dir, "enrollment-password")})
	sim.WaitSent(t, 5*eps)
	in.vedette(nil, "ruleset", "publish", edited)
	a1.Kill()
	in.awaitChanges(2)
	in.launch("analyze1", "analyze").Endpoints(t, time.Minute)
	in.vedette(nil, "ruleset", "rollback")
	in.awaitChanges(3)
	in.vedette(nil, "ruleset", "publish", edited)
	in.awaitChanges(4)
	sim.WaitSent(t, sim.Sent()+2*eps)
	sim.End()
	sim.Wait(t)
	// Once it has ended, all that it received stands in the log.
	if err := gateway.Stop(time.Minute); err != nil {
		t.Fatal(err)
	}

	events := in.records(schemas.TopicEvents)
	want := map[string]string{}
	engines := map[string]*engine.Engine{}
	for _, name := range []string{"builtin", edited} {
		version, e := engineOf(t, name)
		engines[version] = e
	}
	alerts := func() map[string]string {
		got := map[string]string{}
		for _, rec := range in.records(schemas.TopicAlerts) {
			var doc map[string]any
			if err := json.Unmarshal(rec.Value, &doc); err != nil {
				t.Fatal(err)
			}
			v := doc["vedette"].(map[string]any)
			got[fmt.Sprintf("%v/%v", v["partition"], v["offset"])] = string(rec.Value)
		}
		return got
	}
	last := events[len(events)-1]
	in.awaitJudged(events)
	changes := in.changes()
	seen := map[string]int{}
	state, version, next, partition := (*engine.Keyed)(nil), "", []schemas.RulesetChange(nil), int32(-1)
	for i := range events {
		rec := &events[i]
		if rec.Partition != partition {
			state, version, next, partition = nil, "", changes[rec.Partition], rec.Partition
		}
		for len(next) > 0 && next[0].Offset <= rec.Offset {
			version, next = next[0].Version, next[1:]
			if state == nil {
				state = engines[version].NewState()
			} else {
				state = engines[version].Adopt(state)
			}
		}
		ev, err := schemas.ParseEvent(rec)
		if err != nil {
			t.Fatal(err)
		}
		seen[version]++
		if res := engines[version].Process(state, &ev); res.Alert {
			coordinates := fmt.Sprintf(`{"topic_id":"%s","partition":%d,"offset":%d,"n":0,"ruleset":"%s"`, in.topicID(), rec.Partition, rec.Offset, version)
			if ev.Gateway != "" {
				coordinates += `,"gateway":"` + ev.Gateway + `"`
			}
			want[fmt.Sprintf("%d/%d", rec.Partition, rec.Offset)] = string(res.AppendAlert(nil, schemas.AlertID(rec.Timestamp, rec.Partition, rec.Offset, 0), []byte(coordinates+"}")))
		}
	}
	got := alerts()
	t.Logf("%d events up to %d/%d, %d alerts; events by ruleset: %v; changes: %v", len(events), last.Partition, last.Offset, len(got), seen, changes)
	most := 0
	for _, c := range changes {
		most = max(most, len(c))
	}
	if len(seen) != 2 || most < 4 {
		t.Errorf("%d rulesets judged, with %d changes at most: the test shows too little", len(seen), most-1)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%d alerts, want %d (-log and changes +workers):\n%.6000s", len(got), len(want), d)
	}
}

// awaitJudged waits until the workers have committed every event.
func (in *installation) awaitJudged(events []schemas.Record) {
	in.t.Helper()
	ends := map[int32]int64{}
	for i := range events {
		ends[events[i].Partition] = events[i].Offset + 1
	}
	adm, err := in.cluster.Admin()
	if err != nil {
		in.t.Fatal(err)
	}
	defer adm.Close()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		commits, err := adm.FetchOffsets(in.t.Context(), in.cluster.Topic("analyze"))
		done := err == nil
		for p, at := range ends {
			o, ok := commits.Lookup(in.cluster.Topic(schemas.TopicEvents), p)
			done = done && ok && o.At >= at
		}
		if done {
			return
		}
		if time.Now().After(end) {
			in.t.Fatalf("the workers did not commit every event: %v", err)
		}
	}
}
