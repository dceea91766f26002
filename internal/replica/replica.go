// Package replica keeps a topic as state that all nodes share: each node applies
// the records in the order of the log, and so comes to the same state.
//
// A Topic does the work that every such state needs. It seals records, writes them,
// and waits until this node has applied them. It verifies records and passes them on.
// A record that is not applied is counted by its cause and kept in the dead letter.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/secret"
	"vedette/schemas"
)

const (
	// batchRecords and batchBytes bound the records that wait for acknowledgement.
	batchRecords = 1000
	batchBytes   = 16 << 20
	// putWithin bounds the wait of Put for this node's own reading.
	putWithin = time.Minute
	// refusedMax bounds the refusals remembered for one Put, and the keys of
	// records that a newer program wrote.
	refusedMax = 1000
	// flushWithin bounds the wait at the end for dead letters.
	flushWithin = 5 * time.Second
)

// Causes of a refusal that every replica counts. Apply may return others.
const (
	// CauseMAC: the record was not made under this cluster key.
	CauseMAC = "mac"
	// CauseShape: the record cannot be read.
	CauseShape = "shape"
	// CauseNewer: a newer program wrote the record.
	CauseNewer = "newer"
)

// Errors of a Topic.
var (
	// ErrNewer says that the topic holds records that only a newer program reads.
	ErrNewer = errors.New("a newer version of this program is needed")
	// ErrUnread says that this node did not read back its own record in time. The
	// record is written; the other nodes may have read it.
	ErrUnread = fmt.Errorf("the record is written, but this node has not read it within %s", putWithin)
)

// Refusal is an error of Config.Apply with a cause of its own.
type Refusal struct {
	// Cause is one of a closed set of words, for metrics and the dead letter.
	Cause string
	Err   error
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Config says which records a Topic takes and where they go.
type Config struct {
	// Name says in metrics and messages whose state it is.
	Name string
	// Topic is the topic's name without the prefix.
	Topic string
	// Purpose is the purpose of the records' MAC under the cluster key. It is empty
	// for a topic whose records carry none, because they act on nothing.
	Purpose string
	// Claims reports whether a record is of this state, by its key; nil takes every
	// record. Several states may share a topic.
	Claims func(key []byte) bool
	// Apply takes in a record that verified; one without a value removes its key.
	// It runs on the goroutine of Run, and ctx ends with Run. An error is a
	// refusal: by its own cause if it is a *Refusal, CauseNewer if it is
	// schemas.ErrNewer, else CauseShape.
	Apply func(ctx context.Context, rec *schemas.Record) error
}

// Topic is one node's copy of the state. It is safe for concurrent use.
type Topic struct {
	cfg      Config
	box      *secret.Box
	log      *slog.Logger
	producer *kafka.Producer
	follower *kafka.Follower
	refused  *prometheus.CounterVec
	within   time.Duration // putWithin, shorter in tests
	ctx      context.Context

	mu      sync.Mutex
	next    map[int32]int64 // offset behind the last record seen, by partition
	waiters map[*waiter]struct{}
	newer   map[string]error // by key
}

// place is where a record stands.
type place struct {
	partition int32
	offset    int64
}

// waiter is a Put that waits for this node's own reading.
type waiter struct {
	moved   chan struct{} // has room for one
	refused map[place]error
}

// Open prepares a copy and opens its producer. Nothing is read before Run.
func Open(cluster *kafka.Cluster, box *secret.Box, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Topic, error) {
	p, err := cluster.NewProducer(cfg.Name, log, reg)
	if err != nil {
		return nil, err
	}
	t := &Topic{
		cfg: cfg, box: box, log: log, producer: p, within: putWithin,
		next: map[int32]int64{}, waiters: map[*waiter]struct{}{}, newer: map[string]error{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_replica_refused_records_total", Help: "Records of shared topics that were not applied, by state and cause.",
		}, []string{"state", "reason"}),
	}
	if reg != nil {
		// Every state of the process counts in the same vector.
		if err := reg.Register(t.refused); err != nil {
			var are prometheus.AlreadyRegisteredError
			if !errors.As(err, &are) {
				p.Close()
				return nil, err
			}
			t.refused = are.ExistingCollector.(*prometheus.CounterVec)
		}
	}
	for _, cause := range []string{CauseMAC, CauseShape, CauseNewer} {
		t.refused.WithLabelValues(cfg.Name, cause)
	}
	t.follower = cluster.Follow(cfg.Topic, log, t.take)
	return t, nil
}

// Run follows the topic until ctx ends, then closes the producer and returns nil.
func (t *Topic) Run(ctx context.Context) error {
	defer t.Close()
	t.ctx = ctx
	err := t.follower.Run(ctx)
	flush, end := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer end()
	if e := t.producer.Flush(flush); e != nil {
		t.log.Warn("the brokers did not take every dead letter", "state", t.cfg.Name, "err", e)
	}
	return err
}

// Close closes the producer of a Topic that does not run.
func (t *Topic) Close() { t.producer.Close() }

// Ready is closed once the topic was read to the end it had when Run began.
func (t *Topic) Ready() <-chan struct{} { return t.follower.Ready() }

// ready reports whether Ready is closed.
func (t *Topic) ready() bool {
	select {
	case <-t.Ready():
		return true
	default:
		return false
	}
}

