package harness

import (
	"bytes"
	"context"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vedette/internal/datadir"
	"vedette/internal/secret"
	"vedette/simulate"
)

// SimulateConfig describes the behavior of simulated agents.
type SimulateConfig struct {
	Agents       int
	Count        int64
	EPS          float64
	Duration     time.Duration
	Front        datadir.Endpoints
	PasswordFile string
	Prefix       string
	KeysFile     string
	Idle         bool
	ResponseDir  string
	Keepalive    time.Duration
	Logs         string // lines to send in turn
}

// Simulation is a running fleet of simulated agents.
type Simulation struct {
	out    output
	cancel context.CancelFunc
	done   chan struct{}
	report simulate.Report
	err    error
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// StartSimulate starts a fleet; every line carries a mark.
func StartSimulate(t testing.TB, c SimulateConfig) *Simulation {
	t.Helper()
	port := func(addr string) int {
		_, p, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(p)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	raw, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Simulation{cancel: cancel, done: make(chan struct{})}
	cfg := simulate.Config{
		Agents: c.Agents, Count: c.Count, EPS: c.EPS, Duration: c.Duration, Manager: "127.0.0.1",
		EnrollPort: port(c.Front.Enroll), Port: port(c.Front.Ingest), Password: secret.String(strings.TrimSpace(string(raw))),
		NamePrefix: c.Prefix, KeysFile: c.KeysFile, Mark: true, RetryMax: 2 * time.Second,
		Logs: []byte(c.Logs), Idle: c.Idle, ResponseDir: c.ResponseDir, Keepalive: c.Keepalive,
	}
	go func() {
		defer close(s.done)
		s.report, s.err = simulate.Run(ctx, cfg, &s.out)
	}()
	t.Cleanup(func() {
		cancel()
		<-s.done
		if t.Failed() {
			text := s.out.String()
			t.Logf("--- simulate\n%s", text[max(0, len(text)-2000):])
		}
	})
	return s
}

var sentLine = regexp.MustCompile(`sent[= ](\d+)`)

// Sent is how many lines were sent by the last progress line.
func (s *Simulation) Sent() int64 {
	all := sentLine.FindAllStringSubmatch(s.out.String(), -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(all[len(all)-1][1], 10, 64)
	return n
}

var connectedLine = regexp.MustCompile(`agents=(\d+)`)

// Connected is how many agents were connected at the last progress line.
func (s *Simulation) Connected() int {
	all := connectedLine.FindAllStringSubmatch(s.out.String(), -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1][1])
	return n
}

// WaitSent waits until at least n lines were sent, or the fleet is done.
func (s *Simulation) WaitSent(t testing.TB, n int64) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for s.Sent() < n {
		select {
		case <-s.done:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lines sent, waiting for %d", s.Sent(), n)
		}
	}
}

// End asks the fleet to end in order.
func (s *Simulation) End() { s.cancel() }

// Wait waits for the fleet's end and returns its report.
func (s *Simulation) Wait(t testing.TB) simulate.Report {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(5 * time.Minute):
		t.Fatal("the simulated agents do not end")
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.report
}
