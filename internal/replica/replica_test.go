package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

// node is one node's copy of a state that keeps the values under `t/`. A value that
// begins with `v2` is of a later form, and `bad` cannot be read.
type node struct {
	*Topic
	stop func()

	mu     sync.Mutex
	values map[string]string
	order  []string
}

func (n *node) apply(_ context.Context, rec *schemas.Record) error {
	switch v := string(rec.Value); {
	case strings.HasPrefix(v, "v2"):
		return fmt.Errorf("value %q: %w", v, schemas.ErrNewer)
	case v == "bad":
		return errors.New("no value")
	case v == "odd":
		return &Refusal{"odd", errors.New("an odd value")}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.order = append(n.order, string(rec.Key)+"="+string(rec.Value))
	if len(rec.Value) == 0 {
		delete(n.values, string(rec.Key))
	} else {
		n.values[string(rec.Key)] = string(rec.Value)
	}
	return nil
}

func (n *node) state() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.values)
}

func (n *node) count(reason string) int {
	return int(testutil.ToFloat64(n.refused.WithLabelValues(n.cfg.Name, reason)))
}

func open(t *testing.T, c *kafka.Cluster, key byte, reg prometheus.Registerer) *node {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatalf("no box: %v", err)
	}
	n := &node{values: map[string]string{}}
	n.Topic, err = Open(c, box, Config{
		Name: "test", Topic: schemas.TopicFiles, Purpose: "files",
		Claims: func(key []byte) bool { return bytes.HasPrefix(key, []byte("t/")) }, Apply: n.apply,
	}, quiet, reg)
	if err != nil {
		t.Fatalf("the state does not open: %v", err)
	}
	return n
}

// start runs a node until stop is called or the test ends.
func start(t *testing.T, c *kafka.Cluster, key byte) *node {
	t.Helper()
	n := open(t, c, key, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			t.Errorf("Run ended with %v, want nil", err)
		}
	}()
	n.stop = func() { cancel(); <-done }
	t.Cleanup(n.stop)
	select {
	case <-n.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("the node does not become ready")
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func rec(key, value string) schemas.Record {
	return schemas.Record{Topic: schemas.TopicFiles, Key: []byte(key), Value: []byte(value)}
}

// deadLetters returns how often each cause stands in the dead letter.
func deadLetters(t *testing.T, c *kafka.Cluster) map[string]int {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), schemas.TopicDeadLetter)
	if err != nil {
		t.Fatalf("the dead letter has no ranges: %v", err)
	}
	causes := map[string]int{}
	for p, r := range ranges {
		err := c.Read(t.Context(), schemas.TopicDeadLetter, int32(p), r, func(rec schemas.Record) bool {
			d, err := schemas.ParseDeadLetter(&rec)
			if err != nil {
				t.Errorf("a dead letter cannot be read: %v", err)
			}
			causes[d.Cause]++
			return true
		})
		if err != nil {
			t.Fatalf("the dead letter cannot be read: %v", err)
		}
	}
	return causes
}

