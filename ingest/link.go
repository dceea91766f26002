package ingest

import (
	"bytes"
	"errors"
	"time"

	"vedette/ingest/listen"
	"vedette/ingest/secure"
	"vedette/ingest/session"
	"vedette/schemas"
)

// claimTime is how long a new connection waits for its agent's old one, whose end
// may not have been noticed yet.
const claimTime = 500 * time.Millisecond

var _ listen.Peer = (*link)(nil)

// link is one connection's side of the gateway. All its methods run on the
// connection's reading goroutine.
type link struct {
	g      *Gateway
	c      *listen.Conn
	a      *agent // once a unit was authenticated
	s      *session.Session
	byHost bool // identified by address, not by id
	bound  bool
	// connection names this connection in presence records.
	connection string
}

// Unit handles one unit of an agent.
//
// Source: spec/agent-protocol.md §2 "Receiving, in order", §3.
func (l *link) Unit(unit []byte, now time.Time) error {
	if bytes.HasPrefix(unit, []byte(secure.Ping)) {
		l.c.Send(secure.AppendFrame(nil, []byte(secure.Pong)))
		return nil
	}
	a, body, err := l.identify(unit)
	if err == nil {
		err = l.message(a, body, now)
	}
	var r listen.Reason
	if errors.As(err, &r) && r != listen.ReasonShutdown {
		l.g.m.units.WithLabelValues(string(r)).Inc()
		l.g.logRefused(r, a, l.c.Source(), now)
	}
	return err
}

func (l *link) identify(unit []byte) (*agent, []byte, error) {
	if len(unit) == 0 {
		return nil, nil, reasonEmpty
	}
	id, body, err := secure.Split(unit)
	if err != nil {
		return nil, nil, reasonID
	}
	if l.a != nil {
		switch {
		case l.a.revoked.Load():
			return l.a, nil, reasonKeyChanged
		case id == nil && l.byHost, id != nil && string(id) == l.a.reg.ID:
			return l.a, body, nil
		}
		return l.a, nil, reasonOther
	}
	var (
		a  *agent
		ok bool
	)
	if id == nil {
		a, ok = l.g.fleet.byHost(schemas.AddressText(l.c.Source()))
		l.byHost = ok
	} else if a, ok = l.g.fleet.get(string(id)); !ok {
		a, ok = l.g.fleet.await(string(id))
	}
	if !ok {
		l.g.unknown(string(id), l.c.Source())
		return nil, nil, reasonUnknown
	}
	if !a.reg.Rule.Match(l.c.Source()) {
		l.g.unknown(a.reg.ID, l.c.Source())
		return a, nil, reasonAddress
	}
	return a, body, nil
}

func (l *link) message(a *agent, body []byte, now time.Time) error {
	d := l.g.decoders.Get()
	m, err := d.Open(a.key, body)
	if err != nil {
		l.g.decoders.Put(d)
		l.g.unknown(a.reg.ID, l.c.Source())
		return openReason(err)
	}
	a.method.Store(uint32(m.Method))
	control := session.Control(m.Payload)
	if l.bound {
		if err := l.stillHere(a, now); err != nil {
			l.g.decoders.Put(d)
			return err
		}
	} else {
		if err := l.claim(a, control, now); err != nil {
			l.g.decoders.Put(d)
			return err
		}
	}
	if l.a == nil {
		l.a = a
		p, _ := l.g.reg.Presence(a.reg.ID)
		l.s = session.New(l.g.identity(a, l.c.Source().String(), l.connection), p)
		l.c.Authenticated()
	}
	if control && a.reclaim.Swap(false) {
		l.s.Reclaim()
	}
	r := l.s.Handle(now, m.Payload)
	l.g.decoders.Put(d) // nothing of r aliases the payload

	// The answer goes first: it must not wait for the brokers.
	if r.Reply != "" {
		l.c.Send(a.seal(r.Reply))
	}
	return l.g.follow(a, l.s, &r, l.c, now)
}

// claim makes this connection the agent's, or finds out that another one is. A
// connection that has sent only events claims nothing, but must not speak for
// an agent that is connected elsewhere.
func (l *link) claim(a *agent, control bool, now time.Time) error {
	for wait := (time.Time{}); ; {
		bound, replaced, holder := l.g.fleet.claim(a, l.c, l.connection, control, now)
		l.bound = l.bound || bound
		if replaced != nil {
			replaced.Kill(reasonOvertaken)
		}
		if holder == nil {
			return nil
		}
		if wait.IsZero() {
			wait = time.Now().Add(claimTime)
		}
		left := time.Until(wait)
		if left <= 0 {
			l.g.conflict(a, l.g.cfg.Node, holder.Source().String(), now)
			return reasonKeyInUse
		}
		t := time.NewTimer(left)
		select {
		case <-holder.Gone():
		case <-t.C:
		}
		t.Stop()
	}
}

// Life sends a sign of life while the connection is not read, and tells the
// others that the agent's silence is not its own.
func (l *link) Life() {
	if l.a != nil {
		l.c.Send(l.a.seal(secure.AckText))
		if l.s.HeldBack(time.Now()) {
			l.g.presences.write(l.a, l.s.Presence())
		}
	}
}

// Closed releases the agent.
func (l *link) Closed() {
	if l.bound && l.a != nil {
		l.g.fleet.release(l.a, l.c)
	}
}

func openReason(err error) listen.Reason {
	switch {
	case errors.Is(err, secure.ErrTag):
		return reasonTag
	case errors.Is(err, secure.ErrInflate):
		return reasonInflate
	case errors.Is(err, secure.ErrTooLong):
		return reasonTooLong
	case errors.Is(err, secure.ErrTooShort):
		return reasonTooShort
	case errors.Is(err, secure.ErrChecksum):
		return reasonChecksum
	case errors.Is(err, secure.ErrCounters):
		return reasonCounters
	}
	return reasonKey
}
