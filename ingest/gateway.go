package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/ingest/deliver"
	"vedette/ingest/listen"
	"vedette/ingest/secure"
	"vedette/ingest/session"
	"vedette/internal/registry"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// eventOverhead is the cost of an event besides its text, in bytes.
const eventOverhead = 256

// Registry lists the gateway's calls to the registry.
type Registry interface {
	Ready() <-chan struct{}
	Agent(id string) (registry.Agent, bool)
	AgentByHost(host string) (registry.Agent, bool)
	Presence(id string) (schemas.Presence, bool)
	SetPresence(p schemas.Presence, done func(error))
	Subscribe(fn func(registry.Change)) (cancel func())
	SubscribePresence(fn func(rec, current *schemas.Presence, stale bool)) (cancel func())
	RemoveLost(ctx context.Context, seen schemas.SeenAgent, after time.Duration, purge bool) error
	SetGroups(ctx context.Context, agentID string, mode schemas.GroupMode, groups []string) error
}

// Producer is where events go; *kafka.Producer is one.
type Producer interface {
	Produce(rec schemas.Record, done func(err error))
	Healthy() bool
}

// Gateway is the role that agents connect to. It has no lock: the first group of
// fields does not change after New, and its parts lock for themselves; the second
// group changes atomically.
type Gateway struct {
	cfg        Config
	reg        Registry
	prod       Producer
	log        *slog.Logger
	m          *metrics
	keys       KeyRequester // nil without
	srv        *listen.Server
	udp        *udpPort // nil without
	fleet      *fleet
	presences  *presences
	deliver    *deliver.Delivery
	decoders   *secure.Pool[*secure.Decoder]
	complaints *complaints
	run        string        // this run of the process, in presence records
	stopping   chan struct{} // closed when Run begins to end

	connections atomic.Uint64 // numbers connections in presence records, behind run
	serving     atomic.Bool
}

// New checks the configuration and binds the port.
func New(cfg Config, reg Registry, prod Producer, svc Services, log *slog.Logger, promReg prometheus.Registerer) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Limits.WindowBytes, cfg.Limits.TotalBytes, cfg.Limits.Connections = cfg.WindowBytes, cfg.TotalBytes, cfg.MaxConnections
	g := &Gateway{
		cfg: cfg, reg: reg, prod: prod, log: log, keys: svc.Keys, stopping: make(chan struct{}), run: secret.RandomHex(4),
		decoders:   secure.NewPool(secure.NewDecoder),
		complaints: &complaints{last: map[listen.Reason]time.Time{}},
	}
	g.m = newMetrics(promReg, func() float64 {
		if g.srv == nil {
			return 0
		}
		return float64(g.srv.InFlight())
	}, float64(cfg.TotalBytes))
	srv, err := listen.New(cfg.Listen, cfg.Limits, g.m.listen, log, func(c *listen.Conn) listen.Peer {
		return &link{g: g, c: c, connection: fmt.Sprintf("%s/%s/%d", cfg.Node, g.run, g.connections.Add(1))}
	})
	if err != nil {
		return nil, fmt.Errorf("agent port: %w", err)
	}
	g.srv = srv
	g.fleet = newFleet(&cfg, reg, newSealer(), g.stopping)
	g.presences = &presences{reg: reg, results: g.m.presence}
	g.deliver = deliver.New(deliver.Config{Node: cfg.Node, PushBytesPerSecond: cfg.PushBytesPerSecond}, g.fleet, reg, prod, svc.Deliver, log, promReg)
	if cfg.ListenUDP != "" {
		if g.udp, err = newUDPPort(g, cfg.ListenUDP); err != nil {
			_ = srv.Close()
			return nil, fmt.Errorf("agent port (UDP): %w", err)
		}
	}
	return g, nil
}

// Delivery returns the part that brings commands and shared configuration to the
// agents connected here.
func (g *Gateway) Delivery() *deliver.Delivery { return g.deliver }

// Addr is the bound address.
func (g *Gateway) Addr() net.Addr { return g.srv.Addr() }

// Close gives the ports back when Run is never called.
func (g *Gateway) Close() error {
	err := g.srv.Close()
	if g.udp != nil {
		err = errors.Join(err, g.udp.close())
	}
	return err
}

// Ready returns an error while the gateway cannot take events.
func (g *Gateway) Ready() error {
	select {
	case <-g.reg.Ready():
	default:
		return errors.New("ingest: the registry was not read to its end yet")
	}
	if !g.serving.Load() {
		return errors.New("ingest: the agent port is not served")
	}
	if !g.prod.Healthy() {
		return errors.New("ingest: the brokers do not acknowledge; agents are held back")
	}
	return nil
}

