// Package newcomer runs the commands that README.md and docs/operations.md show,
// as far as they need nothing but this program.
package newcomer

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vedette/test/harness"
)

var documents = []string{"README.md", "docs/operations.md"}

// Reasons why a shown command is not run here.
const (
	needsKafka  = "needs Kafka: the end-to-end suite runs it"
	needsEngine = "needs a container engine: make containers runs it"
	needsMake   = "runs this test, or the server that is run here"
)

// shown is a command of the documents.
type shown struct {
	doc  string   // as it is shown, without its remark
	run  []string // what is run in its place, one after the other; none: doc itself
	want []string // patterns in what each prints
	not  string   // why it is not run
	fail bool     // its exit code is not 0
	send string   // standard input
}

// shows are in the order in which a newcomer might try them, beside a server that
// runs in the same directory, with one agent, 001, connected.
var shows = []shown{
	{doc: "make run", not: needsMake},
	{doc: "make test", not: needsMake},
	{doc: "vedette run", not: "is the server that runs beside"},
	{doc: "vedette run ROLE…", not: needsKafka},
	{doc: "vedette run enroll ingest api", not: needsKafka},
	{doc: "vedette run analyze", not: needsKafka},
	{doc: "vedette run forward", not: needsKafka},
	{doc: "docker compose up -d --wait", not: needsEngine},
	{doc: "docker compose exec enroll cat /run/vedette/enroll/password", not: needsEngine},
	{doc: "docker compose exec api cat /var/lib/vedette/api-credentials", not: needsEngine},
	{doc: "docker compose build", not: needsEngine},
	{doc: `kcat -b 127.0.0.1:9092 -X security.protocol=SASL_PLAINTEXT -X sasl.mechanisms=SCRAM-SHA-256 -X sasl.username=vedette -X sasl.password="$(cat data/kafka-password)" -t vedette.events -C`,
		not: "needs kcat: internal/kafka logs in by its handshake"},

	{doc: "bin/vedette simulate --manager 127.0.0.1 --agents 3 --eps 20 --duration 10s", not: "is run as the server prints it, with its ports"},
	{doc: "vedette config check", want: []string{`configuration is valid`}},
	{doc: "vedette init", run: []string{"VEDETTE_CLUSTER_KEY_FILE=made.key vedette init && cat made.key"}, want: []string{`(?m)^[0-9a-f]{64}$`}},
	{doc: "vedette topics apply", want: []string{`(?m)^vedette\.events +\d+ +1 +keep`}},
	{doc: "vedette registry status", want: []string{`(?m)^agents +[1-9]`}},
	{doc: "vedette registry activate", want: []string{`(?m)^NODE +ROLES[^$]*nothing is left to activate`}},
	{doc: "vedette registry snapshot", want: []string{`snapshot of \d+ agents written`}},
	{doc: "vedette logtest --ruleset DIR…", run: []string{"vedette logtest --ruleset mine"}, send: "till: sum 42\n", want: []string{`(?s)id +100900.*An alert is raised`}},
	{doc: "vedette logtest", send: "Nov 28 01:00:00 web sshd[1]: Accepted password for root from 203.0.113.1 port 22 ssh2\n", want: []string{`An alert is raised`}},
	{doc: "vedette ruleset check DIR…", run: []string{"vedette ruleset check mine"}, want: []string{`0 errors|no errors|1 rule`}},
	{doc: "vedette ruleset test DIR…", run: []string{"vedette ruleset test mine"}, want: []string{`1 tests?, 1 passed, 0 failed`}},
	{doc: "vedette ruleset publish DIR…", run: []string{"vedette ruleset publish builtin mine"}, want: []string{`is the current version`}},
	{doc: "vedette ruleset versions", want: []string{`(?m)^[0-9a-f]{16} .* current`}},
	{doc: "vedette ruleset rollback", want: []string{`is the current version`}},
	{doc: "vedette ruleset publish", run: []string{"vedette ruleset publish builtin"}, want: []string{`is the current version`}},
	{doc: "vedette shadow", want: []string{`differences`}},
	{doc: "vedette agents import client.keys", want: []string{`imported|added|1 agent`}},
	{doc: "vedette groups list|add|remove|set", want: []string{`added web`, `001 \S+ is in web`, `(?m)^web +1`, `added db`, `removed db`},
		run: []string{"vedette groups add web", "vedette groups set 001 web", "vedette groups list", "vedette groups add db", "vedette groups remove db"}},
	{doc: "vedette groups publish DIR", run: []string{"vedette groups publish shared"}, want: []string{`published web`}},
	{doc: `vedette agents request ID "agent getconfig client"`, run: []string{`vedette agents request 001 "agent getconfig client"`}, want: []string{`.`}},
	{doc: "vedette agents restart|reconnect ID…", run: []string{"vedette agents restart 001", "vedette agents reconnect 001"}, want: []string{`001`, `001`}},
	{doc: "vedette agents upgrade ID… --package FILE", run: []string{"vedette agents upgrade 999 --package agent.wpk"}, want: []string{`there is no agent 999`}, fail: true},
	{doc: "vedette replay", want: []string{`(?s)alerts.*900122`}},
	{doc: "vedette replay --from 7d --ruleset new/ --against running --explain", want: []string{`(?s)judged by new/ .*Rules that differ.*because: `}},
	{doc: "vedette replay --source archives.json.gz --ruleset new/ --against recorded --format html --report diff.html",
		run: []string{"vedette replay --source archives.json.gz --ruleset new/ --against recorded --format html --report diff.html && cat diff.html"}, want: []string{`<html`}},
	{doc: "vedette replay --source events --from 2026-11-01 --to 2026-11-08 --group web --ruleset new/ --against old/ --fail-on 'added level>=10 > 100/day' --fail-on 'removed level>=12 > 0' --junit replay.xml",
		run:  []string{"vedette replay --source events --from 2026-11-01 --to 2026-11-08 --group web --ruleset new/ --against old/ --fail-on 'added level>=10 > 100/day' --fail-on 'removed level>=12 > 0' --junit replay.xml; cat replay.xml"},
		want: []string{`<testsuite`}},
	{doc: "vedette registry rekey", want: []string{`snapshot of \d+ agents written`}},
}

