// Package stage hosts the partitions that a member of a consumer group owns: it
// loads and writes checkpoints of their state, changes versions at an offset that
// all owners agree on, counts events lost to retention, and waits until output is
// durable before an offset is committed (docs/design.md D4, D7).
//
// A stage brings a Part for each partition. The part's output must follow from the
// records and its state alone, so that the next owner writes the same again.
//
// An owner that begins with an empty state says so in a first checkpoint before it
// handles a record. Further ones are due every minute or 100,000 records, and when
// the partition is given up. A new owner loads the newest whole one at offset c,
// handles records silently from c up to the commit, and emits from max(commit, c).
// So a process may be killed at any moment, and no output changes.
//
// Without a usable checkpoint the records of Config.Rewind are handled again
// silently. Without Config.Box that is always so.
package stage

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// Part handles the records of one owned partition. One goroutine uses it at a time.
type Part interface {
	// Prepare makes a version ready. use then lets it handle the records from there
	// on, with the state there is; without any it begins an empty one. Prepare gives
	// ErrGone for a version that cannot be had any more; other errors pass.
	Prepare(ctx context.Context, version string) (use func(), err error)
	// Restore replaces the state by one that AppendSnapshot wrote under the version
	// in use. It gives ErrOtherForm for the form of another program.
	Restore(data []byte) error
	// AppendSnapshot appends the state to dst, at most limit bytes.
	AppendSnapshot(dst []byte, limit int) ([]byte, error)
	// Keys is how many keys the state holds, for the log.
	Keys() int
	// Process handles one record. Output is due only if live is set: otherwise a
	// former owner has written it.
	Process(rec *schemas.Record, live bool, out *Output)
	// Close frees the part's resources.
	Close()
}

// Errors of a Part.
var (
	ErrGone      = errors.New("the version cannot be had any more")
	ErrOtherForm = errors.New("a state in the form of another program")
)

// Versions names the version that is to handle records. It is safe for concurrent use.
type Versions interface {
	// Ready is closed once Current has an answer.
	Ready() <-chan struct{}
	// Current names the version that is to run.
	Current() string
}

// Config describes a stage and holds its dependencies.
type Config struct {
	// Name begins the keys of checkpoints and, behind `vedette_`, the names of
	// metrics.
	Name string
	// Group is the consumer group without the prefix, Topic the topic it reads.
	Group, Topic string
	Cluster      *kafka.Cluster
	// Producer writes output and checkpoints. The stage does not close it.
	Producer *kafka.Producer
	Versions Versions
	// Open makes the part of an assigned partition, without a version or state.
	Open func(a kafka.Assignment) Part
	// Rewind is how far before the commit a partition without a checkpoint is read again.
	Rewind func(ctx context.Context) time.Duration
	// Node names this process in messages for people.
	Node string
	// Box authenticates checkpoints. Nil neither writes nor loads any, and a new
	// version then applies at once.
	Box    *secret.Box
	Policy CheckpointPolicy
	Log    *slog.Logger
	// Registerer takes the stage's metrics, once for each Stage.
	Registerer prometheus.Registerer
	// Fault is called at the places of Fault…; an error there ends the stage as if
	// it were killed. Nil but in tests.
	Fault func(at string) error
}

// Stage is one member of the group. Run may be called again after it has ended.
type Stage struct {
	c    Config
	m    *metrics
	ck   *checkpoints // nil without Config.Box
	used used
	lost atomic.Int64
}

// New prepares a stage and registers its metrics. Nothing is read before Run.
func New(c Config) *Stage {
	s := &Stage{c: c, m: newMetrics(c.Name, c.Box != nil, c.Registerer)}
	s.used.gauge = s.m.versions
	if c.Box != nil {
		s.ck = newCheckpoints(s)
		c.Registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "vedette_" + c.Name + "_checkpoint_age_seconds", Help: "Age of the oldest checkpoint of the owned partitions; a partition without events writes none.",
		}, s.ck.age))
	}
	return s
}

// Run handles records until ctx ends, once there is a version, and returns nil.
func (s *Stage) Run(ctx context.Context) error {
	select {
	case <-s.c.Versions.Ready():
	case <-ctx.Done():
		return nil
	}
	cfg := kafka.GroupConfig{
		Group: s.c.Group, Topic: s.c.Topic, Rewind: s.c.Rewind, Open: s.open,
		Log: s.c.Log, Registerer: s.c.Registerer,
	}
	if s.ck != nil {
		cfg.StartAt = s.ck.startAt
	}
	return s.c.Cluster.Consume(ctx, cfg)
}

// Lost returns how many records retention removed before they were handled here.
func (s *Stage) Lost() int64 { return s.lost.Load() }

// Used returns how many owned partitions each version handles.
func (s *Stage) Used() map[string]int { return s.used.all() }

// DeadLetters counts the records written to the dead letter, by cause.
func (s *Stage) DeadLetters() *prometheus.CounterVec { return s.m.deadletter }