// Run serves agents until ctx ends; then it stops as the package comment says.
// It needs registry and producer to outlive it.
func (g *Gateway) Run(ctx context.Context) error {
	select {
	case <-g.reg.Ready():
	case <-ctx.Done():
		return g.Close()
	}
	unsubscribe := g.reg.Subscribe(g.onChange)
	defer unsubscribe()
	unwatch := g.reg.SubscribePresence(g.onPresence)
	defer unwatch()
	if g.deliver.WaitReady(ctx) != nil {
		return g.Close()
	}
	g.serving.Store(true)
	defer g.serving.Store(false)
	g.log.Info("agent port is open", "address", g.srv.Addr().String(), "node", g.cfg.Node)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { g.deliver.Run(ctx) })
	if g.udp != nil {
		wg.Go(func() { g.udp.run(ctx) })
	}
	stop := context.AfterFunc(ctx, func() { close(g.stopping) })
	err := g.srv.Run(ctx)
	cancel()
	wg.Wait()
	if stop() {
		close(g.stopping)
	}
	g.presences.drain(g.cfg.Limits.DrainRead)
	return err
}

// onChange follows the registry. It runs where the registry is read.
func (g *Gateway) onChange(c registry.Change) {
	if c.Kind == registry.ChangeKey {
		g.fleet.keyChanged(c.Agent.ID)
	} else {
		g.deliver.Regrouped(&c.Agent)
	}
}

func (g *Gateway) identity(a *agent, address, connection string) session.Identity {
	return session.Identity{
		ID: a.reg.ID, Name: a.reg.Name, Host: a.reg.Rule.Host(), Address: address, Gateway: g.cfg.Node,
		ServerVersion: g.cfg.ServerVersion, AllowHigherVersions: g.cfg.AllowHigherVersions, Connection: connection, SilentAfter: g.cfg.DisconnectionTime,
	}
}

// unknown asks for the key of an agent that cannot be understood here.
//
// Source: spec/agent-protocol.md §3, spec/enrollment.md §9.
func (g *Gateway) unknown(id string, source netip.Addr) {
	if g.keys != nil {
		g.keys.Unknown(id, schemas.AddressText(source))
	}
}

// follow applies the effects of a message, except for the answer. c is nil on
// UDP.
func (g *Gateway) follow(a *agent, s *session.Session, r *session.Result, c *listen.Conn, now time.Time) error {
	if r.Kind != session.Event {
		g.m.control.WithLabelValues(r.Kind.String()).Inc()
	}
	if r.LabelsCut {
		g.m.labels.Inc()
	}
	if r.WritePresence {
		g.presences.write(a, s.Presence())
	}
	switch r.Kind {
	case session.Keepalive:
		if r.MergedSum != "" {
			g.deliver.Configured(a, r.MergedSum, now)
		}
	case session.Request:
		g.deliver.Answered(a, r.RequestID, r.Answer)
	}
	if r.Refused != nil {
		g.m.receivedAgent.Inc()
		if errors.Is(r.Refused, secure.ErrEventKeepalive) {
			g.m.refused.WithLabelValues(refusedKeepalive).Inc()
		} else {
			g.m.refused.WithLabelValues(refusedMalformed).Inc()
		}
	}
	if r.Raised && r.Event.Queue == 'u' && r.Event.Location == "upgrade_module" {
		g.deliver.UpgradeReported(a, r.Event.Log, now)
	}
	if r.Raised {
		received := g.m.receivedAgent
		if r.Kind != session.Event {
			received = g.m.receivedGateway
		}
		if !g.produce(c, &r.Event, received) && c != nil {
			return listen.ReasonShutdown // or the reason for which the connection is already over
		}
	}
	return nil
}

// produce hands an event over. c, which may be nil, is the connection it came
// on, and is held back while too much of it is in flight. The event is refused
// when the connection or the gateway ends before there is room.
func (g *Gateway) produce(c *listen.Conn, e *schemas.Event, received prometheus.Counter) bool {
	received.Inc()
	g.m.inflight.Inc()
	cost := int64(len(e.Log) + len(e.Location) + len(e.AgentLabels) + eventOverhead)
	if c != nil && !c.Acquire(cost) {
		g.m.inflight.Dec()
		select {
		case <-g.stopping:
			g.m.refused.WithLabelValues(refusedShutdown).Inc()
		default:
			g.m.refused.WithLabelValues(refusedOver).Inc()
		}
		return false
	}
	g.prod.Produce(e.Record(), func(err error) {
		if err == nil {
			g.m.written.Inc()
		} else {
			g.m.refused.WithLabelValues(refusedProduce).Inc()
			if g.complaints.due(refusedProduce, time.Now()) {
				g.log.Error("events are refused by the brokers", "err", err)
			}
		}
		g.m.inflight.Dec()
		if c != nil {
			c.Release(cost)
		}
	})
	return true
}

// logRefused logs refused units; the counters have them all.
func (g *Gateway) logRefused(r listen.Reason, a *agent, source netip.Addr, now time.Time) {
	if !g.complaints.due(r, now) {
		return
	}
	id := ""
	if a != nil {
		id = a.reg.ID
	}
	g.log.Warn("agent connection refused", "reason", string(r), "agent_id", id, "source", source.String())
}

// complaints limits log lines to one per reason and retry.LogEvery. mu guards
// last.
type complaints struct {
	mu   sync.Mutex
	last map[listen.Reason]time.Time // reasons are a closed set
}

func (cs *complaints) due(r listen.Reason, now time.Time) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if now.Sub(cs.last[r]) < retry.LogEvery {
		return false
	}
	cs.last[r] = now
	return true
}
