//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"vedette/internal/kafka"
	"vedette/schemas"
	"vedette/test/harness"
)

const (
	soakEPS = 1500
	// stallSeen is how soon readiness must say that a partition stands still: six
	// looks of ten seconds, and a look more for where in its pause the stall began.
	stallSeen = 80 * time.Second
	// truthKept is how far back a measured lag may lie: a look's pause, and what a
	// starved process takes to answer.
	truthKept = 45 * time.Second
)

// truth is what an independent reader knows of the group analyze: the ends and
// the commits, as the brokers give them.
type truth struct {
	mu      sync.Mutex
	samples []sample
	moved   map[int32]time.Time // when the commit last moved, or nothing waited
	commits map[int32]int64
}

type sample struct {
	at            time.Time
	ends, commits map[int32]int64
}

func (tr *truth) add(at time.Time, ends, commits map[int32]int64) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for p, end := range ends {
		if before, ok := tr.commits[p]; !ok || before != commits[p] || end == commits[p] {
			tr.moved[p] = at
		}
	}
	tr.commits = commits
	tr.samples = append(tr.samples, sample{at, ends, commits})
	for len(tr.samples) > 1 && at.Sub(tr.samples[0].at) > truthKept {
		tr.samples = tr.samples[1:]
	}
}

// covers reports whether a partition can have had that lag within the kept time.
// Ends and commits only grow, so between two samples the lag lies between the
// earlier end less the later commit and the later end less the earlier commit. A
// measurement that takes a while spans some samples.
func (tr *truth) covers(p int32, lag int64) (least, most int64, ok bool) {
	const span = 3
	tr.mu.Lock()
	defer tr.mu.Unlock()
	least = lag + 1
	for i := range tr.samples {
		from, to := tr.samples[i], tr.samples[min(i+span, len(tr.samples)-1)]
		least, most = min(least, max(0, from.ends[p]-to.commits[p])), max(most, to.ends[p]-from.commits[p])
	}
	return least, most, lag >= least && lag <= most
}

// still returns how long the stillest partition with waiting records has not moved.
func (tr *truth) still() time.Duration {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var most time.Duration
	for p, at := range tr.moved {
		if last := tr.samples[len(tr.samples)-1]; last.ends[p] > last.commits[p] {
			most = max(most, time.Since(at))
		}
	}
	return most
}

// spell is a time in which the worker or the brokers cannot be asked.
type spell struct {
	mu    sync.Mutex
	until time.Time
}

func (s *spell) last(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Now().Add(d)
}

func (s *spell) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().After(s.until)
}

func offsets(ctx context.Context, adm *kadm.Client, c *kafka.Cluster) (ends, commits map[int32]int64, err error) {
	of, err := adm.FetchOffsets(ctx, c.Topic("analyze"))
	if err != nil {
		return nil, nil, err
	}
	listed, err := adm.ListEndOffsets(ctx, c.Topic(schemas.TopicEvents))
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, nil, err
	}
	ends, commits = map[int32]int64{}, map[int32]int64{}
	for p, o := range listed[c.Topic(schemas.TopicEvents)] {
		ends[p] = o.Offset
		if at, ok := of.Lookup(c.Topic(schemas.TopicEvents), p); ok {
			commits[p] = max(0, at.At)
		}
	}
	return ends, commits, nil
}

