package enroll

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/enroll/protocol"
	"vedette/internal/registry"
	"vedette/internal/retry"
)

// Bounds of the port.
const (
	// connectionsMax simultaneous connections; 4.14 has 999 and lets idle ones
	// keep their place. Requests of the full length take 140 MiB then.
	connectionsMax = 2048
	// requestTimeout bounds handshake and request together: agents wait no
	// longer for their reply.
	requestTimeout = 60 * time.Second
	// registryTimeout bounds the wait for the proposal's outcome.
	registryTimeout = 30 * time.Second
	replyTimeout    = 10 * time.Second
	// lingerTimeout is how long the agent may take to close after the reply.
	lingerTimeout = 2 * time.Second
	lingerBytes   = 64 << 10
)

// Registry lists the calls of enrollment to the registry.
type Registry interface {
	Ready() <-chan struct{}
	Add(ctx context.Context, q registry.AddRequest) (registry.Agent, error)
	Remove(ctx context.Context, id string, purge bool) error
	GroupExists(name string) bool
}

// Server is the enrollment role.
type Server struct {
	cfg   Config
	reg   Registry
	log   *slog.Logger
	m     *metrics
	tls   *tls.Config
	ln    net.Listener
	slots *slots
	rate  *limiter
	limit time.Duration // requestTimeout, shorter in tests
}

// New loads or makes the certificate and binds the port.
func New(cfg Config, reg Registry, log *slog.Logger, promReg prometheus.Registerer) (*Server, error) {
	if cfg.UsePassword && cfg.Password == "" {
		return nil, errors.New("enroll.password: empty, but enroll.use_password is true")
	}
	if !cfg.UsePassword {
		cfg.Password = ""
	}
	conf, err := serverTLS(cfg)
	if err != nil {
		return nil, fmt.Errorf("enrollment port: %w", err)
	}
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("enrollment port: %w", err)
	}
	return &Server{
		cfg: cfg, reg: reg, log: log, m: newMetrics(promReg), tls: conf, ln: ln,
		slots: newSlots(connectionsMax), rate: newLimiter(cfg.RatePerSource), limit: requestTimeout,
	}, nil
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close gives the port back when Run is never called.
func (s *Server) Close() error { return s.ln.Close() }

// Run serves until ctx ends, lets requests that are with the registry finish,
// and returns nil.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.ln.Close() })
	defer stop()
	defer s.ln.Close()
	select {
	case <-s.reg.Ready():
	case <-ctx.Done():
		return nil
	}
	s.log.Info("enrollment is open", "address", s.ln.Addr().String(), "password", s.cfg.UsePassword)
	var wg sync.WaitGroup
	defer wg.Wait()
	var refused retry.Log
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				s.log.Info("enrollment is closed")
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("enrollment port: %w", err)
			}
			// Out of descriptors or an aborted connection: both pass.
			if skipped, due := refused.Due(); due {
				s.log.Warn("enrollment connection not accepted", "err", err, "not_logged", skipped)
			}
			_ = retry.Sleep(ctx, retry.AcceptPause)
			continue
		}
		s.m.accepted.Inc()
		source := sourceKey(sourceAddr(conn))
		if !s.rate.allow(source, time.Now()) {
			s.m.dropped.WithLabelValues(dropRate).Inc()
			conn.Close()
			continue
		}
		place := s.slots.take(conn, source)
		if place == nil {
			s.m.dropped.WithLabelValues(dropTooMany).Inc()
			conn.Close()
			continue
		}
		s.m.connections.Inc()
		wg.Go(func() {
			defer func() { place.free(); s.m.connections.Dec() }()
			s.serve(ctx, conn, place)
		})
	}
}

