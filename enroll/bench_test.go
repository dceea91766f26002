package enroll

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/registry"
	"vedette/internal/secret"
)

// benchEnv, set to brokers or to "own", makes the test binary the server of
// BenchmarkEnroll, in a process of its own so that its CPU time is its own.
const benchEnv = "VEDETTE_ENROLL_BENCH_BROKERS"

func TestBenchmarkServer(t *testing.T) {
	brokers := os.Getenv(benchEnv)
	if brokers == "" {
		t.Skip("only for BenchmarkEnroll")
	}
	cluster := (*kafka.Cluster)(nil)
	if brokers == "own" {
		cluster = kafkatest.New(t)
	} else {
		cfg := kafka.Default()
		cfg.Brokers = strings.Split(brokers, ",")
		var err error
		if cluster, err = kafka.Connect(cfg); err != nil {
			t.Fatal(err)
		}
	}
	box, _ := secret.NewBox(bytes.Repeat([]byte{1}, 32))
	reg, err := registry.Open(cluster, box, "node01", quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, reg)
	<-reg.Ready()
	cfg := Default()
	cfg.Listen, cfg.DataDir, cfg.RatePerSource = "127.0.0.1:0", t.TempDir(), 0
	s, err := New(cfg, reg, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	fmt.Printf("listening %s\n", s.Addr())
	// Each line asks for the CPU time so far; the end of input ends the server.
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("cpu %d\n", u.Utime.Nano()+u.Stime.Nano())
	}
}

// BenchmarkEnroll enrolls agents as they do it, one connection each, and reports
// how many the server does per second of its CPU time, registry included.
func BenchmarkEnroll(b *testing.B) {
	for _, embedded := range []bool{false, true} {
		name := "broker=apart"
		if embedded {
			name = "broker=embedded"
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			b.Run(name+"/"+strings.ReplaceAll(tls.VersionName(version), " ", ""), func(b *testing.B) { benchmarkEnroll(b, embedded, version) })
		}
	}
}

func benchmarkEnroll(b *testing.B, embedded bool, version uint16) {
	brokers := "own"
	if !embedded {
		_, broker := kafkatest.Start(b)
		brokers = strings.Join(broker.ListenAddrs(), ",")
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestBenchmarkServer$", "-test.v")
	cmd.Env = append(os.Environ(), benchEnv+"="+brokers)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	answer := func(prefix string) string {
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), prefix+" "); ok {
				return v
			}
		}
		b.Fatal("the server ended")
		return ""
	}
	addr := answer("listening")
	cpu := func() time.Duration {
		_, _ = io.WriteString(in, "\n")
		n, err := strconv.ParseInt(answer("cpu"), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		return time.Duration(n)
	}
	conf := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
	enrollOne := func(i int64) error {
		c, err := tls.Dial("tcp", addr, conf)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := fmt.Fprintf(c, "OSSEC A:'agent-%d' V:'v4.14.7'\n", i); err != nil {
			return err
		}
		reply, err := io.ReadAll(c)
		if err == nil && !bytes.HasPrefix(reply, []byte("OSSEC K:'")) {
			err = fmt.Errorf("answered %q", reply)
		}
		return err
	}
	var next atomic.Int64
	for range 200 { // warm
		if err := enrollOne(next.Add(1)); err != nil {
			b.Fatal(err)
		}
	}
	before := cpu()
	b.ResetTimer()
	var wg sync.WaitGroup
	last := next.Load() + int64(b.N)
	for range 64 {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > last {
					return
				}
				if err := enrollOne(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	used := cpu() - before
	b.ReportMetric(float64(b.N)/used.Seconds(), "agents/cpu-s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "µs-cpu/agent")
	in.Close()
	_ = cmd.Wait()
}
