package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/retry"
	"vedette/schemas"
)

// Forward is the role.
type Forward struct {
	cfg      Config
	cluster  *kafka.Cluster
	dests    []Target
	log      *slog.Logger
	reg      prometheus.Registerer
	metrics  *metrics
	dead     deadLetters
	producer *kafka.Producer

	mu     sync.Mutex
	states map[string]*state // by destination
}

// state is how a destination has answered.
type state struct {
	err    error     // last error, nil when it answered
	closed time.Time // until when it asked to be left alone
	warned bool      // the log says that it does not answer
	lines  retry.Log
}

// deadLetters is what the role needs of a producer.
type deadLetters interface {
	ProduceSync(ctx context.Context, recs ...schemas.Record) ([]schemas.Record, error)
}

// New prepares the role. The destinations stay the caller's to close after Run has
// returned.
func New(cfg Config, cluster *kafka.Cluster, dests []Target, log *slog.Logger, reg prometheus.Registerer) (*Forward, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(dests) == 0 {
		return nil, errors.New("forward: no destination")
	}
	f := &Forward{cfg: cfg, cluster: cluster, dests: dests, log: log, reg: reg, metrics: newMetrics(reg), states: map[string]*state{}}
	for _, d := range dests {
		if f.states[d.Name] != nil {
			return nil, fmt.Errorf("forward: two destinations are named %q", d.Name)
		}
		f.states[d.Name] = &state{}
		f.metrics.up.WithLabelValues(d.Name).Set(1)
	}
	p, err := cluster.NewProducer("forward", log, reg)
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	f.producer, f.dead = p, p
	return f, nil
}

// groupOf keeps the plain name for the indexer, which is there in every
// installation.
func (f *Forward) groupOf(d Target) string {
	if d.Name == IndexerName {
		return f.cfg.Group
	}
	return f.cfg.Group + "." + d.Name
}

