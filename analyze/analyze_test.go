package analyze_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/analyze"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

var quiet = slog.New(slog.DiscardHandler)

const decoders = `<decoder name="t"><prematch>^T </prematch></decoder>
<decoder name="t-fields"><parent>t</parent><regex>ip=(\S+)</regex><order>srcip</order></decoder>
<decoder name="p"><program_name>^p$</program_name></decoder>`

const rules = `<group name="test,">
<rule id="900001" level="3"><decoded_as>t</decoded_as><description>base $(srcip)</description></rule>
<rule id="900002" level="10" frequency="3" timeframe="60"><if_matched_sid>900001</if_matched_sid><description>three</description></rule>
</group>`

func newEngine(t *testing.T) *engine.Engine {
	t.Helper()
	p, problems, err := ruleset.Compile(ruleset.Source{
		Decoders: []ruleset.File{{Name: "d.xml", Path: "d.xml", Data: []byte(decoders)}},
		Rules:    []ruleset.File{{Name: "r.xml", Path: "r.xml", Data: []byte(rules)}},
	})
	if err != nil {
		t.Fatal(err, problems)
	}
	return engine.New(p, engine.Config{ManagerName: "test", ClusterName: "test"})
}

// worker is one running role.
type worker struct {
	reg  *prometheus.Registry
	role *analyze.Role
	stop func() error

	mu  sync.Mutex
	err error // the result of Run, for startWith
}

func start(t *testing.T, c *kafka.Cluster, cfg analyze.Config) *worker {
	t.Helper()
	w := &worker{reg: prometheus.NewRegistry()}
	var err error
	w.role, err = analyze.New(analyze.Options{Config: cfg, Cluster: c, Rulesets: analyze.Fixed{Version: "v1", Of: newEngine(t)}, Log: quiet, Registerer: w.reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.role.Run(ctx) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = w.stop() })
	return w
}

