//go:build e2e

package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette/schemas"
	"vedette/test/harness"
)

// lineRules alert once at each line of a test.
const lineRules = `<group name="app,">
<rule id="100001" level="5"><decoded_as>app</decoded_as><description>a line</description></rule>
</group>`

// judgedLines counts the alerts of each line, an alert that stands in the topic
// twice once.
func (in *installation) judgedLines() map[string]int {
	in.t.Helper()
	counts, ids := map[string]int{}, map[string]bool{}
	for _, rec := range in.records(schemas.TopicAlerts) {
		a, err := schemas.ParseAlert(&rec)
		if err != nil {
			in.t.Fatal(err)
		}
		if ids[a.ID] {
			continue
		}
		ids[a.ID] = true
		var d struct {
			FullLog  string `json:"full_log"`
			Location string `json:"location"`
		}
		if err := json.Unmarshal(a.Document, &d); err != nil {
			in.t.Fatal(err)
		}
		counts[d.Location+" "+d.FullLog]++
	}
	return counts
}

// Two nodes take a topic that others write, and messages of devices. The nodes
// are killed in turn while they read the topic: each of its lines raises one
// alert, and a replay of it all finds the recorded alerts.
func TestATopicOfOthersAndSyslogBecomeAlertsThoughNodesAreKilled(t *testing.T) {
	const lines, messages, kills = 60_000, 500, 3
	in := install(t, "inputs", 6)
	rules := filepath.Join(in.dir, "rules")
	for name, text := range map[string]string{
		"decoders/app.xml": `<decoder name="app"><prematch>^app: </prematch></decoder><decoder name="p"><program_name>^p$</program_name></decoder>`, "rules/app.xml": lineRules,
	} {
		p := filepath.Join(rules, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil { //nolint:gosec // rules
			t.Fatal(err)
		}
	}
	topic := fmt.Sprintf("app-logs-%d", time.Now().UnixNano())
	in.env = append(in.env,
		"VEDETTE_ANALYZE_RULESETS="+rules, "VEDETTE_INGEST_KAFKA=[{topic: "+topic+", location: app}]",
		"VEDETTE_INGEST_SYSLOG_UDP=127.0.0.1:0", "VEDETTE_INGEST_SYSLOG_TCP=127.0.0.1:0", "VEDETTE_INGEST_SYSLOG_TLS=127.0.0.1:0",
		"VEDETTE_INGEST_SYSLOG_ALLOWED=127.0.0.0/8")
	adm, err := in.cluster.Admin()
	if err != nil {
		t.Fatal(err)
	}
	defer adm.Close()
	if _, err := adm.CreateTopic(t.Context(), 4, -1, nil, topic); err != nil {
		t.Fatal(err)
	}
	p, err := in.cluster.Foreign().NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	want := map[string]bool{}
	write := func(from, to int) {
		t.Helper()
		var recs []schemas.Record
		for i := from; i < to; i++ {
			line := fmt.Sprintf("app: line %d", i)
			want["app "+line] = true
			recs = append(recs, schemas.Record{Topic: topic, Key: fmt.Append(nil, i%20), Value: []byte(line)})
		}
		if _, err := p.ProduceSync(t.Context(), recs...); err != nil {
			t.Fatal(err)
		}
	}
	write(0, lines/2)
	gw1, gw2 := in.gateways()
	analyzer := in.launch("analyze", "analyze")
	judge := analyzer.Endpoints(t, time.Minute)
	write(lines/2, lines)
	written := func() (n int64) {
		ranges, err := in.cluster.Ranges(t.Context(), schemas.TopicEvents)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range ranges {
			n += r.End - r.Start
		}
		return n
	}
	nodes := []*node{gw1, gw2}
	for kill := range kills {
		for end := time.Now().Add(time.Minute); written() < int64(kill+1)*lines/5 && time.Now().Before(end); {
			time.Sleep(2 * time.Millisecond)
		}
		n := nodes[kill%2]
		at := written()
		n.p.Kill()
		t.Logf("killed %s after some %d events", n.name, at)
		n.start()
	}
	// Devices send meanwhile, to a node that lives on.
	e := gw2.p.Endpoints(t, time.Minute)
	send := func(c net.Conn, err error, transport string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range messages {
			line := fmt.Sprintf("app: %s %d", transport, i)
			want["127.0.0.1 "+line] = true
			if _, err := io.WriteString(c, "<13>"+line+"\n"); err != nil {
				t.Fatal(err)
			}
			if transport == "udp" && i%50 == 49 {
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	for _, transport := range []string{"udp", "tcp"} {
		c, err := net.Dial(transport, e.Syslog[transport][0])
		send(c, err, transport)
	}
	c, err := tls.Dial("tcp", e.Syslog["tls"][0], &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // self-signed by design
	send(c, err, "tls")

	var counts map[string]int
	eventually(t, 3*time.Minute, "every line has an alert", func() bool {
		counts = in.judgedLines()
		return len(counts) >= len(want)
	})
	for line, n := range counts {
		if n != 1 || !want[line] {
			t.Errorf("%q has %d alerts, wanted %t", line, n, want[line])
		}
	}
	repeated := harness.Metrics(t, judge.Metrics, "vedette_analyze_repeated_events_total")
	t.Logf("%d lines and messages, %d events, %d lines with an alert; %v", len(want), written(), len(counts), repeated)
	out := filepath.Join(in.dir, "replay.json")
	in.vedette(nil, "replay", "--ruleset", rules, "--against", "recorded", "--format", "json", "--report", out)
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Events   int64 `json:"events"`
		Repeated int64 `json:"repeated"`
		Total    struct{ Alerts, Was, Added, Removed, Changed int64 }
	}
	if err := json.Unmarshal(raw, &report); err != nil {
		t.Fatal(err)
	}
	t.Logf("replayed: %+v", report)
	if x := report.Total; x.Alerts != int64(len(want)) || x.Was != x.Alerts || x.Added+x.Removed+x.Changed != 0 || report.Events+report.Repeated != written() {
		t.Errorf("a replay finds otherwise: %+v of %d", report, written())
	}
	for _, n := range nodes {
		if err := n.p.Stop(time.Minute); err != nil {
			t.Error(err)
		}
	}
	if dead := in.records(schemas.TopicDeadLetter); len(dead) != 0 {
		t.Errorf("%d dead letters, the first %s", len(dead), strings.ToValidUTF8(string(dead[0].Value), "?"))
	}
}
