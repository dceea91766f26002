package kafka

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/internal/metrics"
	"vedette/internal/retry"
	"vedette/schemas"
)

// Bounds of a group member.
const (
	// pollRecordsMax bounds the records of one poll.
	pollRecordsMax = 5000
	// A partition is paused while more than queueRecordsHigh records wait for
	// its handler, and resumed below queueRecordsLow. The client throws away
	// fetched records of a paused partition, so fetches are small beside it.
	queueRecordsHigh = 4000
	queueRecordsLow  = 1000
	// queueBytesHigh and queueBytesLow are the same for bytes, as size counts them:
	// records of other producers may be large.
	queueBytesHigh = 64 << 20
	queueBytesLow  = 16 << 20
	// Memory of a record and of a header beside their bytes.
	recordOverhead = 128
	headerOverhead = 40
	// drainTimeout is how long a handler may finish its batch when its
	// partition is taken away or the role ends.
	drainTimeout = 8 * time.Second
	// sessionTimeout is after how long a silent member loses its partitions.
	sessionTimeout = 10 * time.Second
)

// HandleRecordsMax bounds one batch given to a Handler, and so how far beyond
// its last commit a member can have handled records.
const HandleRecordsMax = 2000

// NoOffset is Assignment.Committed when the group never committed.
const NoOffset = -1

// Assignment is one partition given to this member.
type Assignment struct {
	// Topic is the name without prefix, TopicID the broker's id of this
	// incarnation of it, in the URL-safe form of base64.
	Topic     string
	TopicID   string
	Partition int32
	// Committed is the offset from which output is due; NoOffset if none.
	Committed int64
	// From is the answer of StartAt: where reading begins. NoOffset without.
	From int64
	// Epoch is the generation of the group at the assignment. It grows.
	Epoch int64
}

// Handler gets the records of one assigned partition.
type Handler interface {
	// Handle processes records in order and returns when all that came of them
	// is durable. It waits out transient failures itself, until ctx ends. An
	// error other than ctx's ends the member. After nil the offset behind the
	// last record is committed.
	Handle(ctx context.Context, recs []schemas.Record) error
	// Close frees the handler's resources; the partition belongs to another
	// then.
	Close()
}

// GroupConfig describes a member of a consumer group over one topic.
type GroupConfig struct {
	Group, Topic string
	// Open is called once per assignment, before its first record.
	Open func(ctx context.Context, a Assignment) (Handler, error)
	// Rewind, if set, is asked at an assignment how far before the time of the
	// committed record reading begins. Records before Assignment.Committed are
	// then handled too, and never committed.
	Rewind func(ctx context.Context) time.Duration
	// StartAt, if set, is asked for each assigned partition, before Open, where
	// reading begins; if it answers false, Rewind says it. The answer may lie on
	// either side of the commit; the handler knows it as Assignment.From. ctx
	// ends with the assignment; an error is tried again with the next one.
	StartAt func(ctx context.Context, a Assignment) (from int64, ok bool, err error)
	// ObserveEvery is the pause between two looks at the group's progress; 0 means
	// ten seconds. A partition counts as stalled after stalledLooks looks.
	ObserveEvery time.Duration
	Log          *slog.Logger
	Registerer   prometheus.Registerer
}

type member struct {
	c   *Cluster
	cfg GroupConfig
	cl  *kgo.Client // set when opened is closed: the first assignment may be faster
	adm *kadm.Client
	id  string // topic id

	opened    chan struct{}
	mu        sync.Mutex
	workers   map[int32]*worker
	stuck     map[int32]*worker  // to be read again from where they are, by poll
	interrupt context.CancelFunc // ends the running PollRecords
	fail      chan error
	failed    context.CancelFunc // ends the poll, so that a failure is seen at once

	handled  prometheus.Counter
	commits  *prometheus.CounterVec
	restarts prometheus.Counter
	progress *progress
}

