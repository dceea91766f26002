package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func testBox(t testing.TB, b byte) *secret.Box {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// start runs a registry until the test ends.
func start(t testing.TB, cluster *kafka.Cluster, node string) *Registry {
	t.Helper()
	r, err := Open(cluster, testBox(t, 7), node, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-r.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("registry is not ready")
	}
	return r
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestNodesThatEnrollAtOnceAgreeOnEveryAgent(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, b := start(t, cluster, "a"), start(t, cluster, "b")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[string]int{}
	for i := range 20 {
		for _, r := range []*Registry{a, b} {
			wg.Go(func() {
				ag, err := r.Add(t.Context(), AddRequest{Name: fmt.Sprintf("agent%d", i), Force: schemas.DefaultForcePolicy()})
				var refusal *Refusal
				if err == nil {
					mu.Lock()
					won[ag.Name]++
					mu.Unlock()
					if _, ok := r.Agent(ag.ID); !ok {
						t.Error("an added agent is not visible on its node")
					}
				} else if !errors.As(err, &refusal) || refusal.Reason != ReasonDuplicateName {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for name, n := range won {
		if n != 1 {
			t.Errorf("%s was added %d times", name, n)
		}
	}
	if len(won) != 20 {
		t.Errorf("%d agents, want 20", len(won))
	}
	eventually(t, "both nodes hold 20 agents", func() bool { return len(a.Agents()) == 20 && len(b.Agents()) == 20 })
	opt := cmpopts.IgnoreUnexported(Agent{}, schemas.AddressRule{})
	if d := cmp.Diff(a.Agents(), b.Agents(), opt); d != "" {
		t.Errorf("the nodes differ:\n%s", d)
	}
	c := start(t, cluster, "c") // a node that starts later
	if d := cmp.Diff(a.Agents(), c.Agents(), opt); d != "" {
		t.Errorf("a later node differs:\n%s", d)
	}
}

func TestARecordThatDoesNotVerifyIsNeverApplied(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	prod, err := cluster.NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer prod.Close()
	evil := testBox(t, 8)
	p := schemas.Proposal{V: 1, ID: secret.RandomHex(16), Kind: schemas.ProposalAgentAdd, Time: 1}
	p.AgentAdd = &schemas.AgentAdd{Name: "evil", IP: "any", Key: evil.Seal(purposeSeal, []byte("key"), []byte(p.ID))}
	value, _ := p.Encode()
	good := testBox(t, 7)
	recs := []schemas.Record{
		{Topic: schemas.TopicRegistry, Value: value},
		schemas.ProposalRecord(value, evil.MAC(purposeMAC, value)),
		schemas.ProposalRecord([]byte("junk"), good.MAC(purposeMAC, []byte("junk"))),
		schemas.ProposalRecord(value, good.MAC(purposeMAC, value)), // sealed under another key
		{Topic: schemas.TopicPresence, Key: []byte("001"), Value: []byte("junk")},
	}
	if _, err := prod.ProduceSync(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
	r, err := Open(cluster, good, "a", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	causes := map[string]int{}
	r.OnRejected(func(_ schemas.Record, cause string) { mu.Lock(); causes[cause]++; mu.Unlock() })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	<-r.Ready()
	mu.Lock()
	if d := cmp.Diff(map[string]int{"mac": 2, "shape": 1, "sealed": 1, "presence": 1}, causes); d != "" {
		t.Error(d)
	}
	mu.Unlock()
	if len(r.Agents()) != 0 {
		t.Error("applied")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRemovalReachesSubscribersAndEndsThePresence(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	r := start(t, cluster, "a")
	changes := make(chan Change, 10)
	r.Subscribe(func(c Change) { changes <- c })
	ag, err := r.Add(t.Context(), AddRequest{Name: "web", IP: "10.0.0.0/8", Groups: []string{"default"}})
	if err != nil {
		t.Fatal(err)
	}
	if c := <-changes; c.Agent.ID != ag.ID || c.Agent.Removed {
		t.Error("addition is not told", c)
	}
	r.SetPresence(schemas.Presence{V: 1, ID: ag.ID, State: schemas.StateActive, Gateway: "a", Updated: 1}, nil)
	eventually(t, "presence", func() bool { _, ok := r.Presence(ag.ID); return ok })
	if n := len(r.Presences(func(p *schemas.Presence) bool { return p.State == schemas.StateActive })); n != 1 {
		t.Error("presences", n)
	}
	if err := r.Remove(t.Context(), ag.ID, true); err != nil {
		t.Fatal(err)
	}
	if c := <-changes; c.Agent.ID != ag.ID || !c.Agent.Removed {
		t.Error("removal is not told", c)
	}
	eventually(t, "presence is gone", func() bool { _, ok := r.Presence(ag.ID); return !ok })
	var refusal *Refusal
	if err := r.Remove(t.Context(), ag.ID, true); !errors.As(err, &refusal) || refusal.Reason != ReasonNotFound {
		t.Error(err)
	}
}

func TestARemovalIsToldAsOneEventAndAReplacementIsNot(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, _ := start(t, cluster, "a"), start(t, cluster, "b") // b applies all of it and must tell of nothing
	var mu sync.Mutex
	var told []string
	f := cluster.Follow(schemas.TopicEvents, slog.New(slog.DiscardHandler), func(rec schemas.Record) {
		e, err := schemas.ParseEvent(&rec)
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%v %s %s %s %s %c %s: %s", err, e.AgentID, e.AgentName, e.AgentIP, e.Gateway, e.Queue, e.Location, e.Log))
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	defer func() { cancel(); <-done }()

	if _, err := a.Add(t.Context(), AddRequest{Name: "web-1", IP: "10.0.0.0/8"}); err != nil {
		t.Fatal(err)
	}
	again, err := a.Add(t.Context(), AddRequest{Name: "web-1", Force: schemas.ForcePolicy{Enabled: true, Purge: true}})
	if err != nil {
		t.Fatal(err)
	}
	a.SetPresence(schemas.Presence{V: 1, ID: again.ID, State: schemas.StateActive, Gateway: "a", AgentIP: "192.0.2.1", Updated: 1}, nil)
	eventually(t, "presence", func() bool { _, ok := a.Presence(again.ID); return ok })
	for _, purge := range []bool{false, true} { // the second only takes the entry away
		if err := a.Remove(t.Context(), again.ID, purge); err != nil {
			t.Fatal(err)
		}
	}
	_ = a.Remove(t.Context(), again.ID, true) // refused
	want := []string{
		"<nil> " + again.ID + " web-1 192.0.2.1 a 1 wazuh-monitord: ossec: Agent removed: 'web-1-any'.",
	}
	eventually(t, "the event", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) >= len(want) })
	time.Sleep(200 * time.Millisecond) // for one too many
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(told)
	if d := cmp.Diff(want, told); d != "" {
		t.Error(d)
	}
}

func TestWhatARemovalWritesIsWrittenBeforeTheRegistryEnds(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	for i := range 5 {
		r, err := Open(cluster, testBox(t, 7), "command", slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		ag, err := r.Add(t.Context(), AddRequest{Name: fmt.Sprintf("web%d", i)})
		if err == nil {
			err = r.Remove(t.Context(), ag.ID, true)
		}
		cancel()
		if err := errors.Join(err, <-done); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	f := cluster.Follow(schemas.TopicEvents, slog.New(slog.DiscardHandler), func(schemas.Record) { n++ })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	<-f.Ready()
	cancel()
	<-done
	if n != 5 {
		t.Errorf("%d events of 5 removals", n)
	}
}

func TestNodesShareOneTokenKeyAndTheirUsers(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, b := start(t, cluster, "a"), start(t, cluster, "b")
	var wg sync.WaitGroup
	keys := make([]string, 2)
	for i, r := range []*Registry{a, b} {
		wg.Go(func() {
			k, err := r.SetTokenKey(t.Context(), []byte("key of "+r.node))
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(k)
		})
	}
	wg.Wait()
	if keys[0] != keys[1] || keys[0] == "" {
		t.Errorf("two token keys: %q", keys)
	}
	if err := a.AddUser(t.Context(), User{Name: "wazuh", PasswordHash: "hash", Roles: []string{"administrator"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "user on the other node", func() bool { u, ok := b.User("wazuh"); return ok && u.PasswordHash == "hash" })
	var refusal *Refusal
	if err := b.AddUser(t.Context(), User{Name: "wazuh", PasswordHash: "x"}); !errors.As(err, &refusal) || refusal.Reason != ReasonUserExists {
		t.Error(err)
	}
}

func TestNoSecretStandsInTheTopicInClear(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	r := start(t, cluster, "a")
	if _, err := r.Add(t.Context(), AddRequest{Name: "web", Key: "very-secret-key"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var bad bool
	f := cluster.Follow(schemas.TopicRegistry, slog.New(slog.DiscardHandler), func(rec schemas.Record) {
		bad = bad || bytes.Contains(rec.Value, []byte("very-secret-key"))
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	<-f.Ready()
	cancel()
	<-done
	if bad {
		t.Error("the key is readable in the topic")
	}
}
