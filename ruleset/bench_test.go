package ruleset_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// loadMix reads events in the form of logtest's NDJSON input.
func loadMix(b testing.TB, file string) []schemas.Event {
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

// contender is one of the engines that are measured side by side.
type contender struct {
	name  string
	eng   *engine.Engine
	state *engine.Keyed
	ev    schemas.Event
	n     int // events so far
	doc   []byte

	alerts int
	slices []float64 // CPU ns per event
	single []float64 // by event; CPU is too coarse for one: elapsed ns, the least of its rounds
	every  []float64 // all rounds of all events, with the machine's other work
	allocs uint64
}

// contenders are the plain walk and the index.
func contenders(p *program.Program) []*contender {
	c := engine.Config{ManagerName: "manager", ClusterName: "vedette"}
	ref := c
	ref.Reference = true
	return []*contender{{name: "ref", eng: engine.New(p, ref)}, {name: "idx", eng: engine.New(p, c)}}
}

// judge runs the next events of a mix, alert documents included. Their clock goes
// on from round to round.
func (c *contender) judge(evs []schemas.Event, events int) {
	for range events {
		c.one(evs)
	}
}

func (c *contender) one(evs []schemas.Event) {
	c.ev = evs[c.n%len(evs)]
	c.ev.Time = c.ev.Time.Add(time.Duration(c.n) * time.Millisecond)
	c.n++
	if r := c.eng.Process(c.state, &c.ev); r.Alert {
		c.alerts++
		c.doc = r.AppendAlert(c.doc[:0], "1.0", nil)
	}
}

// cpu is the time that the process has used, of all its threads.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sliceTime is how long a slice takes, about; long against the clock of CPU time.
const sliceTime = 60 * time.Millisecond

// singleRounds is how often each event is timed. The least counts, since other
// work of the machine meets every hundredth event of a single round.
const singleRounds = 20

// benchmark measures the engines in turns, slice by slice, so that other work of
// the machine meets all of them.
func benchmark(b *testing.B, engines []*contender, evs []schemas.Event) {
	size := make([]int, len(engines))
	for i, c := range engines {
		c.state = c.eng.NewState()
		c.judge(evs, len(evs)) // caches
		start := time.Now()
		c.judge(evs, len(evs))
		size[i] = int(sliceTime*time.Duration(len(evs))/max(time.Since(start), 1)) + 1
		c.alerts, c.n = 0, 0
		c.single, c.every = make([]float64, len(evs)), nil
		for k := range singleRounds * len(evs) {
			start := time.Now()
			c.one(evs)
			took := float64(time.Since(start))
			c.every = append(c.every, took)
			if k < len(evs) || took < c.single[k%len(evs)] {
				c.single[k%len(evs)] = took
			}
		}
	}
	for b.Loop() {
		for i, c := range engines {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var took time.Duration
			// A CPU profile is split by engine with go tool pprof -tagfocus.
			pprof.Do(b.Context(), pprof.Labels("engine", c.name), func(context.Context) {
				start := cpu(b)
				c.judge(evs, size[i])
				took = cpu(b) - start
			})
			runtime.ReadMemStats(&after)
			c.slices = append(c.slices, float64(took)/float64(size[i]))
			c.allocs += after.Mallocs - before.Mallocs
		}
	}
	b.ReportMetric(0, "ns/op")
	bytes := 0
	for _, ev := range evs {
		bytes += len(ev.Log)
	}
	b.ReportMetric(float64(bytes)/float64(len(evs)), "B/event")
	for i, c := range engines {
		report := func(v float64, unit string) { b.ReportMetric(v, c.name+":"+unit) }
		slices.Sort(c.slices)
		slices.Sort(c.single)
		report(c.slices[0], "min-ns/ev")
		report(c.slices[len(c.slices)/2], "med-ns/ev")
		report(float64(c.allocs)/float64(len(c.slices)*size[i]), "allocs/ev")
		report(float64(c.alerts)/float64(c.n), "alerts/ev")
		report(c.single[len(c.single)/2], "p50-ns")
		report(c.single[len(c.single)*99/100], "p99-ns")
		slices.Sort(c.every)
		report(c.every[len(c.every)*99/100], "p99-all-rounds-ns")
		report(c.single[len(c.single)-1], "max-ns")
	}
}

// BenchmarkEngine judges the mixes with the stock ruleset, by the plain walk
// (ref) and by the index (idx), side by side in slices. Per event it prints the
// least and the median CPU time of the slices, allocations, and the elapsed
// time of single events, each the least of some rounds.
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
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, f := range files {
		b.Run(strings.TrimSuffix(filepath.Base(f), ".ndjson"), func(b *testing.B) {
			benchmark(b, contenders(p), loadMix(b, f))
		})
	}
}