type worker struct {
	m      *member
	a      Assignment
	cancel context.CancelFunc // ends a running Handle at once
	stop   chan struct{}      // no new batch
	wake   chan struct{}
	done   chan struct{}

	mu      sync.Mutex // held while the client pauses or resumes, so that both agree
	queue   []schemas.Record
	bytes   int   // of queue, by size
	next    int64 // offset behind the last queued record; where reading begins before that
	handled int64 // offset behind the last handled record; NoOffset before the first
	busy    bool  // opening the handler, or handling a batch
	paused  bool
	ended   bool // the partition was given up: the client's state is another's
	again   bool // commit handled once more
}

// Consume runs a group member until ctx ends, drains, commits, and returns nil.
// Any other return is a failure of a handler or of the client.
func (c *Cluster) Consume(ctx context.Context, cfg GroupConfig) error {
	return newMember(c, cfg).run(ctx)
}

func newMember(c *Cluster, cfg GroupConfig) *member {
	m := &member{c: c, cfg: cfg, workers: map[int32]*worker{}, stuck: map[int32]*worker{}, opened: make(chan struct{}), fail: make(chan error, 1)}
	m.metrics()
	return m
}

func (m *member) run(ctx context.Context) error {
	c, cfg := m.c, &m.cfg
	polling, failed := context.WithCancel(ctx)
	defer failed()
	m.failed = failed
	adm, err := c.Admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	m.adm = adm
	if m.id, err = m.topicID(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	gone := func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { m.drop(parts[c.Topic(cfg.Topic)]) }
	m.cl, err = c.client(
		kgo.ConsumerGroup(c.Topic(cfg.Group)),
		kgo.ConsumeTopics(c.Topic(cfg.Topic)),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(sessionTimeout/4),
		kgo.RebalanceTimeout(30*time.Second),
		kgo.AdjustFetchOffsetsFn(m.adjust),
		kgo.OnPartitionsRevoked(gone),
		kgo.OnPartitionsLost(gone),
		kgo.FetchMaxWait(500*time.Millisecond),
	)
	if err != nil {
		return fmt.Errorf("join group %s: %w", cfg.Group, err)
	}
	defer m.cl.Close()
	close(m.opened)
	var observing sync.WaitGroup
	observing.Go(func() { m.observe(polling) })
	err = m.poll(polling)
	failed()
	observing.Wait()
	m.dropAll()
	m.cl.AllowRebalance()
	leave, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if e := m.cl.LeaveGroupContext(leave); e != nil {
		cfg.Log.Warn("leaving the group took too long", "group", cfg.Group, "err", e)
	}
	return err
}

func (m *member) metrics() {
	labels := prometheus.Labels{"group": m.cfg.Group}
	m.handled = metrics.Register(m.cfg.Registerer, prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_kafka_consumed_records_total", Help: "Records handled by this member.", ConstLabels: labels}))
	m.commits = metrics.Register(m.cfg.Registerer, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_kafka_commits_total", Help: "Offset commits by outcome.", ConstLabels: labels}, []string{"outcome"}))
	m.restarts = metrics.Register(m.cfg.Registerer, prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_kafka_partition_restarts_total", Help: "Partitions whose reading stood still beside waiting records and was begun again.", ConstLabels: labels}))
	m.progress = newProgress(m.cfg.Registerer, labels)
}

// TopicID returns the broker's id of this incarnation of a topic, in the
// URL-safe form of base64.
func (c *Cluster) TopicID(ctx context.Context, topic string) (string, error) {
	adm, err := c.Admin()
	if err != nil {
		return "", err
	}
	defer adm.Close()
	return c.askTopicID(ctx, adm, topic)
}

func (c *Cluster) askTopicID(ctx context.Context, adm *kadm.Client, topic string) (string, error) {
	topics, err := adm.ListTopics(ctx, c.Topic(topic))
	if err != nil {
		return "", err
	}
	t := topics[c.Topic(topic)]
	return base64.RawURLEncoding.EncodeToString(t.ID[:]), t.Err
}

func (m *member) topicID(ctx context.Context) (string, error) {
	for warned := false; ; {
		id, err := m.c.askTopicID(ctx, m.adm, m.cfg.Topic)
		if err == nil {
			return id, nil
		}
		if !warned {
			m.cfg.Log.Warn("waiting for a topic", "topic", m.cfg.Topic, "err", err)
			warned = true
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// adjust sees the committed offsets of newly assigned partitions, starts a
// worker for each and moves the first fetch to where cfg.StartAt or cfg.Rewind say.
func (m *member) adjust(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	select {
	case <-m.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	name := m.c.Topic(m.cfg.Topic)
	parts := offsets[name]
	_, generation := m.cl.GroupMetadata()
	m.cfg.Log.Info("partitions assigned", "topic", m.cfg.Topic, "group", m.cfg.Group, "partitions", slices.Sorted(maps.Keys(parts)))
	for p, o := range parts {
		a := Assignment{Topic: m.cfg.Topic, TopicID: m.id, Partition: p, Committed: NoOffset, From: NoOffset, Epoch: int64(generation)}
		if at := o.EpochOffset().Offset; at >= 0 {
			a.Committed = at
		}
		from, err := m.begin(ctx, &a)
		if err != nil {
			return nil, fmt.Errorf("find where to read %s/%d from: %w", m.cfg.Topic, p, err)
		}
		next := a.Committed
		if from != NoOffset {
			parts[p], next = kgo.NewOffset().At(from), from
		}
		m.start(a, next)
	}
	return offsets, nil
}

// begin returns where the reading of a partition begins; NoOffset leaves it as it is.
func (m *member) begin(ctx context.Context, a *Assignment) (int64, error) {
	if m.cfg.StartAt != nil {
		from, ok, err := m.cfg.StartAt(ctx, *a)
		if err != nil {
			return 0, err
		}
		if ok {
			a.From = from
			return from, nil
		}
	}
	if a.Committed == NoOffset || m.cfg.Rewind == nil {
		return NoOffset, nil
	}
	by := m.cfg.Rewind(ctx)
	if by <= 0 {
		return NoOffset, nil
	}
	return m.rewind(ctx, a.Partition, a.Committed, by)
}

// rewind returns the first offset whose record is not older than the record at
// the committed offset less by.
func (m *member) rewind(ctx context.Context, p int32, committed int64, by time.Duration) (int64, error) {
	name := m.c.Topic(m.cfg.Topic)
	starts, err := m.adm.ListStartOffsets(ctx, name)
	if err != nil {
		return 0, err
	}
	if start, ok := starts.Lookup(name, p); !ok || start.Offset >= committed {
		return committed, nil // nothing before it is left, so there is nothing to wait for
	}
	// The record before the committed one is the newest that counted.
	cl, err := m.c.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {p: kgo.NewOffset().At(committed - 1)}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(1<<20), kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	look, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	fetches := cl.PollRecords(look, 1)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	it := fetches.RecordIter()
	if it.Done() {
		return committed, nil // retention took it, and with it all that a window could hold
	}
	from, err := offsetAfter(ctx, m.adm, name, p, it.Next().Timestamp.Add(-by))
	if err != nil {
		return 0, err
	}
	return min(from, committed), nil
}

// start gives an assigned partition a worker. next is where its reading begins.
func (m *member) start(a Assignment, next int64) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{m: m, a: a, cancel: cancel, stop: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{}), next: next, handled: NoOffset, busy: true}
	m.mu.Lock()
	old := m.workers[a.Partition]
	delete(m.workers, a.Partition)
	m.mu.Unlock()
	if old != nil {
		old.end()
	}
	// The client keeps a pause over a rebalance; the new worker must not inherit it.
	m.resume(a.Partition)
	m.mu.Lock()
	m.workers[a.Partition] = w
	m.mu.Unlock()
	m.cfg.Log.Debug("partition assigned", "topic", a.Topic, "partition", a.Partition, "offset", a.Committed)
	go func() {
		defer close(w.done)
		defer cancel()
		if err := w.run(ctx); err != nil && ctx.Err() == nil {
			select {
			case m.fail <- fmt.Errorf("%s/%d: %w", a.Topic, a.Partition, err):
			default:
			}
			m.failed()
		}
	}()
}

func (m *member) poll(ctx context.Context) error {
	var complaint retry.Log
	for {
		fetches := m.pollOnce(ctx)
		select {
		case err := <-m.fail:
			return err
		default:
		}
		if ctx.Err() != nil {
			return nil
		}
		fetches.EachError(func(_ string, p int32, err error) {
			if errors.Is(err, context.Canceled) {
				return
			}
			if skipped, due := complaint.Due(); due {
				m.cfg.Log.Warn("fetch is interrupted", "topic", m.cfg.Topic, "partition", p, "err", err, "not_logged", skipped)
			}
		})
		fetches.EachPartition(func(ft kgo.FetchTopicPartition) {
			m.mu.Lock()
			w := m.workers[ft.Partition]
			m.mu.Unlock()
			if w != nil && len(ft.Records) > 0 {
				w.add(ft.Records)
			}
		})
		m.readAgain()
		m.cl.AllowRebalance()
	}
}

// pollOnce waits for records, until the watchdog has found a partition that stands still.
func (m *member) pollOnce(ctx context.Context) kgo.Fetches {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mu.Lock()
	m.interrupt = cancel
	if len(m.stuck) > 0 {
		cancel()
	}
	m.mu.Unlock()
	return m.cl.PollRecords(ctx, pollRecordsMax)
}

// readAgain lets the client read stuck partitions from the record behind the last
// one it gave us. It runs between a poll and AllowRebalance: no partition changes
// its owner meanwhile, which SetOffsets demands.
func (m *member) readAgain() {
	m.mu.Lock()
	stuck := m.stuck
	m.stuck = map[int32]*worker{}
	owned := maps.Clone(m.workers)
	m.mu.Unlock()
	for p, w := range stuck {
		if owned[p] != w {
			continue
		}
		w.mu.Lock()
		next := max(w.next, 0)
		w.paused = false
		w.mu.Unlock()
		m.cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{m.c.Topic(m.cfg.Topic): {p: {Epoch: -1, Offset: next}}})
		m.resume(p)
		m.restarts.Inc()
		m.cfg.Log.Error("a partition with waiting records was not read; its reading begins again", "topic", m.cfg.Topic, "group", m.cfg.Group, "partition", p, "offset", next)
	}
}

func (m *member) pause(p int32) {
	m.cl.PauseFetchPartitions(map[string][]int32{m.c.Topic(m.cfg.Topic): {p}})
}

func (m *member) resume(p int32) {
	m.cl.ResumeFetchPartitions(map[string][]int32{m.c.Topic(m.cfg.Topic): {p}})
}

func (m *member) drop(parts []int32) {
	var ended []*worker
	m.mu.Lock()
	for _, p := range parts {
		if w := m.workers[p]; w != nil {
			ended = append(ended, w)
			delete(m.workers, p)
		}
	}
	m.mu.Unlock()
	if len(ended) > 0 {
		m.cfg.Log.Info("partitions given up", "topic", m.cfg.Topic, "group", m.cfg.Group, "partitions", parts)
	}
	var wg sync.WaitGroup
	for _, w := range ended {
		wg.Go(w.end)
	}
	wg.Wait()
}

func (m *member) dropAll() {
	m.mu.Lock()
	parts := make([]int32, 0, len(m.workers))
	for p := range m.workers {
		parts = append(parts, p)
	}
	m.mu.Unlock()
	m.drop(parts)
}

// add queues records, and pauses the partition while too much waits.
func (w *worker) add(recs []*kgo.Record) {
	total := 0
	for _, r := range recs {
		total += len(r.Headers)
	}
	hs := make([]schemas.Header, 0, total)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	bytes := 0
	for _, r := range recs {
		var rec schemas.Record
		rec, hs = fromKgo(r, w.m.c.prefix, hs)
		w.queue = append(w.queue, rec)
		bytes += size(&rec)
	}
	w.next = recs[len(recs)-1].Offset + 1
	w.bytes += bytes
	w.m.c.shared.queued.Add(int64(bytes))
	select {
	case w.wake <- struct{}{}:
	default:
	}
	if !w.paused && (len(w.queue) > queueRecordsHigh || w.bytes > queueBytesHigh || w.m.c.shared.full()) {
		w.paused = true
		w.m.pause(w.a.Partition)
	}
}

// size is about how many bytes a record takes while it waits.
func size(rec *schemas.Record) int {
	n := recordOverhead + len(rec.Key) + len(rec.Value)
	for i := range rec.Headers {
		n += len(rec.Headers[i].Key) + len(rec.Headers[i].Value) + headerOverhead
	}
	return n
}

// take returns the next batch, and resumes the partition once few records wait.
// A partition with an empty queue is never paused, however full other queues
// are.
func (w *worker) take() []schemas.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.queue), HandleRecordsMax)
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	bytes := 0
	for i := range batch {
		bytes += size(&batch[i])
	}
	w.bytes -= bytes
	w.m.c.shared.queued.Add(int64(-bytes))
	if len(w.queue) == 0 {
		w.queue = nil
	}
	w.busy = n > 0
	low := len(w.queue) == 0 || len(w.queue) < queueRecordsLow && w.bytes < queueBytesLow && !w.m.c.shared.full()
	if w.paused && low && !w.ended {
		w.paused = false
		w.m.resume(w.a.Partition)
	}
	return batch
}

func (w *worker) run(ctx context.Context) error {
	h, err := w.m.cfg.Open(ctx, w.a)
	if err != nil {
		return err
	}
	defer h.Close()
	committed := w.a.Committed
	if w.a.From > committed { // the records before are none of the group's
		w.m.commit(ctx, w.a.Partition, w.a.From)
		committed = w.a.From
	}
	for {
		batch := w.take()
		if len(batch) == 0 {
			w.mu.Lock()
			again, handled := w.again, w.handled
			w.again = false
			w.mu.Unlock()
			if again && handled >= committed {
				w.m.commit(ctx, w.a.Partition, handled)
			}
			select {
			case <-w.stop:
				return nil
			case <-w.wake:
			}
			continue
		}
		if err := h.Handle(ctx, batch); err != nil {
			return err
		}
		w.m.handled.Add(float64(len(batch)))
		next := batch[len(batch)-1].Offset + 1
		w.mu.Lock()
		w.handled = next
		w.mu.Unlock()
		if next > committed {
			w.m.commit(ctx, w.a.Partition, next)
			committed = next
		}
		select {
		case <-w.stop:
			return nil
		default:
		}
	}
}

// end gives the client's state of the partition up, lets the running batch finish,
// then cuts it off.
func (w *worker) end() {
	w.mu.Lock()
	w.ended = true
	w.m.c.shared.queued.Add(int64(-w.bytes))
	w.queue, w.bytes = nil, 0
	w.mu.Unlock()
	close(w.stop)
	select {
	case <-w.done:
	case <-time.After(drainTimeout):
		w.cancel()
		<-w.done
	}
}

// commit stores an offset. A commit that a rebalance overtook is no loss: the
// next owner does the work again, and its output overwrites itself.
func (m *member) commit(ctx context.Context, p int32, next int64) {
	name := m.c.Topic(m.cfg.Topic)
	for try := range 5 {
		err := error(nil)
		m.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{name: {p: {Epoch: -1, Offset: next}}},
			func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, e error) {
				err = e
				if e == nil {
					for _, t := range resp.Topics {
						for _, rp := range t.Partitions {
							err = errors.Join(err, kerr.ErrorForCode(rp.ErrorCode))
						}
					}
				}
			})
		if err == nil {
			m.commits.WithLabelValues("stored").Inc()
			return
		}
		if ctx.Err() != nil || !errors.Is(err, kerr.RebalanceInProgress) {
			m.commits.WithLabelValues("refused").Inc()
			m.cfg.Log.Warn("commit refused", "topic", m.cfg.Topic, "partition", p, "offset", next, "err", strings.TrimSpace(err.Error()))
			return
		}
		time.Sleep(time.Duration(try+1) * 50 * time.Millisecond)
	}
	m.commits.WithLabelValues("refused").Inc()
}
