package ingest

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vedette/ingest/deliver"
	"vedette/ingest/listen"
	"vedette/ingest/secure"
	"vedette/internal/registry"
	"vedette/schemas"
)

const (
	// holdTime is how long a unit of an unknown agent waits for a key that was
	// given on another node a moment ago; holdsMax bounds how many wait.
	holdTime = time.Second
	holdsMax = 1024
)

// agent is the gateway's state of an agent that has talked to it. The first group
// of fields does not change, the second changes atomically, fleet.mu guards the
// binding, and the last two lock for themselves.
type agent struct {
	fleet *fleet
	reg   registry.Agent
	key   *secure.Key

	method   atomic.Uint32 // the cipher of the agent's latest message
	revoked  atomic.Bool   // the agent was removed or replaced
	reclaim  atomic.Bool   // the next keepalive is to say that it holds the agent
	conflict atomic.Int64  // when two holders of the key were last reported

	bound binding

	presence presenceQueue
	delivery deliver.State
}

// binding is how an agent is reached from here.
type binding struct {
	// conn is the connection that is bound to the agent, session its name in the
	// presence records. claimSeen says that its claim has been read back; lost,
	// since when another connection's claim came after it.
	conn      *listen.Conn
	session   string
	claimSeen bool
	lost      time.Time
	udp       *udpPeer // nil without UDP, which most agents do not use
}

// fleet holds the agents that have talked to this gateway: their keys, and how
// they are reached. It implements deliver.Fleet.
//
// mu guards the maps, holds, and the binding of every agent. Only the methods of
// fleet and agent.Route take it, and they take no other lock under it.
type fleet struct {
	reg      Registry
	sealer   *sealer
	silent   time.Duration   // Config.DisconnectionTime
	overtake time.Duration   // Config.OvertakeTime
	stopping <-chan struct{} // of the gateway

	mu      sync.RWMutex
	agents  map[string]*agent
	waiters map[string][]chan struct{} // for agents that are not known yet
	holds   int                        // how many wait
}

func newFleet(cfg *Config, reg Registry, sealer *sealer, stopping <-chan struct{}) *fleet {
	return &fleet{
		reg: reg, sealer: sealer, silent: cfg.DisconnectionTime, overtake: cfg.OvertakeTime, stopping: stopping,
		agents: map[string]*agent{}, waiters: map[string][]chan struct{}{},
	}
}

// get returns the state of a registered agent, and makes it at its first message.
func (f *fleet) get(id string) (*agent, bool) {
	f.mu.RLock()
	a, ok := f.agents[id]
	f.mu.RUnlock()
	if ok {
		return a, true
	}
	reg, ok := f.reg.Agent(id)
	if !ok {
		return nil, false
	}
	fresh := &agent{fleet: f, reg: reg, key: secure.NewKey(reg.ID, reg.Name, reg.Key.Reveal())}
	f.mu.Lock()
	if a, ok = f.agents[id]; !ok {
		a = fresh
		f.agents[id] = a
	}
	f.mu.Unlock()
	// A removal that came between has not seen the entry.
	if now, ok := f.reg.Agent(id); !ok || now.Key != a.reg.Key {
		f.forget(id)
		return nil, false
	}
	return a, true
}

// byHost returns the state of the agent that is registered with an address.
func (f *fleet) byHost(host string) (*agent, bool) {
	reg, ok := f.reg.AgentByHost(host)
	if !ok {
		return nil, false
	}
	return f.get(reg.ID)
}

// forget ends an agent's connection and drops its state.
func (f *fleet) forget(id string) {
	f.mu.Lock()
	a := f.agents[id]
	delete(f.agents, id)
	var conn *listen.Conn
	if a != nil {
		a.revoked.Store(true)
		conn = a.bound.conn
	}
	f.mu.Unlock()
	if conn != nil {
		conn.Kill(reasonKeyChanged)
	}
}

// keyChanged drops the state of an agent whose key has changed, and wakes the
// units that wait for the new one.
func (f *fleet) keyChanged(id string) {
	f.forget(id)
	f.mu.Lock()
	for _, ch := range f.waiters[id] {
		close(ch)
	}
	delete(f.waiters, id)
	f.mu.Unlock()
}

