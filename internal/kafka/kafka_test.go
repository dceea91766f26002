package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/schemas"
)

var quiet = slog.New(slog.DiscardHandler)

// collector keeps the records that handlers got, by partition.
type collector struct {
	mu   sync.Mutex
	recs []schemas.Record
	asg  []kafka.Assignment
}

func (c *collector) open(_ context.Context, a kafka.Assignment) (kafka.Handler, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asg = append(c.asg, a)
	return handler{c}, nil
}

type handler struct{ c *collector }

func (h handler) Handle(_ context.Context, recs []schemas.Record) error {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	h.c.recs = append(h.c.recs, recs...)
	return nil
}
func (handler) Close() {}

func (c *collector) wait(t *testing.T, n int) []schemas.Record {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		c.mu.Lock()
		got := append([]schemas.Record(nil), c.recs...)
		c.mu.Unlock()
		if len(got) >= n {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d of %d records", len(got), n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func produce(t *testing.T, c *kafka.Cluster, from, to int, at time.Time) {
	t.Helper()
	p, err := c.NewProducer("test", quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := from; i < to; i++ {
		_, err := p.ProduceSync(t.Context(), schemas.Record{
			Topic: schemas.TopicEvents, Key: []byte("001"), Value: fmt.Append(nil, i), Timestamp: at.Add(time.Duration(i) * time.Second),
			Headers: []schemas.Header{{Key: "location", Value: []byte("x")}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestGroupMemberGoesOnAtTheCommitAndRewinds(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	start := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	produce(t, c, 0, 20, start)

	run := func(col *collector, rewind time.Duration, want int) []schemas.Record {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- c.Consume(ctx, kafka.GroupConfig{Group: "g", Topic: schemas.TopicEvents, Open: col.open, Rewind: func(context.Context) time.Duration { return rewind }, Log: quiet, Registerer: prometheus.NewRegistry()})
		}()
		got := col.wait(t, want)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := run(&collector{}, 0, 20)
	if string(first[19].Value) != "19" || string(first[19].Header("location")) != "x" || first[19].Topic != schemas.TopicEvents {
		t.Fatalf("last record is %+v", first[19])
	}
	produce(t, c, 20, 25, start)
	var col collector
	second := run(&col, 5*time.Second, 11)
	// The newest committed record is 19 s after start; 14 … 19 are re-read.
	if string(second[0].Value) != "14" || string(second[10].Value) != "24" {
		t.Fatalf("re-read %s … %s, want 14 … 24", second[0].Value, second[len(second)-1].Value)
	}
	for _, a := range col.asg {
		if a.Partition == second[0].Partition && a.Committed != 20 {
			t.Fatalf("committed offset is %d, want 20", a.Committed)
		}
		if a.TopicID == "" || a.Epoch == 0 {
			t.Fatalf("assignment lacks its coordinates: %+v", a)
		}
	}
}

func TestFollowerIsReadyOnceItReadWhatStoodThere(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	produce(t, c, 0, 7, time.Now())
	var n int
	f := c.Follow(schemas.TopicEvents, quiet, func(schemas.Record) { n++ })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	select {
	case <-f.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("never ready")
	}
	cancel()
	if err := <-done; err != nil || n != 7 {
		t.Fatalf("read %d records, err %v", n, err)
	}
	empty := c.Follow(schemas.TopicFiles, quiet, func(schemas.Record) {})
	ctx, cancel = context.WithCancel(t.Context())
	go func() { done <- empty.Run(ctx) }()
	select {
	case <-empty.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("an empty topic is never ready")
	}
	cancel()
	<-done
}

func TestApplyTopicsRefusesToGrowEvents(t *testing.T) {
	t.Parallel()
	c, broker := kafkatest.Start(t)
	plans, err := c.PlanTopics(t.Context(), kafka.Retention{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plans {
		if p.Action() != "keep" {
			t.Errorf("%s: %s %v", p.Name, p.Action(), p.Changes)
		}
	}
	cfg := kafka.Default()
	cfg.Brokers, cfg.Partitions = broker.ListenAddrs(), kafkatest.Partitions+1
	more, err := kafka.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := more.ApplyTopics(t.Context(), kafka.Retention{}); err == nil {
		t.Fatal("growing the partitions was not refused")
	}
	plans, err = c.ApplyTopics(t.Context(), kafka.Retention{Time: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if plans[0].Action() != "alter" {
		t.Fatalf("a new retention: %s", plans[0].Action())
	}
}

func TestEmbeddedBrokerKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := kafka.Default()
	cfg.EmbeddedListen = "127.0.0.1:0"
	for round := range 2 {
		b, err := kafka.StartEmbedded(cfg, dir, "secret", func() error { return nil }, quiet)
		if err != nil {
			t.Fatal(err)
		}
		c := kafka.ConnectEmbedded(cfg, b.Addr, "secret")
		if _, err := c.ApplyTopics(t.Context(), kafka.Retention{Time: time.Hour}); err != nil {
			t.Fatal(err)
		}
		n := 0
		f := c.Follow(schemas.TopicEvents, quiet, func(schemas.Record) { n++ })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		select {
		case <-f.Ready():
		case <-time.After(2 * time.Minute):
			t.Fatal("never ready")
		}
		cancel()
		<-done
		if want := round * 5; n != want {
			t.Fatalf("start %d reads %d records, want %d", round, n, want)
		}
		produce(t, c, 0, 5, time.Now())
		short, stop := context.WithTimeout(t.Context(), 3*time.Second)
		if err := kafka.ConnectEmbedded(cfg, b.Addr, "wrong").Ping(short); err == nil {
			t.Error("a wrong password was let in")
		}
		stop()
		b.Close()
	}
}

func TestAHandlerBeginsWhereStartAtSays(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	produce(t, c, 0, 10, time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC))
	var col collector
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Consume(ctx, kafka.GroupConfig{
			Group: "g", Topic: schemas.TopicEvents, Open: col.open, Rewind: func(context.Context) time.Duration { return time.Hour }, Log: quiet, Registerer: prometheus.NewRegistry(),
			StartAt: func(_ context.Context, a kafka.Assignment) (int64, bool, error) { return 7, true, nil },
		})
	}()
	got := col.wait(t, 3)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if string(got[0].Value) != "7" || len(got) != 3 || col.asg[0].From != 7 || col.asg[0].Committed != kafka.NoOffset {
		t.Errorf("began with %s, %+v", got[0].Value, col.asg[0])
	}
}

func TestAFailedHandlerEndsTheMemberAtOnce(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	produce(t, c, 0, 1, time.Now())
	failed := errors.New("failed")
	err := c.Consume(t.Context(), kafka.GroupConfig{
		Group: "g", Topic: schemas.TopicEvents, Log: quiet, Registerer: prometheus.NewRegistry(),
		Open: func(context.Context, kafka.Assignment) (kafka.Handler, error) { return nil, failed },
	})
	if !errors.Is(err, failed) {
		t.Errorf("err = %v", err)
	}
}

func TestARangeOfAPartitionIsRead(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	produce(t, c, 0, 10, time.Now())
	ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	var p int32
	for i, r := range ranges {
		if r.End > 0 {
			p = int32(i)
		}
	}
	if len(ranges) != kafkatest.Partitions || ranges[p] != (kafka.Range{Start: 0, End: 10}) {
		t.Fatalf("ranges are %v", ranges)
	}
	read := func(r kafka.Range, most int) (text string) {
		t.Helper()
		if err := c.Read(t.Context(), schemas.TopicEvents, p, r, func(rec schemas.Record) bool {
			text += string(rec.Value)
			most--
			return most > 0
		}); err != nil {
			t.Fatal(err)
		}
		return text
	}
	for want, got := range map[string]string{
		"0123456789": read(kafka.Range{Start: 0, End: 10}, 100), "345": read(kafka.Range{Start: 3, End: 6}, 100), "34": read(kafka.Range{Start: 3, End: 6}, 2), "": read(kafka.Range{Start: 3, End: 3}, 100),
	} {
		if got != want {
			t.Errorf("read %q, want %q", got, want)
		}
	}
}

func TestARecordOfCheckpointsStandsWhereItsWriterSays(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	p, err := c.NewProducer("test", quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range int32(kafkatest.Partitions) {
		out, err := p.ProduceSync(t.Context(), schemas.Record{Topic: schemas.TopicCheckpoints, Partition: i, Key: []byte("k"), Value: []byte("v")})
		if err != nil || out[0].Partition != i {
			t.Errorf("wanted in %d, stands in %d (%v)", i, out[0].Partition, err)
		}
	}
}

func TestWhereRetentionTookEverythingReadingGoesOnAtTheCommit(t *testing.T) {
	t.Parallel()
	c, broker := kafkatest.Start(t)
	produce(t, c, 0, 5, time.Now())
	join := func(col *collector, want int) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- c.Consume(ctx, kafka.GroupConfig{Group: "g", Topic: schemas.TopicEvents, Open: col.open, Rewind: func(context.Context) time.Duration { return time.Hour }, Log: quiet, Registerer: prometheus.NewRegistry()})
		}()
		col.wait(t, want)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	join(&collector{}, 5)
	for p := range int32(kafkatest.Partitions) {
		if err := broker.DeleteRecords(c.Topic(schemas.TopicEvents), p, -1); err != nil {
			t.Fatal(err)
		}
	}
	produce(t, c, 5, 6, time.Now())
	var col collector
	join(&col, 1)
	if string(col.recs[0].Value) != "5" {
		t.Errorf("read %s first", col.recs[0].Value)
	}
}

func TestAGroupBeginsAtTheEndOnceAndForGood(t *testing.T) {
	t.Parallel()
	c := kafkatest.NewWith(t, 1)
	p, err := c.NewProducer("test", quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	produce := func() {
		t.Helper()
		if _, err := p.ProduceSync(t.Context(), schemas.Record{Topic: schemas.TopicEvents, Key: []byte("001")}); err != nil {
			t.Fatal(err)
		}
	}
	lag := func(want int64, known bool) {
		t.Helper()
		if n, ok, err := c.GroupLag(t.Context(), "g", schemas.TopicEvents); n != want || ok != known || err != nil {
			t.Errorf("lag %d, %v, %v", n, ok, err)
		}
	}
	produce()
	lag(0, false)
	for range 2 { // the second time must not pass over records that came after the first
		if err := c.BeginGroup(t.Context(), "g", schemas.TopicEvents); err != nil {
			t.Fatal(err)
		}
		produce()
	}
	lag(2, true)
}
