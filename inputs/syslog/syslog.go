package syslog

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/ipset"
	"vedette/internal/tlsconf"
	"vedette/schemas"
)

// Producer is where events go; *kafka.Producer is one.
type Producer interface {
	Produce(rec schemas.Record, done func(err error))
	Healthy() bool
}

const (
	// messageOverhead is the cost of a message besides its text, in bytes.
	messageOverhead = 256
	// logEvery bounds the log, per reason.
	logEvery = 10 * time.Second
)

// Server is the role that devices send to.
type Server struct {
	cfg    Config
	limits Limits
	prod   Producer
	log    *slog.Logger
	m      *metrics
	queue  byte

	allowed, denied *ipset.Set
	tlsConfig       *tls.Config
	streams         []stream
	sockets         []*socket
	win             *window
	serving         atomic.Bool
	stopping        chan struct{} // closed when Run begins to end
	hard            chan struct{} // closed when waiting for acknowledgements ends

	mu     sync.Mutex // guards the fields below
	conns  map[*conn]struct{}
	of     map[netip.Addr]int // connections by source
	logged map[string]time.Time
}

// stream is one TCP or TLS listener.
type stream struct {
	ln  net.Listener
	t   transport
	tls *tls.Config
}

// New checks the configuration and binds every address; all that cannot be
// bound are in the error.
func New(cfg Config, prod Producer, log *slog.Logger, reg prometheus.Registerer) (_ *Server, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, limits: cfg.Limits, prod: prod, log: log, queue: '2',
		win: newWindow(cfg.Limits.WindowBytes, cfg.Limits.TotalBytes), stopping: make(chan struct{}), hard: make(chan struct{}),
		conns: map[*conn]struct{}{}, of: map[netip.Addr]int{}, logged: map[string]time.Time{},
	}
	if cfg.KeyBy == KeyByAgent {
		// The record key follows from the event, so that live analysis and a
		// replay put the event under the same key. Without a source it is the
		// key of agent 000. Rules cannot tell the two queues apart.
		s.queue = '1'
	}
	s.allowed, _ = set(cfg.Allowed) // validated
	s.denied, _ = set(cfg.Denied)
	s.m = newMetrics(reg, s.kernelDrops)
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if len(cfg.TLS) > 0 {
		if s.tlsConfig, err = serverTLS(cfg); err != nil {
			return nil, err
		}
	}
	var errs []error
	for _, l := range []struct {
		name  string
		addrs []string
		tls   *tls.Config
	}{{transportTCP, cfg.TCP, nil}, {transportTLS, cfg.TLS, s.tlsConfig}} {
		for _, addr := range l.addrs {
			lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
			ln, err := lc.Listen(context.Background(), "tcp", addr)
			if err != nil {
				errs = append(errs, bindError(l.name, err))
				continue
			}
			s.streams = append(s.streams, stream{ln, s.m.of(l.name), l.tls})
		}
	}
	for _, addr := range cfg.UDP {
		u, err := newSocket(s, addr)
		if err != nil {
			errs = append(errs, bindError(transportUDP, err))
			continue
		}
		s.sockets = append(s.sockets, u)
	}
	return s, errors.Join(errs...)
}

func bindError(key string, err error) error {
	hint := ""
	if errors.Is(err, fs.ErrPermission) {
		hint = "; ports below 1024 need the capability CAP_NET_BIND_SERVICE, or choose another and redirect"
	}
	return fmt.Errorf("ingest.syslog.%s: %w%s", key, err, hint)
}

func serverTLS(cfg Config) (*tls.Config, error) {
	cert, err := tlsconf.LoadOrCreate(cfg.Certificate, cfg.Key, cfg.CertificateDir, cfg.Hosts)
	if err != nil {
		return nil, fmt.Errorf("ingest.syslog.certificate: %w", err)
	}
	c := tlsconf.Server(cert)
	if cfg.ClientCA != "" {
		pem, err := os.ReadFile(cfg.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("ingest.syslog.client_ca: %w", err)
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ingest.syslog.client_ca: %s holds no PEM certificate", cfg.ClientCA)
		}
	}
	return c, nil
}

// Addrs returns the bound addresses by transport: "udp", "tcp" and "tls".
func (s *Server) Addrs() map[string][]string {
	out := map[string][]string{}
	for _, l := range s.streams {
		out[l.t.name] = append(out[l.t.name], l.ln.Addr().String())
	}
	for _, u := range s.sockets {
		out[transportUDP] = append(out[transportUDP], u.c.LocalAddr().String())
	}
	return out
}

