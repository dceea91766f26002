package rulesets

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	published "vedette/internal/rulesets"
	"vedette/internal/secret"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

// live runs the rulesets of a process that analyzes, until the test ends.
func live(t *testing.T, c *kafka.Cluster, node string, own *Ruleset, names ...string) (*Live, *published.Store) {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	store, err := published.Open(c, box, node, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := NewLive(Config{Names: names, Engine: engine.Config{ManagerName: "t", ClusterName: "t"}, Node: node}, store, own, true, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-l.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("no ruleset runs")
	}
	return l, store
}

// ruleset1 writes a directory with one rule and loads it.
func ruleset1(t *testing.T, id string) (dir string, r *Ruleset) {
	t.Helper()
	dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "rules"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := `<group name="t,"><rule id="` + id + `" level="3"><match>x</match><description>one</description></rule></group>`
	if err := os.WriteFile(filepath.Join(dir, "rules", "r.xml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Load([]string{dir}, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// A program of a later version carries another ruleset. It must not replace the
// ruleset that a person has published, but it replaces the one of the program before.
func TestAnUpgradeKeepsTheRulesetThatAPersonPublished(t *testing.T) {
	t.Parallel()
	for _, by := range []schemas.RulesetOrigin{schemas.OriginCommand, schemas.OriginDirectories} {
		c := kafkatest.New(t)
		_, before := ruleset1(t, "100001") // the one of the program before
		first, store := live(t, c, "n1", before, Builtin)
		_, mine := ruleset1(t, "100002")
		if err := store.Publish(t.Context(), mine.Version, sourceFiles(mine.Source), by); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the published ruleset runs", func() bool { return first.Current() == mine.Version })
		_, after := ruleset1(t, "100003")
		upgraded, _ := live(t, c, "n2", after, Builtin)
		want := mine.Version
		if by == schemas.OriginDirectories {
			want = after.Version
		}
		eventually(t, string(by)+": the right ruleset runs after the upgrade", func() bool { return upgraded.Current() == want && first.Current() == want })
	}
}

// A changed directory was changed by a person, and is published.
func TestAChangedDirectoryIsPublishedAtTheStart(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	dir, own := ruleset1(t, "100001")
	first, store := live(t, c, "n1", own, dir)
	_, mine := ruleset1(t, "100002")
	if err := store.Publish(t.Context(), mine.Version, sourceFiles(mine.Source), schemas.OriginCommand); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the published ruleset runs", func() bool { return first.Current() == mine.Version })
	changed, after := ruleset1(t, "100003")
	second, _ := live(t, c, "n2", after, changed)
	eventually(t, "the changed directory runs", func() bool { return second.Current() == after.Version })
}
