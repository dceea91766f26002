package analyze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/repeats"
	"vedette/internal/secret"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// Group is the consumer group of all analysis workers, without the prefix.
const Group = "analyze"

// Options configures a worker and holds its dependencies.
type Options struct {
	Config   Config
	Cluster  *kafka.Cluster
	Rulesets Rulesets
	// Node names the worker in messages for people.
	Node string
	// Box authenticates checkpoints; nil neither writes nor loads any, and a
	// new ruleset then applies at once.
	Box *secret.Box
	// Checkpoints says when they are written.
	Checkpoints CheckpointPolicy
	Log         *slog.Logger
	Registerer  prometheus.Registerer

	fault func(at string) error // of tests
}

// Role is one analysis worker.
type Role struct {
	o        Options
	m        *metrics
	producer *kafka.Producer
	ck       *checkpoints // nil without Options.Box
	running  running
	lost     atomic.Int64
}

// New opens the worker's producer; it reads nothing before Run.
func New(o Options) (*Role, error) {
	p, err := o.Cluster.NewProducer("analyze", o.Log, o.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Role{o: o, m: newMetrics(o.Registerer), producer: p}
	r.running.gauge = r.m.rulesets
	if o.Box != nil {
		r.ck = newCheckpoints(r)
		o.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vedette_analyze_checkpoint_age_seconds", Help: "Age of the oldest checkpoint of the owned partitions; a partition without events writes none.",
		}, r.ck.age))
	}
	return r, nil
}

// Run judges events until ctx ends, once there is a ruleset to judge them by.
func (r *Role) Run(ctx context.Context) error {
	defer r.producer.Close()
	select {
	case <-r.o.Rulesets.Ready():
	case <-ctx.Done():
		return nil
	}
	cfg := kafka.GroupConfig{
		Group: Group, Topic: schemas.TopicEvents, Rewind: r.rewind, Open: r.open,
		Log: r.o.Log, Registerer: r.o.Registerer,
	}
	if r.ck != nil {
		cfg.StartAt = r.ck.startAt
	}
	return r.o.Cluster.Consume(ctx, cfg)
}

// Ready returns why the worker should not be relied upon, or nil.
func (r *Role) Ready() error {
	if n := r.lost.Load(); n > 0 {
		return fmt.Errorf("%d events were removed by retention before they were judged: raise events.retention or add workers", n)
	}
	if !r.producer.Healthy() {
		return errors.New("the brokers do not acknowledge alerts")
	}
	return nil
}

// partition is the state of one assigned partition.
type partition struct {
	r       *Role
	a       kafka.Assignment
	rules   judging
	state   *engine.Keyed  // nil until the first record
	seen    repeats.Memory // records of sources that repeat themselves
	live    int64          // output is due from this offset; kafka.NoOffset from the first record
	next    int64          // outputs of all records before it are acknowledged
	clean   bool           // the state has seen nothing at or behind next
	started bool
	fresh   bool    // the state began empty, and no checkpoint says so yet
	keeper  *keeper // nil without checkpoints
	steps   uint64  // of state.StepsExceeded, counted so far
	evicted uint64  // of state.Evicted, counted so far
	vedette []byte  // scratch
	doc     []byte  // scratch
}

func (r *Role) open(_ context.Context, a kafka.Assignment) (kafka.Handler, error) {
	p := &partition{r: r, a: a, live: a.Committed, next: kafka.NoOffset}
	if r.ck != nil {
		p.keeper = &keeper{c: r.ck, last: time.Now()}
		if l := r.ck.take(a.Partition); l != nil {
			p.state, p.seen, p.keeper.slot, p.rules = l.state, l.seen, l.slot, l.rules
			if p.live = max(p.live, l.offset); l.cut {
				p.live = l.offset
			}
		}
	}
	return p, nil
}

// Close implements kafka.Handler. It writes a last checkpoint.
func (p *partition) Close() {
	if p.keeper != nil {
		p.keeper.close(p, p.clean)
	}
	p.r.running.set(p.rules.shown, "")
}

