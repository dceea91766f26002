package listen

import (
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/ingest/secure"
)

// echo authenticates at its first unit and sends every unit back.
type echo struct {
	c      *Conn
	closed *atomic.Int64
}

func (e *echo) Unit(unit []byte, _ time.Time) error {
	e.c.Authenticated()
	e.c.Send(secure.AppendFrame(nil, unit))
	return nil
}
func (e *echo) Life()   {}
func (e *echo) Closed() { e.closed.Add(1) }

type site struct {
	t      *testing.T
	s      *Server
	closed atomic.Int64
	m      Metrics
	stop   func()

	mu    sync.Mutex
	conns []*Conn
}

func start(t *testing.T) *site {
	t.Helper()
	counter := func() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: "c"}) }
	gauge := func() prometheus.Gauge { return prometheus.NewGauge(prometheus.GaugeOpts{Name: "g"}) }
	x := &site{t: t, m: Metrics{
		Accepted: counter(), Connections: gauge(), Strangers: gauge(), Paused: gauge(), ReadBytes: counter(), OutDropped: counter(),
		Closed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "closed"}, []string{"reason"}),
	}}
	l := DefaultLimits()
	l.DrainRead = 300 * time.Millisecond
	var err error
	x.s, err = New("127.0.0.1:0", l, x.m, slog.New(slog.DiscardHandler), func(c *Conn) Peer {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.conns = append(x.conns, c)
		return &echo{c: c, closed: &x.closed}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.s.Run(ctx) }()
	x.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(x.stop)
	return x
}

func (x *site) dial() net.Conn {
	x.t.Helper()
	c, err := net.Dial("tcp", x.s.Addr().String())
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { c.Close() })
	return c
}

// of returns the server's side of a client's connection. Connections are
// reported in any order.
func (x *site) of(client net.Conn) (found *Conn) {
	x.t.Helper()
	eventually(x.t, "the server knows the connection", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, c := range x.conns {
			if c.c.RemoteAddr().String() == client.LocalAddr().String() {
				found = c
			}
		}
		return found != nil
	})
	return found
}

func (c *Conn) isParked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parked
}

// ask sends text as one unit and expects it back.
func (x *site) ask(c net.Conn, text string) {
	x.t.Helper()
	if _, err := c.Write(secure.AppendFrame(nil, []byte(text))); err != nil {
		x.t.Fatal(err)
	}
	x.expect(c, text)
}

func (x *site) expect(c net.Conn, text string) {
	x.t.Helper()
	want := string(secure.AppendFrame(nil, []byte(text)))
	got := make([]byte, len(want))
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		x.t.Fatalf("%q came back as %q: %v", want, got, err)
	}
}

func (x *site) parked() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.conns {
		if c.isParked() {
			n++
		}
	}
	return n
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func needParking(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("connections are parked on Linux only")
	}
}

func TestIdleConnectionsHaveNoGoroutineAndAreServedAllTheSame(t *testing.T) {
	needParking(t)
	x := start(t)
	before := runtime.NumGoroutine()
	const n = 300
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = x.dial()
		x.ask(conns[i], "hello")
	}
	for range 3 {
		eventually(t, "all connections are parked", func() bool { return x.parked() == n })
		eventually(t, "their goroutines have ended", func() bool { return runtime.NumGoroutine() < before+n/10 })
		for _, c := range conns {
			x.ask(c, "still here?")
		}
	}
	// A connection that is woken by half a unit goes on when the rest comes.
	frame := secure.AppendFrame(nil, []byte("in two halves"))
	halved := x.of(conns[0])
	eventually(t, "it is parked", halved.isParked)
	_, _ = conns[0].Write(frame[:7])
	eventually(t, "it is woken", func() bool { return !halved.isParked() })
	time.Sleep(2 * linger)
	if halved.isParked() {
		t.Error("a connection is parked in the middle of a unit")
	}
	_, _ = conns[0].Write(frame[7:])
	x.expect(conns[0], "in two halves")
	// Many units that arrive at once on a parked connection are all handled.
	eventually(t, "all connections are parked again", func() bool { return x.parked() == n })
	var many []byte
	for range 200 {
		many = secure.AppendFrame(many, []byte("one of many"))
	}
	if _, err := conns[1].Write(many); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		x.expect(conns[1], "one of many")
	}
	if x.closed.Load() != 0 {
		t.Error("connections have ended")
	}
}

func TestAParkedConnectionEnds(t *testing.T) {
	needParking(t)
	x := start(t)
	byPeer, byServer, inOrder := x.dial(), x.dial(), x.dial()
	x.ask(byPeer, "a")
	x.ask(byServer, "b")
	x.ask(inOrder, "c")
	eventually(t, "all are parked", func() bool { return x.parked() == 3 })
	byPeer.Close()
	eventually(t, "the peer's end is seen", func() bool { return x.closed.Load() == 1 })
	conn := x.of(byServer)
	conn.Kill(ReasonStrangers)
	select {
	case <-conn.Gone():
	case <-time.After(2 * time.Minute):
		t.Fatal("a connection that was killed while parked is not gone")
	}
	if x.closed.Load() != 2 {
		t.Errorf("%d of 2 peers were told", x.closed.Load())
	}
	// A descriptor that is used again belongs to its new connection alone.
	again := x.dial()
	x.ask(again, "d")
	eventually(t, "the new one is parked", func() bool { return x.parked() == 2 })
	x.ask(again, "e")
	// Data that was sent before the end in order is still handled.
	if _, err := inOrder.Write(secure.AppendFrame(nil, []byte("last words"))); err != nil {
		t.Fatal(err)
	}
	x.stop()
	if x.closed.Load() != 4 {
		t.Errorf("%d of 4 peers were told", x.closed.Load())
	}
	if x.s.parking.conns[conn.fd] != nil || len(x.s.parking.conns) != 0 {
		t.Error("the parking still holds connections")
	}
}

// TestParkingLosesNobody sends on many connections at moments around the one
// when they are parked.
func TestParkingLosesNobody(t *testing.T) {
	x := start(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for range 3 {
				c := x.dial()
				for j := range 6 {
					x.ask(c, "x")
					time.Sleep(linger + time.Duration((i*7+j*13)%41-20)*time.Millisecond)
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	eventually(t, "all ends are seen", func() bool { return x.closed.Load() == 120 })
}
