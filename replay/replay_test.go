package replay

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"vedette/internal/leaktest"
	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

func TestMain(m *testing.M) {
	batchMax = 64 // events read ahead of an interruption are judged
	leaktest.Main(m)
}

var quiet = slog.New(slog.DiscardHandler)

// The rulesets of these tests use all that the engine remembers.
const decoders = `<decoder name="t"><prematch>^T </prematch></decoder>
<decoder name="t1"><parent>t</parent><regex>ip=(\S+) user=(\S+)</regex><order>srcip, dstuser</order></decoder>
<decoder name="f"><type>ids</type><prematch>^F </prematch><regex>ip=(\S+)</regex><order>srcip</order><fts>name, srcip, location</fts></decoder>
<decoder name="p"><program_name>^p$</program_name></decoder>`

const rulesBefore = `<group name="test,">
<rule id="900001" level="3"><decoded_as>t</decoded_as><description>base $(srcip)</description></rule>
<rule id="900002" level="4"><if_sid>900001</if_sid><match>user=u1</match><description>u1</description><group>base,</group></rule>
<rule id="900003" level="10" frequency="3" timeframe="150"><if_matched_sid>900001</if_matched_sid><same_srcip/><description>three of $(srcip)</description></rule>
<rule id="900004" level="11" frequency="2" timeframe="200"><if_matched_group>base</if_matched_group><same_srcip/><description>again</description></rule>
<rule id="900005" level="5" ignore="40"><if_sid>900001</if_sid><match>user=root</match><description>root, seldom</description><group>base,</group></rule>
<rule id="900006" level="7"><if_sid>900001</if_sid><match>user=diff</match><check_diff/><description>differs</description></rule>
<rule id="900010" level="3"><category>ids</category><decoded_as>f</decoded_as><description>f</description></rule>
<rule id="900011" level="8"><if_sid>900010</if_sid><if_fts/><description>first seen</description></rule>
</group>`

// rulesNow changes the level of a rule, adds one and removes one, of which others
// see the effect.
var rulesNow = strings.NewReplacer(
	`<rule id="900011" level="8"`, `<rule id="900011" level="9"`,
	`<rule id="900002" level="4"><if_sid>900001</if_sid><match>user=u1</match><description>u1</description><group>base,</group></rule>`, "",
	"\n</group>", `<rule id="900020" level="6"><if_sid>900001</if_sid><match>user=u2</match><description>u2</description></rule></group>`,
).Replace(rulesBefore)

func rulesOf(t testing.TB, name, rules string) Ruleset {
	t.Helper()
	s := ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(decoders)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(rules)}},
	}
	p, problems, err := ruleset.Compile(s)
	if err != nil {
		t.Fatal(err, problems)
	}
	return Ruleset{Name: name, Version: s.Version(), Engine: engine.New(p, engine.Config{ManagerName: "test"})}
}

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// randomEvents advance by hours in all, and run backwards now and then.
func randomEvents(rnd *rand.Rand, n int) []schemas.Event {
	at := 0
	out := make([]schemas.Event, 0, n)
	for range n {
		at += rnd.IntN(20)
		if rnd.IntN(40) == 0 {
			at += 1500
		}
		second := at
		if rnd.IntN(5) == 0 {
			second -= rnd.IntN(200)
		}
		text := fmt.Sprintf("T ip=10.0.0.%d user=%s", rnd.IntN(2), []string{"u1", "u2", "root", "diff"}[rnd.IntN(4)])
		if rnd.IntN(6) == 0 {
			text = fmt.Sprintf("F ip=10.0.0.%d", rnd.IntN(30))
		}
		agent := fmt.Sprintf("%03d", 1+rnd.IntN(7))
		out = append(out, schemas.Event{
			Time: epoch.Add(time.Duration(second) * time.Second), AgentID: agent, AgentName: "n" + agent, AgentIP: "any", Location: "/x", Queue: '1', Log: []byte(text),
		})
	}
	return out
}

