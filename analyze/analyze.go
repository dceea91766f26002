package analyze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/repeats"
	"vedette/internal/secret"
	"vedette/internal/stage"
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
	Checkpoints stage.CheckpointPolicy
	Log         *slog.Logger
	Registerer  prometheus.Registerer

	fault func(at string) error // of tests
}

// Role is one analysis worker.
type Role struct {
	o        Options
	m        *metrics
	producer *kafka.Producer
	stage    *stage.Stage
}

// New opens the worker's producer; it reads nothing before Run.
func New(o Options) (*Role, error) {
	p, err := o.Cluster.NewProducer("analyze", o.Log, o.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Role{o: o, m: newMetrics(o.Registerer), producer: p}
	r.stage = stage.New(stage.Config{
		Name: "analyze", Group: Group, Topic: schemas.TopicEvents, Cluster: o.Cluster, Producer: p,
		Versions: o.Rulesets, Rewind: r.rewind, Node: o.Node, Box: o.Box, Policy: o.Checkpoints, Log: o.Log, Registerer: o.Registerer, Fault: o.fault,
		Open: func(a kafka.Assignment) stage.Part { return &partition{r: r, a: a} },
	})
	return r, nil
}

// Run judges events until ctx ends, once there is a ruleset to judge them by.
func (r *Role) Run(ctx context.Context) error {
	defer r.producer.Close()
	return r.stage.Run(ctx)
}

// Ready returns why the worker should not be relied upon, or nil.
func (r *Role) Ready() error {
	if n := r.stage.Lost(); n > 0 {
		return fmt.Errorf("%d events were removed by retention before they were judged: raise events.retention or add workers", n)
	}
	if !r.producer.Healthy() {
		return errors.New("the brokers do not acknowledge alerts")
	}
	return nil
}

// Running returns how many partitions of this worker each version judges.
func (r *Role) Running() map[string]int { return r.stage.Used() }

// partition judges the events of one assigned partition (stage.Part).
type partition struct {
	r       *Role
	a       kafka.Assignment
	version string
	engine  *engine.Engine
	state   *engine.Keyed  // nil before the first version
	seen    repeats.Memory // records of sources that repeat themselves
	steps   uint64         // of state.StepsExceeded, counted so far
	evicted uint64         // of state.Evicted, counted so far
	vedette []byte         // scratch
	doc     []byte         // scratch
}

// Prepare implements stage.Part.
func (p *partition) Prepare(ctx context.Context, version string) (use func(), err error) {
	e, err := p.r.o.Rulesets.Engine(ctx, version)
	if err != nil {
		return nil, err
	}
	return func() {
		if p.state == nil {
			p.state = e.NewState()
		} else {
			p.state = e.Adopt(p.state)
		}
		p.steps, p.evicted = 0, 0
		p.version, p.engine = version, e
	}, nil
}

// Restore implements stage.Part.
func (p *partition) Restore(data []byte) error {
	seen, data, err := repeats.Restore(data)
	if err != nil {
		return err
	}
	state, err := p.engine.RestoreState(data)
	if errors.Is(err, engine.ErrSnapshotForeign) {
		return fmt.Errorf("%w: %w", stage.ErrOtherForm, err)
	}
	if err == nil {
		p.seen, p.state = seen, state
	}
	return err
}

// AppendSnapshot implements stage.Part.
func (p *partition) AppendSnapshot(dst []byte, limit int) ([]byte, error) {
	before := len(dst)
	dst = p.seen.AppendSnapshot(dst)
	return p.state.AppendSnapshot(dst, limit-(len(dst)-before))
}

// Keys implements stage.Part.
func (p *partition) Keys() int { return p.state.Keys() }

// Close implements stage.Part.
func (p *partition) Close() {}

// Process implements stage.Part: it judges one event.
func (p *partition) Process(rec *schemas.Record, live bool, out *stage.Output) {
	ev, err := schemas.ParseEvent(rec)
	switch {
	case err == nil:
	case errors.Is(err, schemas.ErrEventKey):
		if live {
			out.Add(ev.Record(), p.r.m.rekeyed)
		}
		return
	default:
		if live {
			out.Dead(rec, reason(err), err.Error())
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
	res := p.engine.Process(p.state, &ev)
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
			out.Dead(rec, "event_location", "the location begins with [ and has no ]")
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
		out.Add(record(schemas.TopicAlerts, bytes.Clone(p.doc)), p.r.m.alerts)
	}
	if p.r.o.Config.LogAll && res.Judged {
		p.doc = res.AppendArchive(p.doc[:0], id, p.vedette)
		out.Add(record(schemas.TopicArchives, bytes.Clone(p.doc)), p.r.m.archives)
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
	dst = append(dst, p.version...)
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
