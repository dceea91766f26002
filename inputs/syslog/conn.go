package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"vedette/internal/retry"
)

const (
	// readMin is the buffer of an idle connection, in bytes.
	readMin = 4 << 10
	// hintAllow is the advice for a source that may not send.
	hintAllow = "add it to ingest.syslog.allowed if it should send"
)

// conn is one TCP or TLS connection. All but drain belongs to its goroutine.
type conn struct {
	s      *Server
	c      net.Conn
	t      *transport
	addr   netip.Addr
	source string
	hold   *holder

	mu       sync.Mutex // guards draining and the read deadline
	draining bool
}

func (s *Server) accept(ctx context.Context, l stream, reading *sync.WaitGroup) error {
	var refused retry.Log
	for {
		nc, err := l.ln.Accept()
		switch {
		case err == nil:
			if c, reason := s.admit(nc, l); reason != "" {
				s.m.closed.WithLabelValues(reason).Inc()
				nc.Close()
			} else {
				reading.Go(c.serve)
			}
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept syslog on %s: %w", l.ln.Addr(), err)
		default:
			// Out of descriptors or an aborted connection: both pass.
			if skipped, due := refused.Due(); due {
				s.log.Warn("syslog connection not accepted", "err", err, "not_logged", skipped)
			}
			_ = retry.Sleep(ctx, retry.AcceptPause)
		}
	}
}

// admit takes a connection in, or says why not.
func (s *Server) admit(nc net.Conn, l stream) (*conn, string) {
	s.m.accepted.Inc()
	c := &conn{s: s, c: nc, t: &l.t, hold: newHolder()}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.addr = a.AddrPort().Addr().Unmap().WithZone("")
	}
	c.source = c.addr.String()
	if !s.may(c.source) {
		s.warn(c.t, closedSource, c.source, hintAllow)
		return nil, closedSource
	}
	if l.tls != nil {
		c.c = tls.Server(nc, l.tls)
	}
	s.mu.Lock()
	reason := ""
	switch {
	case len(s.conns) >= s.limits.Connections:
		reason = closedTooMany
	case s.of[c.addr] >= s.limits.SourceConnections:
		reason = closedOfSource
	default:
		s.conns[c] = struct{}{}
		s.of[c.addr]++
		s.m.connections.Set(float64(len(s.conns)))
	}
	s.mu.Unlock()
	if reason != "" {
		s.warn(c.t, reason, c.source, "let a relay gather its senders, or find out why it opens so many")
	}
	return c, reason
}

func (c *conn) serve() {
	reason := c.handshake()
	if reason == "" {
		reason = c.read()
	}
	c.c.Close()
	c.s.m.closed.WithLabelValues(reason).Inc()
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.conns, c)
	if c.s.of[c.addr]--; c.s.of[c.addr] == 0 {
		delete(c.s.of, c.addr)
	}
	c.s.m.connections.Set(float64(len(c.s.conns)))
}

func (c *conn) handshake() string {
	t, ok := c.c.(*tls.Conn)
	if !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.s.limits.Handshake)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		if c.s.logNow(closedHandshake) {
			c.s.log.Warn("syslog refused", "transport", c.t.name, "reason", closedHandshake, "source", c.source, "err", err,
				"hint", "the sender must speak TLS 1.2 or newer and, with ingest.syslog.client_ca, show a certificate that it signed")
		}
		return closedHandshake
	}
	return ""
}

