package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vedette/config"
	"vedette/internal/blobs"
	"vedette/internal/groups"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/replica"
	published "vedette/internal/rulesets"
	"vedette/rulesets"
	"vedette/schemas"
)

// chunker makes the record of a chunk in the form of releases without the topic blobs.
type chunker func(sha256 string, n int, data []byte) schemas.Record

func oldChunks(of chunker, data []byte) []schemas.Record {
	var recs []schemas.Record
	n := 0
	for chunk := range slices.Chunk(data, schemas.MaxFileChunkBytes) {
		recs = append(recs, of(blobs.ContentOf(data).SHA256, n, chunk))
		n++
	}
	return recs
}

func random(seed byte, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// A data directory of the release without the topic blobs is carried over at the
// first start, and nothing of it is lost.
func TestADataDirectoryOfTheReleaseBeforeIsCarriedOver(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	c := config.Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.Kafka.EmbeddedListen, c.Ingest.TCP, c.Metrics.Listen = "127.0.0.1:0", "127.0.0.1:0", ""

	ruleset := []published.File{{Kind: schemas.FileGeoIP, Name: "places", Path: "places", Data: random(3, 17<<20)}}
	for i := range 200 {
		name := fmt.Sprintf("%03d.xml", i)
		ruleset = append(ruleset, published.File{Kind: schemas.FileRules, Name: name, Path: "rules/" + name, Data: random(4, 100+i)})
	}
	shared := []groups.File{{Path: "agent.conf", Data: []byte("<agent_config></agent_config>")}, {Path: "big", Data: random(1, schemas.MaxFileChunkBytes+9)}}
	upgrade := random(2, 3*schemas.MaxFileChunkBytes+1)
	packageOf := blobs.ContentOf(upgrade)

	var recs []schemas.Record
	add := func(rec schemas.Record, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("a record cannot be made: %v", err)
		}
		recs = append(recs, rec)
	}
	list := schemas.GroupFiles{Group: "web", Node: "old", Time: time.Now()}
	for _, f := range shared {
		recs = append(recs, oldChunks(schemas.SharedChunk, f.Data)...)
		id := blobs.ContentOf(f.Data)
		list.Files = append(list.Files, schemas.SharedFile{Path: f.Path, Size: id.Size, SHA256: id.SHA256})
	}
	add(list.Record())
	version := schemas.RulesetVersion{Version: "v-old", Node: "old", Time: time.Now()}
	for _, f := range ruleset {
		recs = append(recs, oldChunks(schemas.FileChunk, f.Data)...)
		id := blobs.ContentOf(f.Data)
		version.Files = append(version.Files, schemas.RulesetFile{Kind: f.Kind, Name: f.Name, Path: f.Path, Size: id.Size, SHA256: id.SHA256})
	}
	add(version.Record())
	current := schemas.RulesetCurrent{Version: version.Version, Origin: schemas.OriginDirectories, Node: "old", Time: time.Now()}
	add(current.Record(), nil)
	recs = append(recs, oldChunks(schemas.PackageChunk, upgrade)...)
	pkg := schemas.Package{File: "x.wpk", SHA256: packageOf.SHA256, Size: packageOf.Size, Node: "old", Time: time.Now()}
	add(pkg.Record())
	writeFiles(t, c, recs)

	for _, start := range []string{"first", "second"} {
		a, stop := launchRoles(t, c, RoleIngest, RoleAnalyze)
		if got, _ := a.groups.Files("web"); !slices.EqualFunc(shared, got, func(a, b groups.File) bool { return a.Path == b.Path && bytes.Equal(a.Data, b.Data) }) {
			t.Errorf("%s start: the group's files are others", start)
		}
		for state, n := range readContents(t, a) {
			if state != "groups" && start == "second" && n > 0 {
				t.Errorf("a start read %v contents of the %s; it needs control records only", n, state)
			}
		}
		err := rulesets.WithStore(t.Context(), a.cluster, a.box, "reader", log, func(ctx context.Context, s *published.Store) error {
			if got, err := s.Files(ctx, version.Version); err != nil || !slices.EqualFunc(ruleset, got, sameFile) {
				t.Errorf("%s start: the files of the published ruleset are others, or there is an error: %v", start, err)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s start: the rulesets cannot be read: %v", start, err)
		}
		if got, err := a.packages.Package(t.Context(), &schemas.AgentUpgrade{SHA256: packageOf.SHA256, Size: packageOf.Size}); err != nil || !bytes.Equal(got, upgrade) {
			t.Errorf("%s start: the package has %d bytes and the error %v", start, len(got), err)
		}
		for end := time.Now().Add(2 * time.Minute); oldForm(t, a.cluster) > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d chunks stay in the topic files", oldForm(t, a.cluster))
			}
		}
		stop()
	}
}

func sameFile(a, b published.File) bool {
	return a.Kind == b.Kind && a.Name == b.Name && a.Path == b.Path && bytes.Equal(a.Data, b.Data)
}

