package syslog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/leaktest"
	"vedette/internal/tlsconf"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// producer acknowledges at once, or when it is let.
type producer struct {
	mu      sync.Mutex
	hold    bool
	fail    error
	waiting []func(error)
	recs    []schemas.Record
}

func (p *producer) Produce(rec schemas.Record, done func(error)) {
	p.mu.Lock()
	p.recs = append(p.recs, rec)
	if p.hold {
		p.waiting = append(p.waiting, done)
		p.mu.Unlock()
		return
	}
	fail := p.fail
	p.mu.Unlock()
	done(fail)
}

func (p *producer) Healthy() bool { return true }

func (p *producer) let() {
	p.mu.Lock()
	waiting := p.waiting
	p.hold, p.waiting = false, nil
	p.mu.Unlock()
	for _, done := range waiting {
		done(nil)
	}
}

func (p *producer) texts() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.recs {
		out = append(out, string(r.Value))
	}
	return out
}

func (p *producer) got(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, func() error {
		if d := cmp.Diff(want, p.texts()); d != "" {
			return errors.New(d)
		}
		return nil
	})
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for range 500 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(err)
}

type bench struct {
	*Server
	t    *testing.T
	prod *producer
	stop func()
}

func serve(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	cfg := Default()
	cfg.TCP, cfg.UDP, cfg.TLS = []string{"127.0.0.1:0"}, []string{"127.0.0.1:0"}, []string{"127.0.0.1:0"}
	cfg.Allowed, cfg.Node, cfg.CertificateDir = []string{"127.0.0.0/8", "::1"}, "gw1", t.TempDir()
	cfg.Limits.ReceiveBuffer = 64 << 10
	change(&cfg)
	prod := &producer{}
	s, err := New(cfg, prod, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	b := &bench{Server: s, t: t, prod: prod, stop: func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}}
	t.Cleanup(func() { prod.let(); b.stop() })
	eventually(t, s.Ready)
	return b
}

func (b *bench) dial(transport string) net.Conn {
	b.t.Helper()
	addr := b.Addrs()[transport][0]
	var c net.Conn
	var err error
	if transport == transportTLS {
		c, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // self-signed by design
	} else {
		c, err = net.Dial(transport, addr)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

func (b *bench) send(c net.Conn, text string) {
	b.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		b.t.Fatal(err)
	}
}

// ended waits until the server has closed c.
func (b *bench) ended(c net.Conn) {
	b.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		b.t.Fatal("the connection stands")
	}
}

func (b *bench) refusedBy(transport, reason string) float64 {
	return testutil.ToFloat64(b.m.refused.WithLabelValues(transport, reason))
}

func (b *bench) closedBy(reason string) float64 {
	return testutil.ToFloat64(b.m.closed.WithLabelValues(reason))
}

// balanced checks that each received message is written, refused or in flight.
func (b *bench) balanced() {
	b.t.Helper()
	eventually(b.t, func() error {
		received, out := 0.0, testutil.ToFloat64(b.m.inflight)
		for _, t := range []string{transportUDP, transportTCP, transportTLS} {
			received += testutil.ToFloat64(b.m.received.WithLabelValues(t))
			out += testutil.ToFloat64(b.m.written.WithLabelValues(t))
			for _, r := range []string{refusedSource, refusedEmpty, refusedTooLarge, refusedFraming, refusedIncomplete, refusedWindow, refusedShutdown, refusedProduce} {
				out += b.refusedBy(t, r)
			}
		}
		if received != out {
			return fmt.Errorf("received %v, accounted for %v", received, out)
		}
		return nil
	})
}

func TestAMessageBecomesTheEventThat414Makes(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{transportUDP, transportTCP, transportTLS} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			b := serve(t, func(*Config) {})
			b.send(b.dial(transport), "<34>Oct 11 22:14:15 mymachine su: failed\xff\n")
			b.prod.got(t, "Oct 11 22:14:15 mymachine su: failed\xff")
			rec := b.prod.recs[0]
			if got := string(rec.Key); got != "000/127.0.0.1" {
				t.Errorf("key %q", got)
			}
			e, err := schemas.ParseEvent(&rec)
			want := schemas.Event{Time: rec.Timestamp, AgentID: "000", Location: "127.0.0.1", Queue: '2', Gateway: "gw1", Log: rec.Value}
			if d := cmp.Diff(want, e); d != "" || err != nil {
				t.Error(err, d)
			}
			b.balanced()
		})
	}
}