// notCommands are the first words of blocks that show something else.
var notCommands = []string{"agents ─1514─▶", "- job_name:", "ingest:", "forward:", "agentless:", "<rule id=", "events.ndjson judged by", "20,000 events from", "Rules that differ", "removed rule "}

var (
	remark  = regexp.MustCompile(`\s+# .*$`)
	program = regexp.MustCompile(`^(bin/)?(vedette|make|docker|kcat|curl)\b`)
	inline  = regexp.MustCompile("`((?:bin/)?vedette [^`]+)`")
)

// commands returns the commands of a document: the lines of blocks that are commands,
// and the program's own commands within the text.
func commands(t *testing.T, name, text string) (out []string) {
	t.Helper()
	fenced, blank, block := false, true, false
	var open string // a line that goes on
	for _, line := range strings.Split(text, "\n") {
		indented := strings.HasPrefix(line, "    ")
		if strings.HasPrefix(line, "```") {
			fenced, block, blank = !fenced, false, true
			continue
		}
		switch {
		case strings.TrimSpace(line) == "":
			blank, block = true, false
			continue
		case fenced || indented && (blank || block):
			first := !block
			blank, block = false, true
			line = strings.TrimSpace(remark.ReplaceAllString(open+strings.TrimSpace(line), ""))
			open = ""
			if rest, on := strings.CutSuffix(line, `\`); on {
				open = rest
				continue
			}
			known := func() bool {
				for _, w := range notCommands {
					if strings.HasPrefix(line, w) {
						return true
					}
				}
				return false
			}
			switch {
			case program.MatchString(line):
				out = append(out, line)
			case first && !known():
				t.Errorf("%s shows a block that is neither a command nor named in notCommands: %s", name, line)
			}
			continue
		}
		blank, block = false, false
		for _, m := range inline.FindAllStringSubmatch(line, -1) {
			out = append(out, strings.ReplaceAll(m[1], `\|`, "|"))
		}
	}
	return out
}

// TestEveryShownCommandHasACase fails when the documents show a command that
// shows does not hold, or no longer show one that it holds.
func TestEveryShownCommandHasACase(t *testing.T) {
	t.Parallel()
	left := map[string]bool{}
	for _, s := range shows {
		left[s.doc] = false
	}
	n := 0
	for _, name := range documents {
		raw, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commands(t, name, string(raw)) {
			if _, ok := left[c]; !ok {
				t.Errorf("%s shows %q, for which shows has no case", name, c)
			}
			left[c] = true
			n++
		}
	}
	for c, seen := range left {
		if !seen {
			t.Errorf("no document shows %q any more", c)
		}
	}
	if n < len(shows) {
		t.Errorf("%d commands were found in the documents, fewer than the %d cases", n, len(shows))
	}
}

// site is a newcomer's directory.
type site struct {
	t   *testing.T
	dir string
	env []string
}

// sh runs a command line as a newcomer would type it.
func (s *site) sh(line, input string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, append(os.Environ(), s.env...), strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *site) write(name, text string) {
	s.t.Helper()
	p := filepath.Join(s.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

// start runs a command until the test ends and returns its output.
func (s *site) start(line string) (printed func() string) {
	s.t.Helper()
	log := filepath.Join(s.dir, fmt.Sprintf("log-%d", time.Now().UnixNano()))
	f, err := os.Create(log)
	if err != nil {
		s.t.Fatal(err)
	}
	args := strings.Fields(line)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, append(os.Environ(), s.env...), f, f
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		f.Close()
		if s.t.Failed() {
			raw, _ := os.ReadFile(log)
			s.t.Logf("--- %s\n%s", line, raw[max(0, len(raw)-4000):])
		}
	})
	return func() string {
		raw, _ := os.ReadFile(log)
		return string(raw)
	}
}

func (s *site) eventually(what string, f func() bool) {
	s.t.Helper()
	for end := time.Now().Add(3 * time.Minute); !f(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("never: " + what)
		}
	}
}

// tried returns the commands that a started server prints.
func tried(t *testing.T, printed string) (simulate, ask string) {
	t.Helper()
	var lines []string
	_, rest, _ := strings.Cut(printed, "\nTry, in another terminal")
	for _, l := range strings.Split(rest, "\n")[1:] {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "{") {
			lines = append(lines, l)
		}
	}
	if len(lines) < 3 {
		t.Fatalf("the server prints no commands to try:\n%s", printed)
	}
	return lines[0], strings.Join(lines[1:3], "\n")
}

func TestANewcomersFirstHour(t *testing.T) {
	t.Parallel()
	s := &site{t: t, dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := harness.Build(filepath.Join(s.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"PATH=" + filepath.Join(s.dir, "bin") + ":" + os.Getenv("PATH"), "VEDETTE_FORWARD_ALERTS_FILE_ENABLED=true", "VEDETTE_ANALYZE_SHADOW=builtin,next"}
	for _, k := range []string{"ENROLL_LISTEN", "INGEST_TCP", "API_LISTEN", "METRICS_LISTEN", "KAFKA_EMBEDDED_LISTEN"} {
		s.env = append(s.env, "VEDETTE_"+k+"=127.0.0.1:0")
	}
	for _, dir := range []string{"mine", "next", "new", "old"} {
		s.write(dir+"/decoders/mine.xml", `<decoder name="till"><prematch>^till: </prematch></decoder><decoder name="clerk"><program_name>^clerk$</program_name></decoder>`)
		s.write(dir+"/rules/mine.xml", `<group name="mine,"><rule id="100900" level="7"><decoded_as>till</decoded_as><description>A sale</description></rule></group>`)
	}
	s.write("mine/tests/till.txt", "log: till: sum 42\nexpect: rule=100900 level=7\n")
	s.write("shared/web/agent.conf", "<agent_config></agent_config>\n")
	s.write("client.keys", "900 moved any "+strings.Repeat("0123456789abcdef", 4)+"\n")
	s.write("agent.wpk", "no package")

	server := s.start(filepath.Join(s.dir, "bin/vedette") + " run")
	s.eventually("the server is ready", func() bool { return strings.Contains(server(), "alerts?sort=") })
	simulate, ask := tried(t, server())
	_, flags, _ := strings.Cut(simulate, "--duration 10s")
	agent := s.start(filepath.Join(s.dir, "bin/vedette") + " simulate --idle --name kept- --keepalive 1s" + flags)
	s.eventually("an agent is connected", func() bool { return strings.Contains(agent(), "agents=1") })
	for _, w := range []string{"simulate --manager 127.0.0.1 --agents 3 --eps 20 --duration 10s", "vedette simulate"} {
		if !strings.Contains(simulate, w) {
			t.Errorf("the server prints %q, and README shows %q", simulate, w)
		}
	}
	if out, err := s.sh(simulate, ""); err != nil || !strings.Contains(out, "refused=0") {
		t.Errorf("%s: %v\n%s", simulate, err, out)
	}
	s.highest(ask)
	s.archive()

	for _, c := range shows {
		if c.not != "" {
			continue
		}
		lines := c.run
		if len(lines) == 0 {
			lines = []string{c.doc}
		}
		for i, line := range lines {
			out, err := s.sh(line, c.send)
			if (err != nil) != c.fail {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
			if i < len(c.want) && !regexp.MustCompile(c.want[i]).MatchString(out) {
				t.Errorf("%s prints nothing like %q:\n%s", line, c.want[i], out)
			}
		}
	}
	out, err := s.sh("vedette --help", "")
	if err != nil {
		t.Errorf("vedette --help: %v", err)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(readme), "- **Commands**:")
	list, _, _ = strings.Cut(list, ";")
	names := regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(list, -1)
	if len(names) < 10 {
		t.Errorf("README lists %d commands", len(names))
	}
	for _, m := range names {
		if !strings.Contains(out, "\n  "+m[1]+" ") {
			t.Errorf("README lists the command %s, which vedette --help does not", m[1])
		}
		if out, err := s.sh("vedette "+m[1]+" --help", ""); err != nil || !strings.Contains(out, "Usage:") {
			t.Errorf("vedette %s --help: %v\n%s", m[1], err, out)
		}
	}
}

// highest runs the printed call of the API until the story of simulate is told in
// full, and looks at the first alert.
func (s *site) highest(ask string) {
	s.t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		s.t.Log("there is no curl: the printed call of the API is not made")
		return
	}
	type alert struct {
		Rule struct {
			ID    string `json:"id"`
			Level int    `json:"level"`
		} `json:"rule"`
	}
	var first []alert
	call := func(line string) (out []alert) {
		raw, err := s.sh(line, "")
		var page struct {
			Data struct {
				Items []alert `json:"affected_items"`
			} `json:"data"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(raw), &page)
		}
		if err != nil {
			s.t.Fatalf("%s: %v\n%s", line, err, raw)
		}
		return page.Data.Items
	}
	s.eventually("the printed call shows an alert of level 10 or more first", func() bool {
		first = call(ask)
		return len(first) > 0 && first[0].Rule.Level >= 10
	})
	all := strings.Replace(ask, "limit=3", "limit=500", 1)
	// Guessed passwords, one that was right, a shell of root, logs removed, a scan,
	// a web shell that was put there and answers, a library before all others.
	for _, id := range []string{"900120", "900122", "900208", "900212", "900422", "900614", "900414", "900616"} {
		s.eventually("rule "+id+" alerts on the story", func() bool {
			for _, a := range call(all) {
				if a.Rule.ID == id {
					return true
				}
			}
			return false
		})
	}
}

// archive makes archives.json.gz of the alerts that the server wrote.
func (s *site) archive() {
	s.t.Helper()
	var raw []byte
	s.eventually("alerts.json is written", func() bool {
		var err error
		raw, err = os.ReadFile(filepath.Join(s.dir, "data", "logs", "alerts", "alerts.json"))
		return err == nil && len(raw) > 0
	})
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(raw); err != nil {
		s.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.write("archives.json.gz", b.String())
}
