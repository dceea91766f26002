package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/schemas"
)

var discard = slog.New(slog.DiscardHandler)

// testCluster is a broker in memory whose topics have n partitions.
func testCluster(t *testing.T, n int) *Cluster {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatalf("start a broker: %v", err)
	}
	t.Cleanup(broker.Close)
	return topicsOn(t, broker, n)
}

// topicsOn makes the topics on a broker.
func topicsOn(t *testing.T, broker *kfake.Cluster, n int) *Cluster {
	t.Helper()
	cfg := Default()
	cfg.Brokers, cfg.Partitions = broker.ListenAddrs(), n
	c, err := Connect(cfg)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	if _, err := c.ApplyTopics(t.Context(), Retention{}); err != nil {
		t.Fatalf("make the topics: %v", err)
	}
	return c
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited two minutes for this: %s", what)
		}
	}
}

// put writes n records to every partition of events.
func put(t *testing.T, c *Cluster, n int) {
	t.Helper()
	cl, err := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatalf("open a producer: %v", err)
	}
	defer cl.Close()
	for p := range int32(c.cfg.Partitions) {
		for i := range n {
			cl.Produce(t.Context(), &kgo.Record{Topic: c.Topic(schemas.TopicEvents), Partition: p, Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("produce: %v", err)
				}
			})
		}
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

// gate is a handler that counts records, and waits while it is shut.
type gate struct {
	shut    atomic.Bool
	handled atomic.Int64
	owned   atomic.Int64
}

func (g *gate) open(context.Context, Assignment) (Handler, error) {
	g.owned.Add(1)
	return g, nil
}

func (g *gate) Handle(ctx context.Context, recs []schemas.Record) error {
	for g.shut.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	g.handled.Add(int64(len(recs)))
	return nil
}

func (g *gate) Close() { g.owned.Add(-1) }

// consume runs a member of the group "g" until the returned function is called.
func consume(t *testing.T, c *Cluster, g *gate, every time.Duration) (*member, func()) {
	t.Helper()
	m := newMember(c, GroupConfig{Group: "g", Topic: schemas.TopicEvents, Open: g.open, ObserveEvery: every, Log: discard, Registerer: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.run(ctx) }()
	return m, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the member ended with: %v", err)
		}
	})
}

func (m *member) paused() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		w.mu.Lock()
		if w.paused {
			n++
		}
		w.mu.Unlock()
	}
	return n
}

func TestPartitionsPausedDuringARebalanceAreReadAgain(t *testing.T) {
	t.Parallel()
	const partitions, each = 4, 3 * queueRecordsHigh
	c := testCluster(t, partitions)
	put(t, c, each)
	var first, second gate
	first.shut.Store(true)
	second.shut.Store(true)
	m, stop := consume(t, c, &first, time.Hour)
	defer stop()
	eventually(t, "the first member has paused every partition", func() bool { return m.paused() == partitions })
	other, leave := consume(t, c, &second, time.Hour)
	eventually(t, "the second member owns and has paused some", func() bool {
		n := other.paused()
		return n > 0 && n == int(second.owned.Load()) && first.owned.Load() == int64(partitions-n)
	})
	second.shut.Store(false)
	leave()
	eventually(t, "all partitions are back", func() bool { return first.owned.Load() == partitions })
	first.shut.Store(false)
	eventually(t, "every record is handled", func() bool {
		ends, err := c.committed(t.Context(), m.adm, "g", schemas.TopicEvents)
		if err != nil {
			t.Fatalf("ask for the commits: %v", err)
		}
		for p := range int32(partitions) {
			if ends[p] != each {
				return false
			}
		}
		return true
	})
}

func TestTheWatchdogReadsAPartitionAgainThatTheClientForgot(t *testing.T) {
	t.Parallel()
	c := testCluster(t, 2)
	var g gate
	put(t, c, 10)
	m, stop := consume(t, c, &g, 20*time.Millisecond)
	defer stop()
	eventually(t, "the first records are handled", func() bool { return g.handled.Load() == 20 })
	m.pause(1) // and no worker knows of it
	put(t, c, 10)
	eventually(t, "the records of the forgotten partition are handled", func() bool { return g.handled.Load() == 40 })
	if n := testutil.ToFloat64(m.restarts); n != 1 {
		t.Errorf("restarts are counted as %v, want 1", n)
	}
	eventually(t, "progress is well again", func() bool { return c.Progress() == nil })
}

