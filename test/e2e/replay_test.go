//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset/content"
	"vedette/schemas"
)

// Environment of these tests.
const (
	// replayEvents is how many events the comparison judges, 200,000 if it is not set.
	replayEvents = "E2E_REPLAY_EVENTS"
	// replaySpeed is how many events the measurement of speed judges; it is
	// passed over if it is not set, since it writes gigabytes.
	replaySpeed = "E2E_REPLAY_SPEED"
)

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// fill writes n events of 200 agents, 10 ms apart, of which each alerting one
// is followed by quiet-1 that do not alert.
func (in *installation) fill(n, quiet int) {
	in.t.Helper()
	p, err := in.cluster.NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		in.t.Fatal(err)
	}
	defer p.Close()
	rnd := rand.New(rand.NewPCG(1, 7))
	begin := time.Now().Add(-48 * time.Hour).Truncate(time.Hour)
	var failed atomic.Int64
	slots := make(chan struct{}, 50_000)
	for i := range n {
		agent := fmt.Sprintf("%03d", 1+rnd.IntN(200))
		var text string
		if i%quiet == 0 {
			from := fmt.Sprintf("203.0.113.%d", rnd.IntN(40))
			text = []string{
				"Failed password for root from " + from + " port 22 ssh2", "Failed password for invalid user bob from " + from + " port 22 ssh2",
				"Accepted password for ann from " + from + " port 22 ssh2", "Failed password for ann from " + from + " port 22 ssh2",
				"Bad protocol version identification 'x' from " + from + " port 22",
			}[rnd.IntN(5)]
			text = "Nov 22 10:00:00 web sshd[4711]: " + text
		} else {
			text = fmt.Sprintf("Nov 22 10:00:00 web app[4711]: INFO request id=%016x path=/api/v1/items/%d status=200 took=%dms session=%016x%016x agent=\"%016x\" user=%016x trace=%016x%016x", rnd.Uint64(), rnd.IntN(1e6), rnd.IntN(500),
				rnd.Uint64(), rnd.Uint64(), rnd.Uint64(), rnd.Uint64(), rnd.Uint64(), rnd.Uint64())
			if len(text) < 300 {
				text += strings.Repeat(".", 300-len(text))
			}
		}
		e := schemas.Event{Time: begin.Add(time.Duration(i) * 10 * time.Millisecond), AgentID: agent, AgentName: "a" + agent, AgentIP: "any", Location: "/var/log/auth.log", Queue: '1', Log: []byte(text)}
		slots <- struct{}{}
		p.Produce(e.Record(), func(err error) {
			if err != nil {
				failed.Add(1)
			}
			<-slots
		})
	}
	if err := p.Flush(in.t.Context()); err != nil || failed.Load() > 0 {
		in.t.Fatal(failed.Load(), err)
	}
}

// editedRuleset is ours with one rule changed, one added and one removed.
func editedRuleset(t *testing.T, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, content.FS); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "rules", "0100-sshd.xml")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(raw), `<rule id="900101" level="3">`, `<rule id="900101" level="4">`, 1)
	edited = regexp.MustCompile(`(?s)  <rule id="900107".*?</rule>\n`).ReplaceAllString(edited, "")
	edited += `<group name="own,"><rule id="100900" level="7"><program_name>^app$</program_name><match>took=7ms</match><description>Seven</description></rule></group>` + "\n"
	if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replayReport is the part of a report that these tests read.
type replayReport struct {
	Events      int64        `json:"events"`
	Differences []difference `json:"differences"`
	Rules       []struct {
		ID     int   `json:"id"`
		Alerts int64 `json:"alerts"`
		Was    int64 `json:"was"`
	} `json:"rules"`
	Samples []map[string]any `json:"samples"`
	Stats   map[string]any   `json:"stats"`
}

type difference struct {
	Kind string  `json:"kind"`
	Was  verdict `json:"was"`
	Now  verdict `json:"now"`
	N    int64   `json:"count"`
}

type verdict struct {
	Rule   int    `json:"rule"`
	Level  int    `json:"level"`
	Groups string `json:"groups"`
}

// replayed runs the command to its end, or interrupts it after a time.
func (in *installation) replayed(after time.Duration, args ...string) (interrupted bool) {
	in.t.Helper()
	cmd := exec.Command(bin, append([]string{"replay"}, args...)...)
	cmd.Env = append(append(os.Environ(), in.env...), "VEDETTE_DATA_DIR="+filepath.Join(in.dir, "cli"))
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &errs, &errs
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	if after > 0 {
		stop := time.AfterFunc(after, func() { _ = cmd.Process.Signal(syscall.SIGINT) })
		defer stop.Stop()
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && exit.ExitCode() == 1 && strings.Contains(errs.String(), "vedette: interrupted"):
		return true
	}
	in.t.Fatalf("vedette replay: %v\n%s", err, errs.Bytes())
	return false
}

