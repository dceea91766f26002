package embedded

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette/schemas"
	"vedette/test/harness"
)

// shadowAnswer is the answer of GET /shadow.
type shadowAnswer struct {
	Data struct {
		Items []struct {
			Rule, Level, Added, Removed, Changed int
			Last                                 struct {
				Kind    string
				FullLog string `json:"full_log"`
			}
		} `json:"affected_items"`
		Shadow struct {
			Ruleset, Against, Problem string
			Lag                       *int
			Differences               int
		}
	}
}

func TestACandidateIsTriedOnLiveTraffic(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	write := func(name, text string) {
		p := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, rules := range []string{"live", "next"} {
		write(rules+"/decoders/app.xml", reloadDecoder)
	}
	const rule = `<group name="app,"><rule id="%d" level="%d"><decoded_as>app</decoded_as><description>%s</description></rule></group>`
	write("live/rules/app.xml", fmt.Sprintf(rule, 100001, 5, "app"))
	write("next/rules/app.xml", "<group")
	live, next := filepath.Join(base, "live"), filepath.Join(base, "next")
	settings := []string{"VEDETTE_ANALYZE_RULESETS=builtin," + live, "VEDETTE_ANALYZE_SHADOW=builtin," + next}
	p := harness.Launch(t, bin, "run", dir, append(env(zero), settings...), "run")
	e := p.Endpoints(t, time.Minute)
	c := connect(t, dir, e)
	prod, err := c.NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer prod.Close()
	w := &writer{t: t, c: c, p: prod}
	shadow := func() (a shadowAnswer) {
		t.Helper()
		api(t, dir, e, "/shadow", &a)
		return a
	}
	vedette := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(bin, args...)
		cmd.Env = append(append(os.Environ(), "VEDETTE_DATA_DIR="+dir), append(env(e), settings...)...)
		var out, log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &log
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %v\n%s%s", args, err, out.String(), log.String())
		}
		return out.String()
	}
	written := func() int {
		t.Helper()
		recs, err := harness.ReadTopic(t.Context(), c, schemas.TopicShadow)
		if err != nil {
			t.Fatal(err)
		}
		return len(recs)
	}

	// A broken candidate does not keep the rest from running, and is shown.
	if a := w.alert(); !strings.Contains(a, `"description":"app"`) {
		t.Fatal(a)
	}
	eventually(t, "the candidate's problem is shown", func() bool { return strings.Contains(shadow().Data.Shadow.Problem, "app.xml:1") })
	if out := vedette("shadow"); !strings.Contains(out, "app.xml:1") {
		t.Error(out)
	}

	// Mended, it is tried on events from now on.
	write("next/rules/app.xml", fmt.Sprintf(rule, 100001, 9, "louder"))
	if status, body := request(t, dir, e, "PUT", "/manager/analysisd/reload"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	eventually(t, "the candidate is tried", func() bool { x := shadow().Data.Shadow; return x.Ruleset != "" && x.Lag != nil && x.Problem == "" })
	w.alert()
	eventually(t, "the difference is shown", func() bool { return len(shadow().Data.Items) == 1 })
	a := shadow()
	if x := a.Data.Items[0]; x.Rule != 100001 || x.Level != 9 || x.Changed != 1 || x.Last.Kind != "changed" || x.Last.FullLog != "app: hello" {
		t.Errorf("%+v", a)
	}
	candidate := a.Data.Shadow.Ruleset
	if a.Data.Shadow.Differences != 1 || !strings.Contains(current(t, dir, e), a.Data.Shadow.Against) || strings.Contains(current(t, dir, e), candidate) {
		t.Errorf("%+v", a.Data.Shadow)
	}
	if out := vedette("shadow"); !strings.Contains(out, "ruleset "+candidate+" against "+a.Data.Shadow.Against+": 1 difference,") || !strings.Contains(out, "louder") {
		t.Error(out)
	}
	var sum struct{ Differences int }
	if err := json.Unmarshal([]byte(vedette("shadow", "--format", "json")), &sum); err != nil || sum.Differences != 1 {
		t.Error(err, sum)
	}

	// Promoted, it runs, and nothing differs any more.
	if out := vedette("ruleset", "publish", "builtin", next); !strings.Contains(out, candidate) {
		t.Error(out)
	}
	eventually(t, "the candidate is current", func() bool { return strings.Contains(current(t, dir, e), candidate) })
	before := written()
	for range 3 {
		if a := w.alert(); !strings.Contains(a, `"description":"louder"`) || !strings.Contains(a, candidate) {
			t.Fatal(a)
		}
	}
	eventually(t, "the shadow has judged all", func() bool { x := shadow().Data.Shadow.Lag; return x != nil && *x == 0 })
	if n := written(); n != before || before != 1 {
		t.Errorf("%d differences were written, then %d", before, n)
	}

	// Another candidate, promoted over the API without having been published.
	// A reload would bring the live directory back, so the change is waited for.
	write("next/rules/app.xml", fmt.Sprintf(rule, 100002, 9, "other"))
	eventually(t, "the second candidate is tried", func() bool { return shadow().Data.Shadow.Ruleset != candidate })
	w.alert()
	eventually(t, "the second difference is shown", func() bool { x := shadow(); return len(x.Data.Items) == 1 && x.Data.Items[0].Rule == 100002 })
	second := shadow().Data.Shadow.Ruleset
	if status, body := request(t, dir, e, "PUT", "/rulesets/current?version="+second); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	eventually(t, "the second candidate is current", func() bool { return strings.Contains(current(t, dir, e), second) })
	if a := w.alert(); !strings.Contains(a, `"description":"other"`) {
		t.Error(a)
	}
	if status, body := request(t, dir, e, "PUT", "/rulesets/current?version=previous"); status != 200 || !strings.Contains(string(body), candidate) {
		t.Errorf("%d %s", status, body)
	}
	if err := p.Stop(30 * time.Second); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}
