package nodes

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// start runs a view until stop, or until the test ends.
func start(t testing.TB, cluster *kafka.Cluster, box *secret.Box, self *schemas.Node) (n *Nodes, stop func()) {
	t.Helper()
	n, err := Open(cluster, box, self, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	n.every = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return n, stop
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

func names(n *Nodes) string {
	s := ""
	for _, x := range n.List() {
		s += x.Key() + " "
	}
	return s
}

func TestProcessesKnowEachOtherUntilTheyEnd(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	self := func(name string, roles ...string) *schemas.Node {
		return &schemas.Node{V: 1, Name: name, Roles: roles, Version: "1", Registry: schemas.KnownFormats()}
	}
	a, _ := start(t, cluster, box, self("a", "ingest"))
	_, stopB := start(t, cluster, box, self("b", "api", "enroll"))
	look, _ := start(t, cluster, box, nil)
	for _, n := range []*Nodes{a, look} {
		eventually(t, "each process sees both", func() bool { return names(n) == "a/ingest b/api+enroll " })
	}
	if got := a.List()[1]; got.Version != "1" || got.Registry[schemas.ProposalUserAdd] != 1 || got.Updated == 0 {
		t.Errorf("the announcement lost a part: %+v", got)
	}
	before := a.List()[0].Updated
	eventually(t, "the announcement is written again", func() bool { return look.List()[0].Updated > before })
	stopB()
	for _, n := range []*Nodes{a, look} {
		eventually(t, "the process that ended is gone", func() bool { return names(n) == "a/ingest " })
	}
}

func TestEachAnnouncementHasTheCountersOfItsMoment(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	var n atomic.Int64
	open := func(name string) *Nodes {
		x, err := Open(cluster, box, &schemas.Node{V: 1, Name: name, Host: "host-" + name, Roles: []string{"ingest"}}, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		x.every = 20 * time.Millisecond
		return x
	}
	a := open("a")
	a.OnAnnounce(func() map[string]float64 { return map[string]float64{"ingest.events": float64(n.Add(1))} })
	b := open("b")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, x := range []*Nodes{a, b} {
		wg.Go(func() { _ = x.Run(ctx) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "b sees how a counts on, and a's host", func() bool {
		list := b.List()
		return len(list) == 2 && list[0].Counters["ingest.events"] > 1 && list[0].Host == "host-a" && list[1].Counters == nil
	})
}

func TestTheAnnouncementOfAKilledProcessGoesAfterADay(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	a, _ := start(t, cluster, box, &schemas.Node{V: 1, Name: "a", Roles: []string{"api"}})
	put := func(name string, updated time.Time) {
		t.Helper()
		n := schemas.Node{V: 1, Name: name, Roles: []string{"api"}, Updated: updated.UnixMilli()}
		value, err := n.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.topic.Write(t.Context(), schemas.NodeRecord(n.Key(), value)); err != nil {
			t.Fatal(err)
		}
	}
	put("killed", time.Now().Add(-23*time.Hour))
	put("long-gone", time.Now().Add(-25*time.Hour))
	// Records are read in their order: then the tombstone has been seen.
	eventually(t, "the older announcement is removed", func() bool { return names(a) == "a/api killed/api " })
}

func TestAForeignAnnouncementChangesNothing(t *testing.T) {
	t.Parallel()
	cluster, box := kafkatest.New(t), testBox(t, 7)
	a, _ := start(t, cluster, box, &schemas.Node{V: 1, Name: "a", Roles: []string{"api"}, Version: "mine"})
	eventually(t, "the own announcement is read", func() bool { return names(a) == "a/api " })
	stranger, _ := start(t, cluster, testBox(t, 8), &schemas.Node{V: 1, Name: "a", Roles: []string{"api"}, Version: "forged"})
	<-stranger.Ready()
	// Under another key than it says, and then a node that is read behind both.
	if _, err := a.topic.Write(t.Context(), schemas.NodeRecord("x/api", []byte(`{"v":1,"name":"a","roles":["api"]}`)), schemas.NodeRecord("z/api", []byte(`{"v":1,"name":"z","roles":["api"]}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last announcement is read", func() bool { return names(a) == "a/api z/api " })
	if got := a.List()[0].Version; got != "mine" {
		t.Errorf("the announcement of the stranger was taken: version %q", got)
	}
}

func FuzzParseNode(f *testing.F) {
	f.Add([]byte("a/api"), []byte(`{"v":1,"name":"a","roles":["api"],"registry":{"user.add":1}}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		n, err := schemas.ParseNode(&schemas.Record{Key: key, Value: value})
		if err == nil && n.Key() != string(key) {
			t.Errorf("the announcement of %q was taken under %q", n.Key(), key)
		}
	})
}
