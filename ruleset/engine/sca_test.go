package engine

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset/program"
)

const scaFailed = `{"type":"check","id":1795309100,"policy":"Base hardening of Debian","policy_id":"base_debian","check":{"id":28501,"title":"No root login over SSH.",` +
	`"description":"d","rationale":"r","remediation":"m","compliance":{"cis":"5.2.10","pci_dss":"2.2.4, 8.1","nist_800_53":"CM.1","hipaa":"","soc_2":7,"pci_dss_v4.0":"1.2","no_text":["a"],"neither":true},` +
	`"rules":["f:/etc/ssh/sshd_config -> r:^PermitRootLogin no"],"condition":"all","references":"https://example.org","file":"/etc/ssh/sshd_config,, /etc/ssh/x","command":"sshd -T",` +
	`"result":"failed"}}`

const scaNotApplicable = `{"type":"check","id":7,"policy":"P","policy_id":"p","check":{"id":2,"title":"t","status":"Not applicable","reason":"no such file","previous_result":"passed"}}`

const scaSummary = `{"type":"summary","scan_id":7,"name":"Base hardening of Debian","policy_id":"base_debian","file":"base_debian.yml","description":"d","references":"x",` +
	`"passed":20,"failed":60,"invalid":3,"total_checks":83,"score":25.99,"start_time":1795309000,"end_time":1795309100,"hash":"a","hash_file":"b","force_alert":"1"}`

