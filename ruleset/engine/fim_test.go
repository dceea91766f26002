package engine

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fimModified is a change as an agent with who-data reports it.
const fimModified = `{"type":"event","data":{"path":"/etc/app.conf","version":2.0,"mode":"whodata","type":"modified","timestamp":1795309100,` +
	`"attributes":{"type":"file","size":17,"perm":"rw-r-----","uid":"0","gid":"33","user_name":"root","group_name":"www-data","inode":4294967301,"mtime":1795309099,` +
	`"hash_md5":"11111111111111111111111111111111","hash_sha1":"2222222222222222222222222222222222222222",` +
	`"hash_sha256":"3333333333333333333333333333333333333333333333333333333333333333","attributes":"","checksum":"4444444444444444444444444444444444444444"},` +
	`"changed_attributes":["size","permission","mtime","md5"],` +
	`"old_attributes":{"type":"file","size":12,"perm":"rw-r--r--","uid":"0","gid":"33","user_name":"root","group_name":"www-data","inode":"4294967301","mtime":1795300000,` +
	`"hash_md5":"55555555555555555555555555555555","hash_sha1":"2222222222222222222222222222222222222222",` +
	`"hash_sha256":"3333333333333333333333333333333333333333333333333333333333333333","attributes":"","checksum":"x"},` +
	`"tags":"conf,web","content_changes":"1c1\n< a\n---\n> b\n","hard_links":["/srv/a","/srv/b"],` +
	`"audit":{"user_id":"0","user_name":"root","group_id":"0","group_name":"root","process_name":"/usr/bin/vim","cwd":"/root","audit_uid":"1000","audit_name":"bob",` +
	`"effective_uid":"0","effective_name":"root","parent_name":"/bin/bash","parent_cwd":"/root","ppid":12,"process_id":34}}}`

const fimRegistryValue = `{"type":"event","data":{"path":"HKEY_LOCAL_MACHINE\\SOFTWARE\\App","version":3,"mode":"scheduled","type":"modified","timestamp":1795309100,` +
	`"arch":"[x64]","value_name":"Start","index":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","changed_attributes":["size","md5"],` +
	`"attributes":{"type":"registry_value","value_type":"REG_DWORD","size":4,"hash_md5":"b","checksum":"c"},` +
	`"old_attributes":{"type":"registry_value","value_type":"REG_DWORD","size":2,"hash_md5":"a","checksum":"c"}}}`

const fimRegistryKey = `{"type":"event","data":{"path":"HKEY_LOCAL_MACHINE\\SOFTWARE\\App","version":3,"mode":"scheduled","type":"added","timestamp":1795309100,` +
	`"arch":"[x32]","index":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","attributes":{"type":"registry_key","uid":"S-1-5-32-544","user_name":"Administrators","mtime":1795309000,` +
	`"perm":{"S-1-5-32-545":{"name":"Users","allowed":["read_control","read_data"],"denied":["delete"]},"S-1-5-18":{"name":"SYSTEM","allowed":["generic_all"]}}}}}`

func fimFile(change string) string {
	return `{"type":"event","data":{"path":"/srv/x","mode":"realtime","type":"` + change + `","timestamp":1795309100,` +
		`"attributes":{"type":"file","size":0,"perm":"rw-r--r--","uid":"0","inode":7,"mtime":1795309099}}}`
}