// ndjson writes events as lines of logtest.
func ndjson(events []schemas.Event) []byte {
	var b []byte
	for i := range events {
		e := &events[i]
		line, err := json.Marshal(map[string]any{
			"log": string(e.Log), "location": e.Location, "queue": string(e.Queue), "timestamp": e.Time.Format(time.RFC3339Nano),
			"agent": map[string]string{"id": e.AgentID, "name": e.AgentName, "ip": e.AgentIP},
		})
		if err != nil {
			panic(err)
		}
		b = append(append(b, line...), '\n')
	}
	return b
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// verdicts returns a plain engine's verdicts on events.
func verdicts(r *Ruleset, events []schemas.Event) []Verdict {
	state := r.Engine.NewState()
	out := make([]Verdict, len(events))
	for i := range events {
		if res := r.Engine.Process(state, &events[i]); res.Alert {
			out[i] = Verdict{res.RuleID, res.Level, joined(res.Rule().Info.Groups)}
		}
	}
	return out
}

func kindOf(was, now Verdict) Kind {
	switch {
	case was.Rule == 0:
		return Added
	case now.Rule == 0:
		return Removed
	}
	return Changed
}

// expected counts by hand, for rules, agents and hours alike.
func expected(events []schemas.Event, was, now []Verdict) map[string]Counts {
	out := map[string]Counts{}
	for i := range events {
		each := func(rule int, fn func(*Counts)) {
			for _, k := range []string{"total", fmt.Sprint("rule ", rule), "agent " + events[i].AgentID, events[i].Time.Truncate(time.Hour).Format(time.RFC3339)} {
				c := out[k]
				fn(&c)
				out[k] = c
			}
		}
		if now[i].Rule != 0 {
			each(now[i].Rule, func(c *Counts) { c.Alerts++ })
		}
		if was[i].Rule != 0 {
			each(was[i].Rule, func(c *Counts) { c.Was++ })
		}
		if k := kindOf(was[i], now[i]); was[i] != now[i] {
			rule := now[i].Rule
			if k == Removed {
				rule = was[i].Rule
			}
			each(rule, func(c *Counts) { *c.kind(k)++ })
			if k == Changed && was[i].Rule != rule { // counted at both
				name := fmt.Sprint("rule ", was[i].Rule)
				c := out[name]
				c.Changed++
				out[name] = c
			}
		}
	}
	return out
}

func countsOf(r *Report) map[string]Counts {
	out := map[string]Counts{"total": r.Total}
	for _, x := range r.Rules {
		out[fmt.Sprint("rule ", x.ID)] = x.Counts
	}
	for _, x := range r.Agents {
		out["agent "+x.ID] = x.Counts
	}
	for _, x := range r.Hours {
		out[x.Hour.Format(time.RFC3339)] = x.Counts
	}
	return out
}

// judgeAll judges to the end.
func judgeAll(t testing.TB, o Options) *Report {
	t.Helper()
	r, state, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if state != nil || r.Interrupted {
		t.Fatal("the replay was interrupted")
	}
	return r
}

// text is a report without the parts that differ from run to run.
func text(t testing.TB, r *Report) string {
	t.Helper()
	c := *r
	c.Source, c.Stats = "", Stats{}
	var b bytes.Buffer
	if err := c.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheReportNamesExactlyTheAlertsThatDiffer(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	for seed := range uint64(3) {
		events := randomEvents(rand.New(rand.NewPCG(seed, 1)), 4000)
		was, is := verdicts(&before, events), verdicts(&now, events)
		want := expected(events, was, is)
		path := write(t, "events.ndjson", ndjson(events))
		first := ""
		for _, workers := range []int{1, 2, 5} {
			r := judgeAll(t, Options{Source: &File{Path: path}, Ruleset: now, Against: &before, Workers: workers, Samples: 3, Explain: true})
			if d := cmp.Diff(want, countsOf(r)); d != "" {
				t.Fatalf("seed %d, %d workers (-two runs +report):\n%s", seed, workers, d)
			}
			for _, s := range r.Samples {
				i := s.Offset - 1
				if s.Was != was[i] || s.Now != is[i] || s.Kind != kindOf(was[i], is[i]) || s.Log != string(events[i].Log) || s.Reason == "" {
					t.Errorf("sample %+v, but the engines say %v and %v", s, was[i], is[i])
				}
			}
			for _, rule := range []int{900002, 900011, 900020} {
				if !slices.ContainsFunc(r.Samples, func(s Sample) bool { return s.Was.Rule == rule || s.Now.Rule == rule }) {
					t.Errorf("no example of rule %d", rule)
				}
			}
			if got := text(t, r); first == "" {
				first = got
			} else if d := cmp.Diff(first, got); d != "" {
				t.Errorf("seed %d: %d workers report otherwise:\n%s", seed, workers, d)
			}
		}
	}
}

func TestAReasonNamesWhatBecameOfTheRule(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	events := randomEvents(rand.New(rand.NewPCG(3, 1)), 4000)
	r := judgeAll(t, Options{Source: &File{Path: write(t, "e", ndjson(events))}, Ruleset: now, Against: &before, Samples: 5, Explain: true, Workers: 1})
	var all []string
	for _, s := range r.Samples {
		all = append(all, s.Reason)
	}
	for _, want := range []string{
		"the level of rule 900011 was 8 and is 9",
		"rule 900002 fired before; in now, there is no such rule",
		"there is no such rule",
	} {
		if !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no reason says %q:\n%s", want, strings.Join(all, "\n"))
		}
	}
}

func TestCompressedFilesAreJudgedAsPlainOnes(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	plain := ndjson(randomEvents(rand.New(rand.NewPCG(1, 2)), 3000))
	var gz, zst bytes.Buffer
	zw := gzip.NewWriter(&gz)
	sw, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []interface {
		Write([]byte) (int, error)
		Close() error
	}{zw, sw} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := text(t, judgeAll(t, Options{Source: &File{Path: write(t, "e", plain)}, Ruleset: now, Workers: 2}))
	for name, data := range map[string][]byte{"gz": gz.Bytes(), "zst": zst.Bytes()} {
		if d := cmp.Diff(want, text(t, judgeAll(t, Options{Source: &File{Path: write(t, "e."+name, data)}, Ruleset: now, Workers: 2}))); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
		path := write(t, "cut."+name, data[:len(data)/2])
		if _, _, err := Run(t.Context(), Options{Source: &File{Path: path}, Ruleset: now, Workers: 2}); err == nil {
			t.Errorf("%s: a file that was cut off is judged as if it were whole", name)
		}
	}
}

func TestTheFormatIsToldByTheFirstLine(t *testing.T) {
	t.Parallel()
	f := func(want Format, line string) {
		t.Helper()
		if got := guess([]byte(line + "\nx\n")); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	f(FormatLines, "Nov  1 12:00:00 h sshd[1]: x")
	f(FormatLines, "")
	f(FormatLines, `{"event_type":"alert","src_ip":"10.0.0.1"}`)
	f(FormatLines, `{"log":{"level":"info"},"msg":"x"}`)
	f(FormatLines, `{"level":"info","msg":"x"`)
	f(FormatLines, `{"rule":"deny","action":"x"}`)
	f(FormatNDJSON, `{"log":"x"}`)
	f(FormatNDJSON, `{"log":"x","agent":{"id":"001"}}`)
	f(FormatDocuments, `{"timestamp":"2026-11-01T12:00:00.000+0000","agent":{"id":"001"},"manager":{"name":"m"},"full_log":"x","location":"/x"}`)
	f(FormatDocuments, `{"timestamp":"2026-11-01T12:00:00.000+0000","rule":{"id":"5"},"manager":{"name":"m"}}`)
}

func TestLinesThatAreNoEventsAreCounted(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	f := func(want map[string]int64, events int64, format Format, lines string) {
		t.Helper()
		for _, workers := range []int{1, 3} {
			r := judgeAll(t, Options{Source: &File{Path: write(t, "e", []byte(lines)), Format: format}, Ruleset: now, Workers: workers})
			if d := cmp.Diff(want, r.Refused); d != "" || r.Events != events {
				t.Errorf("%d events, want %d; refused:\n%s", r.Events, events, d)
			}
		}
	}
	f(map[string]int64{"not_ndjson": 2}, 1, FormatNDJSON, "{\"log\":\"x\"}\n\n{\"log\":7}\nx")
	f(map[string]int64{"event_too_large": 1, "line_too_long": 1}, 2, FormatLines, "a\n"+strings.Repeat("x", schemas.MaxEventBytes+1)+"\n"+strings.Repeat("y", lineMax+1)+"\nb")
	f(map[string]int64{"not_a_document": 2, "no_original_log": 2, "no_timestamp": 1}, 1, FormatDocuments, `{"timestamp":"2026-11-01T12:00:00.000+0000","full_log":"x","location":"/x"}
{"timestamp":"2026-11-01T12:00:00.000+0000","location":"/x"}
{"timestamp":"2026-11-01T12:00:00.000+0000","full_log":"x","location":"EventChannel"}
{"timestamp":"yesterday","full_log":"x"}
{"timestamp":"2026-11-01T12:00:00.000+0000","full_log":"x","rule":{"id":"x"}}
{`)
	f(map[string]int64{}, 0, FormatAuto, "")
}

// documentsOf returns an engine's documents of events: alerts.json or
// archives.json.
func documentsOf(r *Ruleset, events []schemas.Event, archive bool) []byte {
	state := r.Engine.NewState()
	var b []byte
	for i := range events {
		res := r.Engine.Process(state, &events[i])
		switch id := fmt.Sprint("1.", i); {
		case archive:
			b = append(res.AppendArchive(b, id, nil), '\n')
		case res.Alert:
			b = append(res.AppendAlert(b, id, nil), '\n')
		}
	}
	return b
}

func TestDocumentsAgreeWithTheRulesetThatWroteThem(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	events := randomEvents(rand.New(rand.NewPCG(4, 3)), 3000)
	// Archives hold everything, so that even state agrees.
	path := write(t, "archives.json", documentsOf(&before, events, true))
	r := judgeAll(t, Options{Source: &File{Path: path}, Ruleset: before, Recorded: true, Workers: 2, Samples: 3})
	if r.Events != int64(len(events)) || r.Total.Alerts == 0 || r.Total.differs() || r.Total.Was != r.Total.Alerts {
		t.Errorf("%d events, %+v, refused %v, samples %+v", r.Events, r.Total, r.Refused, r.Samples)
	}
	r = judgeAll(t, Options{Source: &File{Path: path}, Ruleset: now, Recorded: true, Workers: 2})
	if d := cmp.Diff(expected(events, verdicts(&before, events), verdicts(&now, events)), countsOf(r)); d != "" {
		t.Errorf("(-two runs +report):\n%s", d)
	}
	// Alerts alone agree where nothing is remembered.
	alone := rulesOf(t, "alone", `<group name="test,"><rule id="900001" level="3"><decoded_as>t</decoded_as><match>user=u1</match><description>b</description><group>z,a,</group></rule></group>`)
	path = write(t, "alerts.json", documentsOf(&alone, events, false))
	r = judgeAll(t, Options{Source: &File{Path: path}, Ruleset: alone, Recorded: true, Workers: 2, Samples: 3})
	if r.Events == 0 || r.Events == int64(len(events)) || r.Total.Alerts != r.Events || r.Total.differs() {
		t.Errorf("%d events, %+v, samples %+v", r.Events, r.Total, r.Samples)
	}
}

func TestALoopedFileIsALongerHistory(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	events := randomEvents(rand.New(rand.NewPCG(5, 3)), 1000)
	first, last := events[0].Time, events[0].Time
	for _, e := range events {
		if e.Time.Before(first) {
			first = e.Time
		}
		if e.Time.After(last) {
			last = e.Time
		}
	}
	span := last.Sub(first) + time.Millisecond
	var all []schemas.Event
	for round := range 3 {
		for _, e := range events {
			e.Time = e.Time.Add(time.Duration(round) * span)
			all = append(all, e)
		}
	}
	want := text(t, judgeAll(t, Options{Source: &File{Path: write(t, "all", ndjson(all))}, Ruleset: now, Workers: 1}))
	for _, workers := range []int{1, 3} {
		r := judgeAll(t, Options{Source: &File{Path: write(t, "once", ndjson(events)), Loop: 3}, Ruleset: now, Workers: workers, Timing: true})
		if d := cmp.Diff(want, text(t, r)); d != "" {
			t.Errorf("%d workers (-written out +looped):\n%s", workers, d)
		}
		if s := r.Stats; s.Events != 3000 || s.Alerts != r.Total.Alerts || s.P50Microseconds <= 0 || s.P99Microseconds < s.P50Microseconds || s.MaxMicroseconds < s.P99Microseconds || s.MaxRSSBytes == 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestARangeOfAFileIsThatStretchOfTheWhole(t *testing.T) {
	t.Parallel()
	// Without state that is kept for ever: only windows are warmed up.
	rules := strings.NewReplacer("<check_diff/>", "", "<if_fts/>", "").Replace(rulesBefore)
	before := rulesOf(t, "before", rules)
	events := randomEvents(rand.New(rand.NewPCG(6, 3)), 3000)
	from, to := events[1000].Time, events[2000].Time
	is := verdicts(&before, events)
	var want int64
	var inside int64
	for i := range events {
		if !events[i].Time.Before(from) && events[i].Time.Before(to) {
			inside++
			if is[i].Rule != 0 {
				want++
			}
		}
	}
	for _, workers := range []int{1, 3} {
		r := judgeAll(t, Options{
			Source:  &File{Path: write(t, "e", ndjson(events)), Range: Range{From: from, To: to, Warm: before.Engine.Program().LongestWindow()}},
			Ruleset: before, Workers: workers,
		})
		if r.Events != inside || r.Total.Alerts != want || r.Warm == 0 {
			t.Errorf("%d workers: %d events, %d alerts, %d to warm up; want %d and %d", workers, r.Events, r.Total.Alerts, r.Warm, inside, want)
		}
	}
}

func TestOnlyTheChosenAgentsAreJudged(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	events := randomEvents(rand.New(rand.NewPCG(7, 3)), 1000)
	r := judgeAll(t, Options{Source: &File{Path: write(t, "e", ndjson(events)), Agents: []string{"002", "005"}}, Ruleset: now, Workers: 2})
	events = slices.DeleteFunc(events, func(e schemas.Event) bool { return e.AgentID != "002" && e.AgentID != "005" })
	if d := cmp.Diff(expected(events, make([]Verdict, len(events)), verdicts(&now, events))["total"].Alerts, r.Total.Alerts); d != "" || r.Events != int64(len(events)) {
		t.Error(d)
	}
}

// piecewise judges with interruptions at random moments, over the state file.
func piecewise(t *testing.T, rnd *rand.Rand, events int, options func() Options) (*Report, int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	for interruptions := 0; ; interruptions++ {
		o := options()
		state, err := ReadState(path)
		if err != nil {
			t.Fatal(err)
		}
		if o.State = state; state != nil {
			if err := state.Fits(&o); err != nil {
				t.Fatal(err)
			}
			if _, topic := o.Source.(*Topic); topic {
				o.Workers = 1 + rnd.IntN(4)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var seen atomic.Int64
		stop := int64(rnd.IntN(events / 2))
		if stop == 0 {
			cancel()
		}
		o.judged = func() {
			if seen.Add(1) == stop {
				cancel()
			}
		}
		r, state, err := Run(ctx, o)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if !r.Interrupted {
			return r, interruptions
		}
		if err := state.Write(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAReplayThatIsInterruptedEndsLikeOneThatIsNot(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	total := 0
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		events := randomEvents(rnd, 12_000)
		lines := ndjson(events)
		// Lines that are refused, and some that bring no time.
		lines = bytes.ReplaceAll(lines, []byte(`ip=10.0.0.1 user=u1"`), []byte(`ip=10.0.0.1 user=u1`))
		lines = bytes.ReplaceAll(lines, []byte(`"timestamp":"2026-11-02T0`), []byte(`"time":"2026-11-02T0`))
		source := &File{Path: write(t, "e", lines), Format: FormatNDJSON}
		if seed%2 == 1 {
			source.Range = Range{From: events[4000].Time, To: events[9000].Time, Warm: 5 * time.Minute}
		}
		workers := 1 + int(seed)%3
		out := filepath.Join(t.TempDir(), "alerts")
		options := func(name string) func() Options {
			return func() Options {
				return Options{Source: source, Ruleset: now, Against: &before, Workers: workers, Samples: 4, Explain: true}
			}
		}
		want := judgeAll(t, options("whole")())
		got, interruptions := piecewise(t, rnd, len(events), options(out))
		total += interruptions
		if d := cmp.Diff(text(t, want), text(t, got)); d != "" {
			t.Errorf("seed %d, %d workers, %d interruptions (-whole +resumed):\n%s", seed, workers, interruptions, d)
		}
		if want.Refused["not_ndjson"] == 0 {
			t.Error("nothing was refused: the test shows less than it should")
		}
	}
	t.Logf("%d interruptions", total)
	if total < 4 {
		t.Error("hardly anything was interrupted")
	}
}

// linesOf returns the lines of a file, sorted.
func linesOf(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

func TestAlertsOfAnInterruptedReplayStandInTheFileOnce(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	rnd := rand.New(rand.NewPCG(8, 4))
	source := &File{Path: write(t, "e", ndjson(randomEvents(rnd, 12_000)))}
	sink := func(path string, keep int64) Sink {
		s, err := NewFileSink(path, keep)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	whole, pieces := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "pieces")
	judgeAll(t, Options{Source: source, Ruleset: now, Workers: 2, Out: sink(whole, 0)})
	// A replay that is killed leaves alerts behind its state; one is played here
	// by writing on.
	keep, state := int64(0), (*State)(nil)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		var seen atomic.Int64
		r, s, err := Run(ctx, Options{Source: source, Ruleset: now, Workers: 2, Out: sink(pieces, keep), State: state, judged: func() {
			if seen.Add(1) == 2500 {
				cancel()
			}
		}})
		cancel()
		if err != nil || !r.Interrupted {
			t.Fatal(err)
		}
		keep, state = s.OutBytes, s
		f, err := os.OpenFile(pieces, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("what comes after the state\n"); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	judgeAll(t, Options{Source: source, Ruleset: now, Workers: 2, Out: sink(pieces, keep), State: state})
	if d := cmp.Diff(linesOf(t, whole), linesOf(t, pieces)); d != "" {
		t.Errorf("(-whole +pieces):\n%.3000s", d)
	}
	if _, err := NewFileSink(pieces, 1<<40); err == nil {
		t.Error("a file that is shorter than it was is written on")
	}
}

// failing is a sink that is full at once.
type failing struct{}

func (failing) Write(*Item, []byte) error { return os.ErrInvalid }
func (failing) Close() error              { return nil }

func TestAReplayEndsWhenItsAlertsCannotBeWritten(t *testing.T) {
	t.Parallel()
	now := rulesOf(t, "now", rulesNow)
	source := &File{Path: write(t, "e", ndjson(randomEvents(rand.New(rand.NewPCG(8, 4)), 30_000)))}
	for _, workers := range []int{1, 4} {
		if _, _, err := Run(t.Context(), Options{Source: source, Ruleset: now, Workers: workers, Out: failing{}}); err == nil || !strings.Contains(err.Error(), "write alert of 0/") {
			t.Errorf("%d workers: %v", workers, err)
		}
	}
}

func TestAStateOfAnotherReplayIsRefused(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	source := &File{Path: write(t, "e", ndjson(randomEvents(rand.New(rand.NewPCG(9, 4)), 100)))}
	o := Options{Source: source, Ruleset: now, Against: &before, Workers: 2, Kept: Kept{Request: "--x"}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, s, err := Run(ctx, o)
	if err != nil || s == nil {
		t.Fatal(s, err)
	}
	f := func(want string, o Options) {
		t.Helper()
		if err := s.Fits(&o); err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("", o)
	f("a ruleset has changed", Options{Source: source, Ruleset: before, Against: &before, Kept: o.Kept})
	f("a ruleset has changed", Options{Source: source, Ruleset: now, Kept: o.Kept})
	f("it was another command: --x", Options{Source: source, Ruleset: now, Against: &before})
	if _, err := ReadState(write(t, "s", []byte("nothing"))); err == nil || !strings.Contains(err.Error(), "is not the state of a replay") {
		t.Error(err)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	before, now := rulesOf(t, "before", rulesBefore), rulesOf(t, "now", rulesNow)
	events := randomEvents(rand.New(rand.NewPCG(2, 1)), 4000)
	was, is := verdicts(&before, events), verdicts(&now, events)
	r := judgeAll(t, Options{Source: &File{Path: write(t, "e", ndjson(events))}, Ruleset: now, Against: &before, Workers: 2})
	f := func(text string, match func(was, now Verdict) bool) {
		t.Helper()
		c, err := ParseCondition(text)
		if err != nil {
			t.Fatal(err)
		}
		n := 0.0
		for i := range was {
			if match(was[i], is[i]) {
				n++
			}
		}
		if c.Daily {
			n /= r.Days
		}
		if figure, met := c.Met(r); figure != n || met != (n > c.Limit) {
			t.Errorf("%s: %v (%v), want %v", text, figure, met, n)
		}
	}
	f("alerts > 0", func(_, now Verdict) bool { return now.Rule != 0 })
	f("alerts level>=10 > 5/day", func(_, now Verdict) bool { return now.Level >= 10 })
	f("added > 0", func(was, now Verdict) bool { return was.Rule == 0 && now.Rule != 0 })
	f("removed rule=900002 > 0", func(was, now Verdict) bool { return was.Rule == 900002 && now.Rule == 0 })
	f("changed level>=9 > 3", func(was, now Verdict) bool { return was.Rule != 0 && now.Rule != 0 && was != now && now.Level >= 9 })
	f("differs group=test > 1000000", func(was, now Verdict) bool { return was != now })
	f("  differs   level>=6 rule=900020   >   2.5/day ", func(was, now Verdict) bool { return was != now && now.Rule == 900020 })
	for _, text := range []string{"", "added", "added > x", "added > -1", "added level>10 > 1", "more > 1", "added > 1/week", "alerts level>=99999999999999999999 > 1"} {
		if _, err := ParseCondition(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
