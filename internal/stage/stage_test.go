package stage_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/secret"
	"vedette/internal/stage"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

// counting is a part that numbers the records of its partition by a version.
type counting struct {
	by      func(version string) error
	version string
	n       uint64
	total   prometheus.Counter
}

func (c *counting) Prepare(_ context.Context, version string) (func(), error) {
	if err := c.by(version); err != nil {
		return nil, err
	}
	return func() { c.version = version }, nil
}

func (c *counting) Restore(data []byte) error {
	if len(data) != 8 {
		return stage.ErrOtherForm
	}
	c.n = binary.BigEndian.Uint64(data)
	return nil
}

func (c *counting) AppendSnapshot(dst []byte, _ int) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, c.n), nil
}

func (c *counting) Keys() int { return 1 }
func (c *counting) Close()    {}

func (c *counting) Process(rec *schemas.Record, live bool, out *stage.Output) {
	c.n++
	if live {
		out.Add(schemas.Record{Topic: schemas.TopicArchives, Key: rec.Key, Value: fmt.Appendf(nil, "%s is number %d by %s", rec.Value, c.n, c.version)}, c.total)
	}
}

// versions is a Versions that a test switches.
type versions struct {
	mu      sync.Mutex
	current string
	ready   chan struct{}
}

func newVersions(current string) *versions {
	v := &versions{current: current, ready: make(chan struct{})}
	close(v.ready)
	return v
}

func (v *versions) Ready() <-chan struct{} { return v.ready }

func (v *versions) Current() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.current
}

func (v *versions) set(version string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = version
}

type running struct {
	s    *stage.Stage
	reg  *prometheus.Registry
	stop func()
}

// start runs a stage of a name until stop; refuse says which versions it cannot have.
func start(t *testing.T, c *kafka.Cluster, name string, v stage.Versions, refuse func(version string) error) *running {
	t.Helper()
	reg := prometheus.NewRegistry()
	p, err := c.NewProducer(name, quiet, reg)
	if err != nil {
		t.Fatal(err)
	}
	box, err := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	total := prometheus.NewCounter(prometheus.CounterOpts{Name: "total"})
	r := &running{reg: reg}
	r.s = stage.New(stage.Config{
		Name: name, Group: name, Topic: schemas.TopicEvents, Cluster: c, Producer: p, Versions: v, Box: box, Log: quiet, Registerer: reg,
		Open: func(kafka.Assignment) stage.Part { return &counting{by: refuse, total: total} },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.s.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stage %s: %v", name, err)
		}
		p.Close()
	})
	t.Cleanup(r.stop)
	return r
}

func every(string) error { return nil }

func produce(t *testing.T, c *kafka.Cluster, values ...string) {
	t.Helper()
	p, err := c.NewProducer("test", quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, v := range values {
		if _, err := p.ProduceSync(t.Context(), schemas.Record{Topic: schemas.TopicEvents, Key: []byte("k"), Value: []byte(v)}); err != nil {
			t.Fatal(err)
		}
	}
}

// output waits until the output holds n records and returns them.
func output(t *testing.T, c *kafka.Cluster, n int) []string {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var got []string
		ranges, err := c.Ranges(t.Context(), schemas.TopicArchives)
		if err != nil {
			t.Fatal(err)
		}
		for p, r := range ranges {
			if err := c.Read(t.Context(), schemas.TopicArchives, int32(p), r, func(rec schemas.Record) bool {
				got = append(got, string(rec.Value))
				return true
			}); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) >= n {
			return got
		}
		if time.Now().After(end) {
			t.Fatalf("the output holds %q, want %d records", got, n)
		}
	}
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the output is\n%q, want\n%q", got, want)
	}
}

// Two stages read one topic and keep their checkpoints in one other; each finds
// only its own.
func TestEachStageGoesOnFromItsOwnCheckpoint(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	v := newVersions("v1")
	one := start(t, c, "one", v, every)
	produce(t, c, "a", "b")
	equal(t, output(t, c, 2), "a is number 1 by v1", "b is number 2 by v1")
	one.stop()
	two := start(t, c, "two", v, every)
	output(t, c, 4) // it begins at the start of the topic, with a count of its own
	two.stop()
	one = start(t, c, "one", v, every)
	produce(t, c, "c")
	got := output(t, c, 5)
	equal(t, got[4:], "c is number 3 by v1")
	if n := testutil.CollectAndCount(one.reg, "vedette_one_checkpoints_loaded_total"); n != 1 {
		t.Errorf("the metric of loaded checkpoints exists %d times", n)
	}
}

func TestAVersionThatIsGoneLeavesTheOneBefore(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	v := newVersions("v1")
	s := start(t, c, "one", v, func(version string) error {
		if version == "v2" {
			return fmt.Errorf("not published: %w", stage.ErrGone)
		}
		return nil
	})
	produce(t, c, "a")
	output(t, c, 1)
	v.set("v2")
	produce(t, c, "b")
	output(t, c, 2)
	v.set("v3")
	produce(t, c, "c")
	equal(t, output(t, c, 3), "a is number 1 by v1", "b is number 2 by v1", "c is number 3 by v3")
	if got := s.s.Used(); got["v3"] != 1 || len(got) != 1 {
		t.Errorf("versions in use: %v", got)
	}
}

// A stage whose current version cannot be had waits for one that can, and loses nothing.
func TestAStageWaitsForACurrentVersion(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	v := newVersions("gone")
	var asked sync.Once
	tried := make(chan struct{})
	start(t, c, "one", v, func(version string) error {
		if version == "gone" {
			asked.Do(func() { close(tried) })
			return stage.ErrGone
		}
		return nil
	})
	produce(t, c, "a")
	select {
	case <-tried:
	case <-time.After(2 * time.Minute):
		t.Fatal("the version was not asked for")
	}
	v.set("v1")
	equal(t, output(t, c, 1), "a is number 1 by v1")
}

func TestAnErrorThatPassesIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	var mu sync.Mutex
	tries := 0
	start(t, c, "one", newVersions("v1"), func(string) error {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries < 3 {
			return errors.New("the brokers do not answer")
		}
		return nil
	})
	produce(t, c, "a")
	equal(t, output(t, c, 1), "a is number 1 by v1")
}