// partition is one owned partition.
type partition struct {
	s       *Stage
	a       kafka.Assignment
	part    Part
	changes changes
	live    int64 // output is due from this offset; kafka.NoOffset from the first record
	next    int64 // outputs of all records before it are acknowledged
	clean   bool  // the state has seen nothing at or behind next
	started bool
	empty   bool    // the state began empty, and no checkpoint says so yet
	keeper  *keeper // nil without checkpoints
}

func (s *Stage) open(_ context.Context, a kafka.Assignment) (kafka.Handler, error) {
	p := &partition{s: s, a: a, live: a.Committed, next: kafka.NoOffset, empty: true}
	if s.ck != nil {
		p.keeper = &keeper{c: s.ck, last: time.Now()}
		if l := s.ck.take(a.Partition); l != nil {
			p.part, p.keeper.slot, p.changes, p.empty = l.part, l.slot, l.changes, l.part == nil
			if p.live = max(p.live, l.offset); l.cut {
				p.live = l.offset
			}
		}
	}
	if p.part == nil {
		p.part = s.c.Open(a)
	}
	return p, nil
}

// Close implements kafka.Handler. It writes a last checkpoint.
func (p *partition) Close() {
	if p.keeper != nil {
		p.keeper.close(p, p.clean)
	}
	p.part.Close()
	p.s.used.set(p.changes.shown, "")
}

// Handle handles records in order and returns once their output is durable.
func (p *partition) Handle(ctx context.Context, recs []schemas.Record) error {
	if err := p.begin(ctx, recs[0].Offset); err != nil {
		return err
	}
	if err := p.change(ctx, recs[0].Offset); err != nil {
		return err
	}
	p.clean = false
	if p.empty && p.keeper != nil {
		if err := p.keeper.first(ctx, p, recs[0].Offset); err != nil {
			return err
		}
	}
	p.empty = false
	if err := p.process(ctx, recs); err != nil {
		return err
	}
	if err := p.s.interrupt(FaultOutput); err != nil {
		return err
	}
	p.next, p.clean = recs[len(recs)-1].Offset+1, true
	if p.keeper != nil {
		p.keeper.records += len(recs)
		p.keeper.due(p)
	}
	return nil
}

func (p *partition) process(ctx context.Context, recs []schemas.Record) error {
	out := &Output{s: p.s}
	begin := time.Now()
	for i := range recs {
		if p.changes.due(recs[i].Offset) {
			if err := p.follow(ctx, recs[i].Offset); err != nil {
				return err
			}
		}
		p.part.Process(&recs[i], recs[i].Offset >= p.live, out)
		if out.full() {
			if err := out.wait(ctx); err != nil {
				return err
			}
		}
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := p.s.interrupt(FaultProcessed); err != nil {
			return err
		}
	}
	p.s.m.busy.Add(time.Since(begin).Seconds())
	return out.wait(ctx)
}

// begin looks at the first record: it counts records that retention took before
// they were handled, notices a log that was cut behind a loaded state, and makes
// the state if none was loaded.
func (p *partition) begin(ctx context.Context, first int64) error {
	if p.started {
		return nil
	}
	if p.a.From != kafka.NoOffset && first < p.a.From {
		// The brokers began anew at the start: offsets are below the offsets that the
		// state has seen. All records there are handled; repeats overwrite themselves.
		p.part.Close()
		p.part, p.empty, p.changes.version = p.s.c.Open(p.a), true, ""
		p.live, p.changes.floor = first, first
		p.s.ck.reject(p.a.Partition, "log_cut", nil)
	} else if p.live != kafka.NoOffset && first > p.live {
		n := first - p.live
		p.s.lost.Add(n)
		p.s.m.lost.Add(float64(n))
		p.s.c.Log.Error("events were removed by retention before they were judged", "stage", p.s.c.Name, "topic", p.a.Topic, "partition", p.a.Partition, "offset", p.live, "lost", n)
	}
	if err := p.follow(ctx, first); err != nil {
		return err
	}
	p.started = true
	return nil
}

// retryPause paces work without which a partition cannot go on.
func retryPause() retry.Backoff {
	return retry.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
}

// pause logs a failure and waits before the next try; the error is ctx's.
func (p *partition) pause(ctx context.Context, b *retry.Backoff, message string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.s.c.Log.Warn(message, "stage", p.s.c.Name, "partition", p.a.Partition, "err", err)
	return b.Wait(ctx)
}

// Places where tests let a stage die.
const (
	FaultChange    = "change"    // a change of the version is due, not written
	FaultChanged   = "changed"   // it is written, nothing handled by it yet
	FaultProcessed = "processed" // some records of a batch handled, their output on its way
	FaultOutput    = "output"    // output acknowledged, offset not committed
	FaultChunks    = "chunks"    // some chunks of a checkpoint written
	FaultManifest  = "manifest"  // all chunks written
	FaultClose     = "close"     // before the last checkpoint
)

func (s *Stage) interrupt(at string) error {
	if s.c.Fault == nil {
		return nil
	}
	return s.c.Fault(at)
}
