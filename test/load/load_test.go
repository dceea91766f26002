// Package load measures the whole pipeline: five roles as five processes over
// the embedded broker, agents over real sockets. `make bench` runs it.
package load

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vedette/ingest/secure"
	"vedette/internal/datadir"
	"vedette/internal/kafka"
	"vedette/schemas"
	"vedette/test/harness"
)

// site is five processes and a client of their broker.
type site struct {
	roles    map[string]*harness.Process
	front    datadir.Endpoints
	metrics  map[string]string // role → address
	cluster  *kafka.Cluster
	password string // file
}

func launch(b *testing.B) *site {
	b.Helper()
	dir := b.TempDir()
	bin, err := harness.Build(dir)
	if err != nil {
		b.Fatal(err)
	}
	s := &site{roles: map[string]*harness.Process{}, metrics: map[string]string{}}
	env := []string{"VEDETTE_ENROLL_LISTEN=127.0.0.1:0", "VEDETTE_INGEST_TCP=127.0.0.1:0", "VEDETTE_API_LISTEN=127.0.0.1:0", "VEDETTE_METRICS_LISTEN=127.0.0.1:0"}
	// The process with the broker runs the role that does least.
	base := filepath.Join(dir, "enroll")
	s.roles["enroll+broker"] = harness.Launch(b, bin, "enroll", base, append(env, "VEDETTE_KAFKA_EMBEDDED_LISTEN=127.0.0.1:0"), "run", "enroll")
	at := s.roles["enroll+broker"].Endpoints(b, time.Minute)
	s.front.Enroll, s.metrics["enroll+broker"] = at.Enroll, at.Metrics
	s.password = filepath.Join(base, datadir.EnrollmentPassword)
	env = append(env,
		"VEDETTE_KAFKA_BROKERS="+at.Kafka, "VEDETTE_KAFKA_SASL_MECHANISM=SCRAM-SHA-256", "VEDETTE_KAFKA_SASL_USERNAME=vedette",
		"VEDETTE_KAFKA_SASL_PASSWORD_FILE="+filepath.Join(base, datadir.KafkaPassword),
		"VEDETTE_CLUSTER_KEY_FILE="+filepath.Join(base, datadir.ClusterKey), "VEDETTE_ENROLL_PASSWORD_FILE="+s.password)
	for _, role := range []string{"ingest", "analyze", "forward", "api"} {
		p := harness.Launch(b, bin, role, filepath.Join(dir, role), env, "run", role)
		e := p.Endpoints(b, time.Minute)
		s.roles[role], s.metrics[role] = p, e.Metrics
		if role == "ingest" {
			s.front.Ingest = e.Ingest
		}
	}
	raw, err := os.ReadFile(filepath.Join(base, datadir.KafkaPassword))
	if err != nil {
		b.Fatal(err)
	}
	s.cluster = kafka.ConnectEmbedded(kafka.Default(), at.Kafka, strings.TrimSpace(string(raw)))
	return s
}

// cpu returns user and system time of a process in seconds.
func cpu(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("needs /proc: ", err)
	}
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+2:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

func memory(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("needs /proc: ", err)
	}
	m := peak.FindSubmatch(raw)
	kb, _ := strconv.ParseFloat(string(m[1]), 64)
	return kb / 1024
}

// BenchmarkPipeline sends lines at full speed and waits until all are judged:
// events per second of wall time on all cores, CPU per event of each role and
// the peak memory of each.
func BenchmarkPipeline(b *testing.B) {
	const agents, lines = 20, 200_000
	s := launch(b)
	before := map[string]float64{}
	for name, p := range s.roles {
		before[name] = cpu(b, p.PID())
	}
	begin := time.Now()
	sim := harness.StartSimulate(b, harness.SimulateConfig{Agents: agents, Count: lines, Front: s.front, PasswordFile: s.password})
	report := sim.Wait(b)
	for {
		m := harness.Metrics(b, s.metrics["analyze"], "vedette_analyze_events_total")
		if n, _ := strconv.ParseFloat(m["vedette_analyze_events_total"], 64); int64(n) >= report.Sent {
			break
		}
		if time.Since(begin) > 5*time.Minute {
			b.Fatal("the events are not judged within five minutes")
		}
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(begin)
	b.ReportMetric(float64(report.Sent)/took.Seconds(), "events/s")
	for name, p := range s.roles {
		b.ReportMetric((cpu(b, p.PID())-before[name])*1e6/float64(report.Sent), name+"-CPUµs/event")
		b.ReportMetric(memory(b, p.PID()), name+"-peakMB")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLatency sends one alerting line at a time over an agent's socket,
// beside a steady load, and measures until its alert stands in the topic.
func BenchmarkLatency(b *testing.B) {
	const probes, background = 400, 1000
	s := launch(b)
	harness.StartSimulate(b, harness.SimulateConfig{Agents: 10, EPS: background, Duration: time.Minute, Front: s.front, PasswordFile: s.password, Prefix: "load"})
	keys := filepath.Join(b.TempDir(), "keys")
	enroll := harness.StartSimulate(b, harness.SimulateConfig{Agents: 1, Count: 1, Front: s.front, PasswordFile: s.password, Prefix: "probe", KeysFile: keys})
	enroll.Wait(b)
	raw, err := os.ReadFile(keys)
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(raw)) // id name address key
	var mu sync.Mutex
	seen := map[string]time.Time{}
	mark := regexp.MustCompile(`probe-(\d+)-of`)
	follower := s.cluster.Follow(schemas.TopicAlerts, slog.New(slog.DiscardHandler), func(r schemas.Record) {
		if m := mark.FindSubmatch(r.Value); m != nil {
			mu.Lock()
			seen[string(m[1])] = time.Now()
			mu.Unlock()
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = follower.Run(ctx) }()
	<-follower.Ready()

	conn, err := net.Dial("tcp", s.front.Ingest)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	key := secure.NewKey(f[0], f[1], f[3])
	var enc secure.Encoder
	var counter secure.Counter
	send := func(payload string) {
		global, local := counter.Next()
		unit, err := enc.Append(nil, key, secure.AES, f[0], uint16(rand.Uint32()), global, local, []byte(payload))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write(secure.AppendFrame(nil, unit)); err != nil {
			b.Fatal(err)
		}
	}
	send(`#!-agent startup {"version":"v4.14.7"}`)
	sent := map[string]time.Time{}
	for i := range probes {
		id := strconv.Itoa(i)
		sent[id] = time.Now()
		send("1:/var/log/auth.log:Nov 22 10:00:00 h sshd[1]: Accepted password for probe-" + id + "-of from 203.0.113.9 port 22 ssh2")
		time.Sleep(20 * time.Millisecond)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		mu.Lock()
		n := len(seen)
		mu.Unlock()
		if n == probes {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d alerts arrived", n, probes)
		}
		time.Sleep(10 * time.Millisecond)
	}
	var took []float64
	for id, at := range sent {
		took = append(took, float64(seen[id].Sub(at).Microseconds())/1000)
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "p50-ms")
	b.ReportMetric(took[len(took)*99/100], "p99-ms")
	b.ReportMetric(took[len(took)-1], "max-ms")
	b.ReportMetric(0, "ns/op")
}
