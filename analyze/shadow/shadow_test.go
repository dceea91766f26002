package shadow_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"

	"vedette/analyze"
	"vedette/analyze/shadow"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

const decoders = `<decoder name="t"><prematch>^T </prematch></decoder><decoder name="p"><program_name>^p$</program_name></decoder>`

// rules of one ruleset each; 900001 is in both.
const (
	base   = `<rule id="900001" level="3"><decoded_as>t</decoded_as><description>base</description></rule>`
	stays  = `<rule id="900002" level="5"><if_sid>900001</if_sid><match>stays</match><description>stays</description></rule>`
	before = `<rule id="900003" level="5"><if_sid>900001</if_sid><match>louder</match><description>louder</description></rule>
<rule id="900004" level="5"><if_sid>900001</if_sid><match>grouped</match><description>grouped</description></rule>
<rule id="900005" level="0"><if_sid>900001</if_sid><match>silent</match><description>silent</description></rule>`
	after = `<rule id="900003" level="9"><if_sid>900001</if_sid><match>louder</match><description>louder now</description></rule>
<rule id="900004" level="5"><if_sid>900001</if_sid><match>grouped</match><group>more,</group><description>grouped</description></rule>
<rule id="900006" level="0"><if_sid>900001</if_sid><match>gone</match><description>gone</description></rule>`
	three = `<rule id="900007" level="10" frequency="3" timeframe="600"><if_matched_sid>900001</if_matched_sid><description>three</description></rule>`
)

func compile(t *testing.T, rules ...string) *engine.Engine {
	t.Helper()
	p, problems, err := ruleset.Compile(ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(decoders)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(`<group name="test,">` + strings.Join(rules, "\n") + `</group>`)}},
	})
	if err != nil {
		t.Fatal(err, problems)
	}
	return engine.New(p, engine.Config{ManagerName: "test"})
}

// switched is rulesets of which a test chooses.
type switched struct {
	mu      sync.Mutex
	current string
	engines map[string]*engine.Engine
	ready   chan struct{}
}

func rulesets(current string, engines map[string]*engine.Engine) *switched {
	s := &switched{current: current, engines: engines, ready: make(chan struct{})}
	if current != "" {
		close(s.ready)
	}
	return s
}

func (s *switched) Ready() <-chan struct{} { return s.ready }

func (s *switched) Current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

func (s *switched) set(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = version
}

func (s *switched) Engine(_ context.Context, version string) (*engine.Engine, error) {
	if e := s.engines[version]; e != nil {
		return e, nil
	}
	return nil, analyze.ErrRulesetGone
}

type member struct {
	t    *testing.T
	reg  *prometheus.Registry
	stop func() error
}

