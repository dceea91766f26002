//go:build e2e

package load

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vedette/internal/kafka"
	"vedette/schemas"
	"vedette/test/harness"
)

// mix reads a mix of the stock data as events of many agents.
func mix(b *testing.B, name string) (dir string, events []schemas.Event) {
	b.Helper()
	if dir = os.Getenv("VEDETTE_STOCK_RULESET"); dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "wazuh")
	}
	f, err := os.Open(filepath.Join(dir, "mixes", name+".ndjson"))
	if err != nil {
		b.Skipf("needs the stock data (VEDETTE_STOCK_RULESET): %v", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var l struct{ Log, Location, Queue string }
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			b.Fatal(err)
		}
		events = append(events, schemas.Event{AgentIP: "any", Location: l.Location, Queue: l.Queue[0], Log: []byte(l.Log), Gateway: "gw1"})
	}
	if dir, err = filepath.Abs(dir); err != nil {
		b.Fatal(err)
	}
	return dir, events
}

// preload writes n events of 200 agents.
func preload(b *testing.B, c *kafka.Cluster, events []schemas.Event, n int) {
	b.Helper()
	p, err := c.NewProducer("preload", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	slots := make(chan struct{}, 50_000)
	now := time.Now().Add(-time.Hour)
	for i := range n {
		ev := events[i%len(events)]
		ev.AgentID = fmt.Sprintf("%03d", 1+i/len(events)%200)
		ev.AgentName, ev.Time = "agent"+ev.AgentID, now.Add(time.Duration(i)*time.Millisecond/10)
		slots <- struct{}{}
		p.Produce(ev.Record(), func(err error) {
			if err != nil {
				b.Error(err)
			}
			<-slots
		})
	}
	if err := p.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWorker lets analysis workers, each on one core, go through a topic
// that was filled before, on a real broker: fetch, decode, match, alert, produce
// with acks=all, commit. events/s is of wall time; the CPU of the workers and that
// of the broker on the same machine stand apart.
func BenchmarkWorker(b *testing.B) {
	n := 1_500_000
	if s := os.Getenv("BENCH_EVENTS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	dir, err := os.MkdirTemp("", "vedette-bench")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bin, err := harness.Build(dir)
	if err != nil {
		b.Fatal(err)
	}
	servers, err := harness.StartBrokers(filepath.Join(dir, "servers"), 1)
	if err != nil {
		b.Fatal(err)
	}
	defer servers.Stop()
	// A broker that has just begun still compiles itself.
	b.Run("warm-up", func(b *testing.B) { worker(b, servers, dir, bin, "all", n, 2, false) })
	for _, name := range []string{"all", "benign", "sshd"} {
		// What two cores do with two workers is to be compared with what one core
		// does with one, the broker being on them each time.
		b.Run(name+"/workers=1,beside-broker", func(b *testing.B) { worker(b, servers, dir, bin, name, n, 1, true) })
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/workers=%d", name, workers), func(b *testing.B) { worker(b, servers, dir, bin, name, n, workers, false) })
		}
	}
}

// pin binds all threads of a process to processors, such as "0" or "0-1".
func pin(b *testing.B, pid int, processors string) {
	b.Helper()
	if out, err := exec.Command("taskset", "-a", "-c", "-p", processors, strconv.Itoa(pid)).CombinedOutput(); err != nil {
		b.Skipf("needs taskset and two processors: %v: %s", err, out)
	}
}

// worker lets so many workers judge n events; with one, it and the broker have
// one processor between them.
func worker(b *testing.B, servers *harness.Servers, dir, bin, name string, n, workers int, one bool) {
	stock, events := mix(b, name)
	prefix := fmt.Sprintf("%s%d.%d.", name, workers, time.Now().UnixNano())
	env := []string{
		"VEDETTE_KAFKA_BROKERS=" + strings.Join(servers.KafkaBrokers, ","), "VEDETTE_KAFKA_TOPIC_PREFIX=" + prefix, "VEDETTE_KAFKA_PARTITIONS=12",
		"VEDETTE_CLUSTER_KEY_FILE=" + filepath.Join(dir, "cluster.key"), "VEDETTE_ENROLL_PASSWORD_FILE=" + filepath.Join(dir, "password"),
		"VEDETTE_ANALYZE_RULESETS=" + filepath.Join(stock, "stock"), "VEDETTE_METRICS_LISTEN=127.0.0.1:0", "GOMAXPROCS=1",
	}
	harness.Run(b, bin, filepath.Join(dir, "cli"), env, "init")
	cfg := kafka.Default()
	cfg.Brokers, cfg.TopicPrefix = servers.KafkaBrokers, prefix
	c, err := kafka.Connect(cfg)
	if err != nil {
		b.Fatal(err)
	}
	preload(b, c, events, n)
	adm, err := c.Admin()
	if err != nil {
		b.Fatal(err)
	}
	defer adm.Close()
	defer func() { // the next run needs the room
		for _, t := range schemas.Topics() {
			_, _ = adm.DeleteTopics(context.Background(), c.Topic(t.Name))
		}
	}()
	done := func() int64 {
		commits, err := adm.FetchOffsets(b.Context(), c.Topic("analyze"))
		if err != nil {
			return 0
		}
		var sum int64
		for p := range int32(12) {
			if o, ok := commits.Lookup(c.Topic(schemas.TopicEvents), p); ok && o.At > 0 {
				sum += o.At
			}
		}
		return sum
	}
	broker, err := servers.BrokerPID(0)
	if err != nil {
		b.Fatal(err)
	}
	if one {
		pin(b, broker, "0")
		defer pin(b, broker, "0-1")
	}
	var procs []*harness.Process
	for i := range workers {
		procs = append(procs, harness.Launch(b, bin, fmt.Sprint("analyze", i), filepath.Join(dir, prefix+fmt.Sprint(i)), env, "run", "analyze"))
	}
	if one {
		pin(b, procs[0].PID(), "0")
	}
	// What stood before the first look belongs to the start of the processes: it
	// takes seconds until a second worker has its share.
	for _, p := range procs {
		metrics := p.Endpoints(b, time.Minute).Metrics
		for judged := "0"; judged == "0"; time.Sleep(10 * time.Millisecond) {
			judged = harness.Metrics(b, metrics, "vedette_analyze_events_total")["vedette_analyze_events_total"]
		}
	}
	used := func() (sum float64) {
		for _, p := range procs {
			sum += cpu(b, p.PID())
		}
		return sum
	}
	first, begin, before, beside := done(), time.Now(), used(), cpu(b, broker)
	reach := func(n int64) (judged float64) {
		for end := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if now := done(); now >= n {
				return float64(now - first)
			}
			if time.Now().After(end) {
				b.Fatalf("%d of %d events were judged", done(), n)
			}
		}
	}
	// In the last quarter a worker whose partitions held less has nothing more to do.
	judged := reach(int64(n) * 3 / 4)
	took, spent, beside := time.Since(begin).Seconds(), used()-before, cpu(b, broker)-beside
	b.ReportMetric(judged/took, "events/s")
	b.ReportMetric(spent*1e6/judged, "CPUµs/event")
	b.ReportMetric(judged/spent, "events/CPUs")
	b.ReportMetric(beside*1e6/judged, "broker-CPUµs/event")
	reach(int64(n))
	b.ReportMetric(memory(b, procs[0].PID()), "peakMB")
	b.ReportMetric(0, "ns/op")
	for _, p := range procs {
		if err := p.Stop(30 * time.Second); err != nil {
			b.Error(err)
		}
	}
}
