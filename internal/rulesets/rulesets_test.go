package rulesets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// start runs a store until the test ends; key is the cluster key's only byte.
func start(t *testing.T, c *kafka.Cluster, node string, key byte) *Store {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(c, box, node, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("the store is not ready")
	}
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func files(text string) []File {
	return []File{
		{Kind: schemas.FileDecoders, Name: "d.xml", Path: "a/decoders/d.xml", Data: []byte("<decoder/>")},
		{Kind: schemas.FileRules, Name: "r.xml", Path: "a/rules/r.xml", Data: []byte(text)},
		{Kind: schemas.FileList, Name: "empty", Path: "a/lists/empty", Data: []byte{}},
	}
}

func TestAPublishedVersionIsReadByAnotherNode(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a, b := start(t, c, "a", 1), start(t, c, "b", 1)
	if _, ok, _ := a.Current(); ok {
		t.Fatal("there is a current version before any was published")
	}
	want := files("one")
	// A list larger than a record, with chunks that look alike.
	want = append(want, File{Kind: schemas.FileList, Name: "big", Path: "a/lists/big", Data: bytes.Repeat([]byte("0123456789abcdef"), schemas.MaxFileChunkBytes/8)})
	if err := a.Publish(t.Context(), "v1", want, schemas.OriginDirectories); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b runs v1", func() bool { cur, ok, _ := b.Current(); return ok && cur.Version == "v1" })
	got, err := b.Files(t.Context(), "v1")
	if err != nil || cmp.Diff(want, got) != "" {
		t.Error(err, cmp.Diff(want, got))
	}
	if _, err := b.Files(t.Context(), "v0"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	// A node that starts later knows the same.
	late := start(t, c, "late", 1)
	if cur, ok, _ := late.Current(); !ok || cur.Version != "v1" || cur.Node != "a" {
		t.Error(cur, ok)
	}
	if err := b.Publish(t.Context(), "v2", files("two"), schemas.OriginCommand); err != nil {
		t.Fatal(err)
	}
	if err := b.Promote(t.Context(), "v1", schemas.OriginCommand); err != nil {
		t.Fatal(err)
	}
	if cur, _, _ := b.Current(); cur.Version != "v1" || cur.Previous != "v2" {
		t.Error(cur)
	}
	if err := b.Promote(t.Context(), "v9", schemas.OriginCommand); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

func TestWorkersAreSeenByTheOthers(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	a, b := start(t, c, "a", 1), start(t, c, "b", 1)
	if err := a.Report(t.Context(), schemas.RulesetWorker{Version: "v1", Partitions: map[string]int{"v1": 3}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b sees a", func() bool { w := b.Workers(); return len(w) == 1 && w[0].Node == "a" && w[0].Partitions["v1"] == 3 })
	if err := a.Report(t.Context(), schemas.RulesetWorker{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a is gone", func() bool { return len(b.Workers()) == 0 })
	b.mu.Lock()
	b.workers["old"] = schemas.RulesetWorker{Node: "old", Time: time.Now().Add(-time.Hour)}
	b.mu.Unlock()
	if w := b.Workers(); len(w) != 0 {
		t.Errorf("a worker that has been silent for an hour is listed: %v", w)
	}
}

func TestContentIsWrittenOnce(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	s := start(t, c, "a", 1)
	count := func() int64 {
		r, err := c.Ranges(t.Context(), schemas.TopicFiles)
		if err != nil {
			t.Fatal(err)
		}
		return r[0].End
	}
	if err := s.Publish(t.Context(), "v1", files("one"), schemas.OriginDirectories); err != nil {
		t.Fatal(err)
	}
	before := count()
	if err := s.Publish(t.Context(), "v2", files("two"), schemas.OriginDirectories); err != nil {
		t.Fatal(err)
	}
	if n := count() - before; n != 3 { // the file that differs, the list of files, the current version
		t.Errorf("%d records were written", n)
	}
}

func TestOldVersionsGoButNotTheirSharedContent(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	s := start(t, c, "a", 1)
	for i := range Kept + 5 {
		if err := s.Publish(t.Context(), fmt.Sprint("v", i), files(fmt.Sprint("text ", i)), schemas.OriginDirectories); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the oldest are gone", func() bool { return len(s.Versions()) == Kept })
	if s.Known("v4") || !s.Known("v5") {
		t.Error("the wrong ones are gone")
	}
	if _, err := s.Files(t.Context(), "v5"); err != nil {
		t.Error(err)
	}
}

func TestRecordsUnderAnotherKeyAreNotApplied(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	s := start(t, c, "a", 1)
	if err := s.Publish(t.Context(), "v1", files("one"), schemas.OriginDirectories); err != nil {
		t.Fatal(err)
	}
	foreign := start(t, c, "evil", 2)
	go func() { // it never reads back what it wrote, since it knows no version
		_ = foreign.Publish(t.Context(), "v2", files("two"), schemas.OriginCommand)
	}()
	tomb := schemas.Record{Topic: schemas.TopicFiles, Key: []byte("ruleset/version/v1")}
	p, err := c.NewProducer("evil", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.ProduceSync(t.Context(), tomb); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they are in the dead letter", func() bool {
		r, err := c.Ranges(t.Context(), schemas.TopicDeadLetter)
		if err != nil {
			return false
		}
		var n int64
		for _, p := range r {
			n += p.End
		}
		return n >= 4
	})
	if cur, _, _ := s.Current(); cur.Version != "v1" || !s.Known("v1") {
		t.Error(cur)
	}
}

func TestBrokenContentIsNoticed(t *testing.T) {
	t.Parallel()
	c := kafkatest.New(t)
	s := start(t, c, "a", 1)
	if err := s.Publish(t.Context(), "v1", files("one"), schemas.OriginDirectories); err != nil {
		t.Fatal(err)
	}
	v := s.versions["v1"]
	rec, err := v.Record()
	if err != nil {
		t.Fatal(err)
	}
	rec.Value = bytes.Replace(rec.Value, []byte(v.Files[1].SHA256), []byte(strings.Repeat("0a", 32)), 1)
	if err := s.content.Put(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Files(t.Context(), "v1"); !errors.Is(err, ErrContent) {
		t.Error(err)
	}
}
