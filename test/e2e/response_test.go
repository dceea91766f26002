//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vedette/schemas"
	"vedette/test/harness"
)

// firewall is a script as those for packet filters are: a table of blocked
// addresses, changed by add and delete, asked by check_keys.
const firewall = `#!/bin/sh
read line
cmd=$(echo "$line" | sed 's/.*"command":"\([a-z]*\)".*/\1/')
ip=$(echo "$line" | sed -n 's/.*"srcip":"\([0-9.]*\)".*/\1/p')
alert=$(echo "$line" | sed -n 's/.*"id":"\([0-9]*\.[0-9]*\)".*/\1/p')
[ -n "$ip" ] || exit 0 # an alert about no address
note() { echo "$(date +%s%3N) $1 $ip $alert" >> events; }
case "$cmd" in
add)
  echo '{"version":1,"origin":{"name":"fw","module":"active-response"},"command":"check_keys","parameters":{"keys":["'"$ip"'"]}}'
  read answer
  case "$answer" in
    *'"command":"continue"'*) touch "table/$ip"; note add;;
    *'"command":"abort"'*) [ -e "table/$ip" ] || note not-in-table; note abort;;
  esac;;
delete) rm "table/$ip" && note delete;;
esac
`

// attacks come from few addresses, so that some come back while they are blocked
// and some when they no longer are.
var attacks = func() string {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "Nov 22 10:00:00 h sshd[%d]: Failed password for root from 203.0.113.%d port 4%04d ssh2\n", 100+i, i*i%23, i)
	}
	return b.String()
}()

// An alert makes the agent block an address; one that comes again while it is
// blocked is answered with abort; after the timeout it is let in again. Killed
// forwarders give no command twice.
func TestAnAlertBlocksAnAddressForAWhile(t *testing.T) {
	in := install(t, "response", 3)
	scripts := filepath.Join(in.dir, "scripts")
	if err := os.MkdirAll(filepath.Join(scripts, "table"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(scripts, "fw"), []byte(firewall), 0o755); err != nil { //nolint:gosec // a script
		t.Fatal(err)
	}
	in.env = append(in.env,
		`VEDETTE_ACTIVE_RESPONSE_COMMANDS=[{name: block, executable: fw, timeout_allowed: true}]`,
		`VEDETTE_ACTIVE_RESPONSE_RESPONSES=[{command: block, location: local, timeout: 3, rules_group: "authentication_failed|invalid_login"}]`)
	front := in.launch("front", "enroll", "ingest").Endpoints(t, time.Minute)
	in.launch("analyze", "analyze").Endpoints(t, time.Minute)
	f := in.launch("forward", "forward")
	f.Endpoints(t, time.Minute)
	// Keepalives tell the agents' version, without which nothing is sent.
	sim := harness.StartSimulate(t, harness.SimulateConfig{
		Agents: 3, EPS: 12, Duration: 40 * time.Second, Front: front, PasswordFile: filepath.Join(in.dir, "enrollment-password"), ResponseDir: scripts, Keepalive: time.Second,
		Logs: attacks,
	})
	sim.WaitSent(t, 150)
	f.Kill()
	in.launch("forward", "forward").Endpoints(t, time.Minute)
	report := sim.Wait(t) // undoes what is in force

	raw, err := os.ReadFile(filepath.Join(scripts, "events"))
	if err != nil {
		t.Fatal(err)
	}
	// The outcome of each command, by the topic.
	sent := map[string]int{}
	outcomes := map[schemas.ReplyStatus]int{}
	alertOf := map[string]string{}
	commands := map[string]int{}
	for _, rec := range in.records(schemas.TopicCommands) {
		c, err := schemas.ParseCommand(&rec)
		if err != nil {
			t.Fatal(err)
		}
		commands[c.ID]++
		alertOf[c.ID] = c.AlertID
	}
	for _, rec := range in.records(schemas.TopicReplies) {
		r, err := schemas.ParseReply(&rec)
		if err != nil {
			t.Fatal(err)
		}
		outcomes[r.Status]++
		if r.Status == schemas.ReplySent {
			sent[r.CommandID]++
		}
		if r.AlertID == "" || r.AlertID != alertOf[r.CommandID] {
			t.Errorf("a reply does not say why: %+v", r)
		}
	}
	for id, n := range sent {
		if n > 1 {
			t.Errorf("command %s was sent %d times", id, n)
		}
	}
	// The script's work, address by address.
	actions := map[string]int{}
	blocked := map[string]int64{} // until when at the earliest
	seen := map[string]bool{}
	var took []int64
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[:13], b[:13]) })
	for _, line := range lines {
		f := strings.Fields(line)
		at, _ := strconv.ParseInt(f[0], 10, 64)
		ip := f[2]
		actions[f[1]]++
		switch f[1] {
		case "add", "abort":
			blocked[ip] = at + 3000
			if len(f) > 3 {
				if seen[f[3]] {
					t.Errorf("alert %s was acted on twice", f[3])
				}
				seen[f[3]] = true
				seconds, _, _ := strings.Cut(f[3], ".")
				s, _ := strconv.ParseInt(seconds, 10, 64)
				took = append(took, at-s*1000)
			}
		case "delete":
			// The end of the run undoes everything at once.
			if at < blocked[ip]-1 && time.UnixMilli(at).Before(time.Now().Add(-10*time.Second)) {
				t.Logf("%s was let in %d ms early", ip, blocked[ip]-at)
			}
		default:
			t.Errorf("%s", line)
		}
	}
	t.Logf("%d commands (%d ids), outcomes %v, the agents were told of %d; the script: %v", sum(commands), len(commands), outcomes, report.Responses, actions)
	if actions["add"] == 0 || actions["abort"] == 0 || actions["delete"] == 0 {
		t.Errorf("the script was not asked for all of add, abort and delete: %v", actions)
	}
	if actions["add"] != actions["delete"] {
		t.Errorf("%d addresses were blocked, %d let in again", actions["add"], actions["delete"])
	}
	if int(report.Responses) != len(sent) {
		t.Errorf("the agents were told of %d responses, %d are recorded as sent", report.Responses, len(sent))
	}
	if left, _ := os.ReadDir(filepath.Join(scripts, "table")); len(left) != 0 {
		t.Errorf("%d addresses are still blocked", len(left))
	}
	slices.Sort(took)
	if len(took) > 0 {
		t.Logf("from the event's second to the script: median %d ms, largest %d ms", took[len(took)/2], took[len(took)-1])
	}
}

func sum(m map[string]int) (n int) {
	for _, x := range m {
		n += x
	}
	return n
}
