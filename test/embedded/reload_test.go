package embedded

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vedette/internal/kafka"
	"vedette/schemas"
	"vedette/test/harness"
)

const reloadDecoder = `<decoder name="app"><prematch>^app: </prematch></decoder>`

func reloadRules(description string) string {
	return `<group name="app,"><rule id="100001" level="5"><decoded_as>app</decoded_as><description>` + description + `</description></rule>
<rule id="100002" level="10" frequency="4" timeframe="300"><if_matched_sid>100001</if_matched_sid><description>many ` + description + `</description></rule></group>`
}

// writer produces events of one agent and waits for the alert of each.
type writer struct {
	t *testing.T
	c *kafka.Cluster
	p *kafka.Producer
	n int64 // alerts seen
}

// alert returns the alert that the next event gives.
func (w *writer) alert() string {
	w.t.Helper()
	ev := schemas.Event{AgentID: "001", AgentName: "a", AgentIP: "10.0.0.1", Location: "/x", Queue: '1', Time: time.Now(), Log: []byte("app: hello")}
	if _, err := w.p.ProduceSync(w.t.Context(), ev.Record()); err != nil {
		w.t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ranges, err := w.c.Ranges(w.t.Context(), schemas.TopicAlerts)
		if err != nil {
			w.t.Fatal(err)
		}
		for p, r := range ranges {
			if r.End <= w.n {
				continue
			}
			last := ""
			err := w.c.Read(w.t.Context(), schemas.TopicAlerts, int32(p), kafka.Range{Start: w.n, End: r.End}, func(rec schemas.Record) bool {
				last = string(rec.Value)
				return true
			})
			if err != nil {
				w.t.Fatal(err)
			}
			w.n = r.End
			return last
		}
	}
	w.t.Fatal("no alert came")
	return ""
}

func TestARulesetIsReplacedWhileItRuns(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir, rules := filepath.Join(base, "data"), filepath.Join(base, "rules")
	write := func(name, text string) {
		p := filepath.Join(rules, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("decoders/app.xml", reloadDecoder)
	write("rules/app.xml", reloadRules("one"))
	settings := []string{"VEDETTE_ANALYZE_RULESETS=builtin," + rules}
	p := harness.Launch(t, bin, "first", dir, append(env(zero), settings...), "run")
	e := p.Endpoints(t, time.Minute)
	c := connect(t, dir, e)
	prod, err := c.NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer prod.Close()
	w := &writer{t: t, c: c, p: prod}
	expect := func(want string) string {
		t.Helper()
		got := w.alert()
		if !strings.Contains(got, `"description":"`+want+`"`) {
			t.Fatalf("want %q, got %s", want, got)
		}
		_, rest, _ := strings.Cut(got, `"ruleset":"`)
		version, _, _ := strings.Cut(rest, `"`)
		return version
	}
	vedette := func(ok bool, args ...string) string {
		t.Helper()
		cmd := exec.Command(bin, args...)
		cmd.Env = append(append(os.Environ(), "VEDETTE_DATA_DIR="+dir), append(env(e), settings...)...)
		var out, log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &log
		if err := cmd.Run(); (err == nil) != ok {
			t.Fatalf("%v: %v\n%s%s", args, err, out.String(), log.String())
		}
		return out.String() + log.String()
	}
	one := expect("one")
	expect("one")

	// A broken file is refused, with place and cause, and changes nothing.
	write("rules/broken.xml", `<group name="x,"><rule id="100003" level="99"><description>x</description></rule></group>`)
	if status, body := request(t, dir, e, "PUT", "/manager/analysisd/reload"); status != 400 || !strings.Contains(string(body), "broken.xml:1") {
		t.Errorf("%d %s", status, body)
	}
	if v := expect("one"); v != one {
		t.Error("the version changed")
	}
	if out := vedette(false, "ruleset", "publish", "builtin", rules); !strings.Contains(out, "broken.xml:1") {
		t.Error(out)
	}
	if err := os.Remove(filepath.Join(rules, "rules/broken.xml")); err != nil {
		t.Fatal(err)
	}

	// The signal reads the files anew; three events before it count for the composite.
	write("rules/app.xml", reloadRules("two"))
	if err := syscall.Kill(p.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another version is current", func() bool { return !strings.Contains(current(t, dir, e), one) })
	two := expect("many two")
	if two == one {
		t.Error("the alert names the old version")
	}

	// Back, and forth, by command.
	if out := vedette(true, "ruleset", "rollback"); !strings.Contains(out, one) {
		t.Error(out)
	}
	eventually(t, "the first version is current", func() bool { return strings.Contains(current(t, dir, e), one) })
	if v := expect("one"); v != one {
		t.Error("rolled back to " + v)
	}
	// The worker tells the others once a second.
	eventually(t, "the worker is listed with the version it runs", func() bool {
		for _, line := range strings.Split(vedette(true, "ruleset", "versions"), "\n") {
			if strings.HasPrefix(line, one) { // partitions of the test, and of the events about the API
				return strings.Contains(line, "current") && strings.Contains(line, " partition")
			}
		}
		return false
	})
	vedette(true, "ruleset", "promote", two)
	vedette(false, "ruleset", "promote", "0000000000000000")

	// A restart with broken files runs the published ruleset.
	if err := p.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	write("rules/broken.xml", "<group")
	p = harness.Launch(t, bin, "second", dir, append(env(e), settings...), "run")
	e = p.Endpoints(t, time.Minute)
	// An event that stood in the log before the partition was assigned is judged
	// by the version that its last owner judged by.
	eventually(t, "what was published runs", func() bool { return strings.Contains(w.alert(), `"ruleset":"`+two+`"`) })
	// Mended by a change of the files, which nobody announces.
	if err := os.Remove(filepath.Join(rules, "rules/broken.xml")); err != nil {
		t.Fatal(err)
	}
	write("rules/app.xml", reloadRules("three"))
	eventually(t, "the change is noticed", func() bool { v := current(t, dir, e); return !strings.Contains(v, one) && !strings.Contains(v, two) })
	eventually(t, "the new files run", func() bool { return strings.Contains(w.alert(), "three") })
}
