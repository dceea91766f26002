package ingest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/ingest/session"
	"vedette/internal/kafka"
	"vedette/schemas"
)

// SweepGroup is the consumer group that shares out the partitions of TopicPresence.
const SweepGroup = "presence"

// Sweep finds agents that have been silent for too long, whichever gateway they
// were connected to: each partition of TopicPresence has one owner, and the
// owner looks after the agents in it.
//
// In: TopicPresence. Out: presence records and the events about lost agents.
// What this process cannot have heard, because it does not own the partition for
// long or the brokers were away, is not held against an agent.
//
// Source: spec/agent-protocol.md §8.
type Sweep struct {
	cfg  Config
	reg  Registry
	prod Producer
	log  *slog.Logger
	lost prometheus.Counter
	// failed counts what could not be written.
	failed prometheus.Counter
}

// NewSweep prepares the sweep of one process.
func NewSweep(cfg Config, reg Registry, prod Producer, log *slog.Logger, promReg prometheus.Registerer) *Sweep {
	s := &Sweep{
		cfg: cfg, reg: reg, prod: prod, log: log,
		lost:   prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_ingest_agents_lost_total", Help: "Agents that were found silent for too long."}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "vedette_ingest_agents_lost_unwritten_total", Help: "Records and events about lost agents that could not be written."}),
	}
	register(promReg, &s.lost)
	register(promReg, &s.failed)
	return s
}

// Consumer says how the sweep takes part in its group.
func (s *Sweep) Consumer(cluster *kafka.Cluster, promReg prometheus.Registerer) kafka.GroupConfig {
	return kafka.GroupConfig{
		Group: SweepGroup, Topic: schemas.TopicPresence, Log: s.log, Registerer: promReg,
		// The topic is compacted: what it holds is the state.
		StartAt: func(context.Context, kafka.Assignment) (int64, bool, error) { return 0, true, nil },
		Open:    s.open,
	}
}

func (s *Sweep) open(context.Context, kafka.Assignment) (kafka.Handler, error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &sweepPartition{s: s, ids: map[string]struct{}{}, since: time.Now(), cancel: cancel}
	p.wg.Go(func() { p.run(ctx) })
	return p, nil
}

// sweepPartition looks after the agents of one partition.
type sweepPartition struct {
	s      *Sweep
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu  sync.Mutex
	ids map[string]struct{}

	// Of run's goroutine.
	since time.Time // from when on silence counts
}

// Handle implements kafka.Handler.
func (p *sweepPartition) Handle(_ context.Context, recs []schemas.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range recs {
		id := string(recs[i].Key)
		if len(recs[i].Value) == 0 {
			delete(p.ids, id)
		} else if schemas.ValidAgentID(id) {
			p.ids[id] = struct{}{}
		}
	}
	return nil
}

// Close implements kafka.Handler.
func (p *sweepPartition) Close() {
	p.cancel()
	p.wg.Wait()
}

func (p *sweepPartition) run(ctx context.Context) {
	every := min(max(p.s.cfg.DisconnectionTime/10, 50*time.Millisecond), time.Minute)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if !p.s.prod.Healthy() {
				p.since = now
				continue
			}
			p.sweep(now)
		}
	}
}

func (p *sweepPartition) sweep(now time.Time) {
	p.mu.Lock()
	var silent []string
	for id := range p.ids {
		if pr, ok := p.s.reg.Presence(id); ok && p.silent(&pr, now) {
			silent = append(silent, id)
		}
	}
	p.mu.Unlock()
	for _, id := range silent {
		pr, ok := p.s.reg.Presence(id)
		a, known := p.s.reg.Agent(id)
		if !ok || !known || !p.silent(&pr, now) {
			continue
		}
		pr.State, pr.StatusCode = schemas.StateDisconnected, schemas.StatusNoKeepalive
		pr.DisconnectionTime, pr.Updated = now.UnixMilli(), now.UnixMilli()
		pr.Session, pr.Claim = "", false
		done := func(err error) {
			if err != nil {
				p.s.failed.Inc()
			}
		}
		p.s.reg.SetPresence(pr, done)
		sn := session.New(session.Identity{ID: a.ID, Name: a.Name, Host: a.Rule.Host(), Gateway: p.s.cfg.Node}, pr)
		e := sn.Disconnected(now)
		p.s.prod.Produce(e.Record(), done)
		p.s.lost.Inc()
	}
}

// silent reports whether an agent counts as lost now.
func (p *sweepPartition) silent(pr *schemas.Presence, now time.Time) bool {
	if pr.State != schemas.StateActive && pr.State != schemas.StatePending {
		return false
	}
	last := time.UnixMilli(pr.LastSign())
	if p.since.After(last) {
		last = p.since
	}
	return now.Sub(last) >= p.s.cfg.DisconnectionTime
}
