package ruleset_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// loadMix reads events in the form of logtest's NDJSON input.
func loadMix(b *testing.B, file string) []schemas.Event {
	b.Helper()
	f, err := os.Open(file)
	if err != nil {
		b.Skipf("no such mix: %v", err)
	}
	defer f.Close()
	var evs []schemas.Event
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var in struct {
			Log, Queue, Location string
			Timestamp            time.Time
			Agent                struct{ ID, Name, IP string }
		}
		if err := json.Unmarshal(sc.Bytes(), &in); err != nil {
			b.Fatal(err)
		}
		evs = append(evs, schemas.Event{
			Time: in.Timestamp, AgentID: in.Agent.ID, AgentName: in.Agent.Name, AgentIP: in.Agent.IP,
			Location: in.Location, Queue: in.Queue[0], Log: []byte(in.Log),
		})
	}
	if err := sc.Err(); err != nil {
		b.Fatal(err)
	}
	return evs
}

func benchmark(b *testing.B, eng *engine.Engine, evs []schemas.Event) {
	s := eng.NewState()
	var doc []byte
	alerts, n := 0, 0
	bytes := 0
	for _, ev := range evs {
		bytes += len(ev.Log)
	}
	b.ReportAllocs()
	for b.Loop() {
		ev := evs[n%len(evs)]
		ev.Time = ev.Time.Add(time.Duration(n) * time.Millisecond)
		n++
		if r := eng.Process(s, &ev); r.Alert {
			alerts++
			doc = r.AppendAlert(doc[:0], "1.0", nil)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s/core") // one goroutine
	b.ReportMetric(float64(alerts)/float64(n), "alerts/event")
	b.ReportMetric(float64(bytes)/float64(len(evs)), "B/event")
}

// BenchmarkEngine judges the mixes with the stock ruleset: ns/op is per event.
func BenchmarkEngine(b *testing.B) {
	dir := stockDir(b)
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		b.Fatal(err)
	}
	p, _, err := ruleset.Compile(src)
	if err != nil {
		b.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "mixes", "*.ndjson"))
	if err != nil || len(files) == 0 {
		b.Skipf("no mixes in %s: %v", dir, err)
	}
	for _, f := range files {
		b.Run(strings.TrimSuffix(filepath.Base(f), ".ndjson"), func(b *testing.B) {
			benchmark(b, engine.New(p, engine.Config{ManagerName: "manager", ClusterName: "vedette"}), loadMix(b, f))
		})
	}
}
