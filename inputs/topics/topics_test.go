package topics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/registry"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type agents map[string]registry.Agent

func (agents) Ready() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (a agents) Agent(id string) (registry.Agent, bool) { f, ok := a[id]; return f, ok }

func (agents) Presence(id string) (schemas.Presence, bool) {
	return schemas.Presence{ID: id, AgentIP: "192.0.2.7"}, id == "007"
}

func topic(t *testing.T, c *kafka.Cluster, name string, partitions int32) {
	t.Helper()
	adm, err := c.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	if _, err := adm.CreateTopic(t.Context(), partitions, 1, nil, name); err != nil {
		t.Fatal(err)
	}
}

func produce(t *testing.T, c *kafka.Cluster, recs ...schemas.Record) {
	t.Helper()
	p, err := c.NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.ProduceSync(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
}

func records(t *testing.T, c *kafka.Cluster, topic string) (out []schemas.Record) {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for p, r := range ranges {
		if err := c.Read(t.Context(), topic, int32(p), r, func(rec schemas.Record) bool {
			out = append(out, rec)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for range 1500 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(err)
}

// run starts a role; the returned function ends it.
func run(t *testing.T, o Options) (r *Role, stop func()) {
	t.Helper()
	o.Node, o.MaxAge, o.Log = "gw1", time.Hour, slog.New(slog.DiscardHandler)
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Registry == nil {
		o.Registry = agents{"007": {ID: "007", Name: "bond"}}
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestRecordsOfOthersBecomeEvents(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	for _, name := range []string{"plain", "json", "beats"} {
		topic(t, c, name, 1)
	}
	old, recent := time.Now().Add(-2*time.Hour).UTC(), time.Now().Add(-time.Minute).UTC().Truncate(time.Millisecond)
	rec := func(topic, value string) schemas.Record {
		return schemas.Record{Topic: topic, Timestamp: recent, Key: []byte("any"), Value: []byte(value)}
	}
	doc := fmt.Sprintf(`{"@timestamp":%q,"message":"hi\tthere","host":{"name":"web1"},"log":{"file":{"path":"/var/log/x"}}}`, old.Format(time.RFC3339Nano))
	produce(t, c.Foreign(),
		rec("plain", "Oct 11 22:14:15 host su: failed\n"), rec("plain", ""), rec("plain", strings.Repeat("x", 65537)), rec("plain", strings.Repeat("y", 65536)),
		rec("json", ` {"a": 1} `), rec("json", `{"a": `),
		rec("beats", doc), rec("beats", `{"message":7}`), rec("beats", `{"message":"bare","host":"x","log":[]}`), rec("beats", `no`),
	)
	reg := prometheus.NewRegistry()
	r, stop := run(t, Options{Cluster: c, Registerer: reg, Topics: []Config{
		{Topic: "plain"}, {Topic: "json", Agent: "007", Location: "here", Format: FormatJSON}, {Topic: "beats", Format: FormatBeats},
	}})
	eventually(t, func() error {
		if n := len(records(t, c, schemas.TopicEvents)) + len(records(t, c, schemas.TopicDeadLetter)); n != 9 {
			return fmt.Errorf("%d of 9", n)
		}
		return nil
	})
	stop()
	ids := map[string]string{}
	for _, name := range []string{"plain", "json", "beats"} {
		id, err := c.Foreign().TopicID(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = id
	}
	got := map[string]schemas.Event{}
	for _, rec := range records(t, c, schemas.TopicEvents) {
		e, err := schemas.ParseEvent(&rec)
		if err != nil {
			t.Error(err)
		}
		if e.Location == "web1->/var/log/x" && !e.Time.Equal(recent) {
			t.Errorf("time %v: the document's is too old, so the record's counts", e.Time)
		}
		e.Time = time.Time{}
		got[e.EventID] = e
	}
	want := map[string]schemas.Event{}
	for _, e := range []schemas.Event{
		{AgentID: "000", Location: "plain", Queue: '2', EventID: ids["plain"] + "/0/0", Log: []byte("Oct 11 22:14:15 host su: failed")},
		{AgentID: "000", Location: "plain", Queue: '2', EventID: ids["plain"] + "/0/3", Log: []byte(strings.Repeat("y", 65536))},
		{AgentID: "007", AgentName: "bond", AgentIP: "192.0.2.7", Location: "here", Queue: '1', EventID: ids["json"] + "/0/0", Log: []byte(`{"a": 1}`)},
		{AgentID: "000", Location: "web1->/var/log/x", Queue: '2', EventID: ids["beats"] + "/0/0", Log: []byte("hi\tthere")},
		{AgentID: "000", Location: "beats", Queue: '2', EventID: ids["beats"] + "/0/2", Log: []byte("bare")},
	} {
		e.Gateway = "gw1"
		want[e.EventID] = e
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	causes := map[string]string{}
	for _, rec := range records(t, c, schemas.TopicDeadLetter) {
		d, err := schemas.ParseDeadLetter(&rec)
		if err != nil {
			t.Fatal(err)
		}
		causes[fmt.Sprintf("%s/%d/%d", d.Topic, d.Partition, d.Offset)] = d.Cause
	}
	if d := cmp.Diff(map[string]string{"plain/0/2": causeTooLarge, "json/0/1": causeNotJSON, "beats/0/1": causeNoMessage, "beats/0/3": causeNotJSON}, causes); d != "" {
		t.Error(d)
	}
	received, out := 0.0, testutil.ToFloat64(r.m.inflight)
	for _, name := range []string{"plain", "json", "beats"} {
		received += testutil.ToFloat64(r.m.received.WithLabelValues(name))
		out += testutil.ToFloat64(r.m.written.WithLabelValues(name))
		for _, cause := range []string{causeEmpty, causeTooLarge, causeNotJSON, causeNoMessage, causeProduce} {
			out += testutil.ToFloat64(r.m.refused.WithLabelValues(name, cause))
		}
	}
	if received != 10 || out != 10 {
		t.Errorf("received %v, accounted for %v", received, out)
	}
}

// Members come, go and die between acknowledgement and commit: every record
// is in events, and in the order of its partition, but for repeats.
func TestNothingIsLostWhoeverDies(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	topic(t, c, "app", 3)
	const n = 3000
	var recs []schemas.Record
	for i := range n {
		recs = append(recs, schemas.Record{Topic: "app", Key: fmt.Appendf(nil, "k%d", i%10), Value: fmt.Appendf(nil, "line %d", i)})
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(recs) > 0 {
		k := min(len(recs), 1+rnd.IntN(900))
		produce(t, c.Foreign(), recs[:k]...)
		recs = recs[k:]
		var left atomic.Int64
		left.Store(int64(rnd.IntN(4)))
		_, stop := run(t, Options{Cluster: c, Topics: []Config{{Topic: "app"}}, fault: func() error {
			if left.Add(-1) < 0 {
				return errors.New("killed")
			}
			return nil
		}})
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
		stop()
	}
	_, stop := run(t, Options{Cluster: c, Topics: []Config{{Topic: "app"}}})
	eventually(t, func() error {
		seen := map[string]bool{}
		for _, rec := range records(t, c, schemas.TopicEvents) {
			seen[string(rec.Value)] = true
		}
		if len(seen) != n {
			return fmt.Errorf("%d of %d", len(seen), n)
		}
		return nil
	})
	stop()
	repeats := inOrder(t, records(t, c, schemas.TopicEvents), 1)
	t.Logf("%d repeats", repeats)
}

// inOrder fails unless the unseen events of a stream come in the order of their
// offsets, at most step of them at once. It counts the repeats.
func inOrder(t *testing.T, events []schemas.Record, step int) (repeats int) {
	t.Helper()
	highest := map[string]int{}
	for _, rec := range events {
		var p, o int
		id := string(rec.Header(schemas.HeaderEventID))
		if _, err := fmt.Sscanf(id[strings.IndexByte(id, '/'):], "/%d/%d", &p, &o); err != nil {
			t.Fatal(id, err)
		}
		stream := id[:strings.LastIndexByte(id, '/')]
		switch at, ok := highest[stream]; {
		case ok && o <= at:
			repeats++
		case ok && o > at+step || !ok && o >= step:
			t.Fatalf("%s comes after %d", id, at)
		default:
			highest[stream] = o
		}
	}
	return repeats
}

// Analysis would take an event that was overtaken for a repeat.
func TestEventsThatBrokersRefuseKeepTheirOrder(t *testing.T) {
	t.Parallel()
	c, broker := kafkatest.Start(t)
	topic(t, c, "app", 1)
	const n = 1000
	var recs []schemas.Record
	for i := range n {
		recs = append(recs, schemas.Record{Topic: "app", Key: fmt.Appendf(nil, "k%d", i%10), Value: fmt.Appendf(nil, "line %d", i)})
	}
	produce(t, c.Foreign(), recs...)
	refused := 0
	broker.ControlKey(kmsg.Produce.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if refused == 4 {
			broker.DropControl()
			return nil, nil, false
		}
		broker.KeepControl()
		refused++
		return kafkatest.RefuseProduce(r, kerr.UnknownServerError), nil, true
	})
	_, stop := run(t, Options{Cluster: c, Topics: []Config{{Topic: "app"}}})
	var dead int
	eventually(t, func() error {
		events := len(records(t, c, schemas.TopicEvents))
		dead = len(records(t, c, schemas.TopicDeadLetter))
		if events+dead != n {
			return fmt.Errorf("%d events and %d dead letters of %d", events, dead, n)
		}
		return nil
	})
	stop()
	// Records that the client took before it reported the refusal may have
	// overtaken.
	if repeats := inOrder(t, records(t, c, schemas.TopicEvents), 1+dead); repeats > 0 {
		t.Errorf("%d events came too late and would be taken for repeats", repeats)
	}
	t.Logf("%d dead letters", dead)
}

func TestAnEventThatWasOvertakenGoesToTheDeadLetter(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	r, err := New(Options{Cluster: c, Topics: []Config{{Topic: "app"}}, Registry: agents{}, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.producer.Close()
	b := batch{in: &input{r: r, cfg: Config{Topic: "app"}, written: r.m.written.WithLabelValues("app")}}
	send := func(key, value string, err error) {
		b.sent = append(b.sent, &sending{
			from: &schemas.Record{Topic: "app", Value: []byte("from " + value)},
			rec:  schemas.Record{Topic: schemas.TopicEvents, Key: []byte(key), Value: []byte(value)}, err: err,
		})
	}
	send("a", "overtaken", kerr.UnknownServerError)
	send("b", "refused", kerr.UnknownServerError)
	send("a", "written before", nil)
	send("a", "refused too", kerr.UnknownServerError)
	if err := b.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var written []string
	for _, rec := range records(t, c, schemas.TopicEvents) {
		written = append(written, string(rec.Value))
	}
	slices.Sort(written)
	if !slices.Equal(written, []string{"refused", "refused too"}) {
		t.Errorf("written again: %q", written)
	}
	dead := records(t, c, schemas.TopicDeadLetter)
	if len(dead) != 1 {
		t.Fatalf("%d dead letters", len(dead))
	}
	if d, err := schemas.ParseDeadLetter(&dead[0]); err != nil || string(d.Value) != "from overtaken" || d.Cause != causeProduce {
		t.Errorf("the dead letter is %+v, %v", d, err)
	}
}

func TestADocumentCannotPassForAnAgent(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"[001] (web) any": "app->[001] (web) any->/p", "(conf) root@fw": "app->(conf) root@fw->/p", "web": "web->/p", "": "/p",
	} {
		for _, agent := range []string{"", "000"} {
			c, cause, _ := read(FormatBeats, fmt.Appendf(nil, `{"message":"x","host":{"name":%q},"log":{"file":{"path":"/p"}}}`, host))
			cfg := Config{Topic: "app", Format: FormatBeats, Agent: agent}
			if got := cfg.location(&c); got != want || cause != "" {
				t.Errorf("%q: %q, %s", host, got, cause)
			}
		}
	}
}

func TestAnUnusableConfigurationIsNamed(t *testing.T) {
	t.Parallel()
	f := func(prefix, want string, list ...Config) {
		t.Helper()
		if err := Validate(list, prefix); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("v.", "ingest.kafka[0].topic: empty", Config{})
	f("v.", "own topics", Config{Topic: "v.events"})
	f("", "own topics", Config{Topic: "events"})
	f("v.", "ingest.kafka[1].topic: \"a\" stands there twice", Config{Topic: "a"}, Config{Topic: "a"})
	f("v.", "group of another", Config{Topic: "a"}, Config{Topic: "b", Group: "v.ingest-a"})
	f("v.", "no topic's name", Config{Topic: "a b"})
	f("v.", "format", Config{Topic: "a", Format: "xml"})
	f("v.", "agent", Config{Topic: "a", Agent: "x"})
	f("v.", "location", Config{Topic: "a", Location: "[x"})
	if err := Validate([]Config{{Topic: "a"}, {Topic: "events", Agent: "000", Format: FormatBeats}}, "v."); err != nil {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"message":"m","host":{"name":"h"},"log":{"file":{"path":"/p"}},"@timestamp":"2026-01-02T03:04:05.6Z"}`))
	f.Add([]byte(`{"message":null}`))
	f.Add([]byte("x\x00y\n"))
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, format := range Formats() {
			c, cause, _ := read(format, value)
			if cause != "" {
				continue
			}
			cfg := Config{Topic: "t", Format: format}
			if loc := cfg.location(&c); loc == "" || strings.ContainsRune("[(", rune(loc[0])) || len(loc) > locationMax || len(c.text) == 0 || len(c.text) > schemas.MaxEventBytes {
				t.Fatalf("%s: %q at %q", format, c.text, loc)
			}
		}
	})
}
