package schemas

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func goldenCheckpoint() Checkpoint {
	return Checkpoint{
		Stage: "analyze", Topic: TopicEvents, TopicID: "AAAAAAAAAAAAAAAAAAAAAA", Partition: 7, Offset: 1234, Epoch: 3, Ruleset: "0011223344556677",
		Time: time.UnixMilli(1795309100271).UTC(), Slot: 1, ChunkPartition: 5, ChunkOffsets: []int64{90, 91, 93}, Bytes: 1_100_000, SHA256: sha256.Sum256([]byte("x")),
	}
}

func TestACheckpointSurvivesItsRecord(t *testing.T) {
	t.Parallel()
	want := goldenCheckpoint()
	r := goldenFile(t, "checkpoint-v1.json", want.Record())
	got, err := ParseCheckpoint("analyze", &r)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAManifestIsToldFromAChunk(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int32{"analyze/0": 0, "analyze/47": 47, "analyze/2147483647": 2147483647} {
		if p, ok := CheckpointManifestOf("analyze", []byte(key)); !ok || p != want {
			t.Errorf("%s: %d, %v", key, p, ok)
		}
	}
	c := Checkpoint{Stage: "analyze", Partition: 4, Slot: 1, ChunkPartition: 3}
	chunk := c.Chunk(12, []byte("data"))
	if string(chunk.Key) != "analyze/4/1/12" || chunk.Partition != 3 {
		t.Errorf("%s in %d", chunk.Key, chunk.Partition)
	}
	for _, key := range []string{string(chunk.Key), "", "analyze/", "analyze/-1", "analyze/01", "analyze/+1", "analyze/99999999999", "other/1"} {
		if _, ok := CheckpointManifestOf("analyze", []byte(key)); ok {
			t.Errorf("%q counts as a manifest", key)
		}
	}
	other := c.Chunk(13, []byte("data"))
	if string(MACInput(&chunk)) == string(MACInput(&other)) {
		t.Error("two chunks have one MAC")
	}
}

func TestAManifestOutOfBoundsIsRefused(t *testing.T) {
	t.Parallel()
	f := func(old, replacement string, want error) {
		t.Helper()
		c := goldenCheckpoint()
		r := c.Record()
		text := strings.Replace(string(r.Value), old, replacement, 1)
		if text == string(r.Value) {
			t.Fatalf("%s is not in %s", old, text)
		}
		r.Value = []byte(text)
		if _, err := ParseCheckpoint("analyze", &r); !errors.Is(err, want) {
			t.Errorf("%s: err = %v", replacement, err)
		}
	}
	f(`"v":1`, `"v":2`, ErrCheckpointVersion)
	f(`"partition":7`, `"partition":8`, ErrCheckpoint)
	f(`"offset":1234`, `"offset":-1`, ErrCheckpoint)
	f(`"slot":1`, `"slot":2`, ErrCheckpoint)
	f(`[90,91,93]`, `[]`, ErrCheckpoint)
	f(`[90,91,93]`, `[90,91,91]`, ErrCheckpoint)
	f(`"bytes":1100000`, `"bytes":99999999`, ErrCheckpoint)
	f(`"sha256":"2`, `"sha256":"`, ErrCheckpoint)
	f(`{`, `[`, ErrCheckpoint)
	f(`"topic":"`, `"more":"`+strings.Repeat("x", MaxCheckpointManifestBytes)+`","topic":"`, ErrCheckpoint)
}

func TestTheLargestManifestIsWithinItsBound(t *testing.T) {
	t.Parallel()
	c := goldenCheckpoint()
	c.ChunkOffsets = nil
	for i := range int64(MaxCheckpointChunks) {
		c.ChunkOffsets = append(c.ChunkOffsets, 1<<62+i)
	}
	if r := c.Record(); len(r.Value) > MaxCheckpointManifestBytes {
		t.Errorf("%d bytes", len(r.Value))
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	c := goldenCheckpoint()
	r := c.Record()
	f.Add(r.Key, r.Value)
	f.Add([]byte("analyze/0"), []byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r := Record{Key: key, Value: value}
		c, err := ParseCheckpoint("analyze", &r)
		if err != nil {
			return
		}
		again := c.Record()
		if len(again.Value) > MaxCheckpointManifestBytes {
			return // escaping made it longer
		}
		if got, err := ParseCheckpoint("analyze", &again); err != nil || cmp.Diff(c, got) != "" {
			t.Fatalf("%v: %s", err, cmp.Diff(c, got))
		}
	})
}
