package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/ingest/deliver"
	"vedette/ingest/listen"
	"vedette/ingest/secure"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

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