// Run delivers until ctx ends, then finishes or gives up the batches under way,
// and returns nil.
func (f *Forward) Run(ctx context.Context) error {
	defer f.producer.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(f.dests))
	for i, d := range f.dests {
		wg.Go(func() {
			defer cancel() // the end of one is the end of the role
			err := f.cluster.Consume(ctx, kafka.GroupConfig{
				Group: f.groupOf(d), Topic: schemas.TopicAlerts, Log: f.log, Registerer: f.reg,
				Open: func(_ context.Context, a kafka.Assignment) (kafka.Handler, error) {
					f.log.Debug("partition assigned", "destination", d.Name, "topic", a.Topic, "partition", a.Partition)
					return &handler{f: f, dest: d}, nil
				},
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				errs[i] = fmt.Errorf("forward to %s: %w", d.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Health returns the state of each destination for readiness; nil means that it
// answers.
func (f *Forward) Health(ctx context.Context) map[string]error {
	out := make(map[string]error, len(f.dests))
	for _, d := range f.dests {
		f.mu.Lock()
		err := f.states[d.Name].err
		f.mu.Unlock()
		if err == nil {
			err = d.Ready(ctx)
		}
		out["forward."+d.Name] = err
	}
	return out
}

// note remembers how the last try ended, and logs changes. A receiver with a limit
// changes all the time: one line in a while is enough.
func (f *Forward) note(dest string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.states[dest]
	s.err = err
	if err == nil {
		f.metrics.up.WithLabelValues(dest).Set(1)
		if s.warned {
			f.log.Info("destination takes alerts again", "destination", dest)
		}
		s.warned = false
		return
	}
	f.metrics.up.WithLabelValues(dest).Set(0)
	if s.warned {
		return
	}
	if _, due := s.lines.Due(); due {
		f.log.Warn("destination does not take alerts; they wait in the topic", "destination", dest, "err", err)
		s.warned = true
	}
}

// handler delivers the records of one partition to one destination.
type handler struct {
	f    *Forward
	dest Target
}

func (h *handler) Close() {}

// reasonRecord is the dead letter cause of a record that is no alert.
const reasonRecord = "record"

func (h *handler) Handle(ctx context.Context, recs []schemas.Record) error {
	name := h.dest.Name
	h.f.metrics.in.WithLabelValues(name).Add(float64(len(recs)))
	alerts := make([]schemas.Alert, 0, len(recs))
	from := make([]*schemas.Record, 0, len(recs)) // the record of each alert
	var dead []schemas.Record
	bury := func(r *schemas.Record, reason, detail string) {
		d := schemas.NewDeadLetter(r, reason, name+": "+detail)
		dead = append(dead, d.Record())
		h.f.metrics.failed.WithLabelValues(name, reason).Inc()
	}
	for i := range recs {
		a, err := schemas.ParseAlert(&recs[i])
		if err != nil {
			bury(&recs[i], reasonRecord, err.Error())
			continue
		}
		if !h.dest.Route.Match(&a) {
			h.f.metrics.unrouted.WithLabelValues(name).Inc()
			continue
		}
		alerts, from = append(alerts, a), append(from, &recs[i])
	}
	if len(alerts) > 0 {
		failures, err := h.deliver(ctx, alerts)
		if err != nil {
			return err
		}
		for _, x := range failures {
			bury(from[x.Index], x.Reason, x.Detail)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	h.f.log.Warn("alerts went to the dead letter topic", "destination", name, "partition", recs[0].Partition, "alerts", len(dead))
	return h.again(ctx, func(ctx context.Context) error {
		_, err := h.f.dead.ProduceSync(ctx, dead...)
		return err
	})
}

// deliver hands over alerts, with pauses between tries, until the destination
// has taken or refused each of them, or ctx ends.
func (h *handler) deliver(ctx context.Context, alerts []schemas.Alert) (failures []Failure, err error) {
	name := h.dest.Name
	pause := retry.Backoff{Min: h.f.cfg.RetryDelayMin, Max: h.f.cfg.RetryDelayMax}
	for done := 0; ; {
		if err := h.f.admit(ctx, name); err != nil {
			return nil, err
		}
		try, cancel := context.WithTimeout(ctx, h.f.cfg.DeliverTimeout)
		start := time.Now()
		refused, err := h.dest.Deliver(try, alerts[done:])
		late := try.Err() != nil
		cancel()
		n := progress(err, len(alerts)-done)
		taken := n
		for _, x := range refused {
			if x.Index < n {
				x.Index += done
				failures = append(failures, x)
				taken--
			}
		}
		done += n
		h.f.metrics.out.WithLabelValues(name).Add(float64(taken))
		if err == nil {
			h.f.metrics.deliver.WithLabelValues(name).Observe(time.Since(start).Seconds())
			h.f.note(name, nil)
			return failures, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if n > 0 {
			pause.Reset()
			if late {
				continue // it is slow, but it takes alerts
			}
		}
		h.f.note(name, err)
		h.f.leaveAlone(name, err)
		h.f.metrics.retries.WithLabelValues(name).Inc()
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// progress returns how many of n alerts Deliver has done with.
func progress(err error, n int) int {
	var part *Partial
	switch {
	case err == nil:
		return n
	case errors.As(err, &part):
		return min(max(part.Done, 0), n)
	}
	return 0
}

// leaveAlone keeps every partition from a destination that asked for a pause.
func (f *Forward) leaveAlone(dest string, err error) {
	d := retry.Asked(err)
	if d == 0 {
		return
	}
	until := time.Now().Add(d)
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.states[dest]; until.After(s.closed) {
		s.closed = until
	}
}

// admit waits until a destination may be asked again.
func (f *Forward) admit(ctx context.Context, dest string) error {
	f.mu.Lock()
	until := f.states[dest].closed
	f.mu.Unlock()
	return retry.Sleep(ctx, time.Until(until))
}

// again runs fn until it succeeds or ctx ends.
func (h *handler) again(ctx context.Context, fn func(context.Context) error) error {
	pause := retry.Backoff{Min: h.f.cfg.RetryDelayMin, Max: h.f.cfg.RetryDelayMax}
	for {
		try, cancel := context.WithTimeout(ctx, h.f.cfg.DeliverTimeout)
		err := fn(try)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h.f.metrics.retries.WithLabelValues(h.dest.Name).Inc()
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}
