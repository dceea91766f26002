// Package embedded runs the binary with nothing but itself: broker and store
// embedded, killed and restarted.
package embedded

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vedette/internal/datadir"
	"vedette/internal/kafka"
	"vedette/schemas"
	"vedette/test/harness"
)

var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vedette-embedded")
	if err == nil {
		bin, err = harness.Build(dir)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// ports keeps the addresses of the first start, so that agents find the second.
func env(e datadir.Endpoints) []string {
	at := func(addr string) string {
		if addr == "" {
			return "127.0.0.1:0"
		}
		return addr
	}
	return []string{
		"VEDETTE_ENROLL_LISTEN=" + at(e.Enroll), "VEDETTE_INGEST_TCP=" + at(e.Ingest), "VEDETTE_API_LISTEN=" + at(e.API),
		"VEDETTE_METRICS_LISTEN=" + at(e.Metrics), "VEDETTE_KAFKA_EMBEDDED_LISTEN=" + at(e.Kafka),
	}
}

func connect(t *testing.T, dir string, e datadir.Endpoints) *kafka.Cluster {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, datadir.KafkaPassword))
	if err != nil {
		t.Fatal(err)
	}
	return kafka.ConnectEmbedded(kafka.Default(), e.Kafka, strings.TrimSpace(string(raw)))
}

// api asks the REST API of a process, logged in with its own credentials.
func api(t *testing.T, dir string, e datadir.Endpoints, path string, into any) {
	t.Helper()
	status, body := request(t, dir, e, http.MethodGet, path)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}

// request is api for any method and answer.
func request(t *testing.T, dir string, e datadir.Endpoints, method, path string) (status int, body []byte) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, datadir.APICredentials))
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(strings.TrimSpace(string(raw)), ":")
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // self-signed by design
	defer client.CloseIdleConnections()
	call := func(method, path string, login func(*http.Request)) (int, []byte) {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+e.API+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		login(req)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return resp.StatusCode, body
	}
	status, token := call(http.MethodPost, "/security/user/authenticate?raw=true", func(r *http.Request) { r.SetBasicAuth(user, password) })
	if status != http.StatusOK {
		t.Fatalf("login: %d %s", status, token)
	}
	return call(method, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+string(token)) })
}

type page struct {
	Data struct {
		Items []map[string]any `json:"affected_items"`
		Total int              `json:"total_affected_items"`
	} `json:"data"`
}

var seqMark = regexp.MustCompile(` seq=(\S+)$`)

