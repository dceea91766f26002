package embedded

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"vedette/internal/datadir"
	"vedette/internal/kafka"
	"vedette/schemas"
	"vedette/test/harness"
)

// inputRules alert at each line of the test, and at each difference on a device.
func inputRules(t *testing.T, base string) string {
	t.Helper()
	dir := filepath.Join(base, "rules")
	for name, text := range map[string]string{
		"decoders/app.xml": `<decoder name="app"><prematch>^app: </prematch></decoder><decoder name="p"><program_name>^p$</program_name></decoder>`,
		"rules/app.xml": `<group name="app,">
<rule id="100001" level="5"><decoded_as>app</decoded_as><description>a line</description></rule>
<rule id="100002" level="7"><match>^ossec: output: </match><location>->agentless</location><check_diff/><description>a device differs</description></rule>
<rule id="100003" level="5"><match>^1 2026-01-02T03:04:05.006Z fw x - - - rfc5424$</match><description>RFC 5424</description></rule>
</group>`,
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// alerts asks the store until f is content with what it holds.
func alerts(t *testing.T, dir string, e datadir.Endpoints, f func([]map[string]any) error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		var got page
		api(t, dir, e, "/alerts?limit=500", &got)
		if err = f(got.Data.Items); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// foreign returns how to write to a topic of another's, which the embedded broker
// has made because ingest.kafka names it.
func foreign(t *testing.T, c *kafka.Cluster, topic string) func(lines ...string) {
	t.Helper()
	p, err := c.Foreign().NewProducer("test", slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return func(lines ...string) {
		t.Helper()
		recs := make([]schemas.Record, len(lines))
		for i := range lines {
			recs[i] = schemas.Record{Topic: topic, Key: fmt.Append(nil, i%20), Value: []byte(lines[i])}
		}
		if _, err := p.ProduceSync(t.Context(), recs...); err != nil {
			t.Fatal(err)
		}
	}
}

// router is a device that answers `show` with another number each time.
func router(t *testing.T) (port, knownHosts string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
		if string(p) != "s3cret" {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	cfg.AddHostKey(signer)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	var asked atomic.Int64
	serve := func(c net.Conn) {
		defer c.Close()
		_, chans, reqs, err := ssh.NewServerConn(c, cfg)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		for nc := range chans {
			ch, reqs, err := nc.Accept()
			if err != nil {
				return
			}
			for req := range reqs {
				_ = req.Reply(true, nil)
				fmt.Fprintf(ch, "version %d\n", asked.Add(1))
				_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
				ch.Close()
			}
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	knownHosts = filepath.Join(t.TempDir(), "known_hosts")
	line := knownhosts.Line([]string{knownhosts.Normalize(ln.Addr().String())}, signer.PublicKey())
	if err := os.WriteFile(knownHosts, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port, knownHosts
}

func TestWhatIsNoAgentRaisesAlertsToo(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	port, knownHosts := router(t)
	password := filepath.Join(base, "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := []string{
		"VEDETTE_ANALYZE_RULESETS=" + inputRules(t, base),
		"VEDETTE_INGEST_SYSLOG_UDP=127.0.0.1:0", "VEDETTE_INGEST_SYSLOG_TCP=127.0.0.1:0", "VEDETTE_INGEST_SYSLOG_TLS=127.0.0.1:0",
		"VEDETTE_INGEST_SYSLOG_ALLOWED=127.0.0.0/8",
		"VEDETTE_INGEST_KAFKA=[{topic: app-logs, format: beats}]",
		"VEDETTE_AGENTLESS=[{name: conf, type: command_diff, hosts: [127.0.0.1], port: " + port + ", user: audit, password_file: " + password +
			", known_hosts: " + knownHosts + ", command: show, interval: 10s, timeout: 5s}]",
	}
	p := harness.Launch(t, bin, "run", dir, append(env(zero), settings...), "run")
	e := p.Endpoints(t, time.Minute)
	send := func(c net.Conn, err error, text string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	udp, err := net.Dial("udp", e.Syslog["udp"][0])
	send(udp, err, "<13>app: udp\n")
	tcp, err := net.Dial("tcp", e.Syslog["tcp"][0])
	send(tcp, err, "<13>app: tcp")
	secure, err := tls.Dial("tcp", e.Syslog["tls"][0], &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // self-signed by design
	send(secure, err, "49 <13>1 2026-01-02T03:04:05.006Z fw x - - - rfc542411 <1>app: tls")
	foreign(t, connect(t, dir, e), "app-logs")(`{"message":"app: kafka","host":{"name":"web1"},"log":{"file":{"path":"/var/log/app.log"}}}`)

	alerts(t, dir, e, func(items []map[string]any) error {
		got := map[string]string{}
		for _, a := range items {
			log := fmt.Sprint(a["full_log"])
			switch {
			case a["agentless"] != nil:
				got[fmt.Sprintf("agentless %v agent %v at %v: %t %t", a["agentless"], a["agent"], a["location"], strings.HasPrefix(log, "ossec: output: 'conf':\nversion "), a["previous_log"] != nil)] = ""
			default:
				got[log[strings.LastIndexByte(log, ' ')+1:]] = fmt.Sprint(a["location"])
			}
		}
		for what, where := range map[string]string{
			"udp": "127.0.0.1", "tcp": "127.0.0.1", "tls": "127.0.0.1", "rfc5424": "127.0.0.1", "kafka": "web1->/var/log/app.log",
			"agentless map[host:127.0.0.1 script:conf user:audit] agent <nil> at agentless: true true": "",
		} {
			if at, ok := got[what]; !ok || at != where {
				return fmt.Errorf("no alert for %q at %q in %v", what, where, got)
			}
		}
		return nil
	})
	metrics := harness.Metrics(t, e.Metrics, "vedette_ingest_syslog_messages_")
	for _, transport := range []string{"udp", "tcp", "tls"} {
		if got := metrics[`vedette_ingest_syslog_messages_written_total{transport="`+transport+`"}`]; got == "" || got == "0" {
			t.Errorf("%s: %v", transport, metrics)
		}
	}
	if err := p.Stop(30 * time.Second); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

func TestATopicOfOthersIsTakenOnceThoughTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	const lines = 20_000
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	settings := []string{"VEDETTE_ANALYZE_RULESETS=" + inputRules(t, base), "VEDETTE_INGEST_KAFKA=[{topic: app-logs, location: app}]"}
	p := harness.Launch(t, bin, "first", dir, append(env(zero), settings...), "run")
	e := p.Endpoints(t, time.Minute)
	c := connect(t, dir, e)
	write := foreign(t, c, "app-logs")
	var all []string
	for i := range lines {
		all = append(all, fmt.Sprintf("app: line %d", i))
	}
	write(all[:lines/2]...)
	written := func() (n int64) {
		ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range ranges {
			n += r.End
		}
		return n
	}
	write(all[lines/2:]...)
	for kills := range 3 {
		for end := time.Now().Add(2 * time.Minute); written() < int64(kills+1)*lines/5 && time.Now().Before(end); {
			time.Sleep(2 * time.Millisecond)
		}
		p.Kill()
		p = harness.Launch(t, bin, fmt.Sprint("again", kills), dir, append(env(e), settings...), "run")
		p.Endpoints(t, time.Minute)
	}
	counts := map[string]int{}
	for end := time.Now().Add(2 * time.Minute); len(counts) < lines; time.Sleep(300 * time.Millisecond) {
		recs, err := harness.ReadTopic(t.Context(), c, schemas.TopicAlerts)
		if err != nil {
			t.Fatal(err)
		}
		clear(counts)
		ids := map[string]bool{}
		for i := range recs {
			a, err := schemas.ParseAlert(&recs[i])
			if err != nil {
				t.Fatal(err)
			}
			if ids[a.ID] {
				continue // the same alert once more
			}
			ids[a.ID] = true
			_, rest, _ := strings.Cut(string(a.Document), `"full_log":"`)
			log, _, _ := strings.Cut(rest, `"`)
			counts[log]++
		}
		if time.Now().After(end) {
			t.Fatalf("alerts for %d of %d lines", len(counts), lines)
		}
	}
	for log, n := range counts {
		if n != 1 {
			t.Errorf("%s has %d alerts", log, n)
		}
	}
	t.Logf("%d lines, %d events, %d alerts by line", lines, written(), len(counts))
	var got page
	api(t, dir, e, "/alerts?limit=1", &got)
	for end := time.Now().Add(2 * time.Minute); got.Data.Total != lines && time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		api(t, dir, e, "/alerts?limit=1", &got)
	}
	if got.Data.Total != lines {
		t.Errorf("the store holds %d alerts", got.Data.Total)
	}
	if err := p.Stop(30 * time.Second); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}
