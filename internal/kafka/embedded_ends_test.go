package kafka

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vedette/schemas"
)

// TestAnEmptyPartitionKeepsItsPlace has retention remove all of a partition. It
// then starts the broker anew: after an orderly stop, and after a kill.
func TestAnEmptyPartitionKeepsItsPlace(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	cfg := Default()
	cfg.EmbeddedListen, cfg.Partitions = "127.0.0.1:0", 1
	write := func(b *Embedded, want int64) {
		t.Helper()
		c := ConnectEmbedded(cfg, b.Addr, "secret")
		if _, err := c.ApplyTopics(t.Context(), Retention{Time: time.Hour}); err != nil {
			t.Fatal(err)
		}
		p, err := c.NewProducer("test", quiet, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		old := schemas.Event{AgentID: "001", AgentName: "a", Location: "/x", Queue: '1', Time: time.Now().Add(-2 * time.Hour), Log: []byte("x")}
		recs, err := p.ProduceSync(t.Context(), old.Record(), old.Record(), old.Record())
		if err != nil {
			t.Fatal(err)
		}
		if recs[0].Offset != want {
			t.Fatalf("written at offset %d, want %d", recs[0].Offset, want)
		}
	}
	empty := func(b *Embedded, end int64) {
		t.Helper()
		b.cluster.ApplyRetention()
		ranges, err := ConnectEmbedded(cfg, b.Addr, "secret").Ranges(t.Context(), schemas.TopicEvents)
		if err != nil || ranges[0] != (Range{end, end}) {
			t.Fatalf("the partition is %v, %v", ranges, err)
		}
	}
	noted := func(dir string, end int64) {
		t.Helper()
		for until := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if e, err := readEnds(dir); err == nil && e["vedette.events-0"] == end {
				return
			}
			if time.Now().After(until) {
				t.Fatal("the end is not noted")
			}
		}
	}
	begin := func(dir string) *Embedded {
		t.Helper()
		b, err := StartEmbedded(cfg, dir, "secret", func() error { return nil }, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}

	dir, killed := t.TempDir(), t.TempDir()
	b := begin(dir)
	write(b, 0)
	noted(dir, 3)
	empty(b, 3)
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil { // the files after SIGKILL: there is no snapshot yet
		t.Fatal(err)
	}
	b.Close()
	for name, dir := range map[string]string{"in order": dir, "killed": killed} {
		b := begin(dir)
		empty(b, 3) // nothing written since
		write(b, 3)
		b.Close()
		b = begin(dir)
		empty(b, 6)
		b.Close() // in order, with no segment left
		b = begin(dir)
		empty(b, 6)
		write(b, 6)
		b.Close()
		if t.Failed() {
			t.Fatal(name)
		}
	}

	// A record that a crash has half written does not count: the end stays.
	torn := func() {
		t.Helper()
		b := begin(dir)
		empty(b, 9)
		b.Close()
		folder := filepath.Join(dir, "kafka", "partitions", "vedette.events-0")
		for _, name := range []string{"9.dat", "9.idx"} { // a length of 64 KiB, of which little is there
			if err := os.WriteFile(filepath.Join(folder, name), []byte("\x00\x00\x00\x00\x00\x00\x00\x09\x00\x01\x00\x00 and no more"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	torn()
	b = begin(dir)
	empty(b, 9)
	write(b, 9)
	b.Close()
	b = begin(dir)
	empty(b, 12)
	b.Close()

	// A topic that was made anew begins at 0.
	b = begin(dir)
	if err := b.cluster.DeleteTopic("vedette.events"); err != nil {
		t.Fatal(err)
	}
	write(b, 0)
	b.Close()
	if err := os.WriteFile(filepath.Join(dir, "kafka-ends.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := StartEmbedded(cfg, dir, "secret", func() error { return nil }, quiet); err == nil {
		t.Error("ends that cannot be read are passed over")
	}
}