// Empty reports whether no record of the topic was ever read, of this state or
// another.
func (t *Topic) Empty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.next) == 0
}

// Err is nil unless a newer program wrote records that this one does not read: then
// it wraps ErrNewer. The state before such a record stays in use, but a key that the
// state lacks may be there for newer programs.
func (t *Topic) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, err := range t.newer { // one of them is enough to act
		return fmt.Errorf("%w to read the record %.200q of the topic %s: %w. Upgrade this node to the version of the node that wrote it", ErrNewer, key, t.cfg.Topic, err)
	}
	return nil
}

// take verifies and applies one record. It runs in the order of each partition.
func (t *Topic) take(rec schemas.Record) {
	var err error
	if t.cfg.Claims == nil || t.cfg.Claims(rec.Key) {
		if t.Verify(&rec) {
			err = t.cfg.Apply(t.ctx, &rec)
		} else {
			err = &Refusal{CauseMAC, errors.New("the record was not made under this cluster key")}
		}
	}
	if err != nil && t.ctx.Err() != nil {
		return // the end cut Apply short; the next start applies the record
	}
	cause := ""
	if err != nil {
		cause = causeOf(err)
		t.Refuse(&rec, cause, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case cause == CauseNewer && len(t.newer) < refusedMax:
		t.newer[string(rec.Key)] = err
	case err == nil:
		delete(t.newer, string(rec.Key))
	}
	t.next[rec.Partition] = rec.Offset + 1
	for w := range t.waiters {
		if err != nil && cause != CauseMAC && len(w.refused) < refusedMax {
			w.refused[place{rec.Partition, rec.Offset}] = err
		}
		select {
		case w.moved <- struct{}{}:
		default:
		}
	}
}

func causeOf(err error) string {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r.Cause
	}
	if errors.Is(err, schemas.ErrNewer) {
		return CauseNewer
	}
	return CauseShape
}

// Verify reports whether a record was made under the cluster key, if records of
// this topic carry a MAC at all.
func (t *Topic) Verify(rec *schemas.Record) bool {
	return t.cfg.Purpose == "" || t.box.Verify(t.cfg.Purpose, schemas.MACInput(rec), rec.Header(schemas.HeaderMAC))
}

// Refuse counts a record that is not applied and keeps it in the dead letter.
// Records from before this start were kept when they were new.
func (t *Topic) Refuse(rec *schemas.Record, cause string, err error) {
	t.refused.WithLabelValues(t.cfg.Name, cause).Inc()
	t.log.Warn("a record was not applied; the state before it stays", "state", t.cfg.Name, "topic", rec.Topic, "key", string(rec.Key), "offset", rec.Offset, "reason", cause, "err", err)
	if t.ready() {
		d := schemas.NewDeadLetter(rec, rec.Topic+"_"+cause, err.Error())
		t.producer.Produce(d.Record(), nil)
	}
}

// Write seals records, writes them in their order and returns them with their
// places when they are durable.
func (t *Topic) Write(ctx context.Context, recs ...schemas.Record) ([]schemas.Record, error) {
	out := make([]schemas.Record, 0, len(recs))
	for len(recs) > 0 {
		n, bytes := 0, 0
		for n < min(len(recs), batchRecords) && (n == 0 || bytes+len(recs[n].Value) <= batchBytes) {
			bytes += len(recs[n].Value)
			n++
		}
		batch := slices.Clone(recs[:n])
		if t.cfg.Purpose != "" {
			for i := range batch {
				batch[i] = Seal(t.box, t.cfg.Purpose, batch[i])
			}
		}
		done, err := t.producer.ProduceSync(ctx, batch...)
		if err != nil {
			return out, err
		}
		out, recs = append(out, done...), recs[n:]
	}
	return out, nil
}

// Seal returns a record with its MAC under the cluster key.
func Seal(box *secret.Box, purpose string, rec schemas.Record) schemas.Record {
	rec.Headers = append(slices.Clip(rec.Headers), schemas.Header{Key: schemas.HeaderMAC, Value: box.MAC(purpose, schemas.MACInput(&rec))})
	return rec
}

// Put is Write, and waits until this node has applied the records, so that the
// caller sees them in the state. If this node refused one of them, Put returns why.
// The wait ends with ctx, and after a minute with ErrUnread.
func (t *Topic) Put(ctx context.Context, recs ...schemas.Record) error {
	// The waiter is there before the records, which may be applied before the
	// brokers' acknowledgement arrives.
	w := &waiter{moved: make(chan struct{}, 1), refused: map[place]error{}}
	t.mu.Lock()
	t.waiters[w] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.waiters, w)
		t.mu.Unlock()
	}()
	written, err := t.Write(ctx, recs...)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, t.within)
	defer cancel()
	for {
		read, refusal := t.seen(w, written)
		if read {
			return refusal
		}
		select {
		case <-w.moved:
		case <-within.Done():
			if err := ctx.Err(); err != nil {
				return err
			}
			return ErrUnread
		}
	}
}

// seen reports whether this node has read all records, and why it refused one.
func (t *Topic) seen(w *waiter, recs []schemas.Record) (read bool, refusal error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range recs {
		r := &recs[i]
		if t.next[r.Partition] <= r.Offset {
			return false, nil
		}
		if err := w.refused[place{r.Partition, r.Offset}]; err != nil && refusal == nil {
			refusal = err
		}
	}
	return true, refusal
}
