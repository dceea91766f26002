package groups

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const auditText = `# A comment
$web_dirs=/var/www,/srv/www;
f:/no/entry/yet;
[Accounts - No password {CIS: 1.2 Linux} {PCI_DSS: 8.2.1}] [any] [https://example.org/x]
f:/etc/shadow -> r:^\w+::;

d:$web_dirs -> ^x.php$;
[Broken] [any
[Next] [all required] []
`

func TestAnAuditListIsTakenApart(t *testing.T) {
	t.Parallel()
	got, ok := ParseAuditList("system_audit_rcl.txt", []byte(auditText))
	want := AuditList{
		Vars: map[string]string{"web_dirs": "/var/www,/srv/www;"},
		Controls: []AuditControl{
			{
				Name: "Accounts - No password", CIS: []string{"1.2 Linux"}, PCI: []string{"8.2.1"}, Condition: "any", Reference: "https://example.org/x",
				Checks: []string{`f:/etc/shadow -> r:^\w+::;`, `d:$web_dirs -> ^x.php$;`},
			},
			{Name: "Next", CIS: []string{}, PCI: []string{}, Condition: "all required", Checks: []string{}},
		},
	}
	if d := cmp.Diff(want, got); !ok || d != "" {
		t.Errorf("%t %s", ok, d)
	}
	for _, name := range []string{"rootkit_files.txt", "agent.conf", "notes.txt", "dir/system_audit_rcl.txt"} {
		if _, ok := ParseAuditList(name, []byte(auditText)); ok {
			t.Errorf("%s was taken for a list of settings", name)
		}
	}
	for _, f := range rootcheckFiles {
		if list, ok := ParseAuditList(f.Path, f.Data); ok && len(list.Controls) < 5 {
			t.Errorf("%s has %d entries", f.Path, len(list.Controls))
		}
	}
}

func FuzzParseAuditList(f *testing.F) {
	f.Add([]byte(auditText))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, ok := ParseAuditList("win_audit_rcl.txt", data)
		if !ok || list.Vars == nil || list.Controls == nil {
			t.Errorf("%t %+v", ok, list)
		}
	})
}
