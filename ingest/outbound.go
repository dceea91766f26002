package ingest

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"vedette/ingest/deliver"
	"vedette/ingest/listen"
	"vedette/ingest/secure"
)

// fleet shows the gateway's agents to deliver.
type fleet struct{ g *Gateway }

// Agent implements deliver.Fleet.
func (f fleet) Agent(id string) (deliver.Agent, bool) {
	f.g.mu.RLock()
	defer f.g.mu.RUnlock()
	a, ok := f.g.agents[id]
	return a, ok
}

// Connected implements deliver.Fleet.
func (f fleet) Connected() []deliver.Agent {
	f.g.mu.RLock()
	defer f.g.mu.RUnlock()
	out := make([]deliver.Agent, 0, len(f.g.agents))
	for _, a := range f.g.agents {
		if a.conn != nil || a.udp.addr.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// ID implements deliver.Agent.
func (a *agent) ID() string { return a.reg.ID }

// Delivery implements deliver.Agent.
func (a *agent) Delivery() *deliver.State { return &a.delivery }

// Route implements deliver.Agent: over the agent's TCP connection, or at the
// address of its last control message on UDP. It is false when the agent has no
// connection, or nothing valid has come from it for Config.DisconnectionTime.
//
// Source: spec/agent-protocol.md §8, end.
func (a *agent) Route(now time.Time) (deliver.Route, bool) {
	a.g.mu.RLock()
	conn, udp := a.conn, a.udp
	a.g.mu.RUnlock()
	silent := a.g.cfg.DisconnectionTime
	switch {
	case a.revoked.Load():
		return nil, false
	case conn != nil:
		return stream{a, conn}, now.Sub(conn.LastSeen()) < silent
	}
	return datagrams{a, a.g.udp, udp.addr}, a.g.udp != nil && udp.addr.IsValid() && now.Sub(udp.seen) < silent
}

// stream is the route over a TCP connection.
type stream struct {
	a    *agent
	conn *listen.Conn
}

func (s stream) Send(payload string) bool { return s.conn.Send(s.a.g.seal(s.a, payload)) }

func (s stream) SendBulk(payload string, timeout time.Duration) bool {
	return s.conn.SendWait(s.a.g.seal(s.a, payload), timeout)
}

func (s stream) Datagram() bool { return false }

// datagrams is the route to an address on UDP.
type datagrams struct {
	a    *agent
	port *udpPort
	to   netip.AddrPort
}

func (d datagrams) Send(payload string) bool {
	return d.port.write(d.a.g.seal(d.a, payload)[secure.FrameHeader:], d.to)
}

func (d datagrams) SendBulk(payload string, _ time.Duration) bool { return d.Send(payload) }

func (d datagrams) Datagram() bool { return true }

// seal returns the frame that carries payload, of 1 to secure.MaxPayload bytes,
// to an agent.
func (g *Gateway) seal(a *agent, payload string) []byte {
	g.counterMu.Lock()
	global, local := g.counter.Next()
	g.counterMu.Unlock()
	e := g.encoders.Get()
	defer g.encoders.Put(e)
	frame := make([]byte, secure.FrameHeader, 192+len(payload))
	frame, err := e.Append(frame, a.key, secure.Method(a.method.Load()), "", uint16(rand.Uint32()), global, local, []byte(payload))
	if err != nil {
		panic("ingest: a message to an agent does not seal: " + err.Error()) // callers keep to the bounds
	}
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-secure.FrameHeader))
	return frame
}
