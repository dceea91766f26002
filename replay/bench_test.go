package replay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// BenchmarkReplay compares the CPU of a replay with the CPU of its engine alone,
// on the 4.14.7 ruleset and mixes of logs where that data is present.
func BenchmarkReplay(b *testing.B) {
	dir := os.Getenv("VEDETTE_STOCK_RULESET")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "wazuh")
	}
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		b.Skipf("no data in %s: %v", dir, err)
	}
	p, _, err := ruleset.Compile(src)
	if err != nil {
		b.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "mixes", "*.ndjson"))
	if err != nil || len(files) == 0 {
		b.Skipf("no mixes in %s: %v", dir, err)
	}
	e := engine.New(p, engine.Config{})
	report := func(b *testing.B, events int64, cpu float64) {
		b.ReportMetric(cpu*1e6/float64(events), "CPUµs/event")
		b.ReportMetric(0, "ns/op")
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".ndjson")
		source := &File{Path: path, Loop: 100}
		b.Run(name+"/engine", func(b *testing.B) {
			for b.Loop() {
				lanes, err := source.Open(b.Context(), 1, nil)
				if err != nil {
					b.Fatal(err)
				}
				l := lanes[0].(*loop)
				state, events, doc := e.NewState(), int64(0), []byte(nil)
				var ev schemas.Event
				begin := cpuTime()
				for round := range l.rounds {
					for i := range l.items {
						ev = l.items[i].Event
						ev.Time = ev.Time.Add(time.Duration(round) * l.span)
						if res := e.Process(state, &ev); res.Alert {
							doc = res.AppendAlert(doc[:0], schemas.AlertID(ev.Time, 0, 1, 0), nil)
						}
						events++
					}
				}
				report(b, events, (cpuTime() - begin).Seconds())
			}
		})
		for _, timing := range []bool{false, true} {
			b.Run(name+map[bool]string{false: "/replay", true: "/replay with --stats"}[timing], func(b *testing.B) {
				for b.Loop() {
					r, _, err := Run(b.Context(), Options{Source: source, Ruleset: Ruleset{Engine: e}, Workers: 1, Timing: timing})
					if err != nil {
						b.Fatal(err)
					}
					report(b, r.Stats.Events, r.Stats.CPUSeconds)
				}
			})
		}
	}
}