func TestAKilledProcessDoublesNothingAndLosesAtMostItsWindow(t *testing.T) {
	t.Parallel()
	const agents, lines, eps = 10, 50_000, 5000
	dir := filepath.Join(t.TempDir(), "data")
	withFile := func(e datadir.Endpoints) []string { return append(env(e), "VEDETTE_FORWARD_ALERTS_FILE_ENABLED=true") }
	first := harness.Launch(t, bin, "first", dir, withFile(datadir.Endpoints{}), "run")
	at := first.Endpoints(t, time.Minute)
	sim := harness.StartSimulate(t, harness.SimulateConfig{Agents: agents, Count: lines, EPS: eps, Front: at, PasswordFile: filepath.Join(dir, datadir.EnrollmentPassword)})
	sim.WaitSent(t, lines/3)
	first.Kill()
	second := harness.Launch(t, bin, "second", dir, withFile(at), "run")
	again := second.Endpoints(t, time.Minute)
	report := sim.Wait(t)

	events, err := harness.ReadTopic(t.Context(), connect(t, dir, again), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	seen, bytes := map[string]int{}, 0
	for _, r := range events {
		if m := seqMark.FindSubmatch(r.Value); m != nil {
			seen[string(m[1])]++
			bytes += len(r.Value)
		}
	}
	for m, n := range seen {
		if n > 1 {
			t.Errorf("line %s stands %d times in the topic", m, n)
		}
	}
	lost := report.Sent - int64(len(seen))
	// docs/limits.md: the window, the gateway's receive and read buffers and the
	// sender's own socket buffer, per connection.
	const window = 256<<10 + 4*64<<10 + 64<<10
	bound := int64(agents * window / (bytes / len(seen)))
	t.Logf("sent %d, written %d, lost %d (at most %d), reconnects %d", report.Sent, len(seen), lost, bound, report.Reconnects)
	if lost < 0 || lost > bound {
		t.Errorf("sent − written = %d is not in 0…%d", lost, bound)
	}

	// The API answers with every alert of the topic, each once.
	ids := map[string]bool{}
	deadline := time.Now().Add(2 * time.Minute) // of a time in which neither grows
	for stored := 0; ; {
		alerts, err := harness.ReadTopic(t.Context(), connect(t, dir, again), schemas.TopicAlerts)
		if err != nil {
			t.Fatal(err)
		}
		before := len(ids)
		clear(ids)
		for i := range alerts {
			a, err := schemas.ParseAlert(&alerts[i])
			if err != nil {
				t.Fatal(err)
			}
			ids[a.ID] = true
		}
		var got page
		api(t, dir, again, "/alerts?limit=1", &got)
		if got.Data.Total == len(ids) && len(ids) > lines/4 {
			t.Logf("%d alerts in the topic by id, %d in the store", len(ids), got.Data.Total)
			break
		}
		if len(ids) > before || got.Data.Total > stored {
			stored, deadline = got.Data.Total, time.Now().Add(2*time.Minute)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the store holds %d alerts, the topic %d ids", got.Data.Total, len(ids))
		}
		time.Sleep(500 * time.Millisecond)
	}

	// So does alerts.json, whose writer was killed too.
	for lines := alertsFile(t, dir); len(lines) < len(ids); lines = alertsFile(t, dir) {
		if time.Now().After(deadline) {
			t.Fatalf("alerts.json holds %d alerts, the topic %d ids", len(lines), len(ids))
		}
		time.Sleep(500 * time.Millisecond)
	}
	for id, n := range alertsFile(t, dir) {
		if n != 1 || !ids[id] {
			t.Errorf("alert %s stands %d times in alerts.json, in the topic: %v", id, n, ids[id])
		}
	}
	if err := second.Stop(30 * time.Second); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// alertsFile counts the alerts of all days by id; a line may be under way.
func alertsFile(t *testing.T, dir string) map[string]int {
	t.Helper()
	days, err := filepath.Glob(filepath.Join(dir, "logs", "alerts", "*", "*", "ossec-alerts-*.json"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for _, day := range days {
		data, err := os.ReadFile(day)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if !strings.HasSuffix(line, "\n") {
				continue
			}
			var a struct {
				Vedette struct {
					TopicID   string `json:"topic_id"`
					Partition int32  `json:"partition"`
					Offset    int64  `json:"offset"`
					N         int    `json:"n"`
				} `json:"vedette"`
			}
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatalf("%s: %v in %q", day, err, line)
			}
			v := a.Vedette
			ids[schemas.AlertDocID(v.TopicID, v.Partition, v.Offset, v.N)]++
		}
	}
	return ids
}

func TestCommandsTalkToTheRunningProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := harness.Launch(t, bin, "server", dir, env(datadir.Endpoints{}), "run")
	p.Endpoints(t, time.Minute)
	run := func(wantErr bool, args ...string) string {
		t.Helper()
		cmd := exec.Command(bin, args...)
		cmd.Env = append(append(os.Environ(), "VEDETTE_DATA_DIR="+dir), env(datadir.Endpoints{})...)
		out, err := cmd.CombinedOutput()
		if (err != nil) != wantErr {
			t.Fatalf("vedette %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if out := run(true, "run"); !strings.Contains(out, "another process is using this data directory") || !strings.Contains(out, fmt.Sprint(p.PID())) {
		t.Errorf("a second process on the data directory: %s", out)
	}
	run(false, "agents", "add", "byhand")
	if out := run(false, "agents", "list"); !strings.Contains(out, "byhand") {
		t.Errorf("the agent is not listed:\n%s", out)
	}
	var got page
	e, err := datadir.ReadEndpoints(dir)
	if err != nil {
		t.Fatal(err)
	}
	api(t, dir, e, "/agents?q=name=byhand", &got)
	if got.Data.Total != 1 {
		t.Errorf("the running process knows %d such agents", got.Data.Total)
	}
	if err := p.Stop(30 * time.Second); err != nil {
		t.Error(err)
	}
}

// zero lets a process choose its ports.
var zero datadir.Endpoints

// current is the version of the ruleset that the API lists as current.
func current(t *testing.T, dir string, e datadir.Endpoints) string {
	t.Helper()
	var list page
	api(t, dir, e, "/rulesets", &list)
	for _, it := range list.Data.Items {
		if it["current"] == true {
			return it["version"].(string)
		}
	}
	return ""
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}
