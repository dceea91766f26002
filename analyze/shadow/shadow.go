package shadow

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/analyze"
	"vedette/internal/kafka"
	"vedette/internal/repeats"
	"vedette/internal/retry"
	"vedette/internal/shadowlog"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// Group is the consumer group of all shadows, without the prefix.
const Group = shadowlog.Group

const (
	// batchRecordsMax and batchBytesMax bound the differences that wait for
	// acknowledgement per partition.
	batchRecordsMax = 1000
	batchBytesMax   = 8 << 20
	// snapshotMax bounds the state that is copied when the rulesets part.
	snapshotMax = 256 << 20
	// pauseMax is the longest pause after a failure.
	pauseMax = 30 * time.Second
)

// Options configures a shadow and holds its dependencies.
type Options struct {
	Cluster *kafka.Cluster
	// Running are the workers' rulesets, Candidate the ruleset on trial.
	Running, Candidate analyze.Rulesets
	Log                *slog.Logger
	Registerer         prometheus.Registerer
}

// Role is one member of the group.
type Role struct {
	o        Options
	m        *metrics
	producer *kafka.Producer
}

// New opens the producer; nothing is read before Run.
func New(o Options) (*Role, error) {
	p, err := o.Cluster.NewProducer("shadow", o.Log, o.Registerer)
	if err != nil {
		return nil, err
	}
	return &Role{o: o, m: newMetrics(o), producer: p}, nil
}

