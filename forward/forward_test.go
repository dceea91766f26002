package forward_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/forward"
	"vedette/forward/route"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/retry"
	"vedette/internal/store"
	"vedette/internal/store/storetest"
	"vedette/schemas"
)

var quiet = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) { leaktest.Main(m) }

// sink is a destination in memory that can stand still and refuse.
type sink struct {
	mu   sync.Mutex
	got  map[string]int
	down bool
}

func (s *sink) Deliver(ctx context.Context, alerts []schemas.Alert) ([]forward.Failure, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errors.New("down")
	}
	var fs []forward.Failure
	for i, a := range alerts {
		if strings.Contains(string(a.Document), "indigestible") {
			fs = append(fs, forward.Failure{Index: i, ID: a.ID, Reason: store.ReasonMapping, Detail: "does not fit"})
			continue
		}
		s.got[a.ID]++
	}
	return fs, nil
}

func (s *sink) Ready(context.Context) error { return nil }

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func (s *sink) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// start runs the role; stop ends it and waits.
func start(t *testing.T, c *kafka.Cluster, d forward.Destination) (f *forward.Forward, reg *prometheus.Registry, stop func()) {
	t.Helper()
	return startAll(t, c, forward.Target{Name: forward.IndexerName, Destination: d})
}

func startAll(t *testing.T, c *kafka.Cluster, targets ...forward.Target) (f *forward.Forward, reg *prometheus.Registry, stop func()) {
	t.Helper()
	cfg := forward.Default()
	cfg.RetryDelayMin, cfg.RetryDelayMax = 5*time.Millisecond, 20*time.Millisecond
	reg = prometheus.NewRegistry()
	f, err := forward.New(cfg, c, targets, quiet, reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return f, reg, stop
}

func produce(t *testing.T, c *kafka.Cluster, recs ...schemas.Record) {
	t.Helper()
	p, err := c.NewProducer("test", quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.ProduceSync(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
}

// stubborn takes one alert of each batch and then fails; it counts repeats, and
// notes when it was asked.
type stubborn struct {
	sink
	err   error
	calls int
	open  time.Time // when it may be asked again
	early int       // calls before that
}

func (s *stubborn) Deliver(_ context.Context, alerts []schemas.Alert) ([]forward.Failure, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if time.Now().Before(s.open) {
		s.early++
	}
	s.got[alerts[0].ID]++
	var fs []forward.Failure
	if strings.Contains(string(alerts[0].Document), "indigestible") {
		fs = []forward.Failure{{Index: 0, ID: alerts[0].ID, Reason: store.ReasonRefused, Detail: "does not fit"}}
	}
	if len(alerts) == 1 {
		return fs, nil
	}
	s.open = time.Now().Add(retry.Asked(s.err))
	return append(fs, forward.Failure{Index: 1, Reason: store.ReasonRefused, Detail: "not reached"}), &forward.Partial{Done: 1, Err: s.err}
}

func TestAlertsThatWereTakenAreNotRepeated(t *testing.T) {
	c := kafkatest.New(t)
	s := &stubborn{sink: sink{got: map[string]int{}}, err: errors.New("enough")}
	bad := storetest.Alert("x", 0, map[string]any{"full_log": "indigestible"})
	produce(t, c, append(append(series("a", 3), bad.Record()), series("b", 3)...)...)
	_, reg, stop := start(t, c, s)
	eventually(t, "7 alerts", func() bool { return s.count() == 7 })
	eventually(t, "one dead letter", func() bool {
		return testutil.CollectAndCount(reg, "vedette_forward_failed_alerts_total") == 1
	})
	stop()
	for id, n := range s.got {
		if n != 1 {
			t.Errorf("%s was sent %d times; alerts that a Partial counts as done must not be sent again", id, n)
		}
	}
	want := `
# HELP vedette_forward_failed_alerts_total Alerts that went to the dead letter topic instead, by reason.
# TYPE vedette_forward_failed_alerts_total counter
vedette_forward_failed_alerts_total{destination="indexer",reason="refused"} 1
# HELP vedette_forward_out_alerts_total Alerts a destination took.
# TYPE vedette_forward_out_alerts_total counter
vedette_forward_out_alerts_total{destination="indexer"} 6
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "vedette_forward_failed_alerts_total", "vedette_forward_out_alerts_total"); err != nil {
		t.Error(err)
	}
}

func TestADestinationIsLeftAloneAsLongAsItAsks(t *testing.T) {
	c := kafkatest.New(t)
	const wait = time.Second
	s := &stubborn{sink: sink{got: map[string]int{}}, err: &retry.After{Err: errors.New("busy"), Wait: wait}}
	produce(t, c, series("a", 3)...)
	_, _, stop := start(t, c, s)
	eventually(t, "3 alerts", func() bool { return s.count() == 3 })
	stop()
	if s.early > 0 {
		t.Errorf("%d of %d calls came within %s of an error that asked for that pause", s.early, s.calls, wait)
	}
}

func TestADestinationGetsOnlyTheAlertsOfItsConditions(t *testing.T) {
	c := kafkatest.New(t)
	m, err := route.Config{MinLevel: 10}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	all, some := &sink{got: map[string]int{}}, &sink{got: map[string]int{}}
	produce(t, c, series("a", 20)...) // of the levels 3 to 12, each twice
	_, reg, stop := startAll(t, c, forward.Target{Name: forward.IndexerName, Destination: all}, forward.Target{Name: "some", Route: m, Destination: some})
	eventually(t, "20 alerts at one destination, 6 at the other", func() bool { return all.count() == 20 && some.count() == 6 })
	stop()
	for _, i := range []int{7, 8, 9, 17, 18, 19} {
		if id := schemas.AlertDocID("a", 0, int64(i), 0); some.got[id] != 1 {
			t.Errorf("alert %s has level 10 or more and arrived %d times", id, some.got[id])
		}
	}
	want := `
# HELP vedette_forward_in_alerts_total Alert records read for a destination.
# TYPE vedette_forward_in_alerts_total counter
vedette_forward_in_alerts_total{destination="indexer"} 20
vedette_forward_in_alerts_total{destination="some"} 20
# HELP vedette_forward_out_alerts_total Alerts a destination took.
# TYPE vedette_forward_out_alerts_total counter
vedette_forward_out_alerts_total{destination="indexer"} 20
vedette_forward_out_alerts_total{destination="some"} 6
# HELP vedette_forward_unrouted_alerts_total Alerts that the destination's conditions leave out.
# TYPE vedette_forward_unrouted_alerts_total counter
vedette_forward_unrouted_alerts_total{destination="some"} 14
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "vedette_forward_in_alerts_total", "vedette_forward_out_alerts_total", "vedette_forward_unrouted_alerts_total"); err != nil {
		t.Error(err)
	}
}

func series(name string, n int) []schemas.Record {
	var recs []schemas.Record
	for _, a := range storetest.Series(name, n) {
		recs = append(recs, a.Record())
	}
	return recs
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const limit = 2 * time.Minute
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func TestAlertsArriveAndARestartRepeatsNothing(t *testing.T) {
	c := kafkatest.New(t)
	s := &sink{got: map[string]int{}}
	produce(t, c, series("a", 50)...)
	_, _, stop := start(t, c, s)
	eventually(t, "50 alerts", func() bool { return s.count() == 50 })
	stop()
	produce(t, c, series("b", 10)...)
	_, _, stop = start(t, c, s)
	eventually(t, "60 alerts", func() bool { return s.count() == 60 })
	stop()
	for id, n := range s.got {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
}

func TestAlertsWaitWhileTheDestinationIsDown(t *testing.T) {
	c := kafkatest.New(t)
	s := &sink{got: map[string]int{}, down: true}
	produce(t, c, series("a", 20)...)
	f, reg, stop := start(t, c, s)
	eventually(t, "readiness turns red", func() bool { return f.Health(t.Context())["forward.indexer"] != nil })
	if s.count() != 0 {
		t.Error("delivered while down")
	}
	s.set(false)
	eventually(t, "20 alerts", func() bool { return s.count() == 20 })
	eventually(t, "readiness turns green", func() bool { return f.Health(t.Context())["forward.indexer"] == nil })
	stop()
	if n, err := testutil.GatherAndCount(reg, "vedette_forward_retries_total"); err != nil || n != 1 {
		t.Errorf("retries: %d, %v", n, err)
	}
}

func TestWhatCannotBeDeliveredGoesToTheDeadLetter(t *testing.T) {
	c := kafkatest.New(t)
	s := &sink{got: map[string]int{}}
	bad := storetest.Alert("x", 1, map[string]any{"full_log": "indigestible"})
	headless := storetest.Alert("x", 2, nil)
	noHeader := headless.Record()
	noHeader.Headers = nil
	recs := append(series("a", 3), bad.Record(), noHeader)
	produce(t, c, append(recs, series("b", 3)...)...)
	_, reg, stop := start(t, c, s)
	eventually(t, "6 alerts", func() bool { return s.count() == 6 })

	var mu sync.Mutex
	var dead []schemas.DeadLetter
	fol := c.Follow(schemas.TopicDeadLetter, quiet, func(r schemas.Record) {
		d, err := schemas.ParseDeadLetter(&r)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		dead = append(dead, d)
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = fol.Run(ctx) }()
	eventually(t, "2 dead letters", func() bool { mu.Lock(); defer mu.Unlock(); return len(dead) == 2 })
	cancel()
	<-done
	stop()
	causes := map[string]schemas.DeadLetter{}
	for _, d := range dead {
		causes[d.Cause] = d
	}
	if d := causes[store.ReasonMapping]; d.Topic != schemas.TopicAlerts || string(d.Value) != string(bad.Document) || !strings.Contains(d.Detail, "does not fit") {
		t.Errorf("%+v", d)
	}
	if d := causes["record"]; !strings.Contains(d.Detail, "header id") {
		t.Errorf("%+v", d)
	}
	want := `
# HELP vedette_forward_failed_alerts_total Alerts that went to the dead letter topic instead, by reason.
# TYPE vedette_forward_failed_alerts_total counter
vedette_forward_failed_alerts_total{destination="indexer",reason="mapping"} 1
vedette_forward_failed_alerts_total{destination="indexer",reason="record"} 1
# HELP vedette_forward_in_alerts_total Alert records read for a destination.
# TYPE vedette_forward_in_alerts_total counter
vedette_forward_in_alerts_total{destination="indexer"} 8
# HELP vedette_forward_out_alerts_total Alerts a destination took.
# TYPE vedette_forward_out_alerts_total counter
vedette_forward_out_alerts_total{destination="indexer"} 6
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "vedette_forward_failed_alerts_total", "vedette_forward_in_alerts_total", "vedette_forward_out_alerts_total"); err != nil {
		t.Error(err)
	}
}