func (s *Server) serve(ctx context.Context, raw net.Conn, place *slot) {
	defer raw.Close()
	// The end of the role ends the wait for requests; it does not cut replies.
	reading := true
	var mu sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if reading {
			_ = raw.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	mu.Lock()
	if ctx.Err() == nil {
		_ = raw.SetDeadline(time.Now().Add(s.limit))
	}
	mu.Unlock()

	conn := tls.Server(raw, s.tls)
	// The deadline ends a handshake; a context would cost a goroutine more.
	if err := conn.Handshake(); err != nil {
		why := dropTLS
		if certificateError(err) {
			why = dropCertificate
		}
		s.drop(place, err, why)
		return
	}
	source := sourceAddr(raw)
	if s.cfg.AgentCA != "" && s.cfg.VerifyAgentAddress && !namesAddress(conn.ConnectionState().PeerCertificates[0], source) {
		s.drop(place, nil, dropAddress)
		return
	}
	line, err := readLine(conn)
	if err != nil {
		why := dropEnd
		if errors.Is(err, errTooLarge) {
			why = dropTooLarge
		}
		s.drop(place, err, why)
		return
	}
	if !place.asked() {
		s.m.dropped.WithLabelValues(dropGaveWay).Inc()
		return
	}
	mu.Lock()
	reading = false
	mu.Unlock()

	reply, agent := s.answer(ctx, line, source)
	_ = raw.SetDeadline(time.Now().Add(replyTimeout))
	_, err = io.WriteString(conn, reply)
	if err == nil {
		err = conn.CloseWrite() // close-notify
	}
	if err != nil {
		s.m.dropped.WithLabelValues(dropReply).Inc()
		s.withdraw(ctx, agent)
		return
	}
	if agent != nil {
		s.m.enrolled.Inc()
		s.log.Info("agent enrolled", "agent_id", agent.ID, "agent_name", agent.Name, "source", source.String())
	}
	place.answered()
	linger(raw)
}

// linger lets the peer read the reply: closing while bytes of it are unread
// here would reset the connection and take the reply away.
func linger(raw net.Conn) {
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
	_ = raw.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.CopyN(io.Discard, raw, lingerBytes)
}

// drop counts a connection that ended before its request was there.
func (s *Server) drop(place *slot, err error, otherwise string) {
	var ne net.Error
	switch {
	case place.gaveWay():
		otherwise = dropGaveWay
	case errors.As(err, &ne) && ne.Timeout():
		otherwise = dropTimeout
	}
	s.m.dropped.WithLabelValues(otherwise).Inc()
}

// answer decides a request. agent is nil when it is refused.
func (s *Server) answer(ctx context.Context, line []byte, source netip.Addr) (reply string, agent *registry.Agent) {
	fail := func(c protocol.Cause, reason string) (string, *registry.Agent) {
		s.m.refused.WithLabelValues(string(c)).Inc()
		return protocol.Failure(reason), nil
	}
	q, err := protocol.ParseRequest(line, source, protocol.Rules{
		Password: s.cfg.Password, ServerVersion: s.cfg.ServerVersion, AllowHigherVersions: s.cfg.AllowHigherVersions,
		UseSourceIP: s.cfg.UseSourceIP, GroupExists: s.reg.GroupExists,
	})
	if refusal := (*protocol.Refusal)(nil); errors.As(err, &refusal) {
		return fail(refusal.Cause, refusal.Reason)
	}
	// A proposal that was made is seen through even while the role ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), registryTimeout)
	defer cancel()
	a, err := s.reg.Add(ctx, registry.AddRequest{
		Name: q.Name, IP: q.Address.Requested(), KeyHash: q.KeyHash, Groups: q.Groups, Force: s.cfg.Force,
	})
	if err == nil {
		return protocol.Success(a.ID, a.Name, q.Address.Requested(), a.Key), &a
	}
	var refusal *registry.Refusal
	if !errors.As(err, &refusal) {
		s.log.Warn("agent not enrolled", "agent_name", q.Name, "source", source.String(), "err", err)
		return fail(protocol.CauseInternal, "Internal manager error adding agent: "+q.Name)
	}
	s.log.Info("enrollment refused", "agent_name", q.Name, "source", source.String(), "reason", string(refusal.Reason), "why", refusal.Why)
	switch refusal.Reason {
	case registry.ReasonDuplicateAddress:
		return fail(protocol.CauseDuplicateAddress, "Duplicate IP: "+refusal.Arg)
	case registry.ReasonNoGroup: // removed between the test of the request and the proposal
		return fail(protocol.CauseGroupUnknown, "Invalid group: "+refusal.Arg)
	case registry.ReasonHostName:
		return fail(protocol.CauseServerName, "Invalid agent name: "+q.Name)
	case registry.ReasonDuplicateName:
		return fail(protocol.CauseDuplicateName, "Duplicate agent name: "+q.Name)
	}
	return fail(protocol.CauseInternal, "Internal manager error adding agent: "+q.Name)
}

// withdraw drops an agent that never learned its key.
func (s *Server) withdraw(ctx context.Context, agent *registry.Agent) {
	if agent == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), registryTimeout)
	defer cancel()
	if err := s.reg.Remove(ctx, agent.ID, true); err != nil {
		s.log.Warn("agent whose reply was not delivered stays registered", "agent_id", agent.ID, "err", err)
	}
}

var errTooLarge = errors.New("request too large")

// readLine reads up to the first newline, which is left out. The buffer grows
// only as bytes arrive.
func readLine(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, 512)
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= protocol.MaxRequest {
				return nil, errTooLarge
			}
			buf = append(make([]byte, 0, min(4*cap(buf), protocol.MaxRequest)), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		at := len(buf)
		buf = buf[:at+n]
		if i := bytes.IndexByte(buf[at:], '\n'); i >= 0 {
			return buf[:at+i], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func sourceAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
