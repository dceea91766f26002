package stage

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/schemas"
)

// changes tells which versions handle one partition (docs/design.md D7).
type changes struct {
	version string // in use; "" before the first
	shown   string // in the metrics
	// list is known from the topic checkpoints; those before pending apply.
	list    []schemas.RulesetChange
	pending int
	// floor is the first offset from which a new change may apply: below it a
	// former owner can have handled records, and written, by the last version.
	floor int64
}

// know takes in the records of the topic about a partition at its assignment.
func (c *changes) know(act schemas.RulesetActivation, a kafka.Assignment, log kafka.Range) {
	if act.Topic != a.Topic || act.TopicID != a.TopicID {
		return // the offsets of another log
	}
	for _, x := range act.Changes {
		if x.Offset <= log.End { // the log may have lost its end
			c.list = append(c.list, x)
		}
	}
	if len(c.list) > 0 {
		c.floor = min(log.End, max(a.Committed, log.Start)+kafka.HandleRecordsMax)
	}
}

// due reports whether another version than the one before handles records from offset on.
func (c *changes) due(offset int64) bool {
	return c.pending < len(c.list) && c.list[c.pending].Offset <= offset
}

// at returns the version that is known to handle an offset, or nothing.
func (c *changes) at(offset int64) (version string, pending int) {
	if len(c.list) == 0 {
		return "", 0
	}
	version = c.list[0].Version
	for pending < len(c.list) && c.list[pending].Offset <= offset {
		version = c.list[pending].Version
		pending++
	}
	return version, pending
}

// follow brings the partition to the version that handles an offset. It waits for
// brokers that do not answer, and for a current version that can be had.
func (p *partition) follow(ctx context.Context, offset int64) error {
	c := &p.changes
	defer p.show()
	pause := retryPause()
	for {
		version, pending := c.at(offset)
		c.pending = pending
		current := p.s.c.Versions.Current()
		if version == "" {
			version = current
		}
		if c.version == version {
			return nil
		}
		use, err := p.prepare(ctx, version)
		if errors.Is(err, ErrGone) && version != current {
			// Nothing better is left. Only records read again can come here, and those
			// behind the last commit.
			p.s.m.versionGone.Inc()
			p.s.c.Log.Warn("events are read by another ruleset than the one that judged them", "stage", p.s.c.Name, "partition", p.a.Partition, "offset", offset, "ruleset", version, "err", err)
			version = current
			if c.version == version {
				return nil
			}
			use, err = p.prepare(ctx, version)
		}
		if err == nil {
			p.use(version, use)
			return nil
		}
		if err := p.pause(ctx, &pause, "the current ruleset cannot be read", err); err != nil {
			return err
		}
	}
}

// prepare asks for a version until the answer is final.
func (p *partition) prepare(ctx context.Context, version string) (func(), error) {
	pause := retryPause()
	for {
		use, err := p.part.Prepare(ctx, version)
		if err == nil || errors.Is(err, ErrGone) {
			return use, err
		}
		if err := p.pause(ctx, &pause, "a ruleset cannot be read", err); err != nil {
			return nil, err
		}
	}
}

func (p *partition) use(version string, use func()) {
	use()
	if before := p.changes.version; before != "" && before != version {
		p.s.m.versionChanges.Inc()
		p.s.c.Log.Info("ruleset changed", "stage", p.s.c.Name, "partition", p.a.Partition, "from", before, "ruleset", version)
	}
	p.changes.version = version
}

// show brings the metrics to the version in use.
func (p *partition) show() {
	p.s.used.set(p.changes.shown, p.changes.version)
	p.changes.shown = p.changes.version
}

// change lets the current version handle records from offset on, which nobody has
// handled, once the change is written and acknowledged. Any owner that handles
// these records again thus uses the same version.
func (p *partition) change(ctx context.Context, offset int64) error {
	c := &p.changes
	current := p.s.c.Versions.Current()
	durable := p.s.ck != nil
	switch {
	case !durable && c.version == current:
		return nil
	case durable && len(c.list) > 0 && (c.pending < len(c.list) || offset < c.floor || c.list[len(c.list)-1].Version == current):
		return nil
	}
	use, err := p.prepare(ctx, current)
	if errors.Is(err, ErrGone) {
		return nil // a newer one is current meanwhile
	}
	if err != nil {
		return err
	}
	defer p.show()
	if durable {
		if err := p.announce(ctx, schemas.RulesetChange{Offset: offset, Version: current}); err != nil {
			return err
		}
	}
	if c.version != current {
		p.use(current, use)
	}
	return nil
}

// announce writes a change, and waits until it is acknowledged.
func (p *partition) announce(ctx context.Context, x schemas.RulesetChange) error {
	if err := p.s.interrupt(FaultChange); err != nil {
		return err
	}
	c := &p.changes
	list := append(c.list[:len(c.list):len(c.list)], x)
	list = list[max(0, len(list)-schemas.MaxRulesetChanges):]
	act := schemas.RulesetActivation{
		Topic: p.a.Topic, TopicID: p.a.TopicID, Partition: p.a.Partition, Node: p.s.c.Node, Time: time.Now(), Changes: list,
	}
	rec := p.s.ck.seal(act.Record())
	for pause := retryPause(); ; {
		_, err := p.s.c.Producer.ProduceSync(ctx, rec)
		if err == nil {
			break
		}
		// Whether it was written is not known; until it is, nothing is handled.
		if err := p.pause(ctx, &pause, "a change of the ruleset is not acknowledged", err); err != nil {
			return err
		}
	}
	c.list, c.pending = list, len(list)
	return p.s.interrupt(FaultChanged)
}

// used counts the partitions that each version handles.
type used struct {
	mu    sync.Mutex
	count map[string]int
	gauge *prometheus.GaugeVec
}

// set counts one partition from one version to another; "" is none.
func (u *used) set(from, to string) {
	if from == to {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count == nil {
		u.count = map[string]int{}
	}
	add := func(version string, n int) {
		if version == "" {
			return
		}
		if u.count[version] += n; u.count[version] == 0 {
			delete(u.count, version)
			u.gauge.DeleteLabelValues(version)
			return
		}
		u.gauge.WithLabelValues(version).Set(float64(u.count[version]))
	}
	add(to, 1)
	add(from, -1)
}

func (u *used) all() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.count)
}
