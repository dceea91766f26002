package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/schemas"
)

// TestStockRulesOnAgentMessages shows that the messages of agents give the rules
// that the stock ruleset has for them. The ruleset is not part of this repository.
func TestStockRulesOnAgentMessages(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("VEDETTE_STOCK_RULESET")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "wazuh")
	}
	src, err := ruleset.LoadDir(filepath.Join(dir, "stock"))
	if err != nil {
		t.Skipf("stock ruleset not found (set VEDETTE_STOCK_RULESET to the folder that holds stock/): %v", err)
	}
	p, _, err := ruleset.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	eng := engine.New(p, engine.Config{ManagerName: "manager"})
	fim := func(kind, change string) string {
		return `{"type":"event","data":{"path":"/srv/data","version":3,"index":"aa","arch":"[x64]","mode":"scheduled","type":"` + change + `","attributes":{"type":"` + kind + `","size":1}}}`
	}
	check := func(result, previous string) string {
		return `{"type":"check","id":1,"policy":"P","policy_id":"p","check":{"id":1,"title":"t","compliance":{"pci_dss":"2.2.4"},` + result + previous + `}}`
	}
	summary := func(score string) string {
		return `{"type":"summary","scan_id":1,"name":"P","policy_id":"p","passed":1,"failed":1,"total_checks":2,"score":` + score + `,"hash":"x"}`
	}
	const failed, passed, none = `"result":"failed"`, `"result":"passed"`, `"status":"Not applicable","reason":"r"`
	was := func(result string) string { return `,"previous_result":"` + result + `"` }
	for _, tc := range []struct {
		queue    byte
		location string
		log      string
		rule     int
		alert    bool
	}{
		{'8', "syscheck", fim("file", "added"), 554, true},
		{'8', "syscheck", fim("file", "modified"), 550, true},
		{'8', "syscheck", fim("file", "deleted"), 553, true},
		{'8', "syscheck", fim("registry_key", "added"), 598, true},
		{'8', "syscheck", fim("registry_key", "modified"), 594, true},
		{'8', "syscheck", fim("registry_key", "deleted"), 597, true},
		{'8', "syscheck", fim("registry_value", "added"), 752, true},
		{'8', "syscheck", fim("registry_value", "modified"), 750, true},
		{'8', "syscheck", fim("registry_value", "deleted"), 751, true},
		{'9', "rootcheck", "Trojaned version of file '/usr/bin/diff' detected. Signature used: 'x' (Generic).", 510, true},
		{'9', "rootcheck", "System Audit: CIS - something {CIS: 1.1}. File: /etc/x. Reference: y .", 516, true},
		{'9', "rootcheck", "System Audit: Web vulnerability - x. File: /srv/x.", 519, true},
		{'9', "rootcheck", "Windows Audit: Null sessions allowed.", 512, true},
		{'9', "rootcheck", "Windows Malware: found. File: x", 513, true},
		{'9', "rootcheck", "Application Found: game.", 514, false},
		{'9', "rootcheck", "Starting rootcheck scan.", 515, false},
		{'9', "rootcheck", "Process '12' hidden from ps. Possible kernel level rootkit.", 521, true},
		{'9', "rootcheck", "File '/tmp/x' is owned by root and has written permissions to anyone.", 522, false},
		{'p', "sca", check(failed, ""), 19007, true},
		{'p', "sca", check(passed, ""), 19008, true},
		{'p', "sca", check(none, ""), 19009, true},
		{'p', "sca", check(passed, was("failed")), 19010, true},
		{'p', "sca", check(failed, was("passed")), 19011, true},
		{'p', "sca", check(none, was("passed")), 19012, true},
		{'p', "sca", check(none, was("failed")), 19013, true},
		{'p', "sca", check(failed, was("not applicable")), 19014, true},
		{'p', "sca", check(passed, was("not applicable")), 19015, true},
		{'p', "sca", summary("95"), 19001, true},
		{'p', "sca", summary("80"), 19002, true},
		{'p', "sca", summary("50"), 19003, true},
		{'p', "sca", summary("30"), 19004, true},
		{'p', "sca", summary("7"), 19005, true},
		{'p', "sca", `{"type":"policies","policies":["p"]}`, 19000, false},
		{'p', "sca", `{"type":"dump_end","policy_id":"p","elements_sent":1,"scan_id":1}`, 19000, false},
		{'d', "syscollector", `{"type":"dbsync_ports","operation":"INSERTED","data":{"inode":1,"protocol":"tcp","local_port":22,"checksum":"c"}}`, 221, false},
		{'d', "syscollector", `{"type":"dbsync_packages","operation":"DELETED","data":{"name":"n","version":"1"}}`, 221, false},
		{'e', "wodle_cis-cat", `{"type":"scan_info","scan_id":1,"cis":{"benchmark":"b"}}`, 87404, true},
		{'e', "elsewhere", `{"type":"scan_info","scan_id":1,"cis":{"benchmark":"b"}}`, 0, false},
		{'3', "hostinfo", "Host: 10.0.0.1, open ports: 22 (tcp)", 581, true},
		{'5', "fim_file", `{"component":"fim_file","type":"state","data":{}}`, 0, false},
		{'u', "upgrade", `{"error":0}`, 0, false},
	} {
		s := eng.NewState()
		ev := schemas.Event{
			Time: time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC), AgentID: "001", AgentName: "a", AgentIP: "any",
			Location: tc.location, Queue: tc.queue, Log: []byte(tc.log),
		}
		r := eng.Process(s, &ev)
		if r.RuleID != tc.rule || r.Alert != tc.alert {
			t.Errorf("%c %s: rule %d, alert %v, want %d, %v", tc.queue, tc.log, r.RuleID, r.Alert, tc.rule, tc.alert)
		}
		if tc.rule == 19007 {
			if doc := string(r.AppendAlert(nil, "1.0", nil)); !strings.Contains(doc, `"pci_dss":["2.2","2.2.4"]`) || strings.Contains(doc, "full_log") {
				t.Errorf("alert %s", doc)
			}
		}
		if tc.rule == 0 && r.Judged {
			t.Errorf("%c %s was judged", tc.queue, tc.log)
		}
	}
}