// read handles the connection's messages until its end and says why it ended.
func (c *conn) read() string {
	var (
		limits  = &c.s.limits
		readMax = limits.MessageBytes + lengthDigits + 1
		buf     = make([]byte, min(readMin, readMax))
		have    int
		begun   bool // buf begins with an incomplete message, whose time runs
		split   = Splitter{Max: limits.MessageBytes}
	)
	c.deadline(limits.Idle)
	for {
		n, err := c.c.Read(buf[have:])
		c.t.readBytes.Add(float64(n))
		full := have+n == len(buf)
		have += n
		at, whole := 0, false
		now := time.Now()
		for {
			msg, size, ferr := split.Next(buf[at:have])
			if ferr != nil {
				return c.broken(ferr)
			}
			if size == 0 {
				break
			}
			at, whole = at+size, true
			if msg != nil && !c.message(msg, now) {
				return closedShutdown
			}
		}
		have = copy(buf, buf[at:have])
		if err != nil {
			return c.ended(err, &split, buf[:have], now)
		}
		switch {
		case full && len(buf) < readMax && have > len(buf)/2:
			bigger := make([]byte, min(4*len(buf), readMax))
			copy(bigger, buf[:have])
			buf = bigger
		case have == 0 && len(buf) > readMin && n < readMin:
			buf = make([]byte, readMin)
		}
		switch {
		case have == 0:
			begun = false
			c.deadline(limits.Idle)
		case !begun || whole:
			// Time counts from the last handled message: a pause is not the
			// sender's fault.
			begun = true
			c.deadline(limits.Partial)
		}
	}
}

// message writes one message; false when the server ends before there is room.
func (c *conn) message(msg []byte, now time.Time) bool {
	c.t.received.Inc()
	text := Text(msg)
	if len(text) == 0 {
		c.s.refuse(c.t, refusedEmpty)
		return true
	}
	n := cost(c.source, text)
	c.s.m.inflight.Inc() // also while it waits for room
	if !c.s.win.acquire(c.hold, n, c.s.hard, c.paused) {
		c.s.m.inflight.Dec()
		c.s.refuse(c.t, refusedShutdown)
		return false
	}
	e := c.s.event(c.source, text, now)
	c.s.produce(c.t, &e, func() { c.s.win.give(c.hold, n) })
	return true
}

func (c *conn) paused(now bool) {
	if now {
		c.s.m.paused.Inc()
		return
	}
	c.s.m.paused.Dec()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining { // the pause has used up the time to read the rest
		_ = c.c.SetReadDeadline(time.Now().Add(c.s.limits.DrainRead))
	}
}

// broken ends a stream whose next message cannot be found.
func (c *conn) broken(err error) string {
	c.t.received.Inc()
	if errors.Is(err, ErrTooLarge) {
		c.s.refuse(c.t, refusedTooLarge)
		c.s.warn(c.t, closedTooLarge, c.source, fmt.Sprintf("a message must be shorter than %d bytes and end with a newline or have its length in front", c.s.limits.MessageBytes))
		return closedTooLarge
	}
	c.s.refuse(c.t, refusedFraming)
	c.s.warn(c.t, closedFraming, c.source, "the sender counts its messages wrongly; let it end them with a newline")
	return closedFraming
}

// ended returns why reading ended and handles the rest of a message.
func (c *conn) ended(err error, split *Splitter, rest []byte, now time.Time) string {
	c.mu.Lock()
	draining := c.draining
	c.mu.Unlock()
	if errors.Is(err, io.EOF) {
		if msg, ok := split.Rest(rest); ok {
			if c.message(msg, now) {
				return closedEOF
			}
			return closedShutdown
		}
	}
	if len(rest) > 0 {
		c.t.received.Inc()
		c.s.refuse(c.t, refusedIncomplete)
	}
	var ne net.Error
	timeout := errors.As(err, &ne) && ne.Timeout()
	switch {
	case errors.Is(err, io.EOF):
		return closedEOF
	case draining:
		return closedShutdown
	case timeout && len(rest) > 0:
		return closedIncomplete
	case timeout:
		return closedIdle
	}
	return closedNetwork
}

func (c *conn) deadline(in time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining { // then the drain's own deadline holds
		_ = c.c.SetReadDeadline(time.Now().Add(in))
	}
}

// drain tells the sender that it is not read any longer, so that it stops and
// closes, and lets it finish.
func (c *conn) drain(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	_ = c.c.SetReadDeadline(until)
	if t, ok := c.c.(*net.TCPConn); ok { // TLS would wait for the peer
		_ = t.CloseWrite()
	}
}
