package simulate

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vedette/ingest/secure"
	"vedette/internal/retry"
)

const (
	dialTimeout = 5 * time.Second
	// batchBytes and batchLines bound one write.
	batchBytes = 16 << 10
	batchLines = 128
	// goodbye is how long a write may take once the run must end.
	goodbye = 5 * time.Second
)

// agent is one simulated agent. Its fields belong to its run goroutine.
type agent struct {
	f     *fleet
	id    identity
	key   *secure.Key
	src   source
	quota int64         // lines still to be made; -1 without bound
	every time.Duration // between two lines; 0 at full speed
	phase time.Duration // spreads the agents' lines over an interval
	story []string      // payloads that come before all lines, at once

	counter    secure.Counter
	seq        int64
	backlog    [][]byte // payloads made and not handed over
	start      time.Time
	made       int64 // lines made since start, for the pace
	started    bool  // the "started" event was sent
	sent       int64
	reconnects int64

	frames []byte
	ends   []int // end of each frame in frames

	m       *managed
	beats   int64         // keepalives sent
	firstUp time.Duration // from the run's start to the first acknowledgement
}

// link is one connection.
type link struct {
	c     net.Conn
	ack   chan struct{} // closed at the first acknowledgement
	ended chan struct{} // closed when reading has ended
	heard atomic.Int64  // unix nanoseconds
	err   atomic.Pointer[string]
}

func (a *agent) run(ctx context.Context) {
	a.m = newManaged(a)
	defer a.m.stop()
	pause := retry.Backoff{Min: retryMin, Max: max(retryMin, a.f.cfg.RetryMax)}
	for first := true; ; first = false {
		if !first {
			a.reconnects++
			a.f.reconnects.Add(1)
		}
		acked, done := a.connection(ctx)
		if done || ctx.Err() != nil || a.over() && len(a.backlog) == 0 || !a.f.deadline.IsZero() && time.Now().After(a.f.deadline) {
			a.f.unsent.Add(int64(len(a.backlog)))
			return
		}
		if !acked {
			a.f.refused.Add(1)
		} else {
			pause.Reset()
		}
		if pause.Wait(ctx) != nil {
			a.f.unsent.Add(int64(len(a.backlog)))
			return
		}
	}
}

// retryMin is the pause before an agent connects again, at first.
const retryMin = 50 * time.Millisecond

// over reports whether no more lines are to be made.
func (a *agent) over() bool {
	return a.quota == 0 || !a.f.deadline.IsZero() && !time.Now().Before(a.f.deadline)
}

// connection runs one connection to its end. done says that it ended in order,
// with everything said.
func (a *agent) connection(ctx context.Context) (acked, done bool) {
	d := net.Dialer{Timeout: dialTimeout}
	network := "tcp"
	if a.f.cfg.UDP {
		network = "udp"
	}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort(a.f.cfg.Manager, strconv.Itoa(a.f.cfg.Port)))
	if err != nil {
		return false, false
	}
	l := &link{c: conn, ack: make(chan struct{}), ended: make(chan struct{})}
	l.heard.Store(time.Now().UnixNano())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.c.Close()
	wg.Go(func() { a.listen(l) })
	quiet := make(chan struct{})
	defer close(quiet)
	wg.Go(func() { l.watch(a.f.cfg.SilenceMax, quiet) })
	// A write that the server holds back must not outlive the run by much.
	stop := context.AfterFunc(ctx, func() { _ = l.c.SetWriteDeadline(time.Now().Add(goodbye)) })
	defer stop()

	if !a.control(l, secure.StartupPrefix+`{"version":"`+a.f.cfg.Version+`"}`) {
		return false, false
	}
	select {
	case <-l.ack:
	case <-l.ended:
		return false, false
	case <-time.After(a.f.cfg.SilenceMax):
		return false, false
	case <-ctx.Done():
		return false, false
	}
	if l.err.Load() != nil {
		return false, false
	}
	if a.firstUp == 0 {
		a.firstUp = time.Since(a.f.begun)
	}
	a.f.connected.Add(1)
	defer a.f.connected.Add(-1)
	if !a.started {
		if !a.control(l, "1:wazuh-agent:ossec: Agent started: '"+a.id.Name+"->"+a.id.IP+"'.") {
			return true, false
		}
		a.started = true
		a.start = time.Now()
	}
	if !a.lines(ctx, l) {
		return true, false
	}
	// The shutdown is the last message; the server closes once it has read it.
	if !a.control(l, secure.ShutdownText) {
		return true, true
	}
	tc, ok := l.c.(*net.TCPConn)
	if !ok || tc.CloseWrite() != nil {
		return true, true
	}
	// Closing earlier would reset the connection when the server, which may be
	// holding it back, sends a sign of life. The server would lose the data it
	// has not read.
	<-l.ended // by its end, or by watch when the server is silent for too long
	return true, true
}