// Beside nodes of the release before, contents stay where those find them. Once the
// registry says that all nodes are upgraded, they are carried over.
func TestContentsAreCarriedOverWhenTheRegistrySaysSo(t *testing.T) {
	t.Parallel()
	cluster, broker := kafkatest.Start(t)
	c := config.Default()
	dir := t.TempDir()
	c.DataDir, c.Kafka.Brokers, c.Cluster.KeyFile = filepath.Join(dir, "data"), broker.ListenAddrs(), filepath.Join(dir, "key")
	c.Ingest.TCP, c.Metrics.Listen = "127.0.0.1:0", ""
	if err := os.WriteFile(c.Cluster.KeyFile, []byte(strings.Repeat("0a", 32)), 0o600); err != nil {
		t.Fatalf("no key: %v", err)
	}
	data := []byte("by the old node")
	id := blobs.ContentOf(data)
	list := schemas.GroupFiles{Group: "web", Node: "old", Time: time.Now(), Files: []schemas.SharedFile{{Path: "x", Size: id.Size, SHA256: id.SHA256}}}
	named, err := list.Record()
	if err != nil {
		t.Fatalf("no list: %v", err)
	}
	writeFiles(t, c, append(oldChunks(schemas.SharedChunk, data), named))
	addGroupAsBefore(t, c, "web")

	a, stop := launchRoles(t, c, RoleIngest)
	defer stop()
	if err := a.groups.Publish(t.Context(), "db", []groups.File{{Path: "y", Data: []byte("by the new node")}}); err != nil {
		t.Fatalf("Publish returned %v", err)
	}
	if n := oldForm(t, cluster); n != 2 {
		t.Fatalf("%d chunks stand in files; a node of the release before needs both there", n)
	}
	if _, err := a.registry.Activate(t.Context(), nil, nil); err != nil {
		t.Fatalf("Activate returned %v", err)
	}
	for end := time.Now().Add(2 * time.Minute); oldForm(t, cluster) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d chunks stay in the topic files after the activation", oldForm(t, cluster))
		}
	}
	late, stopLate := launchRoles(t, elsewhere(t, c), RoleIngest)
	defer stopLate()
	for group, want := range map[string]string{"web": "by the old node", "db": "by the new node"} {
		files, _ := late.groups.Files(group)
		if !slices.ContainsFunc(files, func(f groups.File) bool { return string(f.Data) == want }) {
			t.Errorf("a node that starts later has for the group %s the files %q, want one with %q", group, files, want)
		}
	}
}

// elsewhere is the configuration of another machine.
func elsewhere(t *testing.T, c config.Config) config.Config {
	t.Helper()
	c.DataDir, c.Cluster.Node = filepath.Join(t.TempDir(), "data"), "elsewhere"
	return c
}

// addGroupAsBefore writes a record to the registry as a program before activation does.
func addGroupAsBefore(t *testing.T, c config.Config, name string) {
	t.Helper()
	d, err := OpenData(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("the brokers cannot be reached: %v", err)
	}
	defer d.Close()
	p := schemas.Proposal{
		V: 1, ID: strings.Repeat("0b", 16), Kind: schemas.ProposalGroupAdd, Time: time.Now().UnixMilli(), Proposer: "old", GroupAdd: &schemas.GroupName{Name: name},
	}
	value, err := p.Encode()
	if err != nil {
		t.Fatalf("no proposal: %v", err)
	}
	prod, err := d.Cluster.NewProducer("old", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatalf("no producer: %v", err)
	}
	defer prod.Close()
	if _, err := prod.ProduceSync(t.Context(), schemas.ProposalRecord(value, d.Box.MAC("registry record", value))); err != nil {
		t.Fatalf("the proposal is not written: %v", err)
	}
}

// launchRoles runs roles until stop is called.
func launchRoles(t *testing.T, c config.Config, roles ...string) (a *App, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := Start(ctx, c, roles, slog.New(slog.DiscardHandler))
	if err != nil {
		cancel()
		t.Fatalf("it does not start: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
	select {
	case <-a.Ready():
	case <-time.After(2 * time.Minute):
		health := a.Health()
		stop()
		t.Fatalf("it is not ready: %v", health)
	}
	return a, stop
}

// writeFiles writes records to the topic files of a data directory, sealed.
func writeFiles(t *testing.T, c config.Config, recs []schemas.Record) {
	t.Helper()
	d, err := OpenData(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("the data directory does not open: %v", err)
	}
	defer d.Close()
	p, err := d.Cluster.NewProducer("old", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatalf("no producer: %v", err)
	}
	defer p.Close()
	for i := range recs {
		recs[i] = replica.Seal(d.Box, "files", recs[i])
	}
	if _, err := p.ProduceSync(t.Context(), recs...); err != nil {
		t.Fatalf("the records are not written: %v", err)
	}
}

// oldForm counts the chunks that the topic files holds.
func oldForm(t *testing.T, cluster *kafka.Cluster) int {
	t.Helper()
	r, err := cluster.Ranges(t.Context(), schemas.TopicFiles)
	if err != nil {
		t.Fatalf("the topic files has no range: %v", err)
	}
	there := map[string]bool{}
	err = cluster.Read(t.Context(), schemas.TopicFiles, 0, r[0], func(rec schemas.Record) bool {
		for _, o := range []schemas.BlobOwner{schemas.BlobShared, schemas.BlobRuleset, schemas.BlobPackage} {
			if _, _, ok := o.ChunkOf(rec.Key); !ok {
				continue
			}
			if there[string(rec.Key)] = true; len(rec.Value) == 0 {
				delete(there, string(rec.Key))
			}
		}
		return true
	})
	if err != nil {
		t.Fatalf("the topic files cannot be read: %v", err)
	}
	return len(there)
}

// readContents returns how many contents were read, by state.
func readContents(t *testing.T, a *App) map[string]float64 {
	t.Helper()
	families, err := a.reg.Gather()
	if err != nil {
		t.Fatalf("the metrics cannot be gathered: %v", err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "vedette_blobs_reads_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "state" {
					out[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	if len(out) != 3 {
		t.Errorf("contents are counted for %d states, want 3", len(out))
	}
	return out
}
