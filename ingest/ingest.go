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

// Gateway is the role that agents connect to.
type Gateway struct {
	cfg  Config
	reg  Registry
	prod Producer
	log  *slog.Logger
	m    *metrics
	srv  *listen.Server
	udp  *udpPort // nil without
	svc  Services

	connections atomic.Uint64 // numbers connections in presence records
	run         string        // this run of the process, in front of the number
	deliver     *deliver.Delivery

	stopping chan struct{} // closed when Run begins to end
	serving  atomic.Bool
	presence atomic.Int64 // presence records under way

	decoders *secure.Pool[*secure.Decoder]
	encoders *secure.Pool[*secure.Encoder]

	counterMu sync.Mutex
	counter   secure.Counter

	logMu  sync.Mutex
	logged map[listen.Reason]time.Time

	mu      sync.RWMutex // guards the fields below; no other lock is taken under it
	agents  map[string]*agent
	waiters map[string][]chan struct{}
	holds   int
}

// New checks the configuration and binds the port.
func New(cfg Config, reg Registry, prod Producer, svc Services, log *slog.Logger, promReg prometheus.Registerer) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Limits.WindowBytes, cfg.Limits.TotalBytes, cfg.Limits.Connections = cfg.WindowBytes, cfg.TotalBytes, cfg.MaxConnections
	g := &Gateway{
		cfg: cfg, reg: reg, prod: prod, log: log, stopping: make(chan struct{}), run: secret.RandomHex(4), svc: svc,
		decoders: secure.NewPool(secure.NewDecoder),
		encoders: secure.NewPool(func() *secure.Encoder { return &secure.Encoder{} }),
		logged:   map[listen.Reason]time.Time{}, agents: map[string]*agent{}, waiters: map[string][]chan struct{}{},
	}
	// The counter must grow over restarts and has no file: it advances by one per
	// 9,997 messages, so never faster than the clock it starts from.
	g.counter.Global = uint64(max(time.Now().Unix(), 0))
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
	g.deliver = deliver.New(deliver.Config{Node: cfg.Node, PushBytesPerSecond: cfg.PushBytesPerSecond}, fleet{g}, reg, prod, svc.Deliver, log, promReg)
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
	for end := time.Now().Add(g.cfg.Limits.DrainRead); g.presence.Load() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
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
			if g.logNow(refusedProduce, time.Now()) {
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

// writePresence writes an agent's presence unless one is under way; then the
// newest follows it. So a broker that is away costs one record per agent.
func (g *Gateway) writePresence(a *agent, p schemas.Presence) {
	if a.revoked.Load() { // its tombstone is the last word
		return
	}
	a.presMu.Lock()
	if a.presPending {
		p.Claim = p.Claim || a.presNext != nil && a.presNext.Claim && a.presNext.Session == p.Session
		a.presNext = &p
		a.presMu.Unlock()
		return
	}
	a.presPending = true
	a.presMu.Unlock()
	g.presence.Add(1)
	g.reg.SetPresence(p, func(err error) {
		result := "written"
		if err != nil {
			result = "failed"
			if p.Claim { // otherwise the records after it would count for nothing
				a.reclaim.Store(true)
			}
		}
		g.m.presence.WithLabelValues(result).Inc()
		a.presMu.Lock()
		next := a.presNext
		a.presPending, a.presNext = false, nil
		a.presMu.Unlock()
		if next != nil && err == nil {
			go func() { // not on the client's goroutine, which must not wait for its own buffer
				g.writePresence(a, *next)
				g.presence.Add(-1)
			}()
			return
		}
		g.presence.Add(-1)
	})
}
