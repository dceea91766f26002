package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset/condition"
	"vedette/ruleset/program"
)

func TestRootcheckCompliance(t *testing.T) {
	t.Parallel()
	r := &program.Rule{ID: 100001, Level: 3, GroupText: "ossec,rootcheck,pci_dss_10.6.1,", Conds: []program.Condition{condition.FirstSeen{}}}
	p := ossecProgram(t, r)
	r.JSONGroups = []byte(`,"groups":["ossec","rootcheck"],"pci_dss":["10.6.1"]`)
	e := New(p, Config{})
	s := e.NewState()
	f := func(text, want string) {
		t.Helper()
		res := e.Process(s, agentEvent('9', "rootcheck", text))
		alert := res.AppendAlert(nil, "1.0", nil)
		if !res.Alert || res.Decoder != "rootcheck" {
			t.Errorf("%q: alert %v, decoder %s", text, res.Alert, res.Decoder)
		}
		checkAlert(t, alert)
		var got string
		if rule := member(t, alert, "rule"); len(rule) > 0 {
			_, got, _ = strings.Cut(rule, `"mail":false,`)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	f("System Audit: a {CIS: 1.4 Debian, 1.5} {PCI_DSS: 2.2.4}. File: /x.",
		`"groups":["ossec","rootcheck"],"pci_dss":["10.6.1","2.2.4"],"cis":["1.4 Debian","1.5"]}`)
	f("System Audit: a {CIS: 1.4 Debian, 1.5} {PCI_DSS: 2.2.4}. File: /x.",
		`"groups":["ossec","rootcheck"],"pci_dss":["10.6.1","2.2.4"],"cis":["1.4 Debian","1.5"]}`) // every finding counts as new
	f("a {b} {c: d!} {: x} {level: 3} {groups: x} {x: ,} {open: 1", `"groups":["ossec","rootcheck"],"pci_dss":["10.6.1"]}`)
}

func FuzzRootcheck(f *testing.F) {
	fuzzQueue(f, '9', "rootcheck", "Trojaned version of file '/usr/bin/diff' detected. Signature used: 'x' (Generic).",
		"System Audit: CIS - x {CIS: 1, 2} {PCI_DSS: 3}. File: /etc/x. Reference: y .", "Starting rootcheck scan.")
}