// Close gives the ports back when Run is never called.
func (s *Server) Close() error {
	var errs []error
	for _, l := range s.streams {
		errs = append(errs, l.ln.Close())
	}
	for _, u := range s.sockets {
		errs = append(errs, u.c.Close())
	}
	return errors.Join(errs...)
}

// Ready returns an error while the server cannot take messages.
func (s *Server) Ready() error {
	if !s.serving.Load() {
		return errors.New("ingest: the syslog ports are not served")
	}
	if !s.prod.Healthy() {
		return errors.New("ingest: the brokers do not acknowledge; syslog senders are held back, UDP is lost")
	}
	return nil
}

// Run serves until ctx ends. Then it lets senders finish, waits until the
// brokers have acknowledged their messages, both within Limits, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	s.serving.Store(true)
	defer s.serving.Store(false)
	s.log.Info("syslog ports are open", "addresses", s.Addrs(), "allowed", s.cfg.Allowed, "denied", s.cfg.Denied)
	var accepting, reading sync.WaitGroup
	failed := make(chan error, len(s.streams)+len(s.sockets))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, l := range s.streams {
		accepting.Go(func() {
			if err := s.accept(ctx, l, &reading); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	for _, u := range s.sockets {
		reading.Go(func() {
			if err := u.run(ctx); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	<-ctx.Done()
	close(s.stopping)
	for _, l := range s.streams {
		l.ln.Close()
	}
	accepting.Wait()
	s.drain(&reading)
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// drain ends the connections and sockets and waits for the brokers.
func (s *Server) drain(reading *sync.WaitGroup) {
	start := time.Now()
	s.mu.Lock()
	n := len(s.conns)
	for c := range s.conns {
		c.drain(start.Add(s.limits.DrainRead))
	}
	s.mu.Unlock()
	for _, u := range s.sockets {
		u.drain(start)
	}
	ended := make(chan struct{})
	go func() { reading.Wait(); close(ended) }()
	timeout := time.NewTimer(s.limits.Drain)
	defer timeout.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for wait := true; wait; {
		select {
		case <-ended:
			ended = nil
		case <-tick.C:
		case <-timeout.C:
			wait = false
		}
		if ended == nil && s.inFlight() == 0 {
			wait = false
		}
	}
	close(s.hard)
	s.mu.Lock()
	for c := range s.conns {
		c.c.Close()
	}
	s.mu.Unlock()
	reading.Wait()
	s.log.Info("syslog ports are closed", "connections", n, "seconds", time.Since(start).Seconds(), "unacknowledged_bytes", s.inFlight())
}

func (s *Server) inFlight() int64 {
	n := s.win.inFlight()
	for _, u := range s.sockets {
		n += u.win.inFlight()
	}
	return n
}

// may reports whether a source may send.
func (s *Server) may(source string) bool {
	return !s.denied.Contains(source) && s.allowed.Contains(source)
}

// event makes the event of one message's text, which is copied.
//
// Source: spec/agent-protocol.md §12.
func (s *Server) event(source string, text []byte, now time.Time) schemas.Event {
	return schemas.Event{
		Time: now.Truncate(time.Millisecond), AgentID: schemas.ManagerID, Location: source, Queue: s.queue, Gateway: s.cfg.Node,
		Log: bytes.Clone(text),
	}
}

func cost(source string, text []byte) int64 {
	return int64(len(source) + len(text) + messageOverhead)
}

// produce hands an event over that counts as in flight; release is called when
// it no longer does.
func (s *Server) produce(t *transport, e *schemas.Event, release func()) {
	s.prod.Produce(e.Record(), func(err error) {
		if err == nil {
			t.written.Inc()
		} else {
			s.refuse(t, refusedProduce)
			if s.logNow(refusedProduce) {
				s.log.Error("events are refused by the brokers", "err", err)
			}
		}
		s.m.inflight.Dec()
		release()
	})
}

func (s *Server) refuse(t *transport, reason string) {
	s.m.refused.WithLabelValues(t.name, reason).Inc()
}

// warn logs refusals at a bounded rate; the counters have them all.
func (s *Server) warn(t *transport, reason, source, hint string) {
	if s.logNow(reason) {
		s.log.Warn("syslog refused", "transport", t.name, "reason", reason, "source", source, "hint", hint)
	}
}

// logNow allows one line per reason and logEvery.
func (s *Server) logNow(reason string) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.logged[reason]) < logEvery {
		return false
	}
	s.logged[reason] = now // reasons are a closed set
	return true
}