func TestTwoNodesComeToOneStateAndSeeTheirOwnWrites(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a, b := start(t, c, 1), start(t, c, 1)
	var wg sync.WaitGroup
	for i, n := range []*node{a, b} {
		wg.Go(func() {
			for j := range 20 {
				key, value := fmt.Sprintf("t/%d", j%5), fmt.Sprintf("%d from %d", j, i)
				if err := n.Put(t.Context(), rec(key, value), rec("other/x", "not ours")); err != nil {
					t.Errorf("Put returned %v", err)
				}
				n.mu.Lock()
				seen := false
				for _, o := range n.order {
					seen = seen || o == key+"="+value
				}
				n.mu.Unlock()
				if !seen {
					t.Errorf("node %d does not see its own %s=%s after Put", i, key, value)
				}
			}
		})
	}
	wg.Wait()
	if err := a.Put(t.Context(), rec("t/0", "")); err != nil {
		t.Errorf("Put of a removal returned %v", err)
	}
	eventually(t, "both nodes hold the same", func() bool {
		return len(a.state()) == 4 && maps.Equal(a.state(), b.state())
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Join(a.order, "\n") != strings.Join(b.order, "\n") {
		t.Error("the nodes applied the records in different orders")
	}
}

func TestARestartComesToTheSameState(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, 1)
	for i := range 30 {
		if err := a.Put(t.Context(), rec(fmt.Sprint("t/", i%7), fmt.Sprint(i))); err != nil {
			t.Fatalf("Put returned %v", err)
		}
	}
	want := a.state()
	a.stop()
	if got := start(t, c, 1).state(); !maps.Equal(got, want) {
		t.Errorf("after a restart the node holds %v, want %v", got, want)
	}
}

func TestAForeignRecordIsCountedAndKeptButNotApplied(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a, stranger := start(t, c, 1), start(t, c, 2)
	if err := a.Put(t.Context(), rec("t/x", "good")); err != nil {
		t.Fatalf("Put returned %v", err)
	}
	if err := stranger.Put(t.Context(), rec("t/x", "forged")); err != nil {
		t.Fatalf("Put returned %v", err)
	}
	bare := rec("t/x", "") // a removal without a MAC
	if _, err := a.producer.ProduceSync(t.Context(), bare); err != nil {
		t.Fatalf("the record is not written: %v", err)
	}
	moved := Seal(a.box, "files", rec("t/y", "good"))
	moved.Key = []byte("t/x") // a good value under another key
	if _, err := a.producer.ProduceSync(t.Context(), moved); err != nil {
		t.Fatalf("the record is not written: %v", err)
	}
	eventually(t, "the foreign records are counted", func() bool { return a.count(CauseMAC) == 3 })
	if got := a.state()["t/x"]; got != "good" {
		t.Errorf("the state holds %q, want the value under this cluster key", got)
	}
	// The stranger refuses the record of the first node and the two others too.
	eventually(t, "they are in the dead letter", func() bool { return deadLetters(t, c)["files_mac"] == 6 })
	if err := a.Err(); err != nil {
		t.Errorf("foreign records make the state unusable: %v", err)
	}
	a.stop()
	again := start(t, c, 1)
	if n := again.count(CauseMAC); n != 3 {
		t.Errorf("after a restart %d foreign records are counted, want 3", n)
	}
	if n := deadLetters(t, c)["files_mac"]; n != 6 {
		t.Errorf("a restart made %d dead letters of 6: it buries again what was buried when it was new", n)
	}
}

func TestARecordOfALaterFormStaysAndTellsToUpgrade(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, 1)
	if err := a.Put(t.Context(), rec("t/x", "old")); err != nil {
		t.Fatalf("Put returned %v", err)
	}
	if _, err := a.Write(t.Context(), rec("t/x", "v2 new")); err != nil {
		t.Fatalf("Write returned %v", err)
	}
	eventually(t, "the record is counted", func() bool { return a.count(CauseNewer) == 1 })
	if err := a.Err(); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "t/x") {
		t.Errorf("Err is %v, want ErrNewer with the record's key", err)
	}
	if got := a.state()["t/x"]; got != "old" {
		t.Errorf("the state holds %q, want the value before", got)
	}
	eventually(t, "it is in the dead letter", func() bool { return deadLetters(t, c)["files_newer"] == 1 })
	// The other keys go on, and the record's end ends the fault.
	if err := a.Put(t.Context(), rec("t/y", "1")); err != nil {
		t.Errorf("Put of another key returned %v", err)
	}
	if err := a.Put(t.Context(), rec("t/x", "")); err != nil || a.Err() != nil {
		t.Errorf("after the removal Put returned %v and Err is %v, want nil", err, a.Err())
	}
}

func TestPutTellsWhyItsOwnRecordWasRefused(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, 1)
	var r *Refusal
	if err := a.Put(t.Context(), rec("t/x", "1"), rec("t/y", "odd")); !errors.As(err, &r) || r.Cause != "odd" {
		t.Errorf("Put returned %v, want the refusal by the cause odd", err)
	}
	if err := a.Put(t.Context(), rec("t/x", "bad")); err == nil || a.count(CauseShape) != 1 {
		t.Errorf("Put returned %v, and %d records count by their shape; want an error and 1", err, a.count(CauseShape))
	}
	if got := a.state(); len(got) != 1 || got["t/x"] != "1" {
		t.Errorf("the state is %v, want only the good record", got)
	}
}

func TestTheWaitOfPutIsBounded(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	n := open(t, c, 1, prometheus.NewRegistry()) // it never runs
	t.Cleanup(n.Close)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for {
			if r, err := c.Ranges(t.Context(), schemas.TopicFiles); err != nil || r[0].End > 0 {
				return
			}
		}
	}()
	if err := n.Put(ctx, rec("t/x", "1")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put returned %v, want the end of its context", err)
	}
	n.within = time.Millisecond
	if err := n.Put(t.Context(), rec("t/x", "2")); !errors.Is(err, ErrUnread) {
		t.Errorf("Put returned %v, want ErrUnread", err)
	}
}

func TestManyRecordsAreWrittenInTheirOrder(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a := start(t, c, 1)
	recs := make([]schemas.Record, 2*batchRecords+17)
	for i := range recs {
		recs[i] = rec(fmt.Sprint("t/", i), fmt.Sprint(i))
	}
	written, err := a.Write(t.Context(), recs...)
	if err != nil || len(written) != len(recs) {
		t.Fatalf("Write returned %d records and %v, want %d", len(written), err, len(recs))
	}
	for i := range written {
		if written[i].Offset != int64(i) {
			t.Fatalf("record %d stands at offset %d", i, written[i].Offset)
		}
	}
	eventually(t, "all are applied", func() bool { return len(a.state()) == len(recs) })
}

func TestStatesOfOneProcessShareTheirMetric(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	reg := prometheus.NewRegistry()
	a, b := open(t, c, 1, reg), open(t, c, 1, reg)
	t.Cleanup(func() { a.Close(); b.Close() })
	if a.refused != b.refused {
		t.Error("two states of one process count in two vectors")
	}
}