func residentBytes(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw))
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// Analysis must lag behind truthfully, never stand still in silence, and judge
// every event once, while members come and go, starve, and stop, and a broker is
// killed. SOAK sets how long; CI can afford the default.
func TestSoak(t *testing.T) {
	if !servers.Owned() {
		t.Skip("the servers come from outside and cannot be stopped")
	}
	length := 2 * time.Minute
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK=%s: %v", text, err)
		}
	}
	in := install(t, "soak", 12)
	front := in.launch("front", "enroll", "ingest")
	at := front.Endpoints(t, time.Minute)
	worker := in.launch("analyze", "analyze")
	workerAt := worker.Endpoints(t, time.Minute)
	adm, err := in.cluster.Admin()
	if err != nil {
		t.Fatalf("open an admin client: %v", err)
	}
	defer adm.Close()

	sim := harness.StartSimulate(t, harness.SimulateConfig{Agents: 60, EPS: soakEPS, Duration: length, Front: at, PasswordFile: filepath.Join(in.dir, "enrollment-password")})
	began := time.Now()
	tr := &truth{moved: map[int32]time.Time{}, commits: map[int32]int64{}}
	var stopped, disturbed spell
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	var memory []string
	var peaks [3]int64 // of each third
	watching.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var noted time.Time
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			ask, end := context.WithTimeout(ctx, 5*time.Second)
			ends, commits, err := offsets(ask, adm, in.cluster)
			end()
			if err != nil {
				disturbed.last(truthKept) // the brokers are away
				continue
			}
			tr.add(time.Now(), ends, commits)
			rss := residentBytes(worker.PID())
			third := min(2, int(3*time.Since(began)/max(1, length)))
			peaks[third] = max(peaks[third], rss)
			if time.Since(noted) > max(10*time.Second, length/20) {
				noted = time.Now()
				memory = append(memory, fmt.Sprintf("%s front %d MB, analyze %d MB, no progress for %s", time.Since(began).Round(time.Second), residentBytes(front.PID())>>20, rss>>20, tr.still().Round(time.Second)))
			}
			if !stopped.over() || !disturbed.over() || time.Since(began) < truthKept {
				continue
			}
			red := harness.Ready(workerAt.Metrics)
			still := tr.still()
			if still > stallSeen && red == nil {
				t.Errorf("after %s: a partition has stood still for %s and readiness is green", time.Since(began).Round(time.Second), still.Round(time.Second))
				cancel()
				return
			}
			if still < 30*time.Second && red != nil && strings.Contains(red.Error(), "nothing moved") {
				t.Errorf("after %s: every partition moved within %s and readiness says: %v", time.Since(began).Round(time.Second), still.Round(time.Second), red)
			}
			if n%10 != 0 {
				continue
			}
			for name, value := range harness.Metrics(t, workerAt.Metrics, `vedette_kafka_lag_records{group="analyze"`) {
				p, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, `vedette_kafka_lag_records{group="analyze",partition="`), `"}`))
				lag, _ := strconv.ParseFloat(value, 64)
				if least, most, ok := tr.covers(int32(p), int64(lag)); !ok {
					t.Errorf("after %s: the lag of partition %d is given as %v; it was %d to %d within %s", time.Since(began).Round(time.Second), p, lag, least, most, truthKept)
				}
			}
		}
	})

	signal := func(s syscall.Signal) {
		if err := syscall.Kill(worker.PID(), s); err != nil {
			t.Fatalf("signal the worker: %v", err)
		}
	}
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	// starve gives the worker three tenths of its time.
	starve := func(d time.Duration) {
		stopped.last(d + truthKept)
		for until := time.Now().Add(d); time.Now().Before(until) && ctx.Err() == nil; {
			signal(syscall.SIGSTOP)
			pause(70 * time.Millisecond)
			signal(syscall.SIGCONT)
			pause(30 * time.Millisecond)
		}
	}
	step := min(time.Minute, length/5)
	trouble := []struct {
		name string
		do   func(n int)
	}{
		{"a second member comes while the first one starves, and goes", func(n int) {
			var starving sync.WaitGroup
			starving.Go(func() { starve(step / 2) })
			pause(step / 5)
			other := in.launch(fmt.Sprintf("other%d", n), "analyze")
			other.Endpoints(t, 2*time.Minute)
			pause(6 * time.Second)
			if err := other.Stop(time.Minute); err != nil {
				t.Errorf("the second member: %v", err)
			}
			starving.Wait()
		}},
		{"the worker is stopped until its group has given it up", func(int) {
			stopped.last(15*time.Second + truthKept)
			signal(syscall.SIGSTOP)
			pause(15 * time.Second)
			signal(syscall.SIGCONT)
		}},
		{"a broker is killed and comes back", func(n int) {
			disturbed.last(truthKept + 20*time.Second)
			if err := servers.KillBroker(n % 3); err != nil {
				t.Errorf("kill a broker: %v", err)
			}
			pause(10 * time.Second)
			if err := servers.StartKafka(); err != nil {
				t.Fatalf("start the broker: %v", err)
			}
		}},
	}
	for n := 0; time.Since(began)+step < length && ctx.Err() == nil; n++ {
		next := time.Now().Add(step)
		x := trouble[n%len(trouble)]
		t.Logf("%s: %s", time.Since(began).Round(time.Second), x.name)
		x.do(n)
		pause(time.Until(next))
	}
	report := sim.Wait(t)
	eventually(t, 5*time.Minute, "everything is judged", func() bool {
		ends, commits, err := offsets(t.Context(), adm, in.cluster)
		if err != nil {
			return false
		}
		for p, end := range ends {
			if commits[p] != end {
				return false
			}
		}
		return true
	})
	cancel()
	watching.Wait()
	for _, line := range memory {
		t.Log(line)
	}
	t.Logf("sent %d, refused %d, reconnects %d; peak of the worker in each third: %d, %d, %d MB", report.Sent, report.Refused, report.Reconnects, peaks[0]>>20, peaks[1]>>20, peaks[2]>>20)
	if length >= 30*time.Minute && peaks[2] > peaks[1]*5/4 {
		t.Errorf("the worker's memory has not leveled off: its peak grew from %d to %d MB in the last third", peaks[1]>>20, peaks[2]>>20)
	}
	var r struct {
		Events      int64
		Unjudged    *int64
		Total       struct{ Alerts int64 }
		Differences []json.RawMessage
	}
	if err := json.Unmarshal(in.vedette(nil, "replay", "--source", "events", "--against", "recorded", "--format", "json", "--samples", "0"), &r); err != nil {
		t.Fatalf("read the report of the replay: %v", err)
	}
	t.Logf("%d events, %d alerts", r.Events, r.Total.Alerts)
	if r.Events < report.Sent || r.Total.Alerts == 0 {
		t.Errorf("the replay saw %d events and %d alerts; %d lines were sent", r.Events, r.Total.Alerts, report.Sent)
	}
	if r.Unjudged == nil || *r.Unjudged != 0 || len(r.Differences) > 0 {
		t.Errorf("records never judged: %v; differences to the recorded alerts: %s", r.Unjudged, r.Differences)
	}
}