func TestFIMFieldsForRules(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	for _, tc := range []struct {
		name, log, decoder, text string
		fields                   []string
	}{
		{
			"modified", fimModified, "syscheck_integrity_changed",
			"File '/etc/app.conf' modified\nHard links: /srv/a,/srv/b\nMode: whodata\nChanged attributes: size,permission,mtime,md5\n" +
				"Size changed from '12' to '17'\nPermissions changed from 'rw-r--r--' to 'rw-r-----'\n" +
				"Old modification time was: '1795300000', now it is '1795309099'\n" +
				"Old md5sum was: '55555555555555555555555555555555'\nNew md5sum is : '11111111111111111111111111111111'\n",
			[]string{
				"file=/etc/app.conf", `hard_links=["/srv/a","/srv/b"]`, "mode=whodata", "size=17", "size_before=12", "perm=rw-r-----", "perm_before=rw-r--r--",
				"uid=0", "uid_before=0", "gid=33", "gid_before=33", "md5=11111111111111111111111111111111", "md5_before=55555555555555555555555555555555",
				"sha1=2222222222222222222222222222222222222222", "sha1_before=2222222222222222222222222222222222222222",
				"sha256=3333333333333333333333333333333333333333333333333333333333333333", "sha256_before=3333333333333333333333333333333333333333333333333333333333333333",
				"uname=root", "uname_before=root", "gname=www-data", "gname_before=www-data", "mtime=1795309099", "mtime_before=1795300000",
				"inode=4294967301", "inode_before=4294967301", "changed_content=1c1\n< a\n---\n> b\n", "changed_fields=size,permission,mtime,md5", "tag=conf,web",
				"entry_type=file", "event_type=modified", "user_id=0", "user_name=root", "process_id=34", "process_name=/usr/bin/vim", "cwd=/root",
				"parent_name=/bin/bash", "parent_cwd=/root", "ppid=12", "group_id=0", "group_name=root", "audit_uid=1000", "audit_name=bob",
				"effective_uid=0", "effective_name=root",
			},
		},
		{
			"added", fimFile("added"), "syscheck_new_entry", "File '/srv/x' added\nMode: realtime\n",
			[]string{"file=/srv/x", "mode=realtime", "size=0", "perm=rw-r--r--", "uid=0", "mtime=1795309099", "inode=7", "entry_type=file", "event_type=added"},
		},
		{
			"deleted", fimFile("deleted"), "syscheck_deleted", "File '/srv/x' deleted\nMode: realtime\n",
			[]string{"file=/srv/x", "mode=realtime", "size=0", "perm=rw-r--r--", "uid=0", "mtime=1795309099", "inode=7", "entry_type=file", "event_type=deleted"},
		},
		{
			"only changed old values", `{"type":"event","data":{"path":"/a","type":"modified","attributes":{"type":"file","size":2,"uid":"0"},"old_attributes":{"size":1}}}`,
			"syscheck_integrity_changed", "File '/a' modified\nMode: (null)\nSize changed from '1' to '2'\nOwnership was '', now it is '0'\n",
			[]string{"file=/a", "size=2", "size_before=1", "uid=0", "entry_type=file", "event_type=modified"},
		},
		{
			"registry value", fimRegistryValue, "syscheck_registry_value_modified",
			`Registry Value '[x64] HKEY_LOCAL_MACHINE\SOFTWARE\App\Start' modified` + "\nMode: scheduled\nChanged attributes: size,md5\n" +
				"Size changed from '2' to '4'\nOld md5sum was: 'a'\nNew md5sum is : 'b'\n",
			[]string{
				`file=HKEY_LOCAL_MACHINE\SOFTWARE\App`, "mode=scheduled", "size=4", "size_before=2", "md5=b", "md5_before=a", "changed_fields=size,md5", "arch=[x64]",
				"value_name=Start", "value_type=REG_DWORD", "hash_full_path=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "entry_type=registry_value", "event_type=modified",
			},
		},
		{
			"registry key", fimRegistryKey, "syscheck_registry_key_added", `Registry Key '[x32] HKEY_LOCAL_MACHINE\SOFTWARE\App' added` + "\nMode: scheduled\n",
			[]string{
				`file=HKEY_LOCAL_MACHINE\SOFTWARE\App`, "mode=scheduled", "perm=Users (allowed): READ_CONTROL|READ_DATA, Users (denied): DELETE, SYSTEM (allowed): GENERIC_ALL",
				"uid=S-1-5-32-544", "uname=Administrators", "mtime=1795309000", "arch=[x32]", "hash_full_path=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
				"entry_type=registry_key", "event_type=added",
			},
		},
		{
			"registry of old agents", `{"type":"event","data":{"path":"HKLM\\A","value_name":"v","type":"deleted","attributes":{"type":"registry"}}}`,
			"syscheck_registry_value_deleted", `Registry Value 'HKLM\A' deleted` + "\nMode: (null)\n",
			[]string{`file=HKLM\A`, "value_name=v", "entry_type=registry_value", "event_type=deleted"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := e.NewState()
			res := e.Process(s, agentEvent('8', "syscheck", tc.log))
			name, fields := decoded(s)
			if !res.Judged || !res.Alert || name != tc.decoder {
				t.Errorf("judged %v, alert %v, decoder %q", res.Judged, res.Alert, name)
			}
			if diff := cmp.Diff(tc.text, s.scratch.ev.fullLog); diff != "" || s.scratch.ev.log.text != tc.text {
				t.Errorf("text (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			checkAlert(t, res.AppendAlert(nil, "1.0", nil))
		})
	}
}

// member returns the raw text of a member of an alert, so that order counts.
func member(t *testing.T, alert []byte, name string) string {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(alert, &m); err != nil {
		t.Fatal(err)
	}
	return string(m[name])
}

func TestFIMAlert(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{Timezone: time.FixedZone("", 3600)})
	f := func(name, log, want string) {
		t.Helper()
		alert := e.Process(e.NewState(), agentEvent('8', "syscheck", log)).AppendAlert(nil, "1.0", nil)
		checkAlert(t, alert)
		if diff := cmp.Diff(want, member(t, alert, "syscheck")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if data := member(t, alert, "data"); data != "" {
			t.Errorf("%s: data %s", name, data)
		}
		if l := member(t, alert, "location"); l != `"syscheck"` {
			t.Errorf("%s: location %s", name, l)
		}
		if at, next := strings.Index(string(alert), `"syscheck":{`), strings.Index(string(alert), `"decoder":`); at < strings.Index(string(alert), `"full_log"`) || next < at {
			t.Errorf("%s: syscheck stands at the wrong place: %s", name, alert)
		}
	}
	f("modified", fimModified, `{"path":"/etc/app.conf","hard_links":["/srv/a","/srv/b"],"mode":"whodata","size_before":"12","size_after":"17",`+
		`"perm_before":"rw-r--r--","perm_after":"rw-r-----","uid_after":"0","gid_after":"33",`+
		`"md5_before":"55555555555555555555555555555555","md5_after":"11111111111111111111111111111111","sha1_after":"2222222222222222222222222222222222222222",`+
		`"sha256_after":"3333333333333333333333333333333333333333333333333333333333333333","uname_after":"root","gname_after":"www-data",`+
		`"mtime_before":"2026-11-21T23:26:40","mtime_after":"2026-11-22T01:58:19","inode_after":5,"diff":"1c1\n< a\n---\n> b\n","tags":["conf","web"],`+
		`"changed_attributes":["size","permission","mtime","md5"],"event":"modified",`+
		`"audit":{"user":{"id":"0","name":"root"},"process":{"id":"34","name":"/usr/bin/vim","cwd":"/root","parent_name":"/bin/bash","parent_cwd":"/root","ppid":"12"},`+
		`"group":{"id":"0","name":"root"},"login_user":{"id":"1000","name":"bob"},"effective_user":{"id":"0","name":"root"}}}`)
	f("registry key", fimRegistryKey, `{"path":"HKEY_LOCAL_MACHINE\\SOFTWARE\\App","mode":"scheduled","arch":"[x32]",`+
		`"win_perm_after":[{"name":"Users","allowed":["READ_CONTROL","READ_DATA"],"denied":["DELETE"]},{"name":"SYSTEM","allowed":["GENERIC_ALL"]}],`+
		`"uid_after":"S-1-5-32-544","uname_after":"Administrators","mtime_after":"2026-11-22T01:56:40","event":"added"}`)
	f("registry value", fimRegistryValue, `{"path":"HKEY_LOCAL_MACHINE\\SOFTWARE\\App","mode":"scheduled","arch":"[x64]","value_name":"Start","value_type":"REG_DWORD",`+
		`"size_before":"2","size_after":"4","md5_before":"a","md5_after":"b","changed_attributes":["size","md5"],"event":"modified"}`)
	f("text permissions, attributes, who-data in part", `{"type":"event","data":{"path":"c:\\a","type":"modified","attributes":{"type":"file","perm":"Users (denied): A|B, Users (allowed): C",`+
		`"attributes":"ARCHIVE, HIDDEN"},"old_attributes":{"attributes":"ARCHIVE"},"audit":{"process_id":"4","effective_name":"bob"}}}`,
		`{"path":"c:\\a","win_perm_after":[{"name":"Users","allowed":["C"],"denied":["A","B"]}],"attrs_before":["ARCHIVE"],"attrs_after":["ARCHIVE","HIDDEN"],`+
			`"event":"modified","audit":{"process":{"id":"4"},"effective_user":{"name":"bob"}}}`)
	f("a symbolic link, value types, an inode whose low bits are 0", `{"type":"event","data":{"path":"/a","type":"modified","attributes":{"type":"file","symlink_path":"/b","inode":4294967296,`+
		`"value_type":"REG_SZ"},"old_attributes":{"value_type":"REG_DWORD","inode":8589934592}}}`,
		`{"path":"/a","symbolic_path":"/b","value_type":"REG_DWORD","inode_before":0,"event":"modified"}`)
	f("what is no time and no inode is left out", `{"type":"event","data":{"path":"/a","type":"added","attributes":{"type":"file","mtime":-1,"inode":"x"}}}`,
		`{"path":"/a","event":"added"}`)
}

// Long texts are cut at the places where 4.14 cuts them.
func TestFIMTextIsShortened(t *testing.T) {
	t.Parallel()
	x := func(n int) string { return strings.Repeat("x", n) }
	path := func(n int) string { return x(n-10) + "0123456789" }
	e := New(ossecProgram(t, anyRule()), Config{})
	for _, tc := range []struct{ name, data, want string }{
		{"longest file", `"path":"` + path(756) + `","attributes":{"type":"file"}`, "File '" + path(756) + "' modified\nMode: m\n"},
		{"file", `"path":"` + path(757) + `","attributes":{"type":"file"}`, "File '" + x(719) + " [...] " + path(30) + "' modified\nMode: m\n"},
		{"longest key", `"arch":"[x64]","path":"` + path(750) + `","attributes":{"type":"registry_key"}`, "Registry Key '[x64] " + path(750) + "' modified\nMode: m\n"},
		{"key", `"arch":"[x64]","path":"` + path(751) + `","attributes":{"type":"registry_key"}`, "Registry Key '[x64] " + x(713) + " [...] " + path(24) + "' modified\nMode: m\n"},
		{"longest value", `"arch":"[x64]","value_name":"name","path":"` + path(746) + `","attributes":{"type":"registry_value"}`,
			"Registry Value '[x64] " + path(746) + "\\name' modified\nMode: m\n"},
		{"value", `"arch":"[x64]","value_name":"name","path":"` + path(800) + `","attributes":{"type":"registry_value"}`,
			"Registry Value '" + ("[x64] " + x(747) + " [...] \\name")[:756] + "' modified\nMode: m\n"},
		{"value with a long name", `"arch":"[x64]","value_name":"` + x(760) + `","path":"p","attributes":{"type":"registry_value"}`,
			"Registry Value '" + ("[x64]  [...] \\" + x(760))[:756] + "' modified\nMode: m\n"},
		{"value without a name", `"arch":"[x64]","path":"p","attributes":{"type":"registry_value"}`, "Registry Value 'Unknown key:Unknown Value' modified\nMode: m\n"},
		{"old registry", `"path":"` + path(757) + `","attributes":{"type":"registry"}`, "Registry Key '" + x(719) + " [...] " + path(30) + "' modified\nMode: m\n"},
		{"hard links", `"path":"p","hard_links":["` + x(300) + `"],"attributes":{"type":"file"}`, "File 'p' modified\nHard links: " + x(255-len("Hard links: ")) + "Mode: m\n"},
		{"changed attributes", `"path":"p","changed_attributes":["` + x(300) + `"],"attributes":{"type":"file"}`,
			"File 'p' modified\nMode: m\nChanged attributes: " + x(255-len("Changed attributes: "))},
		{"a change", `"path":"p","attributes":{"type":"file","user_name":"` + x(300) + `"}`, "File 'p' modified\nMode: m\nUser name was '', now it is '" + x(256-len("User name was '', now it is '"))},
		{"permissions", `"path":"p","attributes":{"type":"file","perm":"` + x(300) + `"}`, "File 'p' modified\nMode: m\nPermissions changed.\n"},
	} {
		s := e.NewState()
		e.Process(s, agentEvent('8', "syscheck", `{"type":"event","data":{"type":"modified","mode":"m",`+tc.data+`}}`))
		if diff := cmp.Diff(tc.want, s.scratch.ev.fullLog); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func FuzzFIM(f *testing.F) {
	fuzzQueue(f, '8', "syscheck", fimModified, fimRegistryKey, fimRegistryValue, fimFile("added"))
}
