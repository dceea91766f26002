package content_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vedette/ruleset/engine"
	"vedette/schemas"
)

// levelThatWakes is from where on an alert of a day without attacks is a
// mistake of the rules.
const levelThatWakes = 7

// dayLine is a line of testdata/ordinary_day.ndjson: an agent's event and its
// time.
type dayLine struct {
	At       string `json:"at"`
	Agent    string `json:"agent"`
	Queue    string `json:"queue"`
	Location string `json:"location"`
	Log      string `json:"log"`
}

// Nine hosts of a small company, written by us after the sources that the rules
// name: scheduled jobs, logins with a mistyped password now and then, sudo, an
// update of packages, visitors and search engines, Windows, audit records,
// Docker, Kubernetes, AWS, mail, databases, VPN, and reports of agents.
func TestAnOrdinaryDayWakesNobody(t *testing.T) {
	t.Parallel()
	f, err := os.Open(filepath.Join("testdata", "ordinary_day.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	eng := engine.New(compile(t), engine.Config{ManagerName: "vedette", AlertLevel: 1})
	type host struct {
		id    string
		state *engine.Keyed
	}
	hosts := map[string]*host{}
	ids := map[string]string{"web1": "001", "db1": "002", "mail1": "003", "vpn1": "004", "dc1": "005", "pc7": "006", "k1": "007", "cloud1": "008", "rhel1": "009"}
	var last time.Time
	lines, decoded, alerts := 0, 0, 0
	decoders, rules := map[string]int{}, map[int]int{}
	s := bufio.NewScanner(f)
	s.Buffer(nil, schemas.MaxEventBytes)
	for s.Scan() {
		var l dayLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("line %d: %v", lines+1, err)
		}
		lines++
		at, err := time.Parse(time.DateTime, "2026-11-23 "+l.At)
		if err != nil || at.Before(last) || len(l.Queue) != 1 || ids[l.Agent] == "" {
			t.Fatalf("line %d: time %q, queue %q, agent %q: %v", lines, l.At, l.Queue, l.Agent, err)
		}
		last = at
		h := hosts[l.Agent]
		if h == nil {
			h = &host{ids[l.Agent], eng.NewState()}
			hosts[l.Agent] = h
		}
		r := eng.Process(h.state, &schemas.Event{
			Time: at, AgentID: h.id, AgentName: l.Agent, AgentIP: "10.1.0.9", Location: l.Location, Queue: l.Queue[0], Log: []byte(l.Log),
		})
		if r.Decoder != "" {
			decoded++
			decoders[r.Decoder]++
		}
		rules[r.RuleID]++
		if !r.Alert {
			continue
		}
		alerts++
		if r.Level >= levelThatWakes {
			t.Errorf("line %d: rule %d of level %d: %s", lines, r.RuleID, r.Level, l.Log)
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if lines < 1000 || len(hosts) != len(ids) {
		t.Errorf("%d lines of %d hosts", lines, len(hosts))
	}
	// Without these the day could be quiet because nothing is understood.
	if decoded*10 < lines*9 {
		t.Errorf("only %d of %d lines have a decoder", decoded, lines)
	}
	if alerts*5 < lines || len(rules) < 100 {
		t.Errorf("%d alerts of %d rules", alerts, len(rules))
	}
	for _, d := range []string{
		"sshd", "sudo", "su", "pam", "polkitd", "pkexec", "accounts", "cron", "systemd", "kernel", "iptables", "wireguard",
		"web-access", "nginx-error", "apache-error", "postgresql", "mysql-error", "mysql-query", "postfix", "dovecot", "openvpn",
		"auditd", "dockerd", "json", "windows_eventchannel", "agent-status",
		"syscheck_new_entry", "syscheck_integrity_changed", "syscheck_deleted", "rootcheck", "sca", "syscollector",
	} {
		if decoders[d] == 0 {
			t.Errorf("no line of the day is decoded by %s", d)
		}
	}
	t.Logf("%d lines, %d decoded, %d alerts, %d rules", lines, decoded, alerts, len(rules))
}
