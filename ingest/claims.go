package ingest

import (
	"time"

	"vedette/ingest/listen"
	"vedette/schemas"
)

const (
	// movedGrace is how long data that an agent sent before it connected
	// elsewhere may still arrive here. Later data comes from a second holder of
	// its key.
	movedGrace = 5 * time.Second
	// movedTime is after how long the connection of an agent that is connected
	// elsewhere ends, if nothing more comes on it. Agents send a sign of life
	// more often than that.
	movedTime = 25 * time.Second
	// conflictEvery bounds the events about two holders of one key, per agent.
	conflictEvery = time.Hour
)

// onPresence follows the claims of agents. current is the record that counts;
// stale says that rec does not, because another connection holds the agent. It
// runs where the presences are read, in the order all gateways see.
func (g *Gateway) onPresence(rec, current *schemas.Presence, stale bool) {
	g.mu.Lock()
	a := g.agents[rec.ID]
	if a == nil || a.conn == nil || a.session == "" {
		g.mu.Unlock()
		return
	}
	switch {
	case rec.Session == a.session:
		a.claimSeen = a.claimSeen || rec.Claim
	case stale:
		// Compaction may leave that record alone: this one must come after it.
		a.reclaim.Store(current.Session == a.session)
	case rec.Claim && a.claimSeen:
		g.lose(a)
	}
	g.mu.Unlock()
}

// lose lets a connection end whose agent has connected elsewhere. The caller
// holds g.mu.
func (g *Gateway) lose(a *agent) {
	if !a.lost.IsZero() {
		return
	}
	a.lost = time.Now()
	g.m.moved.Inc()
	conn, session := a.conn, a.session
	var end func()
	end = func() {
		if paused, resumed := conn.Paused(); paused || time.Since(resumed) < movedGrace {
			time.AfterFunc(movedGrace, end) // data that waits in the socket was sent before
			return
		}
		g.mu.RLock()
		same := a.conn == conn && a.session == session
		g.mu.RUnlock()
		if same {
			conn.Kill(reasonElsewhere)
		}
	}
	time.AfterFunc(movedTime, end)
}

// stillHere judges a unit on a connection whose agent has connected elsewhere:
// nil as long as the unit can have been sent before that.
func (l *link) stillHere(a *agent, now time.Time) error {
	l.g.mu.RLock()
	lost := a.lost
	l.g.mu.RUnlock()
	if lost.IsZero() || now.Sub(lost) < movedGrace {
		return nil
	}
	if _, resumed := l.c.Paused(); now.Sub(resumed) < movedGrace {
		return nil
	}
	elsewhere, _ := l.g.reg.Presence(a.reg.ID)
	l.g.conflict(a, elsewhere.Gateway, elsewhere.Address, now)
	return reasonKeyInUse
}

// conflict counts, and tells in an event, that two peers hold one agent's key:
// the agent has been copied, or its key was stolen.
func (g *Gateway) conflict(a *agent, gateway, address string, now time.Time) {
	g.m.conflicts.Inc()
	last := a.conflict.Load()
	if now.UnixMilli()-last < conflictEvery.Milliseconds() || !a.conflict.CompareAndSwap(last, now.UnixMilli()) {
		return
	}
	p, _ := g.reg.Presence(a.reg.ID)
	e := schemas.Event{
		Time: now.Truncate(time.Millisecond), AgentID: a.reg.ID, AgentName: a.reg.Name, AgentIP: p.AgentIP, AgentAddress: a.reg.Rule.Host(),
		Location: locationGateway, Queue: '1', Gateway: g.cfg.Node,
		Log: []byte("vedette: Agent key already in use: '" + a.reg.Name + "->" + a.reg.Rule.Host() + "', connected at " + gateway + " from " + address + "."),
	}
	g.produce(nil, &e, g.m.receivedGateway)
}

// locationGateway is where events come from that 4.14 has nothing like.
const locationGateway = "vedette-ingest"

// bind makes a connection the agent's. The caller holds g.mu.
func (l *link) bind(a *agent) {
	a.conn, a.session, l.bound = l.c, l.connection, true
	a.claimSeen, a.lost = false, time.Time{}
}

// release takes the connection off the agent.
func (l *link) release() {
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	if l.a != nil && l.a.conn == l.c {
		l.a.conn, l.a.session, l.a.lost = nil, "", time.Time{}
	}
}

var _ listen.Peer = (*link)(nil)