func produce(t *testing.T, c *kafka.Cluster, recs ...schemas.Record) []schemas.Record {
	t.Helper()
	p, err := c.NewProducer("test", quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	out, err := p.ProduceSync(t.Context(), recs...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func event(agent string, second int, text string) schemas.Record {
	e := schemas.Event{Time: epoch.Add(time.Duration(second) * time.Second), AgentID: agent, AgentName: "n" + agent, Location: "/x", Queue: '1', Gateway: "g", Log: []byte(text)}
	return e.Record()
}

// follow collects a topic from its start.
func follow(t *testing.T, c *kafka.Cluster, topic string) func(n int) []schemas.Record {
	t.Helper()
	var mu sync.Mutex
	var recs []schemas.Record
	f := c.Follow(topic, quiet, func(r schemas.Record) { mu.Lock(); recs = append(recs, r); mu.Unlock() })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return func(n int) []schemas.Record {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
			mu.Lock()
			got := slices.Clone(recs)
			mu.Unlock()
			if len(got) >= n {
				return got
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s holds %d records, want %d", topic, len(got), n)
			}
		}
	}
}

type document struct {
	ID   string `json:"id"`
	Rule struct {
		ID string `json:"id"`
	} `json:"rule"`
	Timestamp string `json:"timestamp"`
	Vedette   struct {
		TopicID   string `json:"topic_id"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
		Ruleset   string `json:"ruleset"`
		Gateway   string `json:"gateway"`
	} `json:"vedette"`
}

func parse(t *testing.T, r schemas.Record) (schemas.Alert, document) {
	t.Helper()
	a, err := schemas.ParseAlert(&r)
	if err != nil {
		t.Fatalf("%v: %s", err, r.Value)
	}
	var d document
	if err := json.Unmarshal(a.Document, &d); err != nil {
		t.Fatal(err)
	}
	return a, d
}

func TestAnAlertNamesTheRecordItCameFrom(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	in := produce(t, c, event("001", 0, "T ip=10.0.0.1"), event("001", 1, "nothing"))
	start(t, c, analyze.Default())
	alerts := follow(t, c, schemas.TopicAlerts)(1)
	a, d := parse(t, alerts[0])
	if want := schemas.AlertDocID(d.Vedette.TopicID, in[0].Partition, in[0].Offset, 0); a.ID != want {
		t.Errorf("document id is %s, want %s", a.ID, want)
	}
	if string(alerts[0].Key) != "001" || !alerts[0].Timestamp.Equal(epoch) || d.Timestamp != "2026-11-01T12:00:00.000+0000" {
		t.Errorf("key %s, time %s, timestamp %s", alerts[0].Key, alerts[0].Timestamp, d.Timestamp)
	}
	if d.Rule.ID != "900001" || d.Vedette.Offset != in[0].Offset || d.Vedette.Partition != in[0].Partition || d.Vedette.Ruleset != "v1" || d.Vedette.Gateway != "g" {
		t.Errorf("%+v", d)
	}
}

func TestANewOwnerRebuildsItsWindowsAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	produce(t, c, event("001", 0, "T ip=1.1.1.1"), event("001", 10, "T ip=1.1.1.1"))
	first := start(t, c, analyze.Default())
	alerts := follow(t, c, schemas.TopicAlerts)
	alerts(2)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, c, analyze.Default())
	produce(t, c, event("001", 20, "T ip=1.1.1.1"))
	got := alerts(3)
	_, d := parse(t, got[2])
	if d.Rule.ID != "900002" {
		t.Errorf("the third event gave rule %s; the window of the first owner was lost", d.Rule.ID)
	}
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(alerts(3)); n != 3 {
		t.Errorf("%d alerts, want 3", n)
	}
	if n := testutil.ToFloat64(metric(t, second.reg, "vedette_analyze_rerun_events_total")); n != 2 {
		t.Errorf("%v events were judged again, want 2", n)
	}
}

func TestWhatCannotBeReadGoesToTheDeadLetter(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	bad := event("001", 0, "x")
	bad.Headers = append(bad.Headers, schemas.Header{Key: schemas.HeaderQueue, Value: []byte("too long")})
	big := event("001", 0, "x")
	big.Value = make([]byte, schemas.MaxEventBytes+1)
	in := produce(t, c, bad, big, event("001", 1, "T ip=1.1.1.1"))
	w := start(t, c, analyze.Default())
	dead := follow(t, c, schemas.TopicDeadLetter)(2)
	causes := map[string]int64{}
	for i := range dead {
		d, err := schemas.ParseDeadLetter(&dead[i])
		if err != nil {
			t.Fatal(err)
		}
		causes[d.Cause] = d.Offset
	}
	if causes["event_queue"] != in[0].Offset || causes["event_too_large"] != in[1].Offset || len(causes) != 2 {
		t.Errorf("%v", causes)
	}
	follow(t, c, schemas.TopicAlerts)(1)
	if n := testutil.ToFloat64(metric(t, w.reg, "vedette_analyze_deadletter_total")); n != 2 {
		t.Errorf("%v dead letters counted", n)
	}
}

func TestAPlainLineOfAnotherToolIsJudgedOnce(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	produce(t, c, schemas.Record{Topic: schemas.TopicEvents, Value: []byte("T ip=9.9.9.9")})
	w := start(t, c, analyze.Default())
	a := follow(t, c, schemas.TopicAlerts)(1)
	if _, d := parse(t, a[0]); d.Rule.ID != "900001" {
		t.Errorf("%+v", d)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(metric(t, w.reg, "vedette_analyze_rekeyed_events_total")); n != 1 {
		t.Errorf("%v events were produced again under their key, want 1", n)
	}
}

func TestArchivesHoldEveryEventWhenSwitchedOn(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	produce(t, c, event("001", 0, "T ip=1.1.1.1"), event("001", 1, "nothing"))
	start(t, c, analyze.Config{Rulesets: []string{"x"}, LogAll: true})
	follow(t, c, schemas.TopicArchives)(2)
}

func TestTwoWorkersGiveTheAlertsOfOne(t *testing.T) {
	t.Parallel()
	texts := make([]schemas.Record, 0, 600)
	for i := range 600 {
		texts = append(texts, event(fmt.Sprintf("%03d", 1+i%20), i, fmt.Sprintf("T ip=10.0.0.%d", i%7)))
	}
	run := func(workers int) []string {
		c := kafkatest.New(t)
		produce(t, c, texts...)
		for range workers {
			start(t, c, analyze.Default())
		}
		var out []string
		for _, r := range follow(t, c, schemas.TopicAlerts)(600) {
			_, d := parse(t, r)
			out = append(out, d.ID+" "+d.Rule.ID)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	one, two := run(1), run(2)
	if !slices.Equal(one, two) || len(one) != 600 {
		t.Errorf("one worker gives %d alerts, two %d, and they differ", len(one), len(two))
	}
}

// metric finds a collector's sum by name.
func metric(t *testing.T, reg *prometheus.Registry, name string) prometheus.Collector {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "sum"})
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				g.Add(m.GetCounter().GetValue())
			}
		}
	}
	return g
}
