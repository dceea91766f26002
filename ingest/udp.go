package ingest

import (
	"context"
	"errors"
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"time"

	"vedette/ingest/secure"
	"vedette/ingest/session"
	"vedette/schemas"
)

const (
	// udpWorkers handle datagrams. One worker handles all datagrams of a source,
	// so that their order stays.
	udpWorkers = 2
	// udpWaiting bounds the datagrams that wait for a worker.
	udpWaiting = 512
	// udpReceiveBuffer is the socket's: bursts wait there.
	udpReceiveBuffer = 4 << 20
)

// udpPeer is where an agent was last heard of on UDP. Before its first control
// message there, addr is the zero value and port is nil. session is never nil.
type udpPeer struct {
	port    *udpPort
	addr    netip.AddrPort // of its last control message
	seen    time.Time
	session *udpSession
}

// udpPort takes datagrams of agents. UDP binds no connection to an agent and
// holds nobody back: a datagram that finds no room is dropped, and counted. It
// has no lock: its fields do not change.
//
// Source: spec/agent-protocol.md §1.
type udpPort struct {
	g       *Gateway
	conn    *net.UDPConn
	workers [udpWorkers]chan datagram
	buffers sync.Pool
}

type datagram struct {
	buf  *[]byte
	n    int
	from netip.AddrPort
}

// udpSession is the state of an agent at one address. mu guards s: several ports
// of an address may speak for one agent.
type udpSession struct {
	address string

	mu sync.Mutex
	s  *session.Session
}

func newUDPPort(g *Gateway, listen string) (*udpPort, error) {
	addr, err := net.ResolveUDPAddr("udp", listen)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(udpReceiveBuffer) // as much of it as the system allows
	u := &udpPort{g: g, conn: conn}
	u.buffers.New = func() any { b := make([]byte, secure.MaxUnit); return &b }
	for i := range u.workers {
		u.workers[i] = make(chan datagram, udpWaiting/udpWorkers)
	}
	return u, nil
}

func (u *udpPort) close() error { return u.conn.Close() }

// UDPAddr is the bound address on UDP, or nil.
func (g *Gateway) UDPAddr() net.Addr {
	if g.udp == nil {
		return nil
	}
	return g.udp.conn.LocalAddr()
}

func (u *udpPort) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { u.conn.Close() })
	defer stop()
	var wg sync.WaitGroup
	for _, in := range u.workers {
		wg.Go(func() {
			for d := range in {
				u.handle(d)
				u.buffers.Put(d.buf)
			}
		})
	}
	seed := maphash.MakeSeed()
	for {
		buf := u.buffers.Get().(*[]byte)
		n, from, err := u.conn.ReadFromUDPAddrPort(*buf)
		if err != nil {
			u.buffers.Put(buf)
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				break
			}
			continue // an ICMP answer to something sent
		}
		if n == 0 {
			u.buffers.Put(buf)
			continue
		}
		u.g.m.listen.ReadBytes.Add(float64(n))
		from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
		w := u.workers[maphash.Comparable(seed, from)%udpWorkers]
		select {
		case w <- datagram{buf: buf, n: n, from: from}:
		default:
			u.buffers.Put(buf)
			u.g.m.units.WithLabelValues(string(reasonNoRoom)).Inc()
		}
	}
	for _, in := range u.workers {
		close(in)
	}
	wg.Wait()
}

func (u *udpPort) handle(d datagram) {
	g := u.g
	unit := (*d.buf)[:d.n]
	if n := len(secure.Ping); len(unit) >= n && string(unit[:n]) == secure.Ping {
		u.write([]byte(secure.Pong), d.from)
		return
	}
	now := time.Now()
	a, err := u.unit(unit, d.from, now)
	if err != nil {
		g.m.units.WithLabelValues(err.Error()).Inc() // a Reason
		g.logRefused(*err, a, d.from.Addr(), now)
	}
}

func (u *udpPort) unit(unit []byte, from netip.AddrPort, now time.Time) (*agent, *reason) {
	g := u.g
	refused := func(a *agent, r reason) (*agent, *reason) { return a, &r }
	id, body, err := secure.Split(unit)
	if err != nil {
		return refused(nil, reasonID)
	}
	var a *agent
	var ok bool
	if id == nil {
		a, ok = g.fleet.byHost(schemas.AddressText(from.Addr()))
	} else {
		a, ok = g.fleet.get(string(id))
	}
	if !ok {
		g.unknown(string(id), from.Addr())
		return refused(nil, reasonUnknown)
	}
	if !a.reg.Rule.Match(from.Addr()) {
		g.unknown(a.reg.ID, from.Addr())
		return refused(a, reasonAddress)
	}
	dec := g.decoders.Get()
	m, err := dec.Open(a.key, body)
	if err != nil {
		g.decoders.Put(dec)
		g.unknown(a.reg.ID, from.Addr())
		return refused(a, openReason(err))
	}
	a.method.Store(uint32(m.Method))
	s := u.session(a, from)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.s.Handle(now, m.Payload)
	control := session.Control(m.Payload)
	g.decoders.Put(dec)
	g.fleet.heard(a, u, from, control, now)
	if r.Reply != "" {
		datagrams{a, u, from}.Send(r.Reply)
	}
	_ = g.follow(a, s.s, &r, nil, now)
	return a, nil
}

// session returns the state of an agent on UDP, new when it comes from another address.
func (u *udpPort) session(a *agent, from netip.AddrPort) *udpSession {
	address := from.Addr().String()
	if s := u.g.fleet.session(a, address); s != nil {
		return s
	}
	p, _ := u.g.reg.Presence(a.reg.ID)
	return u.g.fleet.setSession(a, &udpSession{address: address, s: session.New(u.g.identity(a, address, ""), p)})
}

func (u *udpPort) write(unit []byte, to netip.AddrPort) bool {
	_, err := u.conn.WriteToUDPAddrPort(unit, to)
	return err == nil
}
