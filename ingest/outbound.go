package ingest

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"vedette/ingest/deliver"
	"vedette/ingest/listen"
	"vedette/ingest/secure"
)

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
	a.fleet.mu.RLock()
	conn, udp := a.bound.conn, udpPeer{}
	if a.bound.udp != nil {
		udp = *a.bound.udp
	}
	a.fleet.mu.RUnlock()
	switch {
	case a.revoked.Load():
		return nil, false
	case conn != nil:
		return stream{a, conn}, now.Sub(conn.LastSeen()) < a.fleet.silent
	case udp.addr.IsValid():
		return datagrams{a, udp.port, udp.addr}, now.Sub(udp.seen) < a.fleet.silent
	}
	return nil, false
}

// seal returns the frame that carries payload, of 1 to secure.MaxPayload bytes,
// to the agent.
func (a *agent) seal(payload string) []byte { return a.fleet.sealer.seal(a, payload) }

// stream is the route over a TCP connection.
type stream struct {
	a    *agent
	conn *listen.Conn
}

func (s stream) Send(payload string) bool { return s.conn.Send(s.a.seal(payload)) }

func (s stream) SendBulk(payload string, timeout time.Duration) bool {
	return s.conn.SendWait(s.a.seal(payload), timeout)
}

func (s stream) Datagram() bool { return false }

// datagrams is the route to an address on UDP.
type datagrams struct {
	a    *agent
	port *udpPort
	to   netip.AddrPort
}

func (d datagrams) Send(payload string) bool {
	return d.port.write(d.a.seal(payload)[secure.FrameHeader:], d.to)
}

func (d datagrams) SendBulk(payload string, _ time.Duration) bool { return d.Send(payload) }

func (d datagrams) Datagram() bool { return true }

// sealer encrypts messages to agents. mu guards counter.
type sealer struct {
	encoders *secure.Pool[*secure.Encoder]

	mu      sync.Mutex
	counter secure.Counter
}

func newSealer() *sealer {
	s := &sealer{encoders: secure.NewPool(func() *secure.Encoder { return &secure.Encoder{} })}
	// The counter must grow over restarts and has no file: it advances by one per
	// 9,997 messages, so never faster than the clock it starts from.
	s.counter.Global = uint64(max(time.Now().Unix(), 0))
	return s
}

func (s *sealer) seal(a *agent, payload string) []byte {
	s.mu.Lock()
	global, local := s.counter.Next()
	s.mu.Unlock()
	e := s.encoders.Get()
	defer s.encoders.Put(e)
	frame := make([]byte, secure.FrameHeader, 192+len(payload))
	frame, err := e.Append(frame, a.key, secure.Method(a.method.Load()), "", uint16(rand.Uint32()), global, local, []byte(payload))
	if err != nil {
		panic("ingest: a message to an agent does not seal: " + err.Error()) // callers keep to the bounds
	}
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-secure.FrameHeader))
	return frame
}