// Handle judges records in order and returns once their output is durable.
func (p *partition) Handle(ctx context.Context, recs []schemas.Record) error {
	if err := p.begin(ctx, recs[0].Offset); err != nil {
		return err
	}
	if err := p.change(ctx, recs[0].Offset); err != nil {
		return err
	}
	p.clean = false
	if p.fresh && p.keeper != nil {
		if err := p.keeper.first(ctx, p, recs[0].Offset); err != nil {
			return err
		}
		p.fresh = false
	}
	out := newBatch(p.r)
	begin := time.Now()
	for i := range recs {
		if p.rules.due(recs[i].Offset) {
			if err := p.follow(ctx, recs[i].Offset); err != nil {
				return err
			}
		}
		p.judge(&recs[i], out)
		if out.full() {
			if err := out.wait(ctx); err != nil {
				return err
			}
		}
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := p.r.o.interrupt(faultJudged); err != nil {
			return err
		}
	}
	p.r.m.busy.Add(time.Since(begin).Seconds())
	if err := out.wait(ctx); err != nil {
		return err
	}
	if err := p.r.o.interrupt(faultOutput); err != nil {
		return err
	}
	p.next, p.clean = recs[len(recs)-1].Offset+1, true
	if p.keeper != nil {
		p.keeper.events += len(recs)
		p.keeper.due(p)
	}
	return nil
}

// begin looks at the first record: it counts events that retention took before
// they were judged, notices a log that was cut behind a loaded state, and makes
// the state if none was loaded.
func (p *partition) begin(ctx context.Context, first int64) error {
	if p.started {
		return nil
	}
	if p.a.From != kafka.NoOffset && first < p.a.From {
		// The brokers began anew at the start: offsets are below the offsets
		// that the state has seen. All records there are judged; repeats
		// overwrite themselves.
		p.state, p.seen, p.live, p.rules.floor = nil, repeats.Memory{}, first, first
		p.r.ck.reject(p.a.Partition, "log_cut", nil)
	} else if p.live != kafka.NoOffset && first > p.live {
		n := first - p.live
		p.r.lost.Add(n)
		p.r.m.lost.Add(float64(n))
		p.r.o.Log.Error("events were removed by retention before they were judged", "topic", p.a.Topic, "partition", p.a.Partition, "offset", p.live, "lost", n)
	}
	if err := p.follow(ctx, first); err != nil {
		return err
	}
	p.started = true
	return nil
}

func (p *partition) judge(rec *schemas.Record, out *batch) {
	live := rec.Offset >= p.live
	ev, err := schemas.ParseEvent(rec)
	switch {
	case err == nil:
	case errors.Is(err, schemas.ErrEventKey):
		if live {
			out.add(ev.Record(), p.r.m.rekeyed)
		}
		return
	default:
		if live {
			out.dead(rec, reason(err), err.Error())
		}
		return
	}
	if p.seen.Seen(rec.Key, ev.EventID) {
		if live {
			p.r.m.repeated.Inc()
		}
		return
	}
	if live {
		p.r.m.events.Inc()
	} else {
		p.r.m.rerun.Inc()
	}
	res := p.rules.engine.Process(p.state, &ev)
	if n := p.state.StepsExceeded(); n > p.steps {
		p.r.m.steps.Add(float64(n - p.steps))
		p.steps = n
	}
	if n := p.state.Evicted(); n > p.evicted {
		p.r.m.evicted.Add(float64(n - p.evicted))
		p.evicted = n
	}
	if res.Rejected {
		if live {
			out.dead(rec, "event_location", "the location begins with [ and has no ]")
		}
		return
	}
	if !live || (!res.Alert && !p.r.o.Config.LogAll) {
		return
	}
	id := schemas.AlertID(rec.Timestamp, rec.Partition, rec.Offset, 0)
	doc := schemas.AlertDocID(p.a.TopicID, rec.Partition, rec.Offset, 0)
	p.vedette = p.coordinates(p.vedette[:0], rec, &ev)
	record := func(topic string, body []byte) schemas.Record {
		a := schemas.Alert{ID: doc, Epoch: p.a.Epoch, Key: string(rec.Key), Time: rec.Timestamp, Document: body}
		r := a.Record()
		r.Topic = topic
		return r
	}
	// Rendered into one buffer, then copied: the producer keeps the bytes it is
	// given.
	if res.Alert {
		p.doc = res.AppendAlert(p.doc[:0], id, p.vedette)
		out.add(record(schemas.TopicAlerts, bytes.Clone(p.doc)), p.r.m.alerts)
	}
	if p.r.o.Config.LogAll && res.Judged {
		p.doc = res.AppendArchive(p.doc[:0], id, p.vedette)
		out.add(record(schemas.TopicArchives, bytes.Clone(p.doc)), p.r.m.archives)
	}
}

