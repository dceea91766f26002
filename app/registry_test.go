package app

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette/config"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// launch runs the enrollment role of one machine of an installation.
func launch(t *testing.T, brokers []string, key string) *App {
	t.Helper()
	dir := t.TempDir()
	c := config.Default()
	c.DataDir, c.Kafka.Brokers, c.Cluster.Node = filepath.Join(dir, "data"), brokers, filepath.Base(dir)
	c.Cluster.KeyFile = filepath.Join(dir, "key")
	if err := os.WriteFile(c.Cluster.KeyFile, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Enroll.Listen, c.Enroll.UsePassword, c.Metrics.Listen = "127.0.0.1:0", false, ""
	ctx, cancel := context.WithCancel(context.Background())
	a, err := Start(ctx, c, []string{RoleEnroll}, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestAMachineWithAnotherClusterKeyIsNotReadyAndEnrollsNobody(t *testing.T) {
	t.Parallel()
	cluster, broker := kafkatest.Start(t)
	enroll := func(a *App, name string) string {
		t.Helper()
		c, err := tls.Dial("tcp", a.Endpoints().Enroll, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		_, _ = io.WriteString(c, "OSSEC A:'"+name+"'\n")
		b, _ := io.ReadAll(c)
		return string(b)
	}
	until := func(what string, f func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("never: " + what)
			}
		}
	}
	good := launch(t, broker.ListenAddrs(), strings.Repeat("0a", 32))
	if got := enroll(good, "web1"); !strings.HasPrefix(got, "OSSEC K:'001 web1 any ") {
		t.Fatal(got)
	}
	bad := launch(t, broker.ListenAddrs(), strings.Repeat("0b", 32))
	until("it is not ready, and says why", func() bool { return errors.Is(bad.Health()["registry"], registry.ErrWrongKey) })
	if got := enroll(bad, "web2"); got != "ERROR: Internal manager error adding agent: web2. Unable to add agent" {
		t.Error(got)
	}
	// What somebody writes under another key goes to the dead letter, and changes nothing.
	box, err := secret.NewBox([]byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := cluster.NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	value := []byte(`{"v":1}`)
	if _, err := p.ProduceSync(t.Context(), schemas.ProposalRecord(value, box.MAC("registry record", value))); err != nil {
		t.Fatal(err)
	}
	buried := make(chan schemas.Record, 10)
	f := cluster.Follow(schemas.TopicDeadLetter, slog.New(slog.DiscardHandler), func(r schemas.Record) { buried <- r })
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan struct{})
	go func() { defer close(followed); _ = f.Run(ctx) }()
	defer func() { cancel(); <-followed }()
	want := map[string]bool{"registry_mac": true, "nodes_mac": true} // the second by the node with the other key
	for end := time.After(2 * time.Minute); len(want) > 0; {
		select {
		case r := <-buried:
			d, err := schemas.ParseDeadLetter(&r)
			if err != nil {
				t.Fatalf("%v: %s", err, r.Value)
			}
			delete(want, d.Cause)
		case <-end:
			t.Fatalf("not in the dead letter: %v", want)
		}
	}
	if err := good.Health()["registry"]; err != nil {
		t.Error(err)
	}
	if got := enroll(good, "web3"); !strings.HasPrefix(got, "OSSEC K:'002 web3 any ") {
		t.Error(got)
	}
}