// twoRuns judges the topic by both rulesets, each by an engine of its own, and
// counts where they differ.
func (in *installation) twoRuns(before, now string) (differences map[difference]int64, alerts map[int][2]int64) {
	in.t.Helper()
	_, was := engineOf(in.t, before)
	_, is := engineOf(in.t, now)
	ranges, err := in.cluster.Ranges(in.t.Context(), schemas.TopicEvents)
	if err != nil {
		in.t.Fatal(err)
	}
	differences, alerts = map[difference]int64{}, map[int][2]int64{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2)
	for p, r := range ranges {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			ws, ns := was.NewState(), is.NewState()
			err := in.cluster.Read(in.t.Context(), schemas.TopicEvents, int32(p), r, func(rec schemas.Record) bool {
				ev, err := schemas.ParseEvent(&rec)
				if err != nil {
					in.t.Error(err)
					return false
				}
				var w, n verdict
				if res := was.Process(ws, &ev); res.Alert {
					w = verdict{res.RuleID, res.Level, groupsOf(res.Rule().Info.Groups)}
				}
				if res := is.Process(ns, &ev); res.Alert {
					n = verdict{res.RuleID, res.Level, groupsOf(res.Rule().Info.Groups)}
				}
				if w.Rule == 0 && n.Rule == 0 {
					return true
				}
				mu.Lock()
				defer mu.Unlock()
				a := alerts[w.Rule]
				a[0]++
				alerts[w.Rule] = a
				a = alerts[n.Rule]
				a[1]++
				alerts[n.Rule] = a
				if w != n {
					d := difference{Kind: "changed", Was: w, Now: n}
					switch {
					case w.Rule == 0:
						d.Kind = "added"
					case n.Rule == 0:
						d.Kind = "removed"
					}
					differences[d]++
				}
				return true
			})
			if err != nil {
				in.t.Error(err)
			}
		})
	}
	wg.Wait()
	delete(alerts, 0)
	return differences, alerts
}

func groupsOf(names []string) string {
	g := slices.Clone(names)
	slices.Sort(g)
	return strings.Join(g, ",")
}

func readReport(t *testing.T, path string) (r replayReport, all map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(json.Unmarshal(raw, &r), json.Unmarshal(raw, &all)); err != nil {
		t.Fatal(err)
	}
	delete(all, "stats")
	return r, all
}

func (r *replayReport) counted() (differences map[difference]int64, kinds map[string]int64) {
	differences, kinds = map[difference]int64{}, map[string]int64{}
	for _, d := range r.Differences {
		count := d.N
		d.N = 0
		differences[d] = count
		kinds[d.Kind] += count
	}
	return differences, kinds
}

