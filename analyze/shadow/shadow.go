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
	"vedette/internal/stage"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// Group is the consumer group of all shadows, without the prefix.
const Group = shadowlog.Group

const (
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
	stage    *stage.Stage
}

// New opens the producer; nothing is read before Run.
func New(o Options) (*Role, error) {
	p, err := o.Cluster.NewProducer("shadow", o.Log, o.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Role{o: o, m: newMetrics(o), producer: p}
	r.stage = stage.New(stage.Config{
		Name: "shadow", Group: Group, Topic: schemas.TopicEvents, Cluster: o.Cluster, Producer: p,
		Versions: pair{o.Running, o.Candidate}, Rewind: r.rewind, Log: o.Log, Registerer: o.Registerer,
		Open: func(a kafka.Assignment) stage.Part {
			return &partition{r: r, a: a, groups: map[*program.Rule]string{}}
		},
	})
	return r, nil
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
	return r.stage.Run(ctx)
}

// pair names the candidate and the running ruleset as one version (stage.Versions).
type pair struct{ running, candidate analyze.Rulesets }

const against = " against "

// Ready implements stage.Versions. Run has waited for both.
func (p pair) Ready() <-chan struct{} { return p.candidate.Ready() }

// Current implements stage.Versions.
func (p pair) Current() string { return p.candidate.Current() + against + p.running.Current() }

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

// partition compares the verdicts on one assigned partition of `events` (stage.Part).
type partition struct {
	r                  *Role
	a                  kafka.Assignment
	running, candidate judge
	// groups are the groups of rules met, sorted, as they are compared.
	groups map[*program.Rule]string
	seen   repeats.Memory
}

// Prepare implements stage.Part.
func (p *partition) Prepare(ctx context.Context, version string) (use func(), err error) {
	cv, rv, _ := strings.Cut(version, against)
	re, err := p.running.get(ctx, p.r.o.Running, rv)
	if err != nil {
		return nil, err
	}
	ce, err := p.candidate.get(ctx, p.r.o.Candidate, cv)
	if err != nil {
		return nil, err
	}
	return func() { p.use(rv, re, cv, ce) }, nil
}

// get returns the engine of a version.
func (j *judge) get(ctx context.Context, rules analyze.Rulesets, version string) (*engine.Engine, error) {
	if version == j.version && j.engine != nil {
		return j.engine, nil
	}
	return rules.Engine(ctx, version)
}

// use brings both judges to their versions.
func (p *partition) use(rv string, re *engine.Engine, cv string, ce *engine.Engine) {
	if p.candidate.state == nil && p.running.state != nil && rv != cv {
		// They were one and part: both go on with the memory of the one.
		p.candidate.state, p.candidate.engine = p.copied(), p.running.engine
	}
	p.r.o.Log.Info("shadow ruleset", "partition", p.a.Partition, "ruleset", cv, "against", rv)
	clear(p.groups) // of rules that may be gone
	p.running.become(rv, re)
	if rv == cv {
		p.candidate = judge{version: cv}
		return
	}
	p.candidate.become(cv, ce)
}

// errNoCheckpoint says that a shadow keeps no checkpoint: it has no key for one.
var errNoCheckpoint = errors.New("a shadow keeps no checkpoint")

// Restore implements stage.Part.
func (p *partition) Restore([]byte) error { return errNoCheckpoint }

// AppendSnapshot implements stage.Part.
func (p *partition) AppendSnapshot([]byte, int) ([]byte, error) { return nil, errNoCheckpoint }

// Keys implements stage.Part.
func (p *partition) Keys() int { return p.running.state.Keys() }

// Close implements stage.Part.
func (p *partition) Close() {}

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

// Process implements stage.Part: it compares the verdicts on one event.
func (p *partition) Process(rec *schemas.Record, live bool, out *stage.Output) {
	ev, err := schemas.ParseEvent(rec)
	if err != nil {
		return // the workers see to it
	}
	if p.seen.Seen(rec.Key, ev.EventID) {
		return // as the workers do
	}
	before, was := p.verdict(&p.running, &ev)
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
	out.Add(d.Record(), p.r.m.differences.WithLabelValues(string(d.Kind)))
}

// shown is a result as it is written; nil is no alert.
func shown(r *engine.Result) *schemas.ShadowVerdict {
	if !r.Alert {
		return nil
	}
	return &schemas.ShadowVerdict{Rule: r.RuleID, Level: r.Level, Groups: r.Rule().Info.Groups, Description: r.Description()}
}