// BenchmarkLoad reads and compiles the stock ruleset and builds its index.
func BenchmarkLoad(b *testing.B) {
	dir := stockDir(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var eng *engine.Engine
	for b.Loop() {
		src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
		if err != nil {
			b.Fatal(err)
		}
		p, _, err := ruleset.Compile(src)
		if err != nil {
			b.Fatal(err)
		}
		eng = engine.New(p, engine.Config{})
	}
	state := eng.NewState()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
	runtime.KeepAlive(state)
}

// doubled returns src with every rule once more, under a new id. A clone hangs
// below the clones of its parents as well as below the parents.
func doubled(tb testing.TB, src ruleset.Source) ruleset.Source {
	tb.Helper()
	ids := map[string]string{}
	ruleTag := regexp.MustCompile(`<rule\b[^>]*\bid="(\d+)"`)
	for _, f := range src.Rules {
		for _, m := range ruleTag.FindAllSubmatch(f.Data, -1) {
			ids[string(m[1])] = ""
		}
	}
	next := 200_000
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if len(id) < 2 {
			continue // a root
		}
		for ids[id] == "" {
			if _, taken := ids[strconv.Itoa(next)]; !taken {
				ids[id] = strconv.Itoa(next)
			}
			next++
		}
	}
	number := regexp.MustCompile(`\d+`)
	parents := regexp.MustCompile(`<if_sid>[^<]*</if_sid>`)
	root := regexp.MustCompile(`(?s)<rule\b[^>]*\bid="\d"[^>]*>.*?</rule>`)
	out := src
	out.Rules = slices.Clone(src.Rules)
	for _, f := range src.Rules {
		data := root.ReplaceAll(f.Data, nil)
		data = ruleTag.ReplaceAllFunc(data, func(tag []byte) []byte {
			id := ruleTag.FindSubmatch(tag)[1]
			return bytes.Replace(tag, []byte(`id="`+string(id)+`"`), []byte(`id="`+ids[string(id)]+`"`), 1)
		})
		data = parents.ReplaceAllFunc(data, func(e []byte) []byte {
			return number.ReplaceAllFunc(e, func(id []byte) []byte {
				if clone := ids[string(id)]; clone != "" {
					return append(append(bytes.Clone(id), ", "...), clone...)
				}
				return id
			})
		})
		f.Name, f.Data = "zz-"+f.Name, data
		out.Rules = append(out.Rules, f)
	}
	return out
}

// BenchmarkDoubled compares the stock ruleset with one of twice as many rules.
func BenchmarkDoubled(b *testing.B) {
	dir := stockDir(b)
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		b.Fatal(err)
	}
	evs := loadMix(b, filepath.Join(dir, "mixes", "all.ndjson"))
	var engines []*contender
	for _, x := range []struct {
		name string
		src  ruleset.Source
	}{{"once", src}, {"twice", doubled(b, src)}} {
		start := time.Now()
		p, _, err := ruleset.Compile(x.src)
		if err != nil {
			b.Fatal(err)
		}
		eng := engine.New(p, engine.Config{ManagerName: "manager"})
		b.Logf("%s: %d rules in %d places, compiled and indexed in %v", x.name, len(p.AllRules), p.Nodes(), time.Since(start))
		engines = append(engines, &contender{name: x.name, eng: eng})
	}
	benchmark(b, engines, evs)
}
