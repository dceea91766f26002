package ingest

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"vedette/ingest/listen"
	"vedette/ingest/secure"
)

// route is how an agent is reached: over its TCP connection, or at the address
// of its last control message on UDP.
type route struct {
	conn *listen.Conn
	udp  *udpPort
	peer udpPeer
}

// datagram reports whether sent data may be lost on the way.
func (r *route) datagram() bool { return r.conn == nil }

// route returns how an agent is reached now; false when it has no connection, or
// nothing valid has come from it for Config.DisconnectionTime.
//
// Source: spec/agent-protocol.md §8, end.
func (g *Gateway) route(a *agent, now time.Time) (route, bool) {
	g.mu.RLock()
	r := route{conn: a.conn, udp: g.udp, peer: a.udp}
	g.mu.RUnlock()
	if a.revoked.Load() {
		return r, false
	}
	if r.conn != nil {
		return r, now.Sub(r.conn.LastSeen()) < g.cfg.DisconnectionTime
	}
	return r, r.udp != nil && r.peer.addr.IsValid() && now.Sub(r.peer.seen) < g.cfg.DisconnectionTime
}

// send sends one payload by a route and returns at once; false when it was dropped.
func (g *Gateway) send(a *agent, r *route, payload string) bool {
	frame := g.seal(a, payload)
	if r.conn != nil {
		return r.conn.Send(frame)
	}
	return r.udp.write(frame[secure.FrameHeader:], r.peer.addr)
}

// sendBulk is send for data that may wait and must leave room for everything
// else.
func (g *Gateway) sendBulk(a *agent, r *route, payload string) bool {
	if r.conn != nil {
		return r.conn.SendWait(g.seal(a, payload), pushTimeout)
	}
	return g.send(a, r, payload)
}

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
