package topics

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/registry"
	"vedette/internal/retry"
	"vedette/schemas"
)

const (
	// batchRecordsMax and batchBytesMax bound the unacknowledged data per
	// partition.
	batchRecordsMax = 2000
	batchBytesMax   = 4 << 20
	// againMin and againMax lie between two tries to write an event that brokers refuse.
	againMin = 100 * time.Millisecond
	againMax = 5 * time.Second
	// pauseMax is the longest pause after a failure.
	pauseMax = 30 * time.Second
	// logEvery bounds the log of refused records, per topic.
	logEvery = 10 * time.Second
	// watchEvery is how often a topic is looked at for having been made anew.
	watchEvery = 30 * time.Second
)

// Registry answers questions about the agents that events belong to.
type Registry interface {
	Ready() <-chan struct{}
	Agent(id string) (registry.Agent, bool)
	Presence(id string) (schemas.Presence, bool)
}

// Options configures the role and holds its dependencies.
type Options struct {
	Topics   []Config
	Cluster  *kafka.Cluster
	Registry Registry
	// Node names this gateway in events.
	Node string
	// MaxAge is how old an event's time may be; an older one becomes now. It must
	// lie well below the retention of events, which the oldest would end early.
	MaxAge     time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer

	fault      func() error  // of tests: after a batch was acknowledged
	watchEvery time.Duration // of tests; 0: watchEvery
}

// Role takes part in the groups of all configured topics.
type Role struct {
	o        Options
	m        *metrics
	producer *kafka.Producer
	serving  atomic.Bool
}

// New opens the producer; nothing is read before Run.
func New(o Options) (*Role, error) {
	p, err := o.Cluster.NewProducer("ingest-kafka", o.Log, o.Registerer)
	if err != nil {
		return nil, err
	}
	return &Role{o: o, m: newMetrics(o.Registerer, o.Topics), producer: p}, nil
}

// Ready returns an error while the role cannot take records. A missing
// topic is no error: the role waits for it.
func (r *Role) Ready() error {
	if !r.serving.Load() {
		return errors.New("ingest: topics of others are not read yet")
	}
	if !r.producer.Healthy() {
		return errors.New("ingest: the brokers do not acknowledge; topics of others wait")
	}
	return nil
}

// Run takes records until ctx ends, once the registry is known, and returns nil.
// After a failure of a topic it begins again from its commits.
func (r *Role) Run(ctx context.Context) error {
	defer r.producer.Close()
	select {
	case <-r.o.Registry.Ready():
	case <-ctx.Done():
		return nil
	}
	r.serving.Store(true)
	defer r.serving.Store(false)
	var wg sync.WaitGroup
	for _, c := range r.o.Topics {
		in := &input{r: r, cfg: c, received: r.m.received.WithLabelValues(c.Topic), written: r.m.written.WithLabelValues(c.Topic)}
		wg.Go(func() { in.run(ctx) })
	}
	wg.Wait()
	return nil
}

// input is one topic.
type input struct {
	r                 *Role
	cfg               Config
	received, written prometheus.Counter
	refused           retry.Log

	mu     sync.Mutex // guards the fields below
	logged time.Time
	id     string // topic id of the latest assignment
}

func (in *input) run(ctx context.Context) {
	log := in.r.o.Log
	pause := retry.Backoff{Min: time.Second, Max: pauseMax}
	for ctx.Err() == nil {
		pause.Begin()
		member, leave := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() { in.watch(member, leave) })
		err := in.r.o.Cluster.Foreign().Consume(member, kafka.GroupConfig{
			Group: in.cfg.group(in.r.o.Cluster.Topic("")), Topic: in.cfg.Topic,
			Open: func(_ context.Context, a kafka.Assignment) (kafka.Handler, error) {
				if id := in.cfg.agent(); id != schemas.ManagerID {
					if _, ok := in.r.o.Registry.Agent(id); !ok {
						log.Warn("events are taken for an agent that is not registered", "topic", in.cfg.Topic, "agent_id", id, "hint", "add it with `vedette agents add`, or mend ingest.kafka")
					}
				}
				in.mu.Lock()
				in.id = a.TopicID
				in.mu.Unlock()
				return &partition{in: in, stream: a.TopicID + "/" + strconv.Itoa(int(a.Partition)) + "/"}, nil
			},
			Log: log, Registerer: in.r.o.Registerer,
		})
		leave()
		watching.Wait()
		if ctx.Err() != nil {
			return
		}
		if err == nil { // the topic was made anew
			continue
		}
		log.Error("a topic is not read", "topic", in.cfg.Topic, "err", err)
		_ = pause.WaitSince(ctx)
	}
}

// watch calls leave once the topic differs from the assigned one. A member must
// not read a topic that was made anew under the old name, as its offsets begin
// anew too.
func (in *input) watch(ctx context.Context, leave context.CancelFunc) {
	every := in.r.o.watchEvery
	if every == 0 {
		every = watchEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		in.mu.Lock()
		id := in.id
		in.mu.Unlock()
		if id == "" {
			continue
		}
		if now, err := in.r.o.Cluster.Foreign().TopicID(ctx, in.cfg.Topic); err == nil && now != id {
			in.r.o.Log.Warn("a topic was made anew; it is read from its start", "topic", in.cfg.Topic)
			in.mu.Lock()
			in.id = ""
			in.mu.Unlock()
			leave()
			return
		}
	}
}

// warn logs refused records at a bounded rate; the dead letter has them all.
func (in *input) warn(cause string, rec *schemas.Record, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if now := time.Now(); now.Sub(in.logged) >= logEvery {
		in.logged = now
		in.r.o.Log.Warn("a record is no event", "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset, "reason", cause, "err", err,
			"hint", "read the topic deadletter; the format is configured in ingest.kafka")
	}
}