// coordinates appends the object with the place of an alert's event and the
// ruleset that judged it (docs/design.md D3).
func (p *partition) coordinates(dst []byte, rec *schemas.Record, ev *schemas.Event) []byte {
	dst = append(dst, `{"topic_id":"`...)
	dst = append(dst, p.a.TopicID...)
	dst = append(dst, `","partition":`...)
	dst = strconv.AppendInt(dst, int64(rec.Partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, rec.Offset, 10)
	dst = append(dst, `,"n":0,"ruleset":"`...)
	dst = append(dst, p.rules.version...)
	dst = append(dst, '"')
	if ev.Gateway != "" {
		dst = append(dst, `,"gateway":`...)
		dst = schemas.AppendJSONString(dst, ev.Gateway)
	}
	return append(dst, '}')
}

func reason(err error) string {
	switch {
	case errors.Is(err, schemas.ErrEventTooLarge):
		return "event_too_large"
	case errors.Is(err, schemas.ErrEventQueue):
		return "event_queue"
	}
	return "event_unreadable"
}

// batchRecordsMax and batchBytesMax bound the unacknowledged records per
// partition.
const (
	batchRecordsMax = 10_000
	batchBytesMax   = 32 << 20
)

// batch is output on its way to the brokers.
type batch struct {
	r       *Role
	wg      sync.WaitGroup
	records int
	bytes   int
}

func newBatch(r *Role) *batch { return &batch{r: r} }

func (b *batch) full() bool { return b.records >= batchRecordsMax || b.bytes >= batchBytesMax }

// add hands a record over. A record that the brokers refuse for good (above
// their limit) goes to the dead letter instead.
func (b *batch) add(rec schemas.Record, counter prometheus.Counter) {
	b.records++
	b.bytes += len(rec.Value)
	b.wg.Add(1)
	b.r.producer.Produce(rec, func(err error) {
		if err == nil {
			counter.Inc()
			b.wg.Done()
			return
		}
		b.r.o.Log.Error("a record was refused by the brokers", "topic", rec.Topic, "err", err)
		b.r.m.deadletter.WithLabelValues("refused_by_broker").Inc()
		dead := schemas.NewDeadLetter(&rec, "refused_by_broker", err.Error())
		// The client must not be entered from its own callback while it is full.
		go b.r.producer.Produce(dead.Record(), func(error) { b.wg.Done() })
	})
}

func (b *batch) dead(rec *schemas.Record, cause, detail string) {
	b.r.m.deadletter.WithLabelValues(cause).Inc()
	d := schemas.NewDeadLetter(rec, cause, detail)
	b.records++
	b.wg.Add(1)
	b.r.producer.Produce(d.Record(), func(error) { b.wg.Done() })
}

// wait returns when everything was acknowledged. If ctx ends first, the offset
// is not committed and the next owner writes it all again.
func (b *batch) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { b.wg.Wait(); close(done) }()
	select {
	case <-done:
		b.records, b.bytes = 0, 0
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