func start(t *testing.T, c *kafka.Cluster, running, candidate analyze.Rulesets) *member {
	t.Helper()
	m := &member{t: t, reg: prometheus.NewRegistry()}
	r, err := shadow.New(shadow.Options{Cluster: c, Running: running, Candidate: candidate, Log: quiet, Registerer: m.reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	m.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// value adds up a metric over its labels, or over those with a value; -1 is none.
func (m *member) value(name, label string) float64 {
	m.t.Helper()
	families, err := m.reg.Gather()
	if err != nil {
		m.t.Fatal(err)
	}
	n := -1.0
	for _, f := range families {
		if f.GetName() != "vedette_shadow_"+name {
			continue
		}
		n = 0
		for _, x := range f.GetMetric() {
			has := label == ""
			for _, l := range x.GetLabel() {
				has = has || l.GetValue() == label
			}
			if has {
				n += x.GetCounter().GetValue() + x.GetGauge().GetValue()
			}
		}
	}
	return n
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// begin lets the group begin, so that events after it are the shadow's.
func begin(t *testing.T, c *kafka.Cluster) {
	t.Helper()
	if err := c.BeginGroup(t.Context(), shadow.Group, schemas.TopicEvents); err != nil {
		t.Fatal(err)
	}
}

// caughtUp waits until the group has committed everything.
func caughtUp(t *testing.T, c *kafka.Cluster) {
	t.Helper()
	eventually(t, "the shadow has caught up", func() bool {
		lag, ok, err := c.GroupLag(t.Context(), shadow.Group, schemas.TopicEvents)
		return ok && err == nil && lag == 0
	})
}

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func produce(t *testing.T, c *kafka.Cluster, agent string, texts ...string) []schemas.Record {
	t.Helper()
	p, err := c.NewProducer("test", quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var recs []schemas.Record
	for _, text := range texts {
		e := schemas.Event{Time: epoch, AgentID: agent, AgentName: "n" + agent, Location: "/x", Queue: '1', Log: []byte(text)}
		recs = append(recs, e.Record())
	}
	out, err := p.ProduceSync(t.Context(), recs...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// differences reads the topic shadow.
func differences(t *testing.T, c *kafka.Cluster) (out []schemas.ShadowDiff) {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), schemas.TopicShadow)
	if err != nil {
		t.Fatal(err)
	}
	for p, r := range ranges {
		err := c.Read(t.Context(), schemas.TopicShadow, int32(p), r, func(rec schemas.Record) bool {
			d, err := schemas.ParseShadowDiff(&rec)
			if err != nil {
				t.Error(err)
			}
			out = append(out, d)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func lines(ds []schemas.ShadowDiff) (out []string) {
	side := func(v *schemas.ShadowVerdict) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%d/%d/%s/%s", v.Rule, v.Level, strings.Join(v.Groups, ","), v.Description)
	}
	for _, d := range ds {
		out = append(out, fmt.Sprintf("%s %s %s > %s (%s against %s)", d.FullLog, d.Kind, side(d.Was), side(d.Now), d.Ruleset, d.Against))
	}
	slices.Sort(out)
	return out
}

func TestOnlyWhatDiffersIsWritten(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	produce(t, c, "001", "T louder, before the shadow began")
	begin(t, c)
	in := produce(t, c, "001", "T stays", "T louder", "T grouped", "T silent", "T gone", "other")
	m := start(t, c, rulesets("v1", map[string]*engine.Engine{"v1": compile(t, base, stays, before)}), rulesets("v2", map[string]*engine.Engine{"v2": compile(t, base, stays, after)}))
	caughtUp(t, c)
	got := differences(t, c)
	want := []string{
		"T gone removed 900001/3/test/base > - (v2 against v1)",
		"T grouped changed 900004/5/test/grouped > 900004/5/test,more/grouped (v2 against v1)",
		"T louder changed 900003/5/test/louder > 900003/9/test/louder now (v2 against v1)",
		"T silent added - > 900001/3/test/base (v2 against v1)",
	}
	if d := cmp.Diff(want, lines(got)); d != "" {
		t.Error(d)
	}
	id, err := c.TopicID(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	wantDiff := schemas.ShadowDiff{
		Kind: schemas.ShadowRemoved, Was: &schemas.ShadowVerdict{Rule: 900001, Level: 3, Groups: []string{"test"}, Description: "base"},
		Ruleset: "v2", Against: "v1", TopicID: id, Partition: in[4].Partition, Offset: in[4].Offset, Key: "001",
		AgentID: "001", AgentName: "n001", Location: "/x", Time: epoch, FullLog: "T gone",
	}
	for _, d := range got {
		if d.FullLog == "T gone" && cmp.Diff(wantDiff, d) != "" {
			t.Error(cmp.Diff(wantDiff, d))
		}
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"events_total": 6, "differences_total": 4, "lost_events_total": 0} {
		if n := m.value(name, ""); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	if n := m.value("differences_total", "changed"); n != 2 {
		t.Errorf("%v changed", n)
	}
	if m.value("info", "v2") != 1 || m.value("info", "v1") != 1 {
		t.Error("the metric does not name the versions")
	}
	// Nothing else is written.
	for _, topic := range schemas.Topics() {
		ranges, err := c.Ranges(t.Context(), topic.Name)
		if err != nil {
			t.Fatal(err)
		}
		for p, r := range ranges {
			if r.End > 0 && topic.Name != schemas.TopicEvents && topic.Name != schemas.TopicShadow {
				t.Errorf("%s/%d holds %d records", topic.Name, p, r.End)
			}
		}
	}
	if _, ok, err := c.GroupLag(t.Context(), analyze.Group, schemas.TopicEvents); ok || err != nil {
		t.Error("the workers' group has commits", err)
	}
}

func TestAShadowGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	running := rulesets("v1", map[string]*engine.Engine{"v1": compile(t, base, three)})
	candidate := rulesets("v2", map[string]*engine.Engine{"v2": compile(t, base, strings.ReplaceAll(three, `frequency="3"`, `frequency="4"`))})
	begin(t, c)
	var want []string
	ids := map[string]bool{}
	for round := range 4 {
		// Windows of either ruleset reach over the restarts: every third event is
		// a composite of the one, every fourth of the other.
		texts := make([]string, 5)
		for i := range texts {
			n := 5*round + i + 1
			texts[i] = fmt.Sprintf("T %02d", n)
			if (n%3 == 0) != (n%4 == 0) {
				want = append(want, texts[i])
			}
		}
		produce(t, c, "001", texts...)
		m := start(t, c, running, candidate)
		caughtUp(t, c)
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, d := range differences(t, c) {
		if ids[d.ID()] {
			t.Errorf("%s is there twice", d.ID())
		}
		ids[d.ID()] = true
		got = append(got, d.FullLog)
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A difference written before a crash that comes again has the same bytes.
func TestWhatIsWrittenAgainIsTheSame(t *testing.T) {
	t.Parallel()
	c := kafkatest.NewWith(t, 1)
	begin(t, c)
	produce(t, c, "001", "T louder", "T gone", "T silent", "T grouped")
	running := rulesets("v1", map[string]*engine.Engine{"v1": compile(t, base, before)})
	candidate := rulesets("v2", map[string]*engine.Engine{"v2": compile(t, base, after)})
	for range 2 {
		m := start(t, c, running, candidate)
		caughtUp(t, c)
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		// The commit is lost.
		adm, err := c.Admin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := adm.DeleteGroups(t.Context(), c.Topic(shadow.Group)); err != nil {
			t.Fatal(err)
		}
		adm.Close()
		commitStart(t, c)
	}
	got := differences(t, c)
	if len(got) != 8 || cmp.Diff(got[:4], got[4:]) != "" {
		t.Error(len(got), cmp.Diff(got[:4], got[4:]))
	}
}

func TestWhenTheCandidateRunsNothingDiffers(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	engines := func() map[string]*engine.Engine {
		return map[string]*engine.Engine{"v1": compile(t, base, three), "v2": compile(t, base, strings.ReplaceAll(three, `frequency="3"`, `frequency="4"`)), "v3": compile(t, base, strings.ReplaceAll(strings.ReplaceAll(three, `frequency="3"`, `frequency="4"`), `<desc`, `<group>more,</group><desc`))}
	}
	running, candidate := rulesets("v1", engines()), rulesets("v2", engines())
	begin(t, c)
	start(t, c, running, candidate)
	step := func(want string, texts ...string) {
		t.Helper()
		had := len(differences(t, c))
		produce(t, c, "001", texts...)
		caughtUp(t, c)
		got := lines(differences(t, c))
		if n := len(got) - had; n != strings.Count(want, ";") {
			t.Errorf("%d differences come of %v, want %q: %v", n, texts, want, got)
		}
		for _, w := range strings.Split(strings.TrimSuffix(want, ";"), ";") {
			if want != "" && !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, w) && strings.Contains(s, "against") }) {
				t.Errorf("%q is not in %v", w, got)
			}
		}
	}
	step("T 3 changed;", "T 1", "T 2", "T 3")
	running.set("v2")                    // promoted; it remembers three events
	step("", "T 4", "T 5", "T 6", "T 7") // the last is the composite of both
	step("", "T 8", "T 9")
	candidate.set("v3")
	// They part again, and both remember the events of the one.
	step("T 11 changed 900007/10/test/three > 900007/10/test,more/three (v3;", "T 10", "T 11")
	candidate.set("v9") // cannot be had: the one before goes on
	step("T 15 changed 900007/10/test/three > 900007/10/test,more/three (v3;", "T 12", "T 13", "T 14", "T 15")
}

func TestWithoutACandidateTheShadowWaits(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	candidate := rulesets("", map[string]*engine.Engine{"v2": compile(t, base, after)})
	m := start(t, c, rulesets("v1", map[string]*engine.Engine{"v1": compile(t, base, before)}), candidate)
	produce(t, c, "001", "T louder")
	if n := m.value("info", ""); n != -1 {
		t.Error("the metric claims a shadow")
	}
	candidate.set("v2")
	close(candidate.ready)
	eventually(t, "the group begins", func() bool {
		_, ok, err := c.GroupLag(t.Context(), shadow.Group, schemas.TopicEvents)
		return ok && err == nil
	})
	produce(t, c, "001", "T gone")
	caughtUp(t, c)
	if d := cmp.Diff([]string{"T gone removed 900001/3/test/base > - (v2 against v1)"}, lines(differences(t, c))); d != "" {
		t.Error(d)
	}
}

// commitStart lets the group begin at the start of the log.
func commitStart(t *testing.T, c *kafka.Cluster) {
	t.Helper()
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	at := kadm.Offsets{}
	at.AddOffset(c.Topic(schemas.TopicEvents), 0, 0, -1)
	if err := adm.CommitAllOffsets(t.Context(), c.Topic(shadow.Group), at); err != nil {
		t.Fatal(err)
	}
}