// A replay by the workers' ruleset finds their alerts; by another it
// finds exactly the differences.
func TestAReplayAgreesWithWhatWorkersRecorded(t *testing.T) {
	const n = 40_000
	in := install(t, "recorded", 6)
	in.fill(n, 4)
	edited := filepath.Join(in.dir, "edited")
	editedRuleset(t, edited)
	in.launch("analyze", "analyze").Endpoints(t, time.Minute)
	ranges, err := in.cluster.Ranges(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	var last []schemas.Record
	for p, r := range ranges {
		last = append(last, schemas.Record{Partition: int32(p), Offset: r.End - 1})
	}
	in.awaitJudged(last)
	differences, _ := in.twoRuns("builtin", edited)
	report := filepath.Join(in.dir, "report.json")
	for ruleset, want := range map[string]map[difference]int64{"builtin": {}, edited: differences} {
		in.replayed(0, "--ruleset", ruleset, "--against", "recorded", "--format", "json", "--report", report)
		r, all := readReport(t, report)
		got, kinds := r.counted()
		t.Logf("%d events, total %v, differences %v", r.Events, all["total"], kinds)
		if d := cmp.Diff(want, got); d != "" || r.Events != n {
			t.Errorf("%d events (-two runs +report):\n%s", r.Events, d)
		}
	}
	in.replayed(0, "--ruleset", edited, "--against", "running", "--format", "json", "--report", report)
	r, _ := readReport(t, report)
	if got, _ := r.counted(); cmp.Diff(differences, got) != "" {
		t.Errorf("against what runs (-two runs +report):\n%s", cmp.Diff(differences, got))
	}
}

// The report names exactly the alerts that differ; interrupted and resumed, it
// is the same; and the topics are as they were.
func TestAReplayNamesExactlyTheAlertsThatDiffer(t *testing.T) {
	n := number(t, replayEvents, 200_000)
	in := install(t, "replay", 12)
	in.fill(n, 4)
	edited := filepath.Join(in.dir, "edited")
	editedRuleset(t, edited)
	ends := func() map[string]any {
		out := map[string]any{}
		for _, topic := range schemas.Topics() {
			r, err := in.cluster.Ranges(t.Context(), topic.Name)
			if err != nil {
				t.Fatal(err)
			}
			out[topic.Name] = r
		}
		return out
	}
	as := ends()
	whole, pieces, state := filepath.Join(in.dir, "whole.json"), filepath.Join(in.dir, "pieces.json"), filepath.Join(in.dir, "state")
	args := []string{"--ruleset", edited, "--against", "builtin", "--format", "json", "--explain", "--report"}
	begin := time.Now()
	in.replayed(0, append(args, whole)...)
	took := time.Since(begin)
	got, wholeAll := readReport(t, whole)
	t.Logf("%d events: %.0f events/s, %.1f s of CPU, %.0f MiB", got.Events, got.Stats["events_per_wall_second"], got.Stats["cpu_seconds"], got.Stats["max_rss_bytes"].(float64)/(1<<20))

	differences, alerts := in.twoRuns("builtin", edited)
	counted, kinds := got.counted()
	rules := map[int][2]int64{}
	for _, r := range got.Rules {
		if r.Alerts+r.Was > 0 {
			rules[r.ID] = [2]int64{r.Was, r.Alerts}
		}
	}
	t.Logf("%v; alerts by rule (before, now): %v", kinds, rules)
	if d := cmp.Diff(differences, counted); d != "" {
		t.Errorf("(-two runs +report):\n%s", d)
	}
	if d := cmp.Diff(alerts, rules); d != "" {
		t.Errorf("(-two runs +report):\n%s", d)
	}
	if got.Events != int64(n) || len(kinds) != 3 || len(got.Samples) == 0 {
		t.Errorf("%d events, differences %v, %d examples: the test shows too little", got.Events, kinds, len(got.Samples))
	}

	// Events stand 10 ms apart.
	first, err := time.Parse(time.RFC3339, wholeAll["first"].(string))
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) string {
		return first.Add(time.Duration(i) * 10 * time.Millisecond).Format(time.RFC3339Nano)
	}
	part := filepath.Join(in.dir, "part.json")
	in.replayed(0, "--ruleset", edited, "--from", at(n/2), "--to", at(n*3/4), "--format", "json", "--report", part)
	if r, all := readReport(t, part); r.Events != int64(n*3/4-n/2) || all["warm"].(float64) == 0 {
		t.Errorf("a part of the time: %d events, %v to warm up", r.Events, all["warm"])
	}

	// A machine may be faster now than it was a moment ago.
	interruptions := 0
	for share := 0.4; interruptions == 0 && share > 0.05; share /= 2 {
		after := time.Duration(share * float64(took))
		for in.replayed(after+time.Duration(rand.Int64N(int64(after/2))), append(args, pieces, "--resume", state)...) {
			if interruptions++; interruptions > 100 {
				t.Fatal("it comes to no end")
			}
			after += after / 10
		}
	}
	_, piecesAll := readReport(t, pieces)
	t.Logf("%d interruptions", interruptions)
	if interruptions == 0 {
		t.Error("it was not interrupted")
	}
	if d := cmp.Diff(wholeAll, piecesAll); d != "" {
		t.Errorf("(-whole +resumed):\n%.4000s", d)
	}
	if d := cmp.Diff(as, ends()); d != "" {
		t.Errorf("the topics have changed:\n%s", d)
	}
	adm, err := in.cluster.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	groups, err := adm.ListGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups() {
		if strings.HasPrefix(g, in.prefix) {
			t.Errorf("there is a consumer group %s", g)
		}
	}
}

// Ten million events of 300 bytes take less than five minutes.
func TestAReplayIsFast(t *testing.T) {
	n := number(t, replaySpeed, 0)
	if n == 0 {
		t.Skipf("%s is not set: the number of events to measure with, such as 10000000", replaySpeed)
	}
	in := install(t, "speed", 12)
	begin := time.Now()
	in.fill(n, 50)
	t.Logf("%d events written in %s", n, time.Since(begin).Round(time.Second))
	report := filepath.Join(in.dir, "report.json")
	begin = time.Now()
	in.replayed(0, "--ruleset", "builtin", "--format", "json", "--report", report)
	took := time.Since(begin)
	r, _ := readReport(t, report)
	t.Logf("%d events in %s: %.0f events/s, %.2f µs of CPU each, %.0f MiB", r.Events, took.Round(100*time.Millisecond), float64(n)/took.Seconds(),
		r.Stats["cpu_seconds"].(float64)*1e6/float64(n), r.Stats["max_rss_bytes"].(float64)/(1<<20))
	if r.Events != int64(n) {
		t.Errorf("%d events, want %d", r.Events, n)
	}
	if limit := 5 * time.Minute * time.Duration(n) / 10_000_000; took > max(limit, 30*time.Second) {
		t.Errorf("it took %s", took)
	}
}
