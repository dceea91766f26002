package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"

	"vedette/ingest/secure"
)

// BenchmarkIdleConnection connects agents that have sent a startup and two
// keepalives. It measures the memory of each after garbage collection: heap and
// stacks of the whole process, whose other half is a bare socket each.
func BenchmarkIdleConnection(b *testing.B) {
	const agents = 2000
	reg, prod := newRegistry(), &fakeProducer{}
	cfg := Default()
	cfg.Listen, cfg.Node = "127.0.0.1:0", "gw1"
	g, err := New(cfg, reg, prod, Services{}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for i := range agents {
		id := fmt.Sprintf("%03d", i+1)
		reg.put(id, "ag"+id, "any", "key-"+id)
	}
	held := func() float64 {
		for range 5 { // stacks shrink by half at each collection
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	for b.Loop() {
		before := held()
		conns := make([]net.Conn, agents)
		enc := secure.Encoder{Level: 1}
		frames := func(i int, payload string) []byte {
			id := fmt.Sprintf("%03d", i+1)
			u, err := enc.Append(nil, secure.NewKey(id, "ag"+id, "key-"+id), secure.AES, id, 1, 1, 1, []byte(payload))
			if err != nil {
				b.Fatal(err)
			}
			return secure.AppendFrame(nil, u)
		}
		buf := make([]byte, 4096)
		for i := range conns {
			if conns[i], err = net.Dial("tcp", g.Addr().String()); err != nil {
				b.Fatal(err)
			}
			for _, text := range []string{"#!-agent startup ", keepalive, keepalive} {
				if _, err := conns[i].Write(frames(i, text)); err != nil {
					b.Fatal(err)
				}
				if _, err := conns[i].Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		}
		reg.mu.Lock()
		reg.writes = nil // the test's own record of writes
		reg.mu.Unlock()
		time.Sleep(time.Second) // the last connection is parked
		b.ReportMetric((held()-before)/agents, "B/agent")
		b.ReportMetric(0, "ns/op")
		for _, c := range conns {
			c.Close()
		}
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			g.srv.InFlight()
			g.fleet.mu.RLock()
			left := 0
			for _, a := range g.fleet.agents {
				if a.bound.conn != nil {
					left++
				}
			}
			g.fleet.mu.RUnlock()
			if left == 0 {
				break
			}
		}
	}
}
