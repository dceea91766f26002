package analyze

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/retry"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// Rulesets gives workers the rulesets to judge by. All workers must get the same
// engine for the same version. It is safe for concurrent use.
type Rulesets interface {
	// Ready is closed once Current has an answer.
	Ready() <-chan struct{}
	// Current names the version that is to run. Its engine is at hand.
	Current() string
	// Engine returns the engine of a version. It gives ErrRulesetGone for one
	// that cannot be had any more; other errors pass.
	Engine(ctx context.Context, version string) (*engine.Engine, error)
}

// ErrRulesetGone says that a version is not published any more, or that this
// program cannot run it.
var ErrRulesetGone = errors.New("the version of the ruleset cannot be had any more")

// rewind is how far back a partition is read again that has no checkpoint.
func (r *Role) rewind(ctx context.Context) time.Duration {
	e, err := r.o.Rulesets.Engine(ctx, r.o.Rulesets.Current())
	if err != nil {
		return 0
	}
	return e.Program().LongestWindow()
}

// judging holds the rulesets that judge one partition (docs/design.md D7).
type judging struct {
	version string
	engine  *engine.Engine
	shown   string // in the metrics
	// changes are known from the topic checkpoints; those before pending apply.
	changes []schemas.RulesetChange
	pending int
	// floor is the first offset from which a new change may apply: below it a
	// former owner can have judged, and written, by the last version.
	floor int64
}

// know takes in the records of the topic about a partition at its assignment.
func (j *judging) know(act schemas.RulesetActivation, a kafka.Assignment, log kafka.Range) {
	if act.Topic != a.Topic || act.TopicID != a.TopicID {
		return // the offsets of another log
	}
	for _, c := range act.Changes {
		if c.Offset <= log.End { // the log may have lost its end
			j.changes = append(j.changes, c)
		}
	}
	if len(j.changes) > 0 {
		j.floor = min(log.End, max(a.Committed, log.Start)+kafka.HandleRecordsMax)
	}
}

// due reports whether another version than the one before judges from offset on.
func (j *judging) due(offset int64) bool {
	return j.pending < len(j.changes) && j.changes[j.pending].Offset <= offset
}

// at returns the version that is known to judge an offset, or nothing.
func (j *judging) at(offset int64) (version string, pending int) {
	if len(j.changes) == 0 {
		return "", 0
	}
	version = j.changes[0].Version
	for pending < len(j.changes) && j.changes[pending].Offset <= offset {
		version = j.changes[pending].Version
		pending++
	}
	return version, pending
}

// follow brings the partition to the version that judges an offset, and makes
// its state if there is none. It waits for brokers that do not answer.
func (p *partition) follow(ctx context.Context, offset int64) error {
	j := &p.rules
	version, pending := j.at(offset)
	current := p.r.o.Rulesets.Current()
	if version == "" {
		version = current
	}
	if j.version != version || p.state == nil {
		e, err := p.engine(ctx, version)
		if errors.Is(err, ErrRulesetGone) && version != current {
			// Nothing better is left. Only records read again can come here, and
			// those behind the last commit.
			p.r.m.rulesetGone.Inc()
			p.r.o.Log.Warn("events are read by another ruleset than the one that judged them", "partition", p.a.Partition, "offset", offset, "ruleset", version, "err", err)
			version = current
			e, err = p.engine(ctx, version)
		}
		if err != nil {
			return err
		}
		p.run(version, e)
	}
	j.pending = pending
	p.r.running.set(j.shown, j.version)
	j.shown = j.version
	return nil
}

// run lets an engine judge from here on.
func (p *partition) run(version string, e *engine.Engine) {
	if p.state == nil {
		p.state, p.fresh = e.NewState(), true
	} else {
		p.state = e.Adopt(p.state)
		p.r.m.rulesetChanges.Inc()
		p.r.o.Log.Info("ruleset changed", "partition", p.a.Partition, "from", p.rules.version, "ruleset", version)
	}
	p.steps, p.evicted = 0, 0
	p.rules.version, p.rules.engine = version, e
}

