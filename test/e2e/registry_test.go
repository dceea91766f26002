//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"vedette/internal/kafka"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// TestTheRegistryOfRealBrokersIsSnapshottedAndCut is what internal/registry
// tests in process, where brokers remove records in their own way.
func TestTheRegistryOfRealBrokersIsSnapshottedAndCut(t *testing.T) {
	cfg := kafka.Default()
	cfg.Brokers, cfg.TopicPrefix, cfg.Partitions = servers.KafkaBrokers, fmt.Sprintf("registry%d.", time.Now().UnixNano()), 1
	cluster, err := kafka.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.ApplyTopics(t.Context(), kafka.Retention{}); err != nil {
		t.Fatal(err)
	}
	start := func(node string, key byte) (*registry.Registry, func()) {
		t.Helper()
		box, err := secret.NewBox(bytes.Repeat([]byte{key}, 32))
		if err != nil {
			t.Fatal(err)
		}
		r, err := registry.Open(cluster, box, node, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		stop := func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		return r, stop
	}
	ready := func(r *registry.Registry) {
		t.Helper()
		select {
		case <-r.Ready():
		case <-time.After(time.Minute):
			t.Fatal("not ready: ", r.Err())
		}
	}
	a, stop := start("a", 1)
	defer stop()
	ready(a)
	if err := a.AddGroup(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	add := func(r *registry.Registry, n int) {
		t.Helper()
		for range n {
			ag, err := r.Add(t.Context(), registry.AddRequest{Name: fmt.Sprint("agent", time.Now().UnixNano())})
			if err == nil {
				err = r.SetGroups(t.Context(), ag.ID, schemas.GroupsAppend, []string{"web"})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		add(a, 20)
		if _, err := a.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	add(a, 5)
	for _, topic := range []string{schemas.TopicRegistry, schemas.TopicSnapshots} {
		ranges, err := cluster.Ranges(t.Context(), topic)
		if err != nil || ranges[0].Start == 0 {
			t.Errorf("%s is not cut: %v, %v", topic, ranges, err)
		}
	}
	b, stopB := start("b", 1)
	defer stopB()
	ready(b)
	if n := len(b.Agents()); n != 65 || fmt.Sprint(b.Groups()) != fmt.Sprint(a.Groups()) {
		t.Errorf("%d agents, groups %v and %v", n, a.Groups(), b.Groups())
	}
	add(b, 1)

	// How long after the request a key is good on the other node.
	var mu sync.Mutex
	asked, took := map[string]time.Time{}, []time.Duration{}
	defer a.Subscribe(func(c registry.Change) {
		mu.Lock()
		defer mu.Unlock()
		if at, ok := asked[c.Agent.Name]; ok && c.Kind == registry.ChangeKey {
			took = append(took, time.Since(at))
		}
	})()
	for i := range 200 {
		name := fmt.Sprint("timed", i)
		mu.Lock()
		asked[name] = time.Now()
		mu.Unlock()
		if _, err := b.Add(t.Context(), registry.AddRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		n := len(took)
		mu.Unlock()
		if n == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of 200 keys came over", n)
		}
	}
	slices.Sort(took)
	t.Logf("a key is good on the other node after %s (median), %s (99 of 100), %s (worst)", took[100], took[198], took[199])

	x, stopX := start("x", 2)
	defer stopX()
	for end := time.Now().Add(time.Minute); x.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a node with another key does not say so")
		}
	}
}