func TestCountedMessagesLoseOnlyTheirLengthAndPriority(t *testing.T) {
	t.Parallel()
	b := serve(t, func(*Config) {})
	one := "<165>1 2003-10-11T22:14:15.003Z host app - ID47 [x@1 a=\"1\"] text\nand more"
	b.send(b.dial(transportTLS), fmt.Sprintf("%d %s%d <1>two", len(one), one, 6))
	b.prod.got(t, one[len("<165>"):], "two")
	b.balanced()
}

func TestDevicesCanShareTheStateOfAgent000(t *testing.T) {
	t.Parallel()
	b := serve(t, func(c *Config) { c.KeyBy = KeyByAgent })
	b.send(b.dial(transportUDP), "<1>x")
	b.prod.got(t, "x")
	rec := b.prod.recs[0]
	if e, err := schemas.ParseEvent(&rec); err != nil || string(rec.Key) != "000" || e.Key() != "000" || e.Location != "127.0.0.1" || e.AgentID != "000" {
		t.Errorf("key %q, %+v, %v", rec.Key, e, err)
	}
}

func TestAnUnfinishedLastLineIsKept(t *testing.T) {
	t.Parallel()
	b := serve(t, func(*Config) {})
	c := b.dial(transportTCP)
	b.send(c, "one\n\n<1>\ntwo")
	c.Close()
	b.prod.got(t, "one", "two")
	eventually(t, func() error {
		if b.closedBy(closedEOF) != 1 || b.refusedBy(transportTCP, refusedEmpty) != 2 {
			return errors.New("not counted")
		}
		return nil
	})
	half := b.dial(transportTCP)
	b.send(half, "9 <1>x")
	half.Close()
	eventually(t, func() error {
		if b.refusedBy(transportTCP, refusedIncomplete) != 1 {
			return errors.New("half a counted message is not counted")
		}
		return nil
	})
	b.prod.got(t, "one", "two")
	b.balanced()
}

func TestWhoeverIsNotAllowedIsRefusedAndCounted(t *testing.T) {
	t.Parallel()
	b := serve(t, func(c *Config) { c.Denied = []string{"127.0.0.1"} })
	for _, transport := range []string{transportTCP, transportUDP} {
		c := b.dial(transport)
		_, _ = io.WriteString(c, "x\n")
		if transport == transportTCP {
			b.ended(c)
		}
	}
	eventually(t, func() error {
		if b.closedBy(closedSource) != 1 || b.refusedBy(transportUDP, refusedSource) != 1 {
			return errors.New("not counted")
		}
		return nil
	})
	b.prod.got(t)
	b.balanced()
}

