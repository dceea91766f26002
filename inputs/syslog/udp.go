package syslog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vedette/internal/retry"
)

// drainUDP is how long datagrams in the socket are still read at the end.
const drainUDP = 200 * time.Millisecond

// socket is one UDP listener.
type socket struct {
	s   *Server
	c   *net.UDPConn
	t   transport
	win *window
	// dropped is the kernel's last count, for when the socket is closed.
	dropped atomic.Uint64

	mu      sync.Mutex // guards the fields below; taken before win's
	sources map[netip.Addr]*source
}

// source counts a sender's messages in flight; it is forgotten when there are
// none.
type source struct {
	holder
	pending int
}

func newSocket(s *Server, addr string) (*socket, error) {
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	u := &socket{
		s: s, c: pc.(*net.UDPConn), t: s.m.of(transportUDP), sources: map[netip.Addr]*source{},
		win: newWindow(s.limits.WindowBytes, s.limits.TotalBytes/int64(len(s.cfg.UDP))),
	}
	got, err := enlarge(u.c, s.limits.ReceiveBuffer)
	if err != nil || got < s.limits.ReceiveBuffer {
		s.log.Warn("a UDP socket has a smaller receive buffer than asked for", "address", pc.LocalAddr().String(), "bytes", got, "wanted", s.limits.ReceiveBuffer, "err", err,
			"hint", "raise the sysctl net.core.rmem_max, or bursts are lost")
	}
	return u, nil
}

// run reads datagrams until ctx ends.
func (u *socket) run(ctx context.Context) error {
	defer u.c.Close()
	buf := make([]byte, u.s.limits.MessageBytes)
	var refused retry.Log
	for {
		n, from, err := u.c.ReadFromUDPAddrPort(buf)
		if err == nil {
			u.datagram(buf[:n], from.Addr().Unmap().WithZone(""), time.Now())
			continue
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The end came between the read and here.
			<-ctx.Done()
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("read syslog on %s: %w", u.c.LocalAddr(), err)
		}
		if skipped, due := refused.Due(); due {
			u.s.log.Warn("syslog datagram not read", "err", err, "not_logged", skipped)
		}
		_ = retry.Sleep(ctx, retry.AcceptPause)
	}
}

func (u *socket) drain(start time.Time) { _ = u.c.SetReadDeadline(start.Add(drainUDP)) }

// datagram writes one message, or drops it: a sender over UDP cannot be held back.
func (u *socket) datagram(b []byte, addr netip.Addr, now time.Time) {
	u.t.received.Inc()
	u.t.readBytes.Add(float64(len(b)))
	from := addr.String()
	if !u.s.may(from) {
		u.s.refuse(&u.t, refusedSource)
		u.s.warn(&u.t, refusedSource, from, hintAllow)
		return
	}
	text := Text(Datagram(b))
	if len(text) == 0 {
		u.s.refuse(&u.t, refusedEmpty)
		return
	}
	n := cost(from, text)
	src := u.take(addr, n)
	if src == nil {
		u.s.refuse(&u.t, refusedWindow)
		u.s.warn(&u.t, refusedWindow, from, "the brokers are slow, or one source sends more than all may; let it send over TCP, which waits")
		return
	}
	u.s.m.inflight.Inc()
	e := u.s.event(from, text, now)
	u.s.produce(&u.t, &e, func() { u.give(addr, src, n) })
}

func (u *socket) take(addr netip.Addr, n int64) *source {
	u.mu.Lock()
	defer u.mu.Unlock()
	src := u.sources[addr]
	if src == nil {
		src = &source{}
	}
	if !u.win.take(&src.holder, n) {
		return nil
	}
	src.pending++
	u.sources[addr] = src
	return src
}

func (u *socket) give(addr netip.Addr, src *source, n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.win.give(&src.holder, n)
	if src.pending--; src.pending == 0 {
		delete(u.sources, addr)
	}
}

// kernelDrops is how many datagrams the kernel had no room for.
func (s *Server) kernelDrops() float64 {
	n := uint64(0)
	for _, u := range s.sockets {
		if d := u.drops(); d > 0 {
			u.dropped.Store(d)
		}
		n += u.dropped.Load()
	}
	return float64(n)
}
