package embedded

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/datadir"
	"vedette/internal/history"
	"vedette/schemas"
	"vedette/test/harness"
)

func TestTheHistoryIsLongerThanTheLog(t *testing.T) {
	t.Parallel()
	const events = 500
	dir := filepath.Join(t.TempDir(), "data")
	run := func() (*harness.Process, datadir.Endpoints) {
		p := harness.Launch(t, bin, "run", dir, append(env(zero), "VEDETTE_EVENTS_RETENTION=1m"), "run")
		return p, p.Endpoints(t, time.Minute)
	}
	p, e := run()
	c := connect(t, dir, e)
	prod, err := c.NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-40 * time.Second).Truncate(time.Millisecond) // they need not wait so long
	var recs []schemas.Record
	for i := range events {
		ev := schemas.Event{AgentID: fmt.Sprintf("%03d", 1+i%20), AgentName: "a", Location: "/x", Queue: '1', Time: at.Add(time.Duration(i) * time.Millisecond), Log: fmt.Appendf(nil, "app: %d", i)}
		recs = append(recs, ev.Record())
	}
	if recs, err = prod.ProduceSync(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
	prod.Close()
	id, err := c.TopicID(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(time.Second) {
		ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
		if err != nil {
			t.Fatal(err)
		}
		left := int64(0)
		for _, r := range ranges {
			left += r.End - r.Start
		}
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("retention leaves %d events", left)
		}
	}
	// A killed process loses nothing from its files.
	p.Kill()
	p, _ = run()
	// Events that the log no longer has are replayed from the files, while they are written.
	cmd := exec.CommandContext(t.Context(), bin, "replay", "--out", "none", "--stats", "json")
	cmd.Env = append(os.Environ(), "VEDETTE_DATA_DIR="+dir)
	var stats struct {
		Events int64 `json:"events"`
	}
	if out, err := cmd.Output(); err != nil {
		t.Errorf("replay: %v", err)
	} else if err := json.Unmarshal(out, &stats); err != nil || stats.Events != events {
		t.Errorf("replay judged %d of %d events: %v\n%s", stats.Events, events, err, out)
	}
	if err := p.Stop(30 * time.Second); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	d, err := history.Open(filepath.Join(dir, datadir.History), id)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]schemas.Record{}
	for _, partition := range d.Partitions() {
		first, end, _ := d.Range(partition)
		if gaps := d.Gaps(partition); first != 0 || gaps != nil {
			t.Errorf("partition %d begins at %d, gaps %v", partition, first, gaps)
		}
		err := d.Read(t.Context(), partition, first, end, func(r schemas.Record) bool {
			got[fmt.Sprint(r.Partition, "/", r.Offset)] = r
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range recs {
		key := fmt.Sprint(want.Partition, "/", want.Offset)
		if d := cmp.Diff(want, got[key]); d != "" {
			t.Fatalf("%s: %s", key, d)
		}
	}
	if len(got) != events {
		t.Errorf("the history holds %d events, want %d", len(got), events)
	}
}
