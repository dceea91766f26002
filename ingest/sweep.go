package ingest

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/ingest/session"
	"vedette/internal/kafka"
	metric "vedette/internal/metrics"
	"vedette/internal/registry"
	"vedette/schemas"
)

// SweepGroup is the consumer group that shares out the partitions of TopicPresence.
const SweepGroup = "presence"

const (
	// sweepSoon is how soon the sweep looks again for its own records to come
	// back, and the shortest time between two looks.
	sweepSoon = 50 * time.Millisecond
	// sweepSettle is how long an owner waits before it reports or removes
	// agents, so that it has read the records of others before.
	sweepSettle = 2 * time.Second
	// removesMax bounds the agents that one look removes, removeWithin the wait for
	// each.
	removesMax   = 64
	removeWithin = 10 * time.Second
	// lostStream names the events about lost agents (schemas.HeaderEventID), so
	// that one which is written again by the next owner is judged once.
	lostStream = "sweep/lost"
)

// Sweep finds agents that have been silent for too long, whichever gateway they
// were connected to, and removes those that have been disconnected for too long:
// each partition of TopicPresence has one owner, and the owner looks after the
// agents in it.
//
// In: TopicPresence. Out: presence records, the events about lost agents, and
// proposals to the registry. A process may have missed an agent's messages,
// because it has not owned the partition for long, was paused or the brokers were
// away. It does not hold this against the agent.
//
// All that is done follows from the agents' presence records, so that the next
// owner goes on where this one has ended: an agent that is found silent becomes
// disconnected and lost_since is set; once that was read back and
// DisconnectionAlertTime is over, the event is written and lost_since cleared. An
// agent that is to be removed is marked first (removing); the mark counts only if
// it comes in the topic before the agent's next sign of life.
//
// Source: spec/agent-protocol.md §8.
type Sweep struct {
	cfg     Config
	reg     Registry
	prod    Producer
	log     *slog.Logger
	lost    prometheus.Counter
	removed prometheus.Counter
	// kept counts agents that were to be removed and came back in time.
	kept prometheus.Counter
	// failed counts failed writes.
	failed prometheus.Counter
}

// NewSweep prepares the sweep of one process.
func NewSweep(cfg Config, reg Registry, prod Producer, log *slog.Logger, promReg prometheus.Registerer) *Sweep {
	set := metric.Set{Registerer: promReg, Prefix: "vedette_ingest_agents_"}
	return &Sweep{
		cfg: cfg, reg: reg, prod: prod, log: log,
		lost:    set.Counter("lost_total", "Agents that were found silent for too long."),
		removed: set.Counter("removed_total", "Agents removed because they had been disconnected for too long."),
		kept:    set.Counter("kept_total", "Agents that were about to be removed and came back, or were registered anew, before."),
		failed:  set.Counter("lost_unwritten_total", "Records, events and proposals about lost agents that could not be written."),
	}
}

// Consumer says how the sweep takes part in its group.
func (s *Sweep) Consumer(cluster *kafka.Cluster, promReg prometheus.Registerer) kafka.GroupConfig {
	return kafka.GroupConfig{
		Group: SweepGroup, Topic: schemas.TopicPresence, Log: s.log, Registerer: promReg,
		// The topic is compacted: its records are the state.
		StartAt: func(context.Context, kafka.Assignment) (int64, bool, error) { return 0, true, nil },
		Open:    s.open,
	}
}

func (s *Sweep) open(context.Context, kafka.Assignment) (kafka.Handler, error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &sweepPartition{s: s, ids: map[string]struct{}{}, steps: map[string]step{}, since: time.Now(), cancel: cancel}
	p.wg.Go(func() { p.run(ctx) })
	return p, nil
}

// sweepPartition looks after the agents of one partition.
type sweepPartition struct {
	s      *Sweep
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	ids   map[string]struct{}
	steps map[string]step // by agent, the last write

	// Of run's goroutine.
	since time.Time // from when on silence counts
}

