//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/kafka"
	"vedette/schemas"
	"vedette/test/harness"
)

// installation is one set of topics with processes that share them.
type installation struct {
	t       *testing.T
	dir     string
	prefix  string
	env     []string
	cluster *kafka.Cluster
}

// install makes keys, passwords and topics under a prefix of their own.
func install(t *testing.T, name string, partitions int) *installation {
	t.Helper()
	in := &installation{t: t, dir: filepath.Join(workDir, name), prefix: fmt.Sprintf("%s.%d.", name, time.Now().UnixNano())}
	if err := os.MkdirAll(in.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	in.env = []string{
		"VEDETTE_KAFKA_BROKERS=" + strings.Join(servers.KafkaBrokers, ","),
		"VEDETTE_KAFKA_TOPIC_PREFIX=" + in.prefix,
		fmt.Sprintf("VEDETTE_KAFKA_PARTITIONS=%d", partitions),
		"VEDETTE_CLUSTER_KEY_FILE=" + filepath.Join(in.dir, "cluster.key"),
		"VEDETTE_ENROLL_PASSWORD_FILE=" + filepath.Join(in.dir, "enrollment-password"),
		"VEDETTE_FORWARD_OPENSEARCH_URLS=" + strings.Join(servers.OpenSearchURLs, ","),
		"VEDETTE_ENROLL_LISTEN=127.0.0.1:0", "VEDETTE_INGEST_TCP=127.0.0.1:0",
		"VEDETTE_API_LISTEN=127.0.0.1:0", "VEDETTE_METRICS_LISTEN=127.0.0.1:0",
	}
	in.vedette(nil, "init")
	cfg := kafka.Default()
	cfg.Brokers, cfg.TopicPrefix = servers.KafkaBrokers, in.prefix
	var err error
	if in.cluster, err = kafka.Connect(cfg); err != nil {
		t.Fatal(err)
	}
	return in
}

// vedette runs a command to its end and returns its output.
func (in *installation) vedette(stdin []byte, args ...string) []byte {
	in.t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Env = append(append(os.Environ(), in.env...), "VEDETTE_DATA_DIR="+filepath.Join(in.dir, "cli"))
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		in.t.Fatalf("vedette %s: %v\n%s%s", strings.Join(args, " "), err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes()
}

func (in *installation) launch(name string, roles ...string) *harness.Process {
	in.t.Helper()
	return harness.Launch(in.t, bin, name, filepath.Join(in.dir, name), in.env, append([]string{"run"}, roles...)...)
}

// records reads a topic to its end, partition by partition.
func (in *installation) records(topic string) []schemas.Record {
	in.t.Helper()
	recs, err := harness.ReadTopic(in.t.Context(), in.cluster, topic)
	if err != nil {
		in.t.Fatal(err)
	}
	return recs
}

var seqMark = regexp.MustCompile(` seq=(\S+)$`)

// marks counts the marked lines among events.
func marks(recs []schemas.Record) map[string]int {
	seen := map[string]int{}
	for _, r := range recs {
		if m := seqMark.FindSubmatch(r.Value); m != nil {
			seen[string(m[1])]++
		}
	}
	return seen
}

func TestNothingIsLostOrDoubledWhenWorkersAreKilled(t *testing.T) {
	const agents, lines = 50, 100_000
	in := install(t, "kill", 12)
	front := in.launch("front", "enroll", "ingest", "api").Endpoints(t, time.Minute)
	a1 := in.launch("analyze1", "analyze")
	in.launch("analyze2", "analyze").Endpoints(t, time.Minute)
	f1 := in.launch("forward1", "forward")
	in.launch("forward2", "forward").Endpoints(t, time.Minute)
	a1.Endpoints(t, time.Minute)
	f1.Endpoints(t, time.Minute)

	sim := harness.StartSimulate(t, harness.SimulateConfig{Agents: agents, Count: lines, Front: front, PasswordFile: filepath.Join(in.dir, "enrollment-password")})
	sim.WaitSent(t, lines/4)
	a1.Kill()
	t.Logf("killed an analysis worker after %d lines", sim.Sent())
	sim.WaitSent(t, lines/2)
	f1.Kill()
	t.Logf("killed a forwarder after %d lines", sim.Sent())
	in.launch("analyze1", "analyze").Endpoints(t, time.Minute)
	in.launch("forward1", "forward").Endpoints(t, time.Minute)
	report := sim.Wait(t)

	events := in.records(schemas.TopicEvents)
	seen := marks(events)
	t.Logf("sent %d, refused %d, reconnects %d; %d events in the topic, %d of them marked", report.Sent, report.Refused, report.Reconnects, len(events), len(seen))
	if int64(len(seen)) != report.Sent || report.Sent != lines {
		t.Errorf("sent %d, in the topic %d, want %d", report.Sent, len(seen), lines)
	}
	for m, n := range seen {
		if n != 1 {
			t.Errorf("line %s stands %d times in the topic", m, n)
		}
	}
	in.compareIndex(events)
}

// compareIndex waits until the index holds as many alerts as logtest gives for
// the events, then compares every document.
func (in *installation) compareIndex(events []schemas.Record) {
	t := in.t
	t.Helper()
	want := in.expected(events)
	deadline := time.Now().Add(3 * time.Minute)
	var got map[string]map[string]any
	for {
		var err error
		got, err = harness.IndexedAlerts(t.Context(), servers.OpenSearchURLs[0], in.topicID())
		if err != nil {
			t.Logf("reading the index: %v", err)
		}
		if len(got) >= len(want) || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Second)
	}
	if len(got) != len(want) {
		t.Errorf("%d alerts in the index, logtest gives %d", len(got), len(want))
	}
	bad := 0
	for _, at := range slices.Sorted(maps.Keys(want)) {
		if d := cmp.Diff(want[at], got[at]); d != "" {
			if bad++; bad <= 3 {
				t.Errorf("the alert of %s differs (- logtest, + index):\n%s", at, d)
			}
		}
	}
	t.Logf("%d alerts compared, %d differ", len(want), bad)
	alerts := in.records(schemas.TopicAlerts)
	t.Logf("%d records in alerts for %d documents", len(alerts), len(got))
}

// expected judges the events in partition order by logtest: partition/offset → document.
func (in *installation) expected(events []schemas.Record) map[string]map[string]any {
	in.t.Helper()
	var ndjson bytes.Buffer
	enc := json.NewEncoder(&ndjson)
	for i := range events {
		ev, err := schemas.ParseEvent(&events[i])
		if err != nil {
			in.t.Fatal(err)
		}
		if err := enc.Encode(map[string]any{
			"log": string(ev.Log), "location": ev.Location, "queue": string(ev.Queue),
			"timestamp": ev.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
			"agent":     map[string]string{"id": ev.AgentID, "name": ev.AgentName, "ip": ev.AgentIP},
		}); err != nil {
			in.t.Fatal(err)
		}
	}
	out := in.vedette(ndjson.Bytes(), "logtest", "--ruleset", "builtin", "--format", "json", "--input", "ndjson")
	answers := bytes.Split(bytes.TrimSuffix(out, []byte("\n")), []byte("\n"))
	if len(answers) != len(events) {
		in.t.Fatalf("logtest gave %d answers to %d events", len(answers), len(events))
	}
	want := map[string]map[string]any{}
	for i, line := range answers {
		var a struct {
			Alert  bool           `json:"alert"`
			Output map[string]any `json:"output"`
		}
		if err := json.Unmarshal(line, &a); err != nil {
			in.t.Fatalf("%v in %s", err, line)
		}
		if a.Alert {
			want[fmt.Sprintf("%d/%d", events[i].Partition, events[i].Offset)] = harness.Comparable(a.Output)
		}
	}
	return want
}

func (in *installation) topicID() string {
	in.t.Helper()
	id, err := in.cluster.TopicID(in.t.Context(), schemas.TopicEvents)
	if err != nil {
		in.t.Fatal(err)
	}
	return id
}
