package listen

import (
	"container/list"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vedette/ingest/secure"
)

// Peer is the other side's half of a connection: it gives units a meaning.
type Peer interface {
	// Unit handles one unit, which is valid until it returns. An error closes
	// the connection and is counted; it should be a Reason.
	Unit(unit []byte, now time.Time) error
	// Life is called on the reading goroutine when nothing was sent to the peer
	// for Limits.LifeInterval and its own data waits to be read.
	Life()
	// Closed is called once, after the last Unit.
	Closed()
}

// Conn is one connection. Send, Kill, Release and the readers of state are safe
// for concurrent use; Acquire and Authenticated belong to the goroutine that
// reads, of which there is one at most.
type Conn struct {
	s      *Server
	c      *net.TCPConn
	fd     int // of c, as long as it is not closed
	source netip.Addr
	peer   Peer

	inflight atomic.Int64
	wake     chan struct{} // one pending wake-up at most
	done     chan struct{} // closed when the connection is over
	gone     chan struct{} // closed when the reading goroutine has ended
	lastSeen atomic.Int64  // unix milliseconds of the last authenticated read
	lastSent atomic.Int64  // unix milliseconds of the last Send
	paused   atomic.Bool
	resumed  atomic.Int64 // unix milliseconds of the last end of a pause

	accepted time.Time
	known    bool          // authenticated; of the reading goroutine
	idle     time.Time     // when it was last parked; of the reading goroutine
	stranger *list.Element // in Server.strangers until authenticated; guarded by Server.mu

	mu       sync.Mutex // guards the fields below
	reason   Reason     // why it is over
	over     bool
	draining bool
	parked   bool // no goroutine reads; the server's parking does (park)
	parkable bool // known to the parking, which must forget it
	out      [][]byte
	outBytes int
	writing  bool
	room     chan struct{} // closed when something was written; nil while nobody waits
}

// Source is the peer's address, IPv4 never in its mapped form.
func (c *Conn) Source() netip.Addr { return c.source }

// Gone is closed when the connection's last unit was handled.
func (c *Conn) Gone() <-chan struct{} { return c.gone }

// LastSeen is when something arrived on the connection.
func (c *Conn) LastSeen() time.Time { return time.UnixMilli(c.lastSeen.Load()) }

// Paused reports whether the connection is not read at the moment, and when it
// was read again after the last pause.
func (c *Conn) Paused() (now bool, resumed time.Time) {
	return c.paused.Load(), time.UnixMilli(c.resumed.Load())
}

// Authenticated ends the connection's time as a stranger.
func (c *Conn) Authenticated() {
	if c.known {
		return
	}
	c.known = true
	c.s.authenticated(c)
}

// Kill ends the connection; the first reason counts.
func (c *Conn) Kill(why Reason) {
	c.mu.Lock()
	first := !c.over
	if first {
		c.over, c.reason = true, why
		c.out, c.outBytes = nil, 0
		c.unpark()
		if c.parkable { // before the descriptor is another connection's
			c.s.parking.remove(c)
		}
	}
	c.mu.Unlock()
	if first {
		c.s.m.Closed.WithLabelValues(string(why)).Inc()
		close(c.done)
		c.c.Close()
	}
}

// park lets the connection's goroutine end while the peer says nothing: the
// goroutine's stack and the read buffer are more than all else an idle agent
// costs. It returns false when the goroutine must go on.
func (c *Conn) park() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.draining {
		return false
	}
	c.idle = time.Now()
	c.parked = c.s.parking.await(c, c.parkable)
	c.parkable = c.parkable || c.parked
	return c.parked
}

// unpark gives a parked connection a goroutine again. The caller holds c.mu.
func (c *Conn) unpark() {
	if c.parked {
		c.parked = false
		go c.s.attend(c)
	}
}

// wakeUp is called when something has arrived on a parked connection, or it has ended.
func (c *Conn) wakeUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unpark()
}

// Send queues one unit for the peer and returns at once. When the queue is full
// or the connection over, the unit is dropped and Send returns false. Send
// takes the frame over: the length must be in front of the unit.
func (c *Conn) Send(frame []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.s.limits
	if c.over || len(c.out) >= l.OutUnits || c.outBytes+len(frame) > l.OutBytes {
		c.s.m.OutDropped.Inc()
		return false
	}
	c.lastSent.Store(time.Now().UnixMilli())
	c.out = append(c.out, frame)
	c.outBytes += len(frame)
	if !c.writing {
		c.writing = true
		go c.write()
	}
	return true
}