// engine asks for an engine until the answer is final.
func (p *partition) engine(ctx context.Context, version string) (*engine.Engine, error) {
	pause := retryPause()
	for {
		e, err := p.r.o.Rulesets.Engine(ctx, version)
		if err == nil || errors.Is(err, ErrRulesetGone) {
			return e, err
		}
		if err := p.pause(ctx, &pause, "a ruleset cannot be read", err); err != nil {
			return nil, err
		}
	}
}

// change lets the current ruleset judge from offset on, which nobody has judged,
// once the change is written and acknowledged. Any worker that judges these
// records again thus uses the same ruleset.
func (p *partition) change(ctx context.Context, offset int64) error {
	j := &p.rules
	current := p.r.o.Rulesets.Current()
	known := len(j.changes) > 0
	switch {
	case p.r.ck == nil:
		if j.version == current {
			return nil
		}
		e, err := p.engine(ctx, current)
		if err == nil {
			p.run(current, e)
		}
		return err
	case known && (j.pending < len(j.changes) || offset < j.floor || j.changes[len(j.changes)-1].Version == current):
		return nil
	}
	e, err := p.engine(ctx, current)
	if errors.Is(err, ErrRulesetGone) {
		return nil // a newer one is current meanwhile
	}
	if err != nil {
		return err
	}
	if err := p.r.o.interrupt(faultChange); err != nil {
		return err
	}
	changes := append(j.changes[:len(j.changes):len(j.changes)], schemas.RulesetChange{Offset: offset, Version: current})
	changes = changes[max(0, len(changes)-schemas.MaxRulesetChanges):]
	act := schemas.RulesetActivation{
		Topic: p.a.Topic, TopicID: p.a.TopicID, Partition: p.a.Partition, Node: p.r.o.Node, Time: time.Now(), Changes: changes,
	}
	rec := p.r.ck.seal(act.Record())
	pause := retryPause()
	for {
		_, err := p.r.producer.ProduceSync(ctx, rec)
		if err == nil {
			break
		}
		// Whether it was written is not known; until it is, nothing is judged.
		if err := p.pause(ctx, &pause, "a change of the ruleset is not acknowledged", err); err != nil {
			return err
		}
	}
	if err := p.r.o.interrupt(faultChanged); err != nil {
		return err
	}
	if j.version != current {
		p.run(current, e)
	}
	j.changes, j.pending = changes, len(changes)
	p.r.running.set(j.shown, j.version)
	j.shown = j.version
	return nil
}

// retryPause paces work without which a partition cannot go on.
func retryPause() retry.Backoff {
	return retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
}

// pause logs a failure and waits before the next try; the error is ctx's.
func (p *partition) pause(ctx context.Context, b *retry.Backoff, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.r.o.Log.Warn(what, "partition", p.a.Partition, "err", err)
	return b.Wait(ctx)
}

// running counts the partitions that each version judges.
type running struct {
	mu    sync.Mutex
	count map[string]int
	gauge *prometheus.GaugeVec
}

// set counts one partition from one version to another; "" is none.
func (r *running) set(from, to string) {
	if from == to {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = map[string]int{}
	}
	add := func(version string, n int) {
		if version == "" {
			return
		}
		if r.count[version] += n; r.count[version] == 0 {
			delete(r.count, version)
			r.gauge.DeleteLabelValues(version)
			return
		}
		r.gauge.WithLabelValues(version).Set(float64(r.count[version]))
	}
	add(to, 1)
	add(from, -1)
}

// Running returns how many partitions of this worker each version judges.
func (r *Role) Running() map[string]int {
	r.running.mu.Lock()
	defer r.running.mu.Unlock()
	out := make(map[string]int, len(r.running.count))
	for v, n := range r.running.count {
		out[v] = n
	}
	return out
}

// Fixed is one ruleset that never changes.
type Fixed struct {
	Version string
	Of      *engine.Engine
}

var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Ready implements Rulesets.
func (Fixed) Ready() <-chan struct{} { return always }

// Current implements Rulesets.
func (f Fixed) Current() string { return f.Version }

// Engine implements Rulesets.
func (f Fixed) Engine(_ context.Context, version string) (*engine.Engine, error) {
	if version != f.Version {
		return nil, ErrRulesetGone
	}
	return f.Of, nil
}
