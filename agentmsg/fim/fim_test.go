package fim_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/agentmsg/fim"
	"vedette/agentmsg/laxjson"
)

const modified = `{"type":"event","data":{"path":"/etc/app.conf","version":2.0,"mode":"whodata","type":"modified","timestamp":1795309100,` +
	`"attributes":{"type":"file","size":17,"perm":"rw-r-----","uid":"0","gid":"33","user_name":"root","group_name":"www","inode":4294967301,"mtime":1795309099,` +
	`"hash_md5":"1","hash_sha1":"2","hash_sha256":"3","attributes":"","checksum":"44","symlink_path":"/l"},"changed_attributes":["size","mtime"],` +
	`"old_attributes":{"type":"file","size":12,"checksum":"x"},"tags":"conf,web","content_changes":"<d>","hard_links":["/srv/a","/srv/b"],` +
	`"audit":{"user_id":"0","user_name":"a","process_id":34,"process_name":"b","cwd":"c","parent_name":"d","parent_cwd":"e","ppid":12,"group_id":"f","group_name":"g",` +
	`"audit_uid":"h","audit_name":"i","effective_uid":"j","effective_name":"k"}}}`

const registryKey = `{"type":"event","data":{"path":"HKLM\\App","version":3,"mode":"scheduled","type":"added","timestamp":1795309100,"arch":"[x32]","index":"aa",` +
	`"attributes":{"type":"registry_key","perm":{"S-1":{"name":"Users","allowed":["read_control","read_data"],"denied":["delete"]},"S-2":{"allowed":["generic_all"]},"S-3":{"name":"none"}}}}}`

func parse(t testing.TB, s string) *fim.Change {
	t.Helper()
	var r laxjson.Reader
	n, ok := r.Tree(s)
	if !ok {
		t.Fatalf("no JSON: %s", s)
	}
	return fim.Parse(n)
}

func TestChange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, msg string
		want      *fim.Change
	}{
		{"file", modified, &fim.Change{
			Kind: fim.File, Path: "/etc/app.conf", Event: fim.Modified, Mode: "whodata", Timestamp: "1795309100", Version: "2", Symlink: "/l",
			Diff: "<d>", Tags: "conf,web", HardLinks: []string{"/srv/a", "/srv/b"}, Changed: []string{"size", "mtime"}, Checksum: "44",
			Now:   [fim.NumAttributes]string{"17", "rw-r-----", "0", "33", "1", "2", "3", "root", "www", "1795309099", "4294967301", ""},
			Old:   [fim.NumAttributes]string{fim.Size: "12"},
			Audit: [fim.NumAudit]string{"0", "a", "34", "b", "c", "d", "e", "12", "f", "g", "h", "i", "j", "k"},
		}},
		{"registry key with accounts", registryKey, &fim.Change{
			Kind: fim.RegistryKey, Path: `HKLM\App`, Event: fim.Added, Mode: "scheduled", Timestamp: "1795309100", Version: "3", Arch: "[x32]", Index: "aa",
			Now: [fim.NumAttributes]string{fim.Perm: "Users (allowed): READ_CONTROL|READ_DATA, Users (denied): DELETE, S-2 (allowed): GENERIC_ALL"},
			NowAccounts: fim.Accounts{
				{SID: "S-1", Name: "Users", Allowed: []string{"read_control", "read_data"}, Denied: []string{"delete"}},
				{SID: "S-2", Allowed: []string{"generic_all"}},
				{SID: "S-3", Name: "none"},
			},
		}},
		{
			"value of an old agent, the later type counts",
			`{"type":"event","data":{"path":"p","value_name":"v","type":"deleted","old_attributes":{"value_type":"A"},"attributes":{"type":"registry","value_type":"B"}}}`,
			&fim.Change{Kind: fim.RegistryValue, OldRegistry: true, Path: "p", Event: fim.Deleted, ValueName: "v", ValueType: "B"},
		},
		{
			"key of an old agent", `{"type":"event","data":{"path":"p","type":"added","attributes":{"type":"registry"}}}`,
			&fim.Change{Kind: fim.RegistryKey, OldRegistry: true, Path: "p", Event: fim.Added},
		},
		{"scan mark", `{"type":"scan_start","data":{"timestamp":1}}`, nil},
		{"no data", `{"type":"event"}`, nil},
		{"no path", `{"type":"event","data":{"type":"added","attributes":{"type":"file"}}}`, nil},
		{"unknown kind", `{"type":"event","data":{"path":"p","type":"added","attributes":{"type":"socket"}}}`, nil},
		{"unknown event", `{"type":"event","data":{"path":"p","type":"moved","attributes":{"type":"file"}}}`, nil},
		{"version 3 without index", `{"type":"event","data":{"path":"p","version":3,"type":"added","attributes":{"type":"registry_key"}}}`, nil},
		{
			"version 2 without index", `{"type":"event","data":{"path":"p","version":2,"type":"added","attributes":{"type":"registry_key"}}}`,
			&fim.Change{Kind: fim.RegistryKey, Path: "p", Event: fim.Added, Version: "2"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, parse(t, tc.msg)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseAccounts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]fim.Accounts{
		"": nil,
		"Users (denied): A|B, Users (allowed): C": {{Name: "Users", Allowed: []string{"C"}, Denied: []string{"A", "B"}}},
		"A (x) (allowed): R, B (allowed): S":      {{Name: "A (x)", Allowed: []string{"R"}}, {Name: "B", Allowed: []string{"S"}}},
		"A (allowed): R, A (allowed): S":          {{Name: "A", Allowed: []string{"R"}}, {Name: "A", Allowed: []string{"S"}}},
		"A (allowed): R, rest":                    {{Name: "A", Allowed: []string{"R"}}},
		"rw-r--r--":                               nil,
	} {
		if diff := cmp.Diff(want, fim.ParseAccounts(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(modified)
	f.Add(registryKey)
	f.Add(`{"type":"event","data":{"path":"p","type":"added","attributes":{"type":"registry","perm":{"":{"denied":["x"]}}}}}`)
	f.Fuzz(func(t *testing.T, s string) {
		var r laxjson.Reader
		n, ok := r.Tree(s)
		if !ok {
			return
		}
		c := fim.Parse(n)
		if c == nil {
			return
		}
		if c.Path == "" || c.Kind != fim.File && c.Kind != fim.RegistryKey && c.Kind != fim.RegistryValue ||
			c.Event != fim.Added && c.Event != fim.Modified && c.Event != fim.Deleted {
			t.Errorf("kind %q, event %q, path %q", c.Kind, c.Event, c.Path)
		}
		if c.NowAccounts != nil && c.Now[fim.Perm] != c.NowAccounts.Text() {
			t.Errorf("permissions %q of accounts %v", c.Now[fim.Perm], c.NowAccounts)
		}
	})
}

func FuzzParseAccounts(f *testing.F) {
	f.Add("Users (denied): A|B, Users (allowed): C")
	f.Add(strings.Repeat(" (allowed): x, ", 5))
	f.Fuzz(func(t *testing.T, s string) {
		size := 0
		for _, a := range fim.ParseAccounts(s) {
			size += len(a.Name) + len(strings.Join(a.Allowed, "")) + len(strings.Join(a.Denied, ""))
		}
		if size > len(s) {
			t.Errorf("%d bytes of accounts from %d bytes of text", size, len(s))
		}
	})
}
