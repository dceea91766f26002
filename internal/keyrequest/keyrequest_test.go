package keyrequest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/leaktest"
	"vedette/internal/registry"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type fake struct {
	mu    sync.Mutex
	added []string
}

func (f *fake) Agent(id string) (registry.Agent, bool) {
	return registry.Agent{ID: "007", Name: "known", Key: "thekey"}, id == "007"
}

func (f *fake) Add(_ context.Context, q registry.AddRequest) (registry.Agent, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.Name == "taken" {
		return registry.Agent{}, &registry.Refusal{Reason: registry.ReasonDuplicateName}
	}
	f.added = append(f.added, fmt.Sprintf("%s %s %s %s", q.ID, q.Name, q.IP, q.Key.Reveal()))
	return registry.Agent{ID: q.ID, Name: q.Name}, nil
}

func start(t *testing.T, cfg Config) (*Asker, *fake) {
	t.Helper()
	f := &fake{}
	a := New(cfg, f, schemas.DefaultForcePolicy(), slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a, f
}

func script(t *testing.T, body string) Config {
	t.Helper()
	cfg := Default()
	cfg.Enabled, cfg.ExecPath = true, filepath.Join(t.TempDir(), "ask")
	if err := os.WriteFile(cfg.ExecPath, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (a *Asker) counted(t *testing.T, outcome string, want float64) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		got := testutil.ToFloat64(a.m.WithLabelValues(outcome))
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v counted, want %v", outcome, got, want)
		}
	}
}

func TestAProgramIsAskedWithoutAShell(t *testing.T) {
	t.Parallel()
	a, f := start(t, script(t, `
case "$1 $2" in
"id 001") echo '{"error":0,"data":{"id":"001","name":"web1","ip":"any","key":"'"$#$HOME"'k"}}' ;;
"ip 10.0.0.1") echo '{"error":0,"data":{"id":"002","name":"web2","ip":"10.0.0.1","key":"kk"}}' ;;
"id 003") echo '{"error":0,"data":{"id":"003","name":"taken","ip":"any","key":"kk"}}' ;;
"id 004") echo '{"error":4,"message":"never heard of it"}' ;;
"id 005") echo nonsense ;;
"id 006") echo '{"error":0,"data":{"id":"006"}}' ;;
"id 007") echo '{"error":0,"data":{"id":"007","name":"known","ip":"any","key":"thekey"}}' ;;
*) exit 3 ;;
esac`))
	for i := range 9 {
		a.Unknown(fmt.Sprintf("%03d", i+1), "192.0.2.1")
	}
	a.Unknown("", "10.0.0.1")
	for _, bad := range [][2]string{{"x;rm", ""}, {"123456789", ""}, {"-h", ""}, {"", "x"}, {"", ""}, {"000", ""}} {
		a.Unknown(bad[0], bad[1])
	}
	a.counted(t, outInvalid, 6)
	a.counted(t, outAdded, 3)
	a.counted(t, outRefused, 1)
	a.counted(t, outUnknown, 1)
	a.counted(t, outFailed, 5)
	a.Unknown("001", "")
	a.counted(t, outRepeated, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := strings.Join(f.added, "|"); got != "001 web1 any 2k|002 web2 10.0.0.1 kk" {
		t.Errorf("added %q", got)
	}
}

func TestASlowProgramAndAnEndlessAnswerAreCutOff(t *testing.T) {
	t.Parallel()
	cfg := script(t, `if [ "$2" = 001 ]; then sleep 600 & wait; else while :; do printf '[[[[[[[[[[[[[[[['; done; fi`)
	cfg.Timeout = time.Second
	a, _ := start(t, cfg)
	a.Unknown("001", "")
	a.Unknown("002", "")
	a.counted(t, outFailed, 2)
}

func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.QueueSize = 3
	a := New(cfg, &fake{}, schemas.ForcePolicy{}, slog.New(slog.DiscardHandler), nil) // nobody asks
	for i := range 10 {
		a.Unknown(fmt.Sprintf("%03d", i+1), "")
		a.Unknown("001", "")
	}
	a.counted(t, outFull, 7)
	a.counted(t, outRepeated, 10)
	for i := range remembersMax + 100 {
		a.open[fmt.Sprint(i)] = time.Unix(1, 0)
	}
	<-a.queue
	a.Unknown("050", "")
	if len(a.open) > remembersMax+cfg.QueueSize {
		t.Errorf("%d questions are remembered", len(a.open))
	}
}

func TestASocketIsAsked(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.Enabled, cfg.Socket = true, filepath.Join(t.TempDir(), "s")
	a, f := start(t, cfg)
	a.Unknown("001", "") // the socket comes a moment later
	time.Sleep(100 * time.Millisecond)
	ln, err := net.Listen("unix", cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			q, _ := io.ReadAll(c)
			fmt.Fprintf(c, `{"error":0,"data":{"id":"001","name":"%s","ip":"any","key":"kk"}}`, strings.ReplaceAll(string(q), ":", "-"))
			c.Close()
		}
	}()
	defer func() { ln.Close(); <-done }()
	a.counted(t, outAdded, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.added) != 1 || f.added[0] != "001 id-001 any kk" {
		t.Errorf("%q", f.added)
	}
}

func TestTheConfigurationNamesOneToAsk(t *testing.T) {
	t.Parallel()
	c := Default()
	if err := c.Validate("k"); err != nil {
		t.Error(err)
	}
	c.Enabled = true
	both := c
	both.ExecPath, both.Socket = "a", "b"
	c.Timeout, c.Threads, c.QueueSize = 0, 33, 0
	if err := errors.Join(c.Validate("k"), both.Validate("k")); err == nil || strings.Count(err.Error(), "k.") < 6 {
		t.Error(err)
	}
}