// lines sends until there is nothing more to say, which is true, or the
// connection fails, which is false.
func (a *agent) lines(ctx context.Context, l *link) bool {
	keepalive := time.Now().Add(a.f.cfg.Keepalive) // the first comes after a full interval
	for {
		now := time.Now()
		if !now.Before(keepalive) {
			a.beats++
			if !a.control(l, a.keepalive()) {
				return false
			}
			if a.f.cfg.Modules {
				for _, text := range a.m.modules(a.beats, now) {
					if !a.control(l, text) {
						return false
					}
					a.f.moduleEvents.Add(1)
				}
			}
			keepalive = now.Add(a.f.cfg.Keepalive)
		}
		if ctx.Err() != nil {
			return true
		}
		a.fill(now)
		if len(a.backlog) > 0 {
			if !a.flush(l) {
				return false
			}
			continue
		}
		if a.over() {
			return true
		}
		wait := min(time.Until(a.due()), time.Until(keepalive))
		if !a.f.deadline.IsZero() {
			wait = min(wait, time.Until(a.f.deadline))
		}
		t := time.NewTimer(max(wait, 0))
		select {
		case <-t.C:
		case text := <-a.m.outbox:
			t.Stop()
			if !a.control(l, text) {
				return false
			}
		case <-l.ended:
			t.Stop()
			return false
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// due is when the next line is to be made.
func (a *agent) due() time.Time {
	return a.start.Add(a.phase + time.Duration(a.made)*a.every)
}

// fill makes the lines that are due, up to one batch.
func (a *agent) fill(now time.Time) {
	for len(a.backlog) < batchLines && !a.over() && (len(a.story) > 0 || a.every == 0 || !now.Before(a.due())) {
		line := make([]byte, 0, 256)
		if len(a.story) > 0 {
			line, a.story = append(line, a.story[0]...), a.story[1:]
		} else {
			line = append(line, "1:"...)
			line = append(line, secure.EscapeLocation(a.f.cfg.Location)...)
			line = append(line, ':')
			line = a.src.append(line, now)
			a.made++
		}
		a.seq++
		if a.f.cfg.Mark {
			line = append(line, " seq="...)
			line = append(line, a.id.Name...)
			line = append(line, '-')
			line = strconv.AppendInt(line, a.seq, 10)
		}
		if len(line) > secure.MaxPayload {
			line = line[:secure.MaxPayload]
		}
		a.backlog = append(a.backlog, line)
		if a.quota > 0 {
			a.quota--
		}
	}
}

// flush hands one batch of the backlog to the socket and removes the lines that
// were handed over completely.
func (a *agent) flush(l *link) bool {
	a.frames, a.ends = a.frames[:0], a.ends[:0]
	for _, p := range a.backlog {
		a.frame(p)
		if len(a.frames) >= batchBytes {
			break
		}
	}
	n, err := a.write(l)
	whole := 0
	for whole < len(a.ends) && a.ends[whole] <= n {
		whole++
	}
	a.sent += int64(whole)
	a.f.sent.Add(int64(whole))
	a.backlog = a.backlog[:copy(a.backlog, a.backlog[whole:])]
	return err == nil
}

func (a *agent) frame(payload []byte) {
	global, local := a.counter.Next()
	at := len(a.frames)
	a.frames = append(a.frames, 0, 0, 0, 0)
	e := a.f.encoders.Get()
	var err error
	a.frames, err = e.Append(a.frames, a.key, a.f.method, a.id.ID, uint16(rand.Uint32()), global, local, payload)
	a.f.encoders.Put(e)
	if err != nil {
		panic("simulate: a bounded payload does not seal: " + err.Error())
	}
	binary.LittleEndian.PutUint32(a.frames[at:], uint32(len(a.frames)-at-secure.FrameHeader))
	a.ends = append(a.ends, len(a.frames))
}

// control sends one message that is not counted as a line.
func (a *agent) control(l *link, payload string) bool {
	a.frames, a.ends = a.frames[:0], a.ends[:0]
	a.frame([]byte(payload))
	_, err := a.write(l)
	return err == nil
}

// write hands the frames to the socket: as a stream, or, on UDP, each without its
// length as a datagram of its own.
func (a *agent) write(l *link) (n int, err error) {
	if !a.f.cfg.UDP {
		return l.c.Write(a.frames)
	}
	for _, end := range a.ends {
		if _, err := l.c.Write(a.frames[n+secure.FrameHeader : end]); err != nil {
			return n, err
		}
		n = end
	}
	return n, nil
}

func (a *agent) keepalive() string {
	return "#!-Linux |" + a.id.Name + " |6.1.0-18-amd64 |#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 |x86_64 [Debian GNU/Linux|debian: 12 (bookworm)] - Wazuh " +
		a.f.cfg.Version + " / ab73af41699f13fdd81903b5f23d8d00\n" + a.m.mergedSum() + " merged.mg\n#\"_agent_ip\":127.0.0.1\n"
}

// listen reads the server's messages until the connection ends.
func (a *agent) listen(l *link) {
	defer close(l.ended)
	d := secure.NewDecoder()
	acked := false
	unit := func(unit []byte) error {
		m, err := d.Open(a.key, unit)
		if err != nil {
			return err
		}
		l.heard.Store(time.Now().UnixNano())
		text := string(secure.CutNUL(m.Payload))
		switch {
		case text == secure.ReconnectText:
			return errors.New("told to reconnect")
		case strings.HasPrefix(text, secure.ErrPrefix) && !acked:
			l.err.Store(&text)
			acked = true
			close(l.ack)
		case strings.HasPrefix(text, secure.ControlPrefix) && !acked:
			acked = true
			close(l.ack)
		}
		if text != secure.AckText {
			a.m.heard(text)
		}
		return nil
	}
	if !a.f.cfg.UDP {
		_ = secure.ReadFrames(l.c, secure.MaxUnit, unit)
		return
	}
	buf := make([]byte, secure.MaxUnit)
	for {
		n, err := l.c.Read(buf)
		if err != nil || unit(buf[:n]) != nil {
			return
		}
	}
}

// watch ends a connection on which nothing was heard for too long, and one whose
// reading has ended, so that a write does not wait for a server that is gone.
func (l *link) watch(silenceMax time.Duration, quiet <-chan struct{}) {
	t := time.NewTicker(max(silenceMax/20, 10*time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-quiet:
			return
		case <-l.ended:
			l.c.Close()
			return
		case now := <-t.C:
			if now.Sub(time.Unix(0, l.heard.Load())) > silenceMax {
				l.c.Close()
				return
			}
		}
	}
}