// Run compares until ctx ends, once there are both rulesets, and returns nil. It
// must not end the roles beside it: after a failure it begins again from its
// commits.
func (r *Role) Run(ctx context.Context) error {
	defer r.producer.Close()
	for _, rules := range []analyze.Rulesets{r.o.Running, r.o.Candidate} {
		select {
		case <-rules.Ready():
		case <-ctx.Done():
			return nil
		}
	}
	pause := retry.Backoff{Min: time.Second, Max: pauseMax}
	for {
		pause.Begin()
		err := r.consume(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		r.o.Log.Error("the shadow ruleset is interrupted", "err", err)
		if pause.WaitSince(ctx) != nil {
			return nil
		}
	}
}

func (r *Role) consume(ctx context.Context) error {
	if err := r.o.Cluster.BeginGroup(ctx, Group, schemas.TopicEvents); err != nil {
		return err
	}
	return r.o.Cluster.Consume(ctx, kafka.GroupConfig{
		Group: Group, Topic: schemas.TopicEvents, Rewind: r.rewind,
		Open: func(_ context.Context, a kafka.Assignment) (kafka.Handler, error) {
			return &partition{r: r, a: a, groups: map[*program.Rule]string{}}, nil
		},
		Log: r.o.Log, Registerer: r.o.Registerer,
	})
}

// rewind is how far back a partition is read again to fill the windows of both.
func (r *Role) rewind(ctx context.Context) time.Duration {
	by := time.Duration(0)
	for _, rules := range []analyze.Rulesets{r.o.Running, r.o.Candidate} {
		if e, err := rules.Engine(ctx, rules.Current()); err == nil {
			by = max(by, e.Program().LongestWindow())
		}
	}
	return by
}

// judge is one of the two that a partition is judged by.
type judge struct {
	version string
	engine  *engine.Engine
	state   *engine.Keyed // nil of the candidate while it is the running one
}

// become lets an engine judge from here on, with the memory of the engine
// before.
func (j *judge) become(version string, e *engine.Engine) {
	switch {
	case j.state == nil:
		j.state = e.NewState()
	case j.engine != e:
		j.state = e.Adopt(j.state)
	}
	j.version, j.engine = version, e
}

// verdict judges an event; a zero verdict is no alert. The result is valid until
// the state's next event.
func (p *partition) verdict(j *judge, ev *schemas.Event) (*engine.Result, verdict) {
	res := j.engine.Process(j.state, ev)
	if !res.Alert {
		return res, verdict{}
	}
	rule := res.Rule()
	g, ok := p.groups[rule]
	if !ok {
		names := slices.Clone(rule.Info.Groups)
		slices.Sort(names)
		g = strings.Join(names, ",")
		p.groups[rule] = g
	}
	return res, verdict{res.RuleID, res.Level, g}
}

// verdict is the compared part of a result.
type verdict struct {
	rule, level int
	groups      string
}

// partition is one assigned partition of `events`.
type partition struct {
	r                  *Role
	a                  kafka.Assignment
	running, candidate judge
	// groups are the groups of rules met, sorted, as they are compared.
	groups  map[*program.Rule]string
	seen    repeats.Memory
	started bool
}

// Close implements kafka.Handler.
func (p *partition) Close() {}

// Handle compares the verdicts of records in order, and returns once the
// differences are durable.
func (p *partition) Handle(ctx context.Context, recs []schemas.Record) error {
	if !p.started && p.a.Committed != kafka.NoOffset && recs[0].Offset > p.a.Committed {
		p.r.m.lost.Add(float64(recs[0].Offset - p.a.Committed))
	}
	p.started = true
	if err := p.follow(ctx); err != nil {
		return err
	}
	out := batch{p: p.r.producer, m: p.r.m}
	for i := range recs {
		p.compare(&recs[i], &out)
		if out.full() {
			if err := out.flush(ctx); err != nil {
				return err
			}
		}
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return out.flush(ctx)
}

// follow brings both judges to the versions of now.
func (p *partition) follow(ctx context.Context) error {
	rv, re, err := p.current(ctx, p.r.o.Running, &p.running)
	if err != nil {
		return err
	}
	cv, ce, err := p.current(ctx, p.r.o.Candidate, &p.candidate)
	if err != nil {
		return err
	}
	if rv == p.running.version && cv == p.candidate.version {
		return nil
	}
	if p.candidate.state == nil && p.running.state != nil && rv != cv {
		// They were one and part: both go on with the memory of the one.
		p.candidate.state, p.candidate.engine = p.copied(), p.running.engine
	}
	p.r.o.Log.Info("shadow ruleset", "partition", p.a.Partition, "ruleset", cv, "against", rv)
	clear(p.groups) // of rules that may be gone
	p.running.become(rv, re)
	if rv == cv {
		p.candidate = judge{version: cv}
		return nil
	}
	p.candidate.become(cv, ce)
	return nil
}

// copied returns a copy of the running ruleset's state, or nil if it is too large.
func (p *partition) copied() *engine.Keyed {
	data, err := p.running.state.AppendSnapshot(nil, snapshotMax)
	if err == nil {
		var s *engine.Keyed
		if s, err = p.running.engine.RestoreState(data); err == nil {
			return s
		}
	}
	p.r.o.Log.Warn("the shadow ruleset begins with nothing remembered", "partition", p.a.Partition, "err", err)
	return nil
}

// current returns the version that must judge, and its engine. An unavailable
// version leaves the one before. Without any, current asks until there is one.
func (p *partition) current(ctx context.Context, rules analyze.Rulesets, j *judge) (string, *engine.Engine, error) {
	pause := retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		version := rules.Current()
		if version == j.version && j.engine != nil {
			return version, j.engine, nil
		}
		e, err := rules.Engine(ctx, version)
		switch {
		case err == nil:
			return version, e, nil
		case ctx.Err() != nil:
			return "", nil, ctx.Err()
		case errors.Is(err, analyze.ErrRulesetGone) && j.engine != nil:
			return j.version, j.engine, nil // a newer one is current meanwhile
		}
		p.r.o.Log.Warn("a ruleset cannot be read", "partition", p.a.Partition, "ruleset", version, "err", err)
		if err := pause.Wait(ctx); err != nil {
			return "", nil, err
		}
	}
}

func (p *partition) compare(rec *schemas.Record, out *batch) {
	ev, err := schemas.ParseEvent(rec)
	if err != nil {
		return // the workers see to it
	}
	if p.seen.Seen(rec.Key, ev.EventID) {
		return // as the workers do
	}
	before, was := p.verdict(&p.running, &ev)
	live := rec.Offset >= p.a.Committed
	if live {
		p.r.m.events.Inc()
	}
	if p.candidate.state == nil {
		return
	}
	after, now := p.verdict(&p.candidate, &ev)
	if !live || was == now {
		return
	}
	d := schemas.ShadowDiff{
		Kind: schemas.ShadowChanged, Was: shown(before), Now: shown(after), Ruleset: p.candidate.version, Against: p.running.version,
		TopicID: p.a.TopicID, Partition: rec.Partition, Offset: rec.Offset, Key: string(rec.Key),
		AgentID: ev.AgentID, AgentName: ev.AgentName, Location: ev.Location, Time: ev.Time, FullLog: string(ev.Log[:min(len(ev.Log), schemas.MaxShadowLogBytes+4)]),
	}
	switch {
	case d.Was == nil:
		d.Kind = schemas.ShadowAdded
	case d.Now == nil:
		d.Kind = schemas.ShadowRemoved
	}
	out.add(&d)
}

// shown is a result as it is written; nil is no alert.
func shown(r *engine.Result) *schemas.ShadowVerdict {
	if !r.Alert {
		return nil
	}
	return &schemas.ShadowVerdict{Rule: r.RuleID, Level: r.Level, Groups: r.Rule().Info.Groups, Description: r.Description()}
}

// batch is differences on their way to the brokers.
type batch struct {
	p     *kafka.Producer
	m     *metrics
	recs  []schemas.Record
	kinds map[schemas.ShadowKind]int
	bytes int
}

func (b *batch) full() bool { return len(b.recs) >= batchRecordsMax || b.bytes >= batchBytesMax }

func (b *batch) add(d *schemas.ShadowDiff) {
	rec := d.Record()
	b.recs = append(b.recs, rec)
	b.bytes += len(rec.Value)
	if b.kinds == nil {
		b.kinds = map[schemas.ShadowKind]int{}
	}
	b.kinds[d.Kind]++
}

// flush returns when everything was acknowledged.
func (b *batch) flush(ctx context.Context) error {
	if len(b.recs) == 0 {
		return nil
	}
	if _, err := b.p.ProduceSync(ctx, b.recs...); err != nil {
		return err
	}
	for kind, n := range b.kinds {
		b.m.differences.WithLabelValues(string(kind)).Add(float64(n))
	}
	clear(b.kinds)
	b.recs, b.bytes = b.recs[:0], 0
	return nil
}
