package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"vedette/internal/metrics"
	"vedette/internal/retry"
	"vedette/schemas"
)

// Bounds of one Producer. A caller with its own window never meets them.
const (
	maxBufferedRecords = 200_000
	maxBufferedBytes   = 256 << 20
	// stalledAfter is how long unacknowledged records may stand without any
	// acknowledgement before the producer counts as unhealthy.
	stalledAfter = 5 * time.Second
	// Records that were refused for a cause that may pass are sent again after
	// this long, doubled up to the other while none of them is taken.
	resendDelayMin = 100 * time.Millisecond
	resendDelayMax = 5 * time.Second
)

// Producer writes records with acks=all and an idempotent session: each
// acknowledged record is on min.insync.replicas brokers, once. It is safe for
// concurrent use.
type Producer struct {
	c    *Cluster
	opts []kgo.Opt
	cl   atomic.Pointer[kgo.Client]
	log  *slog.Logger

	outstanding atomic.Int64
	progress    atomic.Int64 // unix nanoseconds of the last acknowledgement, or of the first record after none
	held        held
	renewing    sync.Mutex
	closed      chan struct{}
	written     prometheus.Counter
	failed      prometheus.Counter
	resent      prometheus.Counter
}

// NewProducer opens a producer; name says for whom in metrics.
func (c *Cluster) NewProducer(name string, log *slog.Logger, reg prometheus.Registerer) (*Producer, error) {
	opts := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(MaxBatchBytes - 64<<10),
		kgo.ProducerBatchCompression(kgo.SnappyCompression(), kgo.NoCompression()),
		kgo.ProducerLinger(2 * time.Millisecond),
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil), c.Topic(schemas.TopicCheckpoints)}),
		kgo.MaxBufferedRecords(maxBufferedRecords),
		kgo.MaxBufferedBytes(maxBufferedBytes),
		kgo.RecordRetries(math.MaxInt32),
		kgo.UnknownTopicRetries(-1),
		kgo.ProduceRequestTimeout(10 * time.Second),
		// A broker that ends closes connections it has just taken; without this the
		// client takes that for a listener that wants a login, and gives records up.
		kgo.AlwaysRetryEOF(),
	}
	cl, err := c.client(opts...)
	if err != nil {
		return nil, fmt.Errorf("open producer: %w", err)
	}
	p := &Producer{c: c, opts: opts, log: log, closed: make(chan struct{})}
	p.cl.Store(cl)
	p.held.room.L = &p.held.mu
	labels := prometheus.Labels{"producer": name}
	p.written = metrics.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_kafka_produced_records_total", Help: "Records acknowledged by the brokers.", ConstLabels: labels}))
	p.failed = metrics.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_kafka_produce_failures_total", Help: "Records whose writer was told that the brokers refused them.", ConstLabels: labels}))
	p.resent = metrics.Register(reg, prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_kafka_produce_resent_records_total", Help: "Records the brokers refused for a cause that may pass, sent again.", ConstLabels: labels}))
	metrics.Register(reg, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "vedette_kafka_unacknowledged_records", Help: "Records handed over and not yet acknowledged.", ConstLabels: labels},
		func() float64 { return float64(p.outstanding.Load()) }))
	return p, nil
}

// partitioner places records by the hash of their key, as every Kafka client
// does. The writer chooses the partition of TopicCheckpoints records, because a
// reader finds a checkpoint's chunks by their offsets.
type partitioner struct {
	kgo.Partitioner
	checkpoints string
}

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.checkpoints {
		return placed{}
	}
	return p.Partitioner.ForTopic(topic)
}

type placed struct{}

func (placed) RequiresConsistency(*kgo.Record) bool { return true }

func (placed) Partition(r *kgo.Record, n int) int { return int(r.Partition) % n }

// Produce hands a record over and returns. done runs once, on a goroutine of
// the client, when the record is durable (nil) or refused for good (it is too
// large or malformed, or the producer was closed). While no broker answers, or
// brokers refuse for causes that may pass, the record waits. Records of one key
// that one goroutine hands over keep their order, unless brokers refuse some
// and take the next.
func (p *Producer) Produce(rec schemas.Record, done func(err error)) {
	p.begin()
	k := p.c.toKgo(rec)
	if !p.held.join(k, done) {
		p.send(k, done)
	}
}

// ProduceOnce is Produce without sending again: done also gets refusals that may
// pass. It is for callers that must keep an order across refusals.
func (p *Producer) ProduceOnce(rec schemas.Record, done func(err error)) {
	p.begin()
	p.cl.Load().Produce(context.Background(), p.c.toKgo(rec), func(_ *kgo.Record, err error) { p.finish(done, err) })
}

func (p *Producer) send(k *kgo.Record, done func(err error)) {
	p.cl.Load().Produce(context.Background(), k, func(r *kgo.Record, err error) {
		if err == nil || !p.hold(r, done, err) {
			p.finish(done, err)
		}
	})
}

// begin counts a record as handed over, finish as answered for.
func (p *Producer) begin() {
	if p.outstanding.Add(1) == 1 {
		p.progress.Store(time.Now().UnixNano())
	}
}

func (p *Producer) finish(done func(err error), err error) {
	p.progress.Store(time.Now().UnixNano())
	p.outstanding.Add(-1)
	if err != nil {
		p.failed.Inc()
	} else {
		p.written.Inc()
	}
	if done != nil {
		done(err)
	}
}

// ProduceSync writes records and waits for all of them. The result holds them
// with partition and offset. Each refusal by the brokers is
// an error. If ctx ends first, the records may have been written or not.
func (p *Producer) ProduceSync(ctx context.Context, recs ...schemas.Record) ([]schemas.Record, error) {
	type result struct {
		i   int
		rec *kgo.Record
		err error
	}
	results := make(chan result, len(recs))
	for i, rec := range recs {
		p.begin()
		p.cl.Load().Produce(ctx, p.c.toKgo(rec), func(r *kgo.Record, err error) {
			p.finish(nil, err)
			results <- result{i, r, err}
		})
	}
	out := append([]schemas.Record(nil), recs...)
	var first error
	for range recs {
		r := <-results
		if r.err != nil && first == nil {
			first = fmt.Errorf("produce to %s: %w", recs[r.i].Topic, r.err)
		}
		out[r.i].Partition, out[r.i].Offset, out[r.i].Timestamp = r.rec.Partition, r.rec.Offset, r.rec.Timestamp
	}
	if first != nil && ctx.Err() == nil {
		p.renew() // so that another try can succeed
	}
	return out, first
}

// Flush waits until everything handed over so far was acknowledged or refused.
func (p *Producer) Flush(ctx context.Context) error {
	for {
		if err := p.cl.Load().Flush(ctx); err != nil {
			return err
		}
		if !p.held.waiting.Load() {
			return nil
		}
		if err := retry.Sleep(ctx, resendDelayMin/10); err != nil {
			return err
		}
	}
}

// Healthy reports whether the brokers acknowledge records.
func (p *Producer) Healthy() bool {
	return p.outstanding.Load() == 0 || time.Since(time.Unix(0, p.progress.Load())) < stalledAfter
}

// Close ends the producer. It reports each unacknowledged record to its done
// function as an error.
func (p *Producer) Close() {
	p.held.mu.Lock()
	if !p.isClosed() {
		close(p.closed)
	}
	p.held.mu.Unlock()
	p.cl.Load().Close()
}
