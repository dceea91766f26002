package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset/program"
)

func TestRootcheckFields(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, title, file string }{
		{
			"trojan", "Trojaned version of file '/usr/bin/diff' detected. Signature used: 'bash|/dev/[^n]' (Generic).",
			"Trojaned version of file detected.", "/usr/bin/diff",
		},
		{"present", "File '/dev/.x' present on /dev. Possible hidden file.", "File present on /dev.", "/dev/.x"},
		{
			"rights", "File '/tmp/a b' is owned by root and has written permissions to anyone.",
			"File is owned by root and has written permissions to anyone.", "/tmp/a b",
		},
		{
			"audit", "System Audit: CIS - Testing - 1.1 {CIS: 1.4 Debian} {PCI_DSS: 2.2.4}. File: /etc/fstab. Reference: https://example.org/x.html .",
			"CIS - Testing - 1.1", "/etc/fstab",
		},
		{"audit without braces", "System Audit: SSH. File: /etc/ssh/sshd_config. Reference: 1 .", "SSH.", "/etc/ssh/sshd_config"},
		{"audit that ends with its file", "System Audit: x. File: /srv/x.php.", "x.", "/srv/x.php"},
		{"audit whose file has no end", "System Audit: x. File: /srv/x", "x.", ""},
		{"audit behind a dash", "a - System Audit: x", "a - System Audit: x", ""},
		{"audit inside", "Some words System Audit: x", "x", ""},
		{"windows audit stays", "Windows Audit: Null sessions allowed.", "Windows Audit: Null sessions allowed.", ""},
		{"rootkit", "Rootkit 'Omega' detected by the presence of file '/dev/chr'.", "Rootkit 'Omega' detected by the presence of file '/dev/chr'.", ""},
		{"rootkit, quote at the end", "Rootkit 'Omega' detected by the presence of file '/dev/chr'", "Rootkit 'Omega' detected by the presence of file '/dev/chr'", "/dev/chr"},
		{"process", "Process '4862' hidden from /proc. Possible kernel level rootkit.", "Process '4862' hidden from /proc.", ""},
		{"port", "Port '80'(tcp) hidden.", "Port '80'(tcp) hidden.", ""},
		{"other quotes", `NTFS Alternate data stream found: 'C:\x:y'. Possible hidden content.`, `NTFS Alternate data stream found: 'C:\x:y'.`, ""},
		{"scan mark", "Starting rootcheck scan.", "Starting rootcheck scan.", ""},
		{"begins with a brace", " {CIS: 1} x. File: /a.", "", "/a"},
		{"blanks stay", "  a b  ", "  a b  ", ""},
		{"open quote", "File '/x", "File '/x", ""},
		{"empty", "", "", ""},
		{"only file", "File: ", "File: ", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := []string{rootcheckTitle(tc.text), rootcheckFile(tc.text)}
			if diff := cmp.Diff([]string{tc.title, tc.file}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRootcheckCompliance(t *testing.T) {
	t.Parallel()
	r := &program.Rule{ID: 100001, Level: 3, GroupText: "ossec,rootcheck,pci_dss_10.6.1,", Conds: []program.Condition{{Op: program.OpFTS}}}
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