// SendWait queues one unit like Send, but first waits until less than half of
// the queue is taken, so that bulk leaves room for everything else. It returns
// false when the connection ends, or after timeout.
func (c *Conn) SendWait(frame []byte, timeout time.Duration) bool {
	var limit *time.Timer
	for {
		c.mu.Lock()
		l := &c.s.limits
		if c.over {
			c.mu.Unlock()
			return false
		}
		if len(c.out) < l.OutUnits/2 && c.outBytes+len(frame) <= l.OutBytes/2 {
			c.mu.Unlock()
			return c.Send(frame)
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		if limit == nil {
			limit = time.NewTimer(timeout)
			defer limit.Stop()
		}
		select {
		case <-room:
		case <-c.done:
			return false
		case <-limit.C:
			return false
		}
	}
}

// write sends the queued units and ends. The next Send starts it again, so an
// idle connection has no second goroutine.
func (c *Conn) write() {
	for {
		c.mu.Lock()
		if c.over || len(c.out) == 0 {
			c.writing = false
			c.out = nil
			c.mu.Unlock()
			return
		}
		frames := net.Buffers(c.out)
		n := c.outBytes
		c.out = nil
		c.mu.Unlock()
		_ = c.c.SetWriteDeadline(time.Now().Add(c.s.limits.WriteTimeout))
		_, err := frames.WriteTo(c.c)
		c.mu.Lock()
		c.outBytes -= min(n, c.outBytes)
		if c.room != nil {
			close(c.room)
			c.room = nil
		}
		half := c.draining
		c.mu.Unlock()
		if err != nil && !half {
			c.Kill(ReasonWrite)
		}
	}
}

// Acquire waits until n bytes may be in flight and adds them. It returns false
// when the connection or the server ends first. While it waits the socket is
// not read and the peer gets signs of life.
func (c *Conn) Acquire(n int64) bool {
	w := &c.s.win
	if w.take(c, n) {
		return true
	}
	c.paused.Store(true)
	c.s.m.Paused.Inc()
	w.enter(c)
	life := time.NewTimer(c.lifeIn())
	defer func() {
		life.Stop()
		w.leave(c)
		c.s.m.Paused.Dec()
		c.resumed.Store(time.Now().UnixMilli())
		c.paused.Store(false)
		c.mu.Lock()
		if c.draining { // the pause has used up the time to read the rest
			_ = c.c.SetReadDeadline(time.Now().Add(c.s.limits.DrainRead))
		}
		c.mu.Unlock()
	}()
	for {
		if w.take(c, n) { // again after entering, so that no wake-up is missed
			return true
		}
		select {
		case <-c.wake:
		case <-life.C:
			c.life(time.Now())
			life.Reset(max(c.lifeIn(), time.Millisecond))
		case <-c.done:
			return false
		case <-c.s.hard:
			return false
		}
	}
}

// lifeIn is how long until the peer needs a sign of life. It counts from the
// last thing sent, not from the beginning of a pause: many short pauses delay
// the answer to a keepalive, which comes after all that waits in the socket,
// as much as a long one.
func (c *Conn) lifeIn() time.Duration {
	return time.Until(time.UnixMilli(c.lastSent.Load()).Add(c.s.limits.LifeInterval))
}

// life sends a sign of life when one is due.
func (c *Conn) life(now time.Time) {
	if last := c.lastSent.Load(); now.Sub(time.UnixMilli(last)) >= c.s.limits.LifeInterval {
		c.lastSent.Store(now.UnixMilli()) // due again only after the interval, even if nothing can be sent
		c.peer.Life()
	}
}

// Release takes n bytes out of flight.
func (c *Conn) Release(n int64) {
	left := c.inflight.Add(-n)
	if c.paused.Load() && left <= c.s.limits.WindowBytes/2 {
		c.poke()
	}
	c.s.win.give(n)
}

func (c *Conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

const (
	// Reading begins with readMin; only peers that fill the buffer reach
	// readMax.
	readMin = 1024
	readMax = secure.MaxUnit + secure.FrameHeader
	// linger is how long a connection with many messages keeps its goroutine
	// without a message. A connection that was parked for longer has few
	// messages, and is parked again at once.
	linger = 250 * time.Millisecond
)

var readBuffers = sync.Pool{New: func() any { return new([readMin]byte) }}

// read handles the connection's units until its end, and says why it ended, or
// until it is parked; then it is called again when more arrives.
func (c *Conn) read() (why Reason, parked bool) {
	first := readBuffers.Get().(*[readMin]byte)
	defer readBuffers.Put(first)
	var (
		buf       = first[:]
		have      int       // bytes in buf
		partial   time.Time // since when buf begins with an incomplete unit
		quiet     int       // reads in a row that used little of buf
		last      time.Time // when something arrived
		lingering = c.known // the deadline of an idle connection applies
		limits    = &c.s.limits
	)
	last = time.Now()
	seldom := !c.idle.IsZero() && last.Sub(c.idle) > linger
	if lingering {
		c.deadline(last.Add(linger))
	} else {
		c.deadline(last.Add(limits.FirstUnit))
	}
	for {
		n, err := c.c.Read(buf[have:])
		now := time.Now()
		if n > 0 {
			last = now
			c.s.m.ReadBytes.Add(float64(n))
			if c.known {
				c.lastSeen.Store(now.UnixMilli())
			}
		} else if lingering && errors.Is(err, os.ErrDeadlineExceeded) {
			switch left := linger - now.Sub(last); {
			case left > 0 && c.deadline(now.Add(left)):
			case c.park():
				return "", true
			default: // it cannot be parked, or has time until the drain's deadline
				lingering = false
				c.deadline(time.Time{})
			}
			continue
		}
		full := have+n == len(buf)
		have += n
		at, whole := 0, false
		for {
			unit, size, ferr := secure.NextFrame(buf[at:have], limits.UnitBytes)
			if ferr != nil {
				return ReasonTooLarge, false
			}
			if size == 0 {
				break
			}
			if uerr := c.peer.Unit(unit, now); uerr != nil {
				var r Reason
				if !errors.As(uerr, &r) {
					r = ReasonNetwork
				}
				return r, false
			}
			at, whole = at+size, true
		}
		if have = copy(buf, buf[at:have]); err != nil {
			return c.readEnd(err, have), false
		}
		if full && c.known {
			c.life(now) // more waits in the socket, perhaps a keepalive
		}
		if whole {
			c.goOn(now)
		}
		// The buffer follows the peer: it grows only when filled and shrinks when idle.
		switch {
		case full && len(buf) < readMax:
			bigger := make([]byte, min(4*len(buf), readMax))
			copy(bigger, buf[:have])
			buf, quiet = bigger, 0
		case len(buf) > readMin && have+n < len(buf)/8:
			if quiet++; quiet >= 8 {
				smaller := make([]byte, max(len(buf)/4, readMin))
				copy(smaller, buf[:have])
				buf, quiet = smaller, 0
			}
		default:
			quiet = 0
		}
		if !c.known {
			continue // the first deadline holds
		}
		switch {
		case have == 0:
			if seldom && !full && c.park() {
				return "", true
			}
			if !lingering {
				partial, lingering = time.Time{}, true
				c.deadline(now.Add(linger))
			}
		case partial.IsZero() || whole:
			// A pause is not the peer's fault, so time counts from after the handling.
			partial, lingering = time.Now(), false
			c.deadline(partial.Add(limits.PartialUnit))
		}
	}
}

func (c *Conn) readEnd(err error, have int) Reason {
	c.mu.Lock()
	over, reason, draining := c.over, c.reason, c.draining
	c.mu.Unlock()
	var ne net.Error
	switch {
	case over:
		return reason
	case errors.Is(err, io.EOF) && have == 0:
		return ReasonEOF
	case errors.Is(err, io.EOF):
		return ReasonTruncated
	case errors.As(err, &ne) && ne.Timeout() && draining:
		return ReasonShutdown
	case errors.As(err, &ne) && ne.Timeout() && !c.known:
		return ReasonFirstUnit
	case errors.As(err, &ne) && ne.Timeout():
		return ReasonPartialUnit
	}
	return ReasonNetwork
}

// deadline bounds the next read. It returns false while draining: then the
// drain's own deadline holds.
func (c *Conn) deadline(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return false
	}
	_ = c.c.SetReadDeadline(t)
	return true
}

// goOn gives a peer that still sends while the server ends more time. All peers
// together have Limits.Drain.
func (c *Conn) goOn(now time.Time) {
	if !c.s.ending.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		_ = c.c.SetReadDeadline(now.Add(c.s.limits.DrainRead))
	}
}

// drain tells the peer that nothing more comes, so that it stops sending and
// closes, and lets it finish.
func (c *Conn) drain(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	c.unpark()
	_ = c.c.CloseWrite()
	_ = c.c.SetReadDeadline(until)
}