// await waits a moment for an agent that is not known yet.
func (f *fleet) await(id string) (*agent, bool) {
	if !schemas.ValidAgentID(id) {
		return nil, false
	}
	ch := make(chan struct{})
	f.mu.Lock()
	if f.holds >= holdsMax {
		f.mu.Unlock()
		return nil, false
	}
	f.holds++
	f.waiters[id] = append(f.waiters[id], ch)
	f.mu.Unlock()
	defer f.unwait(id, ch)
	if a, ok := f.get(id); ok { // it came before the waiting began
		return a, true
	}
	t := time.NewTimer(holdTime)
	defer t.Stop()
	select {
	case <-ch:
	case <-t.C:
	case <-f.stopping:
	}
	return f.get(id)
}

func (f *fleet) unwait(id string, ch chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holds--
	left := f.waiters[id][:0]
	for _, w := range f.waiters[id] {
		if w != ch {
			left = append(left, w)
		}
	}
	if len(left) == 0 {
		delete(f.waiters, id)
	} else {
		f.waiters[id] = left
	}
}

// Agent implements deliver.Fleet.
func (f *fleet) Agent(id string) (deliver.Agent, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if a, ok := f.agents[id]; ok {
		return a, true
	}
	return nil, false
}

// Connected implements deliver.Fleet.
func (f *fleet) Connected() []deliver.Agent {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := make([]deliver.Agent, 0, len(f.agents))
	for _, a := range f.agents {
		if a.bound.conn != nil || a.bound.udp != nil && a.bound.udp.addr.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// claim makes c the agent's connection, under the name session, if no other
// connection holds the agent, or if the other has been silent for too long;
// replaced is that one. Otherwise holder is the other one. Without control, a
// connection without rival stays unbound.
func (f *fleet) claim(a *agent, c *listen.Conn, session string, control bool, now time.Time) (bound bool, replaced, holder *listen.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &a.bound
	other := b.conn
	switch {
	case other == nil || other == c:
		other = nil
		if !control {
			return false, nil, nil
		}
	case f.overtake <= 0 || now.Sub(other.LastSeen()) <= f.overtake:
		return false, nil, other
	}
	b.conn, b.session, b.claimSeen, b.lost = c, session, false, time.Time{}
	return true, other, nil
}

// release takes a connection off its agent.
func (f *fleet) release(a *agent, c *listen.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.bound.conn == c {
		a.bound.conn, a.bound.session, a.bound.lost = nil, "", time.Time{}
	}
}

// holdsAgent reports whether a connection, by its name, is still the agent's.
func (f *fleet) holdsAgent(a *agent, c *listen.Conn, session string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return a.bound.conn == c && a.bound.session == session
}

// lostSince is when an agent's connection here has lost the agent to another
// gateway; the zero time while it holds it.
func (f *fleet) lostSince(a *agent) time.Time {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return a.bound.lost
}

// claimRead notes a presence record that was read back; see Gateway.onPresence.
// If an agent's connection here has lost the agent by it, that agent is returned
// with its connection and the connection's name.
func (f *fleet) claimRead(rec, current *schemas.Presence, stale bool) (loser *agent, conn *listen.Conn, session string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.agents[rec.ID]
	if a == nil || a.bound.conn == nil || a.bound.session == "" {
		return nil, nil, ""
	}
	b := &a.bound
	switch {
	case rec.Session == b.session:
		b.claimSeen = b.claimSeen || rec.Claim
	case stale:
		// Compaction may leave that record alone: this one must come after it.
		a.reclaim.Store(current.Session == b.session)
	case rec.Claim && b.claimSeen && b.lost.IsZero():
		b.lost = time.Now()
		return a, b.conn, b.session
	}
	return nil, nil, ""
}

// session returns the agent's session of an address on UDP; nil if it has none.
func (f *fleet) session(a *agent, address string) *udpSession {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if p := a.bound.udp; p != nil && p.session.address == address {
		return p.session
	}
	return nil
}

// heard notes a message of an agent on UDP. Only control messages move the
// address that the agent is reached at.
func (f *fleet) heard(a *agent, port *udpPort, from netip.AddrPort, control bool, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := a.bound.udp // setSession has made it
	if control {
		p.port, p.addr = port, from
	}
	p.seen = now
}

// setSession keeps a session for the agent's datagrams, unless one of the same
// address is there already. It returns the kept one.
func (f *fleet) setSession(a *agent, s *udpSession) *udpSession {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := a.bound.udp
	switch {
	case p == nil:
		a.bound.udp = &udpPeer{session: s}
	case p.session.address == s.address:
		return p.session
	default:
		p.session = s
	}
	return s
}
