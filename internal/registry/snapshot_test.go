package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/secret"
	"vedette/schemas"
)

// startWith is start with a key, and snapshots as often as the test wants.
func startWith(t testing.TB, cluster *kafka.Cluster, box *secret.Box, node string, every int, prepare ...func(*Registry)) (r *Registry, stop func()) {
	t.Helper()
	r, err := Open(cluster, box, node, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if every > 0 {
		r.snapshotEvery, r.snapshotWait = every, 20*time.Millisecond
	}
	for _, fn := range prepare {
		fn(r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

func ready(t testing.TB, r *Registry) {
	t.Helper()
	select {
	case <-r.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("registry is not ready: ", r.Err())
	}
}

func (r *Registry) bytes() []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.AppendBinary(nil)
}

func same(t *testing.T, want, got *Registry) {
	t.Helper()
	eventually(t, want.node+" and "+got.node+" hold the same state", func() bool { return bytes.Equal(want.bytes(), got.bytes()) })
}

func addAgents(t testing.TB, r *Registry, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := r.Add(t.Context(), AddRequest{Name: fmt.Sprint("agent", i)}); err != nil {
			t.Fatal(err)
		}
	}
}

func logStart(t testing.TB, c *kafka.Cluster, topic string) int64 {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return ranges[0].Start
}

func TestNodesThatStartWithASnapshotHoldTheSameState(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, _ := startWith(t, cluster, testBox(t, 7), "a", 40)
	b, _ := startWith(t, cluster, testBox(t, 7), "b", 40)
	ready(t, a)
	ready(t, b)
	rng := rand.New(rand.NewPCG(1, 1))
	nodes := []*Registry{a, b}
	ctx := t.Context()
	for i := range 400 {
		r := nodes[rng.IntN(2)]
		id := fmt.Sprintf("%03d", 1+rng.IntN(60))
		switch k := rng.IntN(10); {
		case k < 4:
			_, _ = r.Add(ctx, AddRequest{Name: fmt.Sprint("ag", rng.IntN(80)), Force: schemas.ForcePolicy{Enabled: true, Purge: rng.IntN(2) == 0}})
		case k < 5:
			_ = r.Remove(ctx, id, rng.IntN(2) == 0)
		case k < 6:
			_ = r.AddGroup(ctx, fmt.Sprint("g", rng.IntN(8)))
		case k < 7 && rng.IntN(3) == 0:
			_ = r.RemoveGroup(ctx, fmt.Sprint("g", rng.IntN(8)))
		default:
			_ = r.SetGroups(ctx, id, schemas.GroupsAppend, []string{fmt.Sprint("g", rng.IntN(8))})
		}
		if i%100 == 99 {
			c, stop := startWith(t, cluster, testBox(t, 7), fmt.Sprint("c", i), 0)
			ready(t, c)
			same(t, a, c)
			stop()
		}
	}
	same(t, a, b)
	eventually(t, "the registry is cut", func() bool { return logStart(t, cluster, schemas.TopicRegistry) > 0 })
	if logStart(t, cluster, schemas.TopicSnapshots) == 0 && testutil.ToFloat64(a.m.snapshots)+testutil.ToFloat64(b.m.snapshots) > 3 {
		t.Error("old snapshots stay")
	}
	d, _ := startWith(t, cluster, testBox(t, 7), "d", 0)
	ready(t, d)
	same(t, a, d)
	if n := testutil.ToFloat64(a.m.snapshots) + testutil.ToFloat64(b.m.snapshots); n < 3 || n > 100 {
		t.Errorf("%v snapshots", n)
	}
}

func TestABrokenSnapshotGivesWayToTheOneBefore(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	box := testBox(t, 7)
	a, _ := startWith(t, cluster, box, "a", 0)
	ready(t, a)
	addAgents(t, a, 0, 10)
	if _, err := a.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	addAgents(t, a, 10, 20)
	ctx := t.Context()
	topicID, err := cluster.TopicID(ctx, schemas.TopicRegistry)
	if err != nil {
		t.Fatal(err)
	}
	// write writes a snapshot as a node would that fails, or lies, in some way.
	write := func(change func(m *schemas.SnapshotManifest, chunk []byte) []byte, box *secret.Box) {
		t.Helper()
		state := a.bytes()
		sum := sha256.Sum256(state)
		m := schemas.SnapshotManifest{
			V: 1, ID: secret.RandomHex(16), Format: a.state.form(), TopicID: topicID, Offset: a.state.offset, Bytes: int64(len(state)), SHA256: hex.EncodeToString(sum[:]),
		}
		sealed := change(&m, box.Seal(purposeSnapshot, state, []byte(schemas.SnapshotChunkName(m.ID, 0))))
		done, err := a.prod.ProduceSync(ctx, schemas.SnapshotChunkRecord(m.ID, 0, sealed))
		if err != nil {
			t.Fatal(err)
		}
		m.Chunks = []int64{done[0].Offset}
		value, _ := m.Encode()
		if m.Bytes == 0 {
			return // died before the manifest
		}
		if _, err := a.prod.ProduceSync(ctx, schemas.SnapshotManifestRecord(value, box.MAC(purposeSnapshot, value))); err != nil {
			t.Fatal(err)
		}
	}
	write(func(_ *schemas.SnapshotManifest, c []byte) []byte { c[40] ^= 1; return c }, box)
	write(func(m *schemas.SnapshotManifest, c []byte) []byte {
		m.SHA256 = hex.EncodeToString(make([]byte, 32))
		return c
	}, box)
	write(func(m *schemas.SnapshotManifest, c []byte) []byte { m.Offset--; return c }, box)
	write(func(m *schemas.SnapshotManifest, c []byte) []byte { m.Offset++; return c }, box)
	write(func(m *schemas.SnapshotManifest, c []byte) []byte { m.Format = formNewest + 1; return c }, box)
	write(func(m *schemas.SnapshotManifest, c []byte) []byte { m.TopicID = "another"; c[40] ^= 1; return c }, box)
	write(func(m *schemas.SnapshotManifest, c []byte) []byte { m.Bytes = 0; return c }, box)
	write(func(_ *schemas.SnapshotManifest, c []byte) []byte { return c }, testBox(t, 8))
	b, stop := startWith(t, cluster, box, "b", 0)
	ready(t, b)
	same(t, a, b)
	if n := testutil.ToFloat64(b.m.badSnapshots.WithLabelValues("broken")); n != 4 {
		t.Errorf("%v broken ones counted", n)
	}
	if n := testutil.ToFloat64(b.m.badSnapshots.WithLabelValues("newer")); n != 1 {
		t.Errorf("%v of a later program counted", n)
	}
	if n := testutil.ToFloat64(b.m.badSnapshots.WithLabelValues("topic")); n != 1 {
		t.Errorf("%v of another topic counted", n)
	}
	if n := testutil.ToFloat64(b.m.unverified.WithLabelValues("mac")); n != 1 {
		t.Errorf("%v that did not verify counted", n)
	}
	if b.snapshotDue() {
		t.Error("a node that could not verify everything would write a snapshot by itself")
	}
	stop()
	// Without a log to fall back on, a broken snapshot must not become an empty registry.
	if err := cluster.DeleteBefore(ctx, schemas.TopicRegistry, 0, 15); err != nil {
		t.Fatal(err)
	}
	c, _ := startWith(t, cluster, box, "c", 0)
	eventually(t, "it says what is missing", func() bool { return errors.Is(c.Err(), errGone) && errors.Is(c.Err(), ErrNewer) })
	select {
	case <-c.Ready():
		t.Error("ready without its state")
	default:
	}
	if _, err := a.Snapshot(ctx); err != nil { // who holds the state can mend it
		t.Fatal(err)
	}
	ready(t, c)
	same(t, a, c)
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

func TestASnapshotAheadOfTheLogLosesNoNewRecord(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	box := testBox(t, 7)
	a, stop := startWith(t, cluster, box, "a", 0)
	ready(t, a)
	s := large(5)
	s.offset = 1200 // the brokers have lost that much
	a.install(s)
	if _, err := a.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	b, _ := startWith(t, cluster, box, "b", 0)
	c, _ := startWith(t, cluster, box, "c", 0)
	ready(t, b)
	ready(t, c)
	addAgents(t, b, 10, 13)
	addAgents(t, c, 13, 16)
	same(t, b, c)
	if n := len(b.Agents()); n != 11 {
		t.Errorf("%d agents", n)
	}
}

func TestANodeThatSleptOverACutGoesOnFromASnapshot(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	box := testBox(t, 7)
	a, _ := startWith(t, cluster, box, "a", 0)
	ready(t, a)
	ctx := t.Context()
	if err := a.AddGroup(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	addAgents(t, a, 0, 4)
	// b is a node that is driven by hand: it has read up to here, and sleeps.
	b, err := Open(cluster, box, "b", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.prod.Close()
	read := func() {
		t.Helper()
		ranges, err := cluster.Ranges(ctx, schemas.TopicRegistry)
		if err == nil {
			err = cluster.Read(ctx, schemas.TopicRegistry, 0, ranges[0], func(rec schemas.Record) bool { b.onProposal(ctx, rec); return true })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read()
	same(t, a, b)
	told := map[string]int{}
	b.Subscribe(func(c Change) { told[fmt.Sprintf("%s %v %d", c.Agent.ID, c.Agent.Removed, c.Kind)]++ })
	if err := a.Remove(ctx, "001", true); err != nil {
		t.Fatal(err)
	}
	if err := a.SetGroups(ctx, "002", schemas.GroupsOverride, []string{"web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Add(ctx, AddRequest{Name: "agent2", Force: schemas.ForcePolicy{Enabled: true}}); err != nil { // 003 becomes 005
		t.Fatal(err)
	}
	for range 2 {
		if _, err := a.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Add(ctx, AddRequest{Name: "later"}); err != nil {
		t.Fatal(err)
	}
	if logStart(t, cluster, schemas.TopicRegistry) < 5 {
		t.Fatal("nothing was cut")
	}
	read()
	same(t, a, b)
	want := map[string]int{"001 true 0": 1, "002 false 1": 1, "003 true 0": 1, "005 false 0": 1, "006 false 0": 1}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

func TestANodeWithAnotherClusterKeySaysSoAndChangesNothing(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, _ := startWith(t, cluster, testBox(t, 7), "a", 0)
	ready(t, a)
	addAgents(t, a, 0, 3)
	for _, snapshot := range []bool{false, true} {
		if snapshot {
			for range 2 {
				if _, err := a.Snapshot(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		x, stop := startWith(t, cluster, testBox(t, 8), "x", 1)
		if snapshot { // the log is gone, and it cannot read the snapshot
			eventually(t, "it says so", func() bool { return errors.Is(x.Err(), ErrWrongKey) })
		} else {
			ready(t, x)
			if !errors.Is(x.Err(), ErrWrongKey) {
				t.Error(x.Err())
			}
			if _, err := x.Add(t.Context(), AddRequest{Name: "evil"}); !errors.Is(err, ErrWrongKey) {
				t.Errorf("proposed: %v", err)
			}
			if _, err := x.Snapshot(t.Context()); !errors.Is(err, ErrWrongKey) {
				t.Errorf("written: %v", err)
			}
		}
		stop()
	}
	if err := a.Err(); err != nil {
		t.Error(err)
	}
	addAgents(t, a, 3, 4)
}

func TestTheClusterKeyIsReplacedWithoutAnInterruption(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	older, newer := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{9}, 32)
	box := func(keys ...[]byte) *secret.Box {
		b, err := secret.NewBox(keys[0], keys[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, _ := startWith(t, cluster, box(older, newer), "a", 0)
	ready(t, a)
	addAgents(t, a, 0, 5)
	b, _ := startWith(t, cluster, box(newer, older), "b", 0)
	ready(t, b)
	addAgents(t, b, 5, 10)
	addAgents(t, a, 10, 12)
	same(t, a, b)
	for range 2 {
		if _, err := b.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	addAgents(t, b, 12, 15)
	c, _ := startWith(t, cluster, box(newer), "c", 0)
	ready(t, c)
	same(t, b, c)
	addAgents(t, c, 15, 20)
	same(t, c, a)
	if n := c.Status().Unverified; n != 0 || len(c.Agents()) != 20 {
		t.Errorf("%d records do not verify, %d agents", n, len(c.Agents()))
	}
}

func TestOneOfTwoNodesThatProposeTheSameNameWins(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, _ := startWith(t, cluster, testBox(t, 7), "a", 50)
	b, _ := startWith(t, cluster, testBox(t, 7), "b", 50)
	ready(t, a)
	ready(t, b)
	var wg sync.WaitGroup
	for i := range 200 {
		won := make([]string, 2)
		wg.Go(func() {
			var both sync.WaitGroup
			for n, r := range []*Registry{a, b} {
				both.Go(func() {
					ag, err := r.Add(t.Context(), AddRequest{Name: fmt.Sprint("twin", i), IP: fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250)})
					var ref *Refusal
					switch {
					case err == nil:
						won[n] = ag.ID
					case !errors.As(err, &ref) || ref.Reason != ReasonDuplicateAddress:
						t.Error(err)
					}
				})
			}
			both.Wait()
			if (won[0] == "") == (won[1] == "") {
				t.Errorf("round %d: %q", i, won)
			}
		})
	}
	wg.Wait()
	same(t, a, b)
	if n := len(a.Agents()); n != 200 {
		t.Errorf("%d agents", n)
	}
}

// large returns a state with so many agents, as if enrolled one by one.
func large(n int) *State {
	s := NewState()
	for i := range n {
		p := schemas.Proposal{V: 1, ID: secret.RandomHex(16), Kind: schemas.ProposalAgentAdd, Time: 1_700_000_000_000 + int64(i)}
		p.AgentAdd = &schemas.AgentAdd{Name: fmt.Sprintf("host-%06d.example.org", i), IP: "any", Groups: []string{"default"}}
		s.Apply(&p, secret.String(secret.RandomHex(32)), int64(i))
	}
	s.offset = -1 // the log holds none of it
	return s
}

func TestOneHundredThousandAgentsComeBackFromASnapshot(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("short")
	}
	cluster := kafkatest.New(t)
	a, _ := startWith(t, cluster, testBox(t, 7), "a", 0)
	ready(t, a)
	a.install(large(100_000))
	if _, err := a.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	b, _ := startWith(t, cluster, testBox(t, 7), "b", 0)
	ready(t, b)
	t.Logf("ready after %s", time.Since(began).Round(time.Millisecond))
	if !bytes.Equal(a.bytes(), b.bytes()) {
		t.Error("another state")
	}
}

func BenchmarkStartFromSnapshot(b *testing.B) {
	cluster := kafkatest.New(b)
	a, _ := startWith(b, cluster, testBox(b, 7), "a", 0)
	ready(b, a)
	a.install(large(100_000))
	if _, err := a.Snapshot(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(a.bytes()))/1e6, "MB")
	for b.Loop() {
		r, stop := startWith(b, cluster, testBox(b, 7), "b", 0)
		ready(b, r)
		stop()
	}
}