func TestWaitingRecordsWithoutProgressAreReported(t *testing.T) {
	t.Parallel()
	c := testCluster(t, 2)
	var g gate
	g.shut.Store(true)
	put(t, c, 10)
	m, stop := consume(t, c, &g, 10*time.Millisecond)
	defer stop()
	eventually(t, "the stall is reported", func() bool { return c.Progress() != nil })
	if err := c.Progress(); !strings.Contains(err.Error(), "its handler does not come to an end") {
		t.Errorf("the report is %q; it does not name the handler", err)
	}
	eventually(t, "the lag is measured", func() bool { return testutil.ToFloat64(m.progress.lag.WithLabelValues("0")) == 10 })
	eventually(t, "both partitions count as stalled", func() bool {
		return testutil.ToFloat64(m.progress.partitions.WithLabelValues("stalled")) == 2 && testutil.ToFloat64(m.progress.partitions.WithLabelValues("owned")) == 2
	})
	g.shut.Store(false)
	eventually(t, "progress is well again", func() bool { return c.Progress() == nil })
	eventually(t, "both partitions are idle", func() bool {
		return testutil.ToFloat64(m.progress.partitions.WithLabelValues("idle")) == 2 && testutil.ToFloat64(m.progress.lag.WithLabelValues("0")) == 0
	})
	if n := testutil.ToFloat64(m.restarts); n != 0 {
		t.Errorf("a slow handler led to %v restarts of reading, want none", n)
	}
	g.shut.Store(true)
	put(t, c, 1)
	eventually(t, "the next stall is reported", func() bool { return c.Progress() != nil })
	g.shut.Store(false)
	stop()
	if err := c.Progress(); err != nil {
		t.Errorf("a member that ended still reports: %v", err)
	}
}

func TestMarksOfTransactionsAreNoWaitingRecords(t *testing.T) {
	t.Parallel()
	c := testCluster(t, 1)
	cl, err := c.client(kgo.TransactionalID("x"))
	if err != nil {
		t.Fatalf("open a producer: %v", err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatalf("begin: %v", err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: c.Topic(schemas.TopicEvents), Value: []byte("a")}).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatalf("commit: %v", err)
	}
	var g gate
	m, stop := consume(t, c, &g, 10*time.Millisecond)
	defer stop()
	eventually(t, "the record is handled", func() bool { return g.handled.Load() == 1 })
	lag := m.progress.lag.WithLabelValues("0")
	eventually(t, "the mark behind the record counts as lag at first", func() bool { return testutil.ToFloat64(lag) == 1 })
	eventually(t, "the mark is known to be no record", func() bool { return testutil.ToFloat64(lag) == 0 })
	if err := c.Progress(); err != nil {
		t.Errorf("a mark counts as a stall: %v", err)
	}
}

func TestACommitThatWasRefusedIsMadeUpFor(t *testing.T) {
	t.Parallel()
	c := testCluster(t, 1)
	put(t, c, 5)
	var g gate
	m, stop := consume(t, c, &g, 10*time.Millisecond)
	defer stop()
	eventually(t, "the records are handled", func() bool { return g.handled.Load() == 5 })
	at := func() int64 {
		ends, err := c.committed(t.Context(), m.adm, "g", schemas.TopicEvents)
		if err != nil {
			t.Fatalf("ask for the commits: %v", err)
		}
		return ends[0]
	}
	eventually(t, "they are committed", func() bool { return at() == 5 })
	m.commit(t.Context(), 0, 3) // as if the last commit had been lost
	eventually(t, "the commit is made up for", func() bool { return at() == 5 })
}

func TestQueuesOfAllPartitionsTogetherAreBounded(t *testing.T) {
	t.Parallel()
	c := testCluster(t, 4)
	c.shared.queuedMax = 1
	put(t, c, 2*HandleRecordsMax)
	var g gate
	g.shut.Store(true)
	m, stop := consume(t, c, &g, time.Hour)
	defer stop()
	eventually(t, "each partition is paused at its first records", func() bool { return m.paused() == 4 })
	g.shut.Store(false)
	eventually(t, "all records are handled", func() bool { return g.handled.Load() == 8*HandleRecordsMax })
	stop()
	if n := c.shared.queued.Load(); n != 0 {
		t.Errorf("%d bytes count as queued after the member ended, want 0", n)
	}
}

func TestAFollowerThatStandsStillReadsAgain(t *testing.T) {
	t.Parallel()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatalf("start a broker: %v", err)
	}
	t.Cleanup(broker.Close)
	c := topicsOn(t, broker, 2)
	var n atomic.Int64
	f := c.Follow(schemas.TopicEvents, discard, func(schemas.Record) { n.Add(1) })
	f.observeEvery = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	put(t, c, 5)
	eventually(t, "the first records are read", func() bool { return n.Load() == 10 })
	// The follower's fetches get no answer; the observer's fetches wait for
	// less.
	var mute atomic.Bool
	mute.Store(true)
	broker.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		if req := r.(*kmsg.FetchRequest); mute.Load() && req.MaxWaitMillis == 500 {
			return req.ResponseKind(), nil, true
		}
		return nil, nil, false
	})
	put(t, c, 5)
	eventually(t, "the stall is reported", func() bool { return c.Progress() != nil })
	if err := c.Progress(); !strings.Contains(err.Error(), "events/") {
		t.Errorf("the report %q does not name the partition", err)
	}
	mute.Store(false)
	eventually(t, "the waiting records are read once", func() bool { return n.Load() == 20 })
	eventually(t, "progress is well again", func() bool { return c.Progress() == nil })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the follower ended with: %v", err)
	}
}