func TestHostileSendersEndAlone(t *testing.T) {
	t.Parallel()
	b := serve(t, func(c *Config) { c.Limits.Partial, c.Limits.Handshake = 300*time.Millisecond, 300*time.Millisecond })
	patient := serve(t, func(*Config) {}) // the fault is reported before its time is over
	good := b.dial(transportTCP)
	b.send(good, "before\n")
	b.prod.got(t, "before")
	for _, h := range []struct {
		b              *bench
		reason, stream string
	}{
		{patient, closedTooLarge, strings.Repeat("x", 65536)},
		{patient, closedFraming, "4 <1>ax"},
		{b, closedIncomplete, "no newline"},
	} {
		b, reason, stream := h.b, h.reason, h.stream
		c := b.dial(transportTCP)
		_, _ = io.WriteString(c, stream)
		b.ended(c)
		eventually(t, func() error {
			if n := b.closedBy(reason); n != 1 {
				return fmt.Errorf("%s: %v", reason, n)
			}
			return nil
		})
	}
	// A slow sender: a byte now and then does not make the time longer.
	slow := b.dial(transportTCP)
	go func() {
		for range 40 {
			if _, err := io.WriteString(slow, "y"); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	b.ended(slow)
	// No TLS where TLS is spoken.
	c, err := net.Dial("tcp", b.Addrs()[transportTLS][0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b.ended(c)
	if b.closedBy(closedHandshake) != 1 {
		eventually(t, func() error {
			if b.closedBy(closedHandshake) != 1 {
				return errors.New("handshake")
			}
			return nil
		})
	}
	b.send(good, "after\n")
	b.prod.got(t, "before", "after")
	b.balanced()
	patient.prod.got(t, "a") // the first of the wrongly counted ones is right
	patient.balanced()
}

func TestTheLongestLinePasses(t *testing.T) {
	t.Parallel()
	b := serve(t, func(*Config) {})
	long := strings.Repeat("x", 65535)
	b.send(b.dial(transportTCP), long+"\n65535 <1>no length here\n"+long+"\nshort\n")
	b.prod.got(t, long, "65535 <1>no length here", long, "short")
	b.send(b.dial(transportTLS), "65535 <"+long[1:]+"5 <1>ok")
	b.prod.got(t, long, "65535 <1>no length here", long, "short", "<"+long[1:], "ok")
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	b := serve(t, func(c *Config) { c.Limits.SourceConnections, c.Limits.Idle = 3, 500*time.Millisecond })
	var open []net.Conn
	for range 10 {
		open = append(open, b.dial(transportTCP))
	}
	eventually(t, func() error {
		if n := b.closedBy(closedOfSource); n != 7 {
			return fmt.Errorf("%v are too many of one source", n)
		}
		return nil
	})
	for _, c := range open {
		b.ended(c) // those within the bound because they say nothing
	}
	eventually(t, func() error {
		if n := b.closedBy(closedIdle); n != 3 {
			return fmt.Errorf("%v idle", n)
		}
		return nil
	})
	b.send(b.dial(transportTCP), "again\n")
	b.prod.got(t, "again")
}

func TestAFloodOfConnectionsLeavesRoomForWhatIsThere(t *testing.T) {
	t.Parallel()
	b := serve(t, func(c *Config) { c.Limits.Connections = 5 })
	good := b.dial(transportTCP)
	b.send(good, "before\n")
	b.prod.got(t, "before")
	for range 50 {
		b.dial(transportTCP)
	}
	eventually(t, func() error {
		if n := b.closedBy(closedTooMany); n != 46 {
			return fmt.Errorf("%v are too many", n)
		}
		return nil
	})
	b.send(good, "after\n")
	b.prod.got(t, "before", "after")
	b.balanced()
}

func TestSlowBrokersHoldTCPBackAndDropUDP(t *testing.T) {
	t.Parallel()
	const lines = 2000
	b := serve(t, func(c *Config) { c.Limits.WindowBytes, c.Limits.TotalBytes = 16<<10, 64<<10 })
	b.prod.mu.Lock()
	b.prod.hold = true
	b.prod.mu.Unlock()
	c := b.dial(transportTCP)
	var want []string
	go func() {
		for i := range lines {
			fmt.Fprintf(c, "%04d %s\n", i, strings.Repeat("z", 1000))
		}
	}()
	for i := range lines {
		want = append(want, fmt.Sprintf("%04d %s", i, strings.Repeat("z", 1000)))
	}
	eventually(t, func() error {
		if testutil.ToFloat64(b.m.paused) != 1 {
			return errors.New("the connection is read on")
		}
		return nil
	})
	if n := len(b.prod.texts()); n > 16 {
		t.Errorf("%d messages are in flight", n)
	}
	u := b.dial(transportUDP)
	for range 40 {
		b.send(u, strings.Repeat("u", 1000))
	}
	eventually(t, func() error {
		if n := b.refusedBy(transportUDP, refusedWindow); n < 20 {
			return fmt.Errorf("%v dropped", n)
		}
		return nil
	})
	b.balanced()
	b.prod.let()
	eventually(t, func() error {
		var tcp []string
		for _, m := range b.prod.texts() {
			if m[0] != 'u' {
				tcp = append(tcp, m)
			}
		}
		if d := cmp.Diff(want, tcp); d != "" {
			return fmt.Errorf("%d of %d lines", len(tcp), len(want))
		}
		return nil
	})
	b.balanced()
}

func TestTheEndTakesWhatWasSent(t *testing.T) {
	t.Parallel()
	b := serve(t, func(c *Config) { c.Limits.DrainRead = 5 * time.Second })
	c, u := b.dial(transportTCP), b.dial(transportUDP)
	b.send(c, "one\n")
	b.prod.got(t, "one")
	b.prod.mu.Lock()
	b.prod.hold = true
	b.prod.mu.Unlock()
	b.send(c, "two\n")
	b.send(u, "three")
	ended := make(chan struct{})
	go func() { b.stop(); close(ended) }()
	eventually(t, func() error {
		if n := len(b.prod.texts()); n != 3 {
			return fmt.Errorf("%d messages", n)
		}
		return nil
	})
	c.Close() // nothing more is read
	select {
	case <-ended:
		t.Error("it ended before the brokers acknowledged")
	case <-time.After(500 * time.Millisecond):
	}
	b.prod.let()
	<-ended
	b.balanced()
	if n := testutil.ToFloat64(b.m.inflight); n != 0 {
		t.Errorf("%v in flight", n)
	}
}

func TestRefusalsOfTheBrokersAreCounted(t *testing.T) {
	t.Parallel()
	b := serve(t, func(*Config) {})
	b.prod.mu.Lock()
	b.prod.fail = errors.New("no")
	b.prod.mu.Unlock()
	b.send(b.dial(transportUDP), "x")
	eventually(t, func() error {
		if b.refusedBy(transportUDP, refusedProduce) != 1 {
			return errors.New("not counted")
		}
		return nil
	})
	b.balanced()
}

func TestTLSSendersCanBeAskedForACertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	if err := tlsconf.Ensure(cert, key, nil); err != nil {
		t.Fatal(err)
	}
	b := serve(t, func(c *Config) { c.ClientCA = cert })
	without := b.dial(transportTLS)
	_, _ = io.WriteString(without, "x\n")
	b.ended(without)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	client := false
	for _, u := range leaf.ExtKeyUsage {
		client = client || u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny
	}
	c, err := tls.Dial("tcp", b.Addrs()[transportTLS][0], &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}) //nolint:gosec // self-signed by design
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "y\n")
	if client {
		b.prod.got(t, "y")
		return
	}
	b.ended(c) // a server's certificate is none of a client
	b.prod.got(t)
}

func TestWithoutAllowedNothingListens(t *testing.T) {
	t.Parallel()
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := Default()
		change(&c)
		_, err := New(c, &producer{}, slog.New(slog.DiscardHandler), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("ingest.syslog.allowed: empty", func(c *Config) { c.UDP = []string{":0"} })
	f("ingest.syslog.tcp:", func(c *Config) { c.TCP, c.Allowed = []string{"nowhere"}, []string{"any"} })
	f("ingest.syslog.denied:", func(c *Config) { c.Denied = []string{"10.0.0.0/99"} })
	f("ingest.syslog.key_by:", func(c *Config) { c.KeyBy = "x" })
	f("names no address", func(c *Config) { c.ClientCA = "x" })
	f("give both or neither", func(c *Config) { c.Key = "x" })
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f("ingest.syslog.tcp: listen", func(c *Config) { c.TCP, c.Allowed = []string{taken.Addr().String()}, []string{"any"} })
}

// discard acknowledges at once and keeps nothing.
type discard struct{ n atomic.Int64 }

func (d *discard) Produce(_ schemas.Record, done func(error)) { d.n.Add(1); done(nil) }
func (*discard) Healthy() bool                                { return true }

func BenchmarkTCP(b *testing.B) {
	cfg := Default()
	cfg.TCP, cfg.Allowed = []string{"127.0.0.1:0"}, []string{"127.0.0.0/8"}
	d := &discard{}
	s, err := New(cfg, d, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c, err := net.Dial("tcp", s.Addrs()[transportTCP][0])
	if err != nil {
		b.Fatal(err)
	}
	lines := []byte(strings.Repeat("<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8\n", 100))
	b.SetBytes(int64(len(lines) / 100))
	sent := int64(0)
	for b.Loop() {
		if sent%100 == 0 {
			if _, err := c.Write(lines); err != nil {
				b.Fatal(err)
			}
		}
		sent++
	}
	for d.n.Load() < sent {
		time.Sleep(100 * time.Microsecond)
	}
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "messages/s")
	c.Close()
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}
