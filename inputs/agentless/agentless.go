package agentless

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/retry"
	"vedette/schemas"
)

const (
	// Group is the consumer group that deals the checks out, without the prefix.
	Group = "agentless"
	// parallelMax bounds the runs under way on one node.
	parallelMax = 16
	// firstWithin is how soon after its node got it a check runs first, at a random moment.
	firstWithin = time.Minute
	// pauseMax is the longest pause after a failure of the group.
	pauseMax = 30 * time.Second
	// logEvery bounds the log of failed runs, per result.
	logEvery = 10 * time.Second
)

// Options configures the role and holds its dependencies.
type Options struct {
	Checks  []Config
	Cluster *kafka.Cluster
	// Node names this gateway in events.
	Node       string
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// FirstWithin is how soon after its node got it a check runs first; 0 is a minute.
	FirstWithin time.Duration
}

// Role runs its share of the checks.
type Role struct {
	o        Options
	m        *metrics
	producer *kafka.Producer
	targets  []*target
	slots    chan struct{}
	serving  atomic.Bool

	mu     sync.Mutex
	logged map[string]time.Time
}

// New opens the producer; nothing runs before Run.
func New(o Options) (*Role, error) {
	if err := Validate(o.Checks); err != nil {
		return nil, err
	}
	if o.FirstWithin <= 0 {
		o.FirstWithin = firstWithin
	}
	r := &Role{o: o, m: newMetrics(o.Registerer), slots: make(chan struct{}, parallelMax), logged: map[string]time.Time{}}
	for _, c := range o.Checks {
		c = c.orDefault()
		var ignore []*regexp.Regexp
		for _, p := range c.Ignore {
			ignore = append(ignore, regexp.MustCompile(p)) // validated
		}
		for _, h := range c.Hosts {
			r.targets = append(r.targets, &target{Config: c, host: h, ignore: ignore})
		}
	}
	p, err := o.Cluster.NewProducer("ingest-agentless", o.Log, o.Registerer)
	if err != nil {
		return nil, err
	}
	r.producer = p
	return r, nil
}

// Ready returns an error while the role cannot run its checks.
func (r *Role) Ready() error {
	if !r.serving.Load() {
		return errors.New("ingest: agentless checks are not dealt out yet")
	}
	return nil
}

// Run runs checks until ctx ends, and returns nil. After a failure of the group
// it joins again.
func (r *Role) Run(ctx context.Context) error {
	defer r.producer.Close()
	r.serving.Store(true)
	defer r.serving.Store(false)
	pause := retry.Backoff{Min: time.Second, Max: pauseMax}
	for ctx.Err() == nil {
		pause.Begin()
		err := r.join(ctx)
		if err == nil || ctx.Err() != nil {
			break
		}
		r.o.Log.Error("agentless checks are interrupted", "err", err)
		_ = pause.WaitSince(ctx)
	}
	return nil
}

func (r *Role) join(ctx context.Context) error {
	ranges, err := r.o.Cluster.Ranges(ctx, schemas.TopicCommands)
	if err != nil {
		return err
	}
	if len(ranges) == 0 {
		return errors.New("the topic commands has no partition")
	}
	return r.o.Cluster.Consume(ctx, kafka.GroupConfig{
		Group: Group, Topic: schemas.TopicCommands, Log: r.o.Log, Registerer: r.o.Registerer,
		// This role needs no records of the topic, only the ownership of
		// partitions.
		StartAt: func(ctx context.Context, a kafka.Assignment) (int64, bool, error) {
			now, err := r.o.Cluster.Ranges(ctx, a.Topic)
			if err != nil || int(a.Partition) >= len(now) {
				return 0, false, err
			}
			return now[a.Partition].End, true, nil
		},
		Open: func(_ context.Context, a kafka.Assignment) (kafka.Handler, error) {
			return r.own(a.Partition, len(ranges)), nil
		},
	})
}

// share is the checks that come with one partition.
type share struct {
	r      *Role
	n      int
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (r *Role) own(partition int32, of int) *share {
	ctx, cancel := context.WithCancel(context.Background())
	s := &share{r: r, cancel: cancel}
	for _, t := range r.targets {
		h := fnv.New32a()
		_, _ = h.Write([]byte(t.id()))
		if h.Sum32()%uint32(of) == uint32(partition) {
			s.n++
			s.wg.Go(func() { r.repeat(ctx, t) })
		}
	}
	r.m.owned.Add(float64(s.n))
	return s
}

// Handle implements kafka.Handler.
func (*share) Handle(context.Context, []schemas.Record) error { return nil }

// Close implements kafka.Handler: it ends the running checks.
func (s *share) Close() {
	s.cancel()
	s.wg.Wait()
	s.r.m.owned.Sub(float64(s.n))
}

// repeat runs one check of a host at its intervals until ctx ends.
func (r *Role) repeat(ctx context.Context, t *target) {
	next := time.Now().Add(rand.N(min(r.o.FirstWithin, t.Interval)))
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r.once(ctx, t)
		if next = next.Add(t.Interval); time.Until(next) < 0 {
			next = time.Now().Add(t.Interval) // missed checks are not made up for
		}
		timer.Reset(time.Until(next))
	}
}

func (r *Role) once(ctx context.Context, t *target) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	r.m.running.Inc()
	var wg sync.WaitGroup
	err := t.run(ctx, func(it item, output []byte) {
		e := t.event(it, output, r.o.Node, time.Now())
		wg.Add(1)
		r.producer.Produce(e.Record(), func(err error) {
			defer wg.Done()
			if err == nil {
				r.m.written.Inc()
				return
			}
			r.m.refused.Inc()
			r.o.Log.Error("an event is refused by the brokers", "check", t.Name, "host", t.host, "err", err)
		})
	})
	r.m.running.Dec()
	<-r.slots
	result := resultOK
	var f *failure
	if errors.As(err, &f) {
		result = f.result
	} else if err != nil {
		result, f = resultSession, &failure{resultSession, "", err}
	}
	r.m.runs.WithLabelValues(result).Inc()
	if f != nil && result != resultStopped && r.logNow(result) {
		r.o.Log.Warn("agentless check failed", "check", t.Name, "host", t.host, "reason", result, "err", f.err, "hint", f.hint)
	}
	// Without brokers a check waits here, so that one run's events wait at most.
	acknowledged := make(chan struct{})
	go func() { wg.Wait(); close(acknowledged) }()
	select {
	case <-acknowledged:
	case <-ctx.Done():
	}
}

// logNow allows one line per result and logEvery.
func (r *Role) logNow(result string) bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.logged[result]) < logEvery {
		return false
	}
	r.logged[result] = now // results are a closed set
	return true
}
