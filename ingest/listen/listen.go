package listen

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vedette/internal/retry"
)

// Server accepts connections on one port.
type Server struct {
	ln     *net.TCPListener
	limits Limits
	m      Metrics
	log    *slog.Logger
	open   func(*Conn) Peer
	win    window
	// parking reads the sockets of parked connections; set by Run.
	parking *parking
	hard    chan struct{} // closed when waiting for acknowledgements ends
	wg      sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	conns     map[*Conn]struct{}
	strangers *list.List // *Conn, oldest first
	draining  bool
	ending    atomic.Bool // as draining, for readers that do not hold mu
}

// New binds addr. open is called for each connection before its first unit.
func New(addr string, limits Limits, m Metrics, log *slog.Logger, open func(*Conn) Peer) (*Server, error) {
	lc := net.ListenConfig{
		// Set before listen, so that connections inherit it and the TCP window
		// is announced accordingly.
		Control: func(_, _ string, rc syscall.RawConn) error {
			var serr error
			err := rc.Control(func(fd uintptr) {
				serr = errors.Join(
					syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, limits.ReceiveBuffer),
					syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, limits.SendBuffer))
			})
			return errors.Join(err, serr)
		},
		// Source: spec/agent-protocol.md §1.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Server{
		ln: ln.(*net.TCPListener), limits: limits, m: m, log: log, open: open,
		win:  window{limit: limits.TotalBytes, waiting: map[*Conn]struct{}{}},
		hard: make(chan struct{}), conns: map[*Conn]struct{}{}, strangers: list.New(),
	}, nil
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close gives the port back when Run is never called.
func (s *Server) Close() error { return s.ln.Close() }

// InFlight is how many bytes wait for their acknowledgement.
func (s *Server) InFlight() int64 { return s.win.total.Load() }

// Run accepts until ctx ends. Then it asks the peers to stop, handles the data
// they had sent, waits until it is acknowledged, and returns nil.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.ln.Close() })
	defer stop()
	defer s.ln.Close()
	var err error
	if s.parking, err = newParking(); err != nil {
		return err
	}
	defer s.parking.close()
	var refused retry.Log
	for {
		c, err := s.ln.AcceptTCP()
		switch {
		case err == nil:
			s.accept(c)
		case ctx.Err() != nil:
			s.drain()
			return nil
		case errors.Is(err, net.ErrClosed):
			s.drain()
			return fmt.Errorf("accept on %s: %w", s.ln.Addr(), err)
		default:
			// Out of descriptors or an aborted connection: both pass.
			if skipped, due := refused.Due(); due {
				s.log.Warn("connection not accepted", "err", err, "not_logged", skipped)
			}
			_ = retry.Sleep(ctx, retry.AcceptPause)
		}
	}
}

func (s *Server) accept(tc *net.TCPConn) {
	s.m.Accepted.Inc()
	c := &Conn{
		s: s, c: tc, wake: make(chan struct{}, 1), done: make(chan struct{}), gone: make(chan struct{}),
		accepted: time.Now(),
	}
	if a, ok := tc.RemoteAddr().(*net.TCPAddr); ok {
		c.source = a.AddrPort().Addr().Unmap().WithZone("")
	}
	if raw, err := tc.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { c.fd = int(fd) })
	}
	c.lastSeen.Store(time.Now().UnixMilli())
	c.lastSent.Store(time.Now().UnixMilli())
	s.awaitStrangers()
	var oldest *Conn
	s.mu.Lock()
	if len(s.conns) >= s.limits.Connections || s.draining {
		s.mu.Unlock()
		s.m.Closed.WithLabelValues(string(ReasonTooMany)).Inc()
		tc.Close()
		return
	}
	s.conns[c] = struct{}{}
	if s.strangers.Len() >= s.limits.Strangers {
		oldest = s.strangers.Front().Value.(*Conn)
	}
	c.stranger = s.strangers.PushBack(c)
	s.m.Strangers.Set(float64(s.strangers.Len()))
	s.m.Connections.Set(float64(len(s.conns)))
	s.wg.Add(1)
	s.mu.Unlock()
	if oldest != nil {
		oldest.Kill(ReasonStrangers)
		s.authenticated(oldest) // off the list at once, so that the next one is another
	}
	go func() {
		c.peer = s.open(c)
		s.attend(c)
	}()
}

// awaitStrangers waits until there is room for one more stranger, or the oldest
// has had its time.
func (s *Server) awaitStrangers() {
	for {
		s.mu.Lock()
		wait := time.Duration(0)
		if s.strangers.Len() >= s.limits.Strangers && !s.draining {
			wait = s.limits.StrangerGrace - time.Since(s.strangers.Front().Value.(*Conn).accepted)
		}
		s.mu.Unlock()
		if wait <= 0 {
			return
		}
		time.Sleep(min(wait, strangerPoll))
	}
}

// strangerPoll is how often it is looked for room; the next connections wait in
// the kernel meanwhile.
const strangerPoll = 2 * time.Millisecond

// attend reads a connection until it ends or is parked.
func (s *Server) attend(c *Conn) {
	reason, parked := c.read()
	if parked {
		return
	}
	defer s.wg.Done()
	c.Kill(reason)
	c.peer.Closed()
	close(c.gone)
	s.authenticated(c)
	s.mu.Lock()
	delete(s.conns, c)
	s.m.Connections.Set(float64(len(s.conns)))
	s.mu.Unlock()
}

// authenticated takes a connection off the list of strangers.
func (s *Server) authenticated(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.stranger != nil {
		s.strangers.Remove(c.stranger)
		c.stranger = nil
		s.m.Strangers.Set(float64(s.strangers.Len()))
	}
}

// drain ends all connections in order. Order of bounds: peers have DrainRead to
// finish, everything together has Drain.
func (s *Server) drain() {
	start := time.Now()
	s.mu.Lock()
	s.draining = true
	s.ending.Store(true)
	n := len(s.conns)
	for c := range s.conns {
		c.drain(start.Add(s.limits.DrainRead))
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { s.wg.Wait(); close(ended) }()
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
		if ended == nil && s.InFlight() == 0 {
			wait = false
		}
	}
	close(s.hard)
	s.mu.Lock()
	for c := range s.conns {
		c.Kill(ReasonShutdown)
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.log.Info("port is closed", "address", s.ln.Addr().String(), "connections", n, "seconds", time.Since(start).Seconds(), "unacknowledged_bytes", s.InFlight())
}