// partition is one assigned partition of a topic.
type partition struct {
	in     *input
	stream string // topic id and partition, as event ids begin
}

// Close implements kafka.Handler.
func (*partition) Close() {}

// Handle writes records as events and returns once they are durable.
func (p *partition) Handle(ctx context.Context, recs []schemas.Record) error {
	b := batch{in: p.in}
	for i := range recs {
		p.take(&recs[i], &b)
		if b.records >= batchRecordsMax || b.bytes >= batchBytesMax {
			if err := b.wait(ctx); err != nil {
				return err
			}
		}
	}
	if err := b.wait(ctx); err != nil {
		return err
	}
	if f := p.in.r.o.fault; f != nil {
		return f()
	}
	return nil
}

func (p *partition) take(rec *schemas.Record, b *batch) {
	p.in.received.Inc()
	c, cause, detail := read(p.in.cfg.format(), rec.Value)
	switch cause {
	case "":
		e := p.event(rec, &c, time.Now())
		b.add(rec, e.Record())
	case causeEmpty: // a compacted topic is full of them
		p.in.r.m.refused.WithLabelValues(p.in.cfg.Topic, cause).Inc()
	default:
		b.records++
		b.bytes += 2 * min(len(rec.Value), schemas.MaxDeadLetterValueBytes)
		b.dead(rec, cause, errors.New(detail))
	}
}

func (p *partition) event(rec *schemas.Record, c *content, now time.Time) schemas.Event {
	e := schemas.Event{
		Time: now, AgentID: p.in.cfg.agent(), Location: p.in.cfg.location(c), Queue: '1', Gateway: p.in.r.o.Node,
		EventID: p.stream + strconv.FormatInt(rec.Offset, 10), Log: c.text,
	}
	for _, t := range []time.Time{c.time, rec.Timestamp} {
		if !t.IsZero() && !t.After(now) && now.Sub(t) <= p.in.r.o.MaxAge {
			e.Time = t
			break
		}
	}
	e.Time = e.Time.Truncate(time.Millisecond)
	if e.AgentID == schemas.ManagerID {
		e.Queue = '2'
		return e
	}
	if a, ok := p.in.r.o.Registry.Agent(e.AgentID); ok {
		e.AgentName, e.AgentAddress = a.Name, a.Rule.Host()
	}
	if known, ok := p.in.r.o.Registry.Presence(e.AgentID); ok {
		e.AgentIP = known.AgentIP
	}
	return e
}

// batch is output on its way to the brokers. Analysis takes an event that stands
// behind a later one of its key for a repeat, so events are written in order
// also where brokers refuse some.
type batch struct {
	in      *input
	sent    []*sending
	wg      sync.WaitGroup
	records int
	bytes   int
}

type sending struct {
	from *schemas.Record
	rec  schemas.Record
	err  error
}

func (b *batch) add(from *schemas.Record, rec schemas.Record) {
	b.records++
	b.bytes += len(rec.Value)
	s := &sending{from: from, rec: rec}
	b.sent = append(b.sent, s)
	b.wg.Add(1)
	b.in.r.m.inflight.Inc()
	b.in.r.producer.ProduceOnce(rec, func(err error) {
		b.in.r.m.inflight.Dec()
		if s.err = err; err == nil {
			b.in.written.Inc()
		}
		b.wg.Done()
	})
}

// dead keeps a record that is no event where it can be looked at.
func (b *batch) dead(rec *schemas.Record, cause string, err error) {
	b.in.r.m.refused.WithLabelValues(b.in.cfg.Topic, cause).Inc()
	b.in.warn(cause, rec, err)
	d := schemas.NewDeadLetter(rec, cause, err.Error())
	b.wg.Add(1)
	b.in.r.producer.Produce(d.Record(), func(error) { b.wg.Done() })
}

// wait returns when everything was acknowledged. If ctx ends first, the offset
// is not committed and the next owner writes it all again.
func (b *batch) wait(ctx context.Context) error {
	if err := b.acknowledged(ctx); err != nil {
		return err
	}
	sent := b.sent
	b.sent, b.records, b.bytes = nil, 0, 0
	refused := func(s *sending) bool { return s.err != nil }
	if !slices.ContainsFunc(sent, refused) {
		return nil
	}
	last := map[string]int{} // of those that are written, by key
	waiting := float64(len(sent))
	for i, s := range sent {
		if !refused(s) {
			last[string(s.rec.Key)] = i
			waiting--
		}
	}
	b.in.r.m.inflight.Add(waiting)
	defer b.in.r.m.inflight.Sub(waiting)
	for i, s := range sent {
		if !refused(s) {
			continue
		}
		if n, ok := last[string(s.rec.Key)]; ok && n > i {
			b.dead(s.from, causeProduce, s.err)
		} else if err := b.again(ctx, s); err != nil {
			return err
		}
	}
	return b.acknowledged(ctx)
}

// again writes a refused event again, unless its content is the cause.
func (b *batch) again(ctx context.Context, s *sending) error {
	pause := retry.Backoff{Min: againMin, Max: againMax}
	for {
		_, err := b.in.r.producer.ProduceSync(ctx, s.rec)
		switch {
		case err == nil:
			b.in.written.Inc()
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case kafka.RefusedForGood(err):
			b.dead(s.from, causeProduce, err)
			return nil
		}
		if skipped, due := b.in.refused.Due(); due {
			b.in.r.o.Log.Warn("the brokers refuse an event; it is kept and sent again", "topic", s.from.Topic, "partition", s.from.Partition, "offset", s.from.Offset, "err", err, "not_logged", skipped)
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}

func (b *batch) acknowledged(ctx context.Context) error {
	done := make(chan struct{})
	go func() { b.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