func TestSCAFieldsForRules(t *testing.T) {
	t.Parallel()
	r := anyRule()
	p := ossecProgram(t, r)
	r.JSONGroups = []byte(`,"groups":["sca"],"pci_dss":["2.2"]`)
	e := New(p, Config{})
	for _, tc := range []struct {
		name, log string
		fields    []string
		data      string
		groups    string
	}{
		{
			"failed", scaFailed,
			[]string{
				"sca.type=check", "sca.scan_id=1795309100", "sca.policy=Base hardening of Debian", "sca.check.id=28501", "sca.check.title=No root login over SSH.",
				"sca.check.description=d", "sca.check.rationale=r", "sca.check.remediation=m", "sca.check.compliance.cis=5.2.10", "sca.check.compliance.pci_dss=2.2.4, 8.1",
				"sca.check.compliance.nist_800_53=CM.1", "sca.check.compliance.soc_2=7", "sca.check.compliance.pci_dss_v4.0=1.2", "sca.check.references=https://example.org", `sca.check.file=["/etc/ssh/sshd_config", " /etc/ssh/x"]`,
				`sca.check.command=["sshd -T"]`, "sca.check.result=failed",
			},
			`{"sca":{"type":"check","scan_id":"1795309100","policy":"Base hardening of Debian","check":{"id":"28501","title":"No root login over SSH.","description":"d",` +
				`"rationale":"r","remediation":"m","compliance":{"cis":"5.2.10","pci_dss":"2.2.4, 8.1","nist_800_53":"CM.1","soc_2":"7","pci_dss_v4":{"0":"1.2"}},"references":"https://example.org",` +
				`"file":["/etc/ssh/sshd_config"," /etc/ssh/x"],"command":["sshd -T"],"result":"failed"}}}`,
			`,"groups":["sca"],"pci_dss":["2.2","2.2.4","8.1"],"cis":["5.2.10"],"nist_800_53":["CM.1"],"soc_2":["7"]`,
		},
		{
			"not applicable", scaNotApplicable,
			[]string{
				"sca.type=check", "sca.scan_id=7", "sca.policy=P", "sca.check.id=2", "sca.check.title=t", "sca.check.result=not applicable",
				"sca.check.reason=no such file", "sca.check.previous_result=passed",
			},
			`{"sca":{"type":"check","scan_id":"7","policy":"P","check":{"id":"2","title":"t","result":"not applicable","reason":"no such file","previous_result":"passed"}}}`,
			`,"groups":["sca"],"pci_dss":["2.2"]`,
		},
		{
			"summary", scaSummary,
			[]string{
				"sca.type=summary", "sca.scan_id=7", "sca.policy=Base hardening of Debian", "sca.description=d", "sca.policy_id=base_debian", "sca.passed=20", "sca.failed=60",
				"sca.invalid=3", "sca.total_checks=83", "sca.score=25", "sca.file=base_debian.yml",
			},
			`{"sca":{"type":"summary","scan_id":"7","policy":"Base hardening of Debian","description":"d","policy_id":"base_debian","passed":"20","failed":"60","invalid":"3",` +
				`"total_checks":"83","score":"25","file":"base_debian.yml"}}`,
			`,"groups":["sca"],"pci_dss":["2.2"]`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := e.NewState()
			res := e.Process(s, agentEvent('p', "sca", tc.log))
			name, fields := decoded(s)
			if !res.Alert || name != "sca" || s.scratch.ev.category != program.Ossec {
				t.Errorf("alert %v, decoder %q", res.Alert, name)
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			alert := res.AppendAlert(nil, "1.0", nil)
			checkAlert(t, alert)
			if diff := cmp.Diff(tc.data, member(t, alert, "data")); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
			w := writer{r: res}
			w.groups(r)
			if diff := cmp.Diff(tc.groups, string(w.b)); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
}

// A message without anything to report is an event without fields.
func TestSCAWithoutFields(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	for _, log := range []string{
		`{"type":"policies","policies":["cis_debian12"]}`, `{"type":"dump_end","policy_id":"cis_debian12","elements_sent":3,"scan_id":7}`,
		`{"type":"summary","scan_id":7,"name":"n","policy_id":"p","score":50,"first_scan":1}`, `{"type":"x"}`, `text`, `{"type":"check"`,
		`{"type":"check","policy":"n","policy_id":"p","check":{"id":1,"title":"t"}}`, `{"type":"check","id":1,"policy":"n","policy_id":"p","check":[1]}`,
		`{"type":"check","id":1,"policy":"n","policy_id":"p","check":{"id":"1","title":"t"}}`, `{"type":"check","id":1,"policy":"n","policy_id":"p","check":{"id":1,"title":"t","result":1}}`,
		`{"type":"check","id":1,"policy":"n","check":{"id":1,"title":"t"}}`,
	} {
		s := e.NewState()
		res := e.Process(s, agentEvent('p', "sca", log))
		name, fields := decoded(s)
		if !res.Judged || name != "sca" || len(fields) > 0 {
			t.Errorf("%s: judged %v, decoder %q, fields %v", log, res.Judged, name, fields)
		}
	}
}

func TestAddedCompliance(t *testing.T) {
	t.Parallel()
	f := func(groups, name string, values []string, want string) {
		t.Helper()
		if got := string(addCompliance([]byte(groups), &complianceList{name, values})); got != want {
			t.Errorf("%s + %s %v = %s, want %s", groups, name, values, got, want)
		}
	}
	f(`,"groups":["a"]`, "cis", []string{"1"}, `,"groups":["a"],"cis":["1"]`)
	f(`,"groups":["a"],"cis":["]\"x"],"tsc":["y"]`, "cis", []string{"1", `"`}, `,"groups":["a"],"cis":["]\"x","1","\""],"tsc":["y"]`)
	f(`,"groups":[",\"cis\":["]`, "cis", []string{"1"}, `,"groups":[",\"cis\":["],"cis":["1"]`)
	f(`,"groups":[]`, "groups", []string{"1"}, `,"groups":[]`)
	f(`,"groups":[]`, "mail", []string{"1"}, `,"groups":[]`)
	f(`,"groups":[]`, "cis", nil, `,"groups":[]`)
}

func FuzzSCA(f *testing.F) {
	fuzzQueue(f, 'p', "sca", scaFailed, scaNotApplicable, scaSummary)
}