// step is the last action for an agent. It is not repeated before the record of
// it was read back.
type step struct {
	kind stepKind
	of   int64 // which silence, loss or disconnection it was about
	at   time.Time
}

type stepKind uint8

const (
	stepFound stepKind = iota + 1
	stepTold
	stepMarked
	stepKept // it is not to be removed after all
)

// Handle implements kafka.Handler.
func (p *sweepPartition) Handle(_ context.Context, recs []schemas.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range recs {
		id := string(recs[i].Key)
		if len(recs[i].Value) == 0 {
			delete(p.ids, id)
			delete(p.steps, id)
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
	every := min(max(p.s.cfg.DisconnectionTime/10, sweepSoon), time.Minute) // and sooner if something is due
	first := min(every, sweepSettle)
	t := time.NewTimer(first)
	defer t.Stop()
	for last, wait := wall(), first; ; t.Reset(wait) {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := wall()
		if !p.s.prod.Healthy() || now.Sub(last) > wait+min(p.s.cfg.DisconnectionTime/2, 10*time.Second) {
			p.since, wait = now, every // nothing was heard meanwhile, or not all of it was read yet
		} else {
			wait = min(every, p.look(ctx, now))
		}
		last = wall()
	}
}

// wall is the time as other processes see it, without the monotonic clock of
// this process.
func wall() time.Time { return time.Now().Round(0) }

// look does the due work of the partition, and returns the time until the next
// work is due.
func (p *sweepPartition) look(ctx context.Context, now time.Time) time.Duration {
	next := time.Duration(1<<63 - 1)
	due := func(at time.Time) bool {
		left := at.Sub(now)
		if left > 0 {
			next = min(next, max(left, sweepSoon))
		}
		return left <= 0
	}
	settled := p.since.Add(min(sweepSettle, p.s.cfg.DisconnectionTime))
	var found, tell, mark, remove []schemas.Presence
	p.mu.Lock()
	for id := range p.ids {
		pr, ok := p.s.reg.Presence(id)
		if !ok {
			continue
		}
		if pr.LostSince != 0 && due(later(time.UnixMilli(pr.LostSince).Add(p.s.cfg.DisconnectionAlertTime), settled)) {
			if p.step(&pr, stepTold, pr.LostSince, now) {
				tell = append(tell, pr)
			}
			continue
		}
		if pr.State != schemas.StateDisconnected {
			if due(later(time.UnixMilli(pr.LastSign()), p.since).Add(p.s.cfg.DisconnectionTime)) {
				if p.step(&pr, stepFound, pr.LastSign(), now) {
					found = append(found, pr)
				}
				if now.Sub(p.steps[id].at) < sweepSettle {
					next = sweepSoon
				}
			}
			continue
		}
		if p.s.cfg.RemoveTime <= 0 || pr.DisconnectionTime == 0 || !due(later(time.UnixMilli(pr.DisconnectionTime).Add(p.s.cfg.RemoveTime), settled)) {
			continue
		}
		was := p.steps[id]
		if was.of != pr.DisconnectionTime {
			was = step{}
		}
		switch {
		case was.kind == stepKept:
		case len(mark)+len(remove) >= removesMax:
			next = sweepSoon
		case was.kind == stepMarked && pr.Removing == was.at.UnixMilli(): // this owner's mark
			remove = append(remove, pr)
		case was.kind == stepMarked && now.Sub(was.at) < sweepSettle:
			next = sweepSoon
		default:
			p.steps[id] = step{stepMarked, pr.DisconnectionTime, now}
			mark = append(mark, pr)
			next = sweepSoon
		}
	}
	p.mu.Unlock()
	for i := range found {
		p.found(&found[i], now)
	}
	for i := range tell {
		p.tell(&tell[i], now)
	}
	for i := range mark {
		pr := mark[i]
		pr.Removing = now.UnixMilli()
		p.write(pr, now)
	}
	for i := range remove {
		if !p.remove(ctx, &remove[i]) {
			break
		}
	}
	return next
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// step notes an action for an agent, and reports whether it is new. The caller
// holds p.mu.
func (p *sweepPartition) step(pr *schemas.Presence, kind stepKind, of int64, now time.Time) bool {
	if was := p.steps[pr.ID]; was.kind == kind && was.of == of {
		return false
	}
	p.steps[pr.ID] = step{kind, of, now}
	return true
}

// undo lets the next look repeat a failed write.
func (p *sweepPartition) undo(id string) {
	p.s.failed.Inc()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.steps, id)
}

// write writes the sweep's record of an agent.
func (p *sweepPartition) write(pr schemas.Presence, now time.Time) {
	pr.V, pr.Updated = schemas.PresenceVersion, now.UnixMilli()
	pr.Sweep, pr.Session, pr.Claim = true, "", false
	p.s.reg.SetPresence(pr, func(err error) {
		if err != nil {
			p.undo(pr.ID)
		}
	})
}

// found lets an agent be disconnected that was silent for too long.
func (p *sweepPartition) found(pr *schemas.Presence, now time.Time) {
	if _, known := p.s.reg.Agent(pr.ID); !known {
		return
	}
	out := *pr
	out.State, out.StatusCode = schemas.StateDisconnected, schemas.StatusNoKeepalive
	out.DisconnectionTime, out.LostSince = now.UnixMilli(), now.UnixMilli()
	p.write(out, now)
	p.s.lost.Inc()
}

// tell writes the event about a lost agent, then that it was written.
func (p *sweepPartition) tell(pr *schemas.Presence, now time.Time) {
	a, known := p.s.reg.Agent(pr.ID)
	if !known {
		return
	}
	out := *pr
	sn := session.New(session.Identity{ID: a.ID, Name: a.Name, Host: a.Rule.Host(), Gateway: p.s.cfg.Node}, out)
	e := sn.Disconnected(now)
	e.EventID = lostStream + "/" + strconv.FormatInt(out.LostSince, 10)
	p.s.prod.Produce(e.Record(), func(err error) {
		switch {
		case err != nil:
			p.undo(out.ID)
		case out.State == schemas.StateDisconnected:
			out.LostSince = 0
			go p.write(out, now) // not on the client's goroutine, which must not wait for its own buffer
		}
		// A connection has begun anew otherwise, and its keepalive will say so.
	})
}

// remove removes an agent whose mark was read back. It reports whether to try
// the next agent.
func (p *sweepPartition) remove(ctx context.Context, marked *schemas.Presence) bool {
	pr, ok := p.s.reg.Presence(marked.ID)
	if !ok || pr.State != schemas.StateDisconnected || pr.Removing != marked.Removing || pr.DisconnectionTime != marked.DisconnectionTime {
		p.s.kept.Inc()
		return true
	}
	if _, known := p.s.reg.Agent(pr.ID); !known {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	err := p.s.reg.RemoveLost(ctx, schemas.SeenAgent{ID: pr.ID, State: pr.State, DisconnectionTime: pr.DisconnectionTime}, p.s.cfg.RemoveTime, p.s.cfg.RemovePurge)
	var refused *registry.Refusal
	switch {
	case err == nil:
		p.s.removed.Inc()
		p.s.log.Info("agent removed", "agent_id", pr.ID, "disconnected_since", time.UnixMilli(pr.DisconnectionTime).UTC())
	case errors.As(err, &refused):
		if refused.Reason != registry.ReasonNotFound {
			p.s.kept.Inc()
		}
		p.mu.Lock()
		p.steps[pr.ID] = step{kind: stepKept, of: pr.DisconnectionTime}
		p.mu.Unlock()
	default: // the outcome is not known, and the next look tries again
		if !errors.Is(err, context.Canceled) {
			p.s.failed.Inc()
		}
		return false
	}
	return true
}
