//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/shadowlog"
	"vedette/ruleset/content"
	"vedette/ruleset/engine"
	"vedette/schemas"
	"vedette/test/harness"
)

// A candidate is tried by two workers, one of which is killed and comes back:
// the differences are those of walking through the log by both rulesets.
func TestAShadowLosesNothingWhenItsWorkersDie(t *testing.T) {
	const lines, eps = 24_000, 1500
	in := install(t, "shadow", 6)
	next := filepath.Join(in.dir, "next")
	if err := os.CopyFS(next, content.FS); err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(next, "rules", "0100-sshd.xml")
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(`level="5"`, `level="6"`, `frequency="8"`, `frequency="5"`).Replace(string(text))
	if changed == string(text) {
		t.Fatal("the edited ruleset is the same")
	}
	if err := os.WriteFile(rules, []byte(changed), 0o644); err != nil { //nolint:gosec // read by the server's user
		t.Fatal(err)
	}
	in.env = append(in.env, "VEDETTE_ANALYZE_SHADOW="+next)
	gateway := in.launch("front", "enroll", "ingest")
	front := gateway.Endpoints(t, time.Minute)
	a1 := in.launch("analyze1", "analyze")
	in.launch("analyze2", "analyze").Endpoints(t, time.Minute)
	a1.Endpoints(t, time.Minute)
	lag := func() (int64, bool) {
		n, ok, err := in.cluster.GroupLag(t.Context(), shadowlog.Group, schemas.TopicEvents)
		if err != nil {
			t.Fatal(err)
		}
		return n, ok
	}
	await := func(what string, f func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(500 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("never: " + what)
			}
		}
	}
	await("the shadow begins", func() bool { _, ok := lag(); return ok })
	sim := harness.StartSimulate(t, harness.SimulateConfig{Agents: 30, Count: lines, EPS: eps, Front: front, PasswordFile: filepath.Join(in.dir, "enrollment-password")})
	sim.WaitSent(t, lines/3)
	a1.Kill()
	sim.WaitSent(t, 2*lines/3)
	in.launch("analyze1", "analyze").Endpoints(t, time.Minute)
	sim.Wait(t)
	// Once it has ended, all that it received stands in the log.
	if err := gateway.Stop(time.Minute); err != nil {
		t.Fatal(err)
	}
	await("the shadow has judged everything", func() bool { n, ok := lag(); return ok && n == 0 })

	events := in.records(schemas.TopicEvents)
	was, running := engineOf(t, "builtin")
	now, candidate := engineOf(t, next)
	side := func(r *engine.Result) string {
		if !r.Alert {
			return "-"
		}
		return fmt.Sprintf("%d/%d", r.RuleID, r.Level)
	}
	want, states, partition := map[string]string{}, [2]*engine.Keyed{}, int32(-1)
	for i := range events {
		rec := &events[i]
		if rec.Partition != partition {
			states, partition = [2]*engine.Keyed{running.NewState(), candidate.NewState()}, rec.Partition
		}
		ev, err := schemas.ParseEvent(rec)
		if err != nil {
			t.Fatal(err)
		}
		a := side(running.Process(states[0], &ev))
		b := side(candidate.Process(states[1], &ev))
		if a != b {
			want[fmt.Sprintf("%d/%d", rec.Partition, rec.Offset)] = a + " > " + b
		}
	}
	shown := func(v *schemas.ShadowVerdict) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%d/%d", v.Rule, v.Level)
	}
	got, repeats := map[string]string{}, 0
	for _, rec := range in.records(schemas.TopicShadow) {
		d, err := schemas.ParseShadowDiff(&rec)
		if err != nil {
			t.Fatal(err)
		}
		at, text := fmt.Sprintf("%d/%d", d.Partition, d.Offset), shown(d.Was)+" > "+shown(d.Now)
		if old, again := got[at]; again {
			if repeats++; old != text {
				t.Errorf("%s was %s and then %s", at, old, text)
			}
		}
		if got[at] = text; d.Ruleset != now || d.Against != was || d.TopicID != in.topicID() {
			t.Fatalf("%+v", d)
		}
	}
	t.Logf("%d events, %d differences, %d of them written again", len(events), len(got), repeats)
	if len(want) < 100 {
		t.Errorf("%d differences show too little", len(want))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%d differences, want %d (-log +shadow):\n%.6000s", len(got), len(want), d)
	}
}
