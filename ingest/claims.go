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
	if a, conn, session := g.fleet.claimRead(rec, current, stale); a != nil {
		g.m.moved.Inc()
		time.AfterFunc(movedTime, func() { g.letGo(a, conn, session) })
	}
}

// letGo ends the connection of an agent that has connected elsewhere, once no data
// that was sent before can wait in its socket.
func (g *Gateway) letGo(a *agent, conn *listen.Conn, session string) {
	if paused, resumed := conn.Paused(); paused || time.Since(resumed) < movedGrace {
		time.AfterFunc(movedGrace, func() { g.letGo(a, conn, session) })
		return
	}
	if g.fleet.holdsAgent(a, conn, session) {
		conn.Kill(reasonElsewhere)
	}
}

// stillHere judges a unit on a connection whose agent has connected elsewhere:
// nil as long as the unit can have been sent before that.
func (l *link) stillHere(a *agent, now time.Time) error {
	lost := l.g.fleet.lostSince(a)
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
