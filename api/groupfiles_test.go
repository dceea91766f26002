package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"vedette/internal/groups"
	"vedette/schemas"
)

// fakeFiles are the groups' files.
type fakeFiles struct {
	mu  sync.Mutex
	by  map[string][]groups.File
	err error
	// published are the groups whose files were replaced, in order.
	published []string
}

const testConf = `<agent_config os="Linux"><localfile><location>/var/log/my.log</location></localfile></agent_config><agent_config/>`

func newFakeFiles() *fakeFiles {
	return &fakeFiles{by: map[string][]groups.File{
		"default": {{Path: "agent.conf", Data: []byte(testConf)}, {Path: "dir/list.txt", Data: []byte("a\nb <c>\n")}},
	}}
}

func (f *fakeFiles) Files(group string) ([]groups.File, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	files, ok := f.by[group]
	return files, ok
}

func (f *fakeFiles) Merged(names []string) *groups.Merged {
	return &groups.Merged{Sum: "merged " + strings.Join(names, ","), Data: []byte("#" + names[0] + "\n")}
}

func (f *fakeFiles) Publish(_ context.Context, group string, files []groups.File) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.by[group] = files
		f.published = append(f.published, group)
	}
	return f.err
}

func TestAGroupsFilesAreListedAndRead(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if got, n := s.items("/groups/default/files", "filename"); n != 4 || fmt.Sprint(got) != "[agent.conf ar.conf dir/list.txt merged.mg]" {
		t.Errorf("%q", got)
	}
	if got, _ := s.items("/groups/default/files?search=list&hash=sha1", "hash"); got[0] != "616e9940c607eafe9305a49c9c495873ba5c6de3" {
		t.Errorf("%q", got)
	}
	if got, _ := s.items("/groups/web/files", "filename"); fmt.Sprint(got) != "[ar.conf merged.mg]" {
		t.Errorf("%q", got)
	}
	f := func(path, kind, want string) {
		t.Helper()
		r := s.do("GET", path, "{}")
		if ct := r.header.Get("Content-Type"); r.status != 200 || ct != kind || r.body != want {
			t.Errorf("%s: %d %s %s", path, r.status, ct, r.body)
		}
	}
	const jsonType, xmlType, textType = "application/json; charset=utf-8", "application/xml; charset=utf-8", "text/plain; charset=utf-8"
	blocks := `[{"filters":{"os":"Linux"},"config":{"localfile":[{"location":"/var/log/my.log"}]}},{"filters":{},"config":{}}]`
	f("/groups/default/files/agent.conf?raw=true", xmlType, testConf)
	f("/groups/default/files/agent.conf", jsonType, `{"data":`+blocks+`,"error":0}`)
	f("/groups/default/files/dir%2Flist.txt", jsonType, `{"data":["a","b <c>"],"error":0}`)
	f("/groups/default/files/dir%2Flist.txt?raw=true", textType, "a\nb <c>\n")
	f("/groups/default/files/merged.mg?raw=true", textType, "#default\n")
	f("/groups/default/files/ar.conf?raw=true", textType, "firewall-drop600 - firewall-drop - 600\n")
	f("/groups/default/configuration", jsonType, `{"data":{"affected_items":`+blocks+`,"total_affected_items":2},"error":0}`)
	f("/groups/default/configuration?offset=1&limit=1", jsonType, `{"data":{"affected_items":[{"filters":{},"config":{}}],"total_affected_items":2},"error":0}`)
	f("/groups/web/configuration", jsonType, `{"data":{"affected_items":[],"total_affected_items":0},"error":0}`)
	s.refused(s.do("GET", "/groups/default/files/..%2F..%2Fpasswd?raw=true", ""), 400, "Bad Request", 1006, "no file")
	s.refused(s.do("GET", "/groups/none/files", ""), 404, "Resource Not Found", 1710, "")
	s.as("nobody")
	s.refused(s.do("GET", "/groups/default/configuration", ""), 403, "Permission Denied", 4000, "")
}

func TestAnAgentConfIsReplacedOnlyByOneThatAgentsTake(t *testing.T) {
	t.Parallel()
	s := serve(t)
	put := func(group, body, kind string) reply {
		t.Helper()
		return s.do("PUT", "/groups/"+group+"/configuration", body, func(r *http.Request) { r.Header.Set("Content-Type", kind) })
	}
	const xml = "application/xml"
	s.refused(put("default", "", xml), 400, "Bad Request", 1912, "")
	s.refused(put("default", " \n", xml), 400, "Bad Request", 1912, "")
	s.refused(put("default", "<agent_config>\n<labels>\n</agent_config>", xml), 400, "Bad Request", 1113, "line 3")
	s.refused(put("default", "<agent_config>\n<unknown/></agent_config>", xml), 400, "Bad Request", 1114, "line 2: <unknown> is no section")
	s.refused(put("default", "<agent_config>\xff</agent_config>", xml), 400, "Bad Request", 1911, "")
	s.refused(put("default", "{}", "application/json"), 415, "Unsupported Media Type", 0, "expected application/xml")
	s.refused(put("none", testConf, xml), 404, "Resource Not Found", 1710, "")
	if got, _ := s.fakes.files.Files("default"); len(got) != 2 || string(got[0].Data) != testConf {
		t.Fatalf("%q", got)
	}
	const other = "<agent_config><labels><label key=\"a\">b</label></labels></agent_config>\n"
	if r := put("default", other, xml+"; charset=utf-8"); r.status != 200 || r.json["error"] != 0.0 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := s.do("GET", "/groups/default/files/agent.conf?raw=true", ""); r.body != other {
		t.Error(r.body)
	}
	if got, _ := s.items("/groups/default/files", "filename"); len(got) != 4 {
		t.Errorf("other files are gone: %q", got)
	}
	s.fakes.files.err = groups.ErrTooLarge
	s.refused(put("web", other, xml), 400, "Bad Request", 2009, "")
	s.fakes.files.err = errors.New("no broker")
	s.refused(put("web", other, xml), 500, "Wazuh Internal Error", 1014, "")
	s.as("reader") // reads groups
	s.refused(put("default", other, xml), 403, "Permission Denied", 4000, "")
}

func TestAnAgentIsSyncedWithWhatItsGroupsHaveNow(t *testing.T) {
	t.Parallel()
	_, reg := serveRegistry(t)
	r := NewRegistry(reg, schemas.ForcePolicy{}, "siem")
	r.CompareFiles(func(groups []string) string { return "sum of " + strings.Join(groups, ",") })
	id, _, err := r.Add(t.Context(), NewAgent{Name: "web1", IP: "any"})
	if err != nil {
		t.Fatal(err)
	}
	f := func(reported string, want bool) {
		t.Helper()
		reg.SetPresence(schemas.Presence{V: 1, ID: id, State: schemas.StateActive, Gateway: "a", Updated: 1, MergedSum: reported}, nil)
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
			x := r.List()[0]
			if x.MergedSum == reported && x.Status == "active" {
				if (x.ConfigStatus == synced) != want {
					t.Errorf("%q: synced is %v", reported, (x.ConfigStatus == synced))
				}
				return
			}
			if time.Now().After(end) {
				t.Fatal("the presence is not seen")
			}
		}
	}
	f("", false)
	f("x", false)
	if err := reg.SetGroups(t.Context(), id, schemas.GroupsOverride, []string{"default"}); err != nil {
		t.Fatal(err)
	}
	f("sum of default", true)
	f("sum of other", false)
}
