package rootcheck_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/agentmsg/rootcheck"
)

func TestTitleAndFile(t *testing.T) {
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
			if diff := cmp.Diff(rootcheck.Finding{Title: tc.title, File: tc.file}, rootcheck.Parse(tc.text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Trojaned version of file '/usr/bin/diff' detected. Signature used: 'x' (Generic).")
	f.Add("System Audit: CIS - x {CIS: 1, 2} {PCI_DSS: 3}. File: /etc/x. Reference: y .")
	f.Fuzz(func(t *testing.T, text string) {
		got := rootcheck.Parse(text)
		if len(got.Title) > len(text) {
			t.Errorf("title %q is longer than the finding %q", got.Title, text)
		}
		if !strings.Contains(text, got.File) {
			t.Errorf("file %q is no part of the finding %q", got.File, text)
		}
	})
}
