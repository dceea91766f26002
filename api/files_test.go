package api

import (
	"strings"
	"testing"

	"vedette/api/rbac"
	"vedette/api/rest"
	"vedette/ruleset"
)

func TestFilesOfTheRulesetAreShown(t *testing.T) {
	t.Parallel()
	s := serve(t)
	raw := string(s.fakes.Source().Rules[0].Data)
	for _, query := range []string{"?raw=true", "?raw=true&relative_dirname=ruleset/rules"} {
		r := s.do("GET", "/rules/files/0095-sshd.xml"+query, "{}")
		if r.status != 200 || r.body != raw || r.header.Get("Content-Type") != "application/xml; charset=utf-8" {
			t.Errorf("%s: %d %s %q, want the file", query, r.status, r.header.Get("Content-Type"), r.body)
		}
	}
	s.shows("/rules/files/0095-sshd.xml", `[{"group":[{"@name":"sshd,","rule":{"@id":"5710","@level":"5","match":["a",{"@type":"pcre2","#text":"b"}],`+
		`"list":{"@field":"user","#text":"etc/lists/admins"},"description":"Login"}},{"@name":"local,","rule":{"@id":"1","@level":"0","description":""}}]}]`)
	s.shows("/decoders/files/ssh.xml", `[{"decoder":{"@name":"sshd","prematch":"^x"}}]`)
	if r := s.do("GET", "/decoders/files/ssh.xml?raw=true", ""); r.body != `<decoder name="sshd"><prematch>^x</prematch></decoder>` {
		t.Errorf("%d %q", r.status, r.body)
	}
	for path, code := range map[string]int{
		"/rules/files/nope.xml": 1415, "/rules/files/0095-sshd.xml?relative_dirname=etc/rules": 1415, "/decoders/files/nope.xml": 1503, "/lists/files/nope": 1802,
	} {
		r := s.do("GET", path, "")
		if failed, _ := dug(r.json, "data.failed_items").([]any); r.status != 200 || r.json["error"] != 1.0 || len(failed) != 1 || dug(failed[0].(map[string]any), "error.code") != float64(code) {
			t.Errorf("%s: %d %s, want a failed item with %d", path, r.status, r.body, code)
		}
		joint := "?"
		if strings.Contains(path, "?") {
			joint = "&"
		}
		s.refused(s.do("GET", path+joint+"raw=true", ""), 400, "Bad Request", code, "")
	}
	for _, path := range []string{"/rules/files/local.yml", "/rules/files/..%2Fa.xml", "/lists/files/a.b", "/rules/files/a.xml?relative_dirname=etc/../rules", "/decoders/files/a.xml?raw=2"} {
		s.refused(s.do("GET", path, ""), 400, "Bad Request", 0, "")
	}
}

func TestAFileThatIsNoXMLIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.deps.Rules = brokenSource{s.fakes}
	s.rebuild()
	s.refused(s.do("GET", "/rules/files/bad.xml", ""), 400, "Bad Request", 1113, "bad.xml: 1:")
	if r := s.do("GET", "/rules/files/bad.xml?raw=true", ""); r.body != "<group" {
		t.Errorf("%d %q, want the file as it is", r.status, r.body)
	}
}

type brokenSource struct{ *fakes }

func (brokenSource) Source() ruleset.Source {
	return ruleset.Source{Rules: []ruleset.File{{Name: "bad.xml", Path: "rules/bad.xml", Data: []byte("<group")}}}
}

func TestListsAreShown(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const (
		aws     = `{"filename":"aws-sources","items":[{"key":"s3","value":""},{"key":"a:b","value":"c d"},{"key":"s3","value":"again"}],"relative_dirname":"etc/lists/amazon"}`
		outside = `{"filename":"outside","items":[{"key":"outside","value":"yes"}],"relative_dirname":"etc/lists"}`
	)
	for path, want := range map[string]string{
		"/lists":                  `[` + aws + `,` + outside + `]`,
		"/lists?filename=outside": `[` + outside + `]`,
		"/lists?relative_dirname=etc/lists/amazon":                           `[` + aws + `]`,
		"/lists?relative_dirname=etc/lists/nothing":                          `[]`,
		"/lists?search=AGAIN&select=filename":                                `[{"filename":"aws-sources"}]`,
		"/lists?q=items.key=a:b&select=filename":                             `[{"filename":"aws-sources"}]`,
		"/lists?q=items.value~ye&select=filename":                            `[{"filename":"outside"}]`,
		"/lists?sort=-filename&limit=1":                                      `[` + outside + `]`,
		"/lists?select=relative_dirname&distinct=true&sort=relative_dirname": `[{"relative_dirname":"etc/lists"},{"relative_dirname":"etc/lists/amazon"}]`,
		"/lists/files":                  `[{"filename":"aws-sources","relative_dirname":"etc/lists/amazon"},{"filename":"outside","relative_dirname":"etc/lists"}]`,
		"/lists/files?search=amazon":    `[{"filename":"aws-sources","relative_dirname":"etc/lists/amazon"}]`,
		"/lists/files?filename=outside": `[{"filename":"outside","relative_dirname":"etc/lists"}]`,
		"/lists/files/aws-sources":      `[{"s3":"","a:b":"c d"}]`,
		"/lists/files/outside":          `[{"outside":"yes"}]`,
	} {
		s.shows(path, want)
	}
	r := s.do("GET", "/lists/files/aws-sources?raw=true", "")
	if want := "s3:\n\"a:b\":c d\ns3:again\nnothing\n"; r.status != 200 || r.body != want || r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d %s %q, want %q", r.status, r.header.Get("Content-Type"), r.body, want)
	}
	s.refused(s.do("GET", "/lists?sort=items", ""), 400, "Bad Request", 1403, "")
	s.refused(s.do("GET", "/lists?select=nope", ""), 400, "Bad Request", 1724, "")
}

// Permissions name files, whatever operation shows them.
func TestFilesNeedAPermission(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.users["some"] = rest.User{Name: "some", Policies: []rbac.Policy{
		{Actions: []string{"lists:read"}, Resources: []string{"list:file:outside"}}, {Actions: []string{"rules:read"}, Resources: []string{"rule:file:outside.xml"}},
	}}
	s.as("some")
	s.shows("/lists/files", `[{"filename":"outside","relative_dirname":"etc/lists"}]`)
	if r := s.do("GET", "/rules/files/outside.xml?raw=true", ""); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, path := range []string{"/lists/files/aws-sources", "/lists/files/nope", "/rules/files/0095-sshd.xml?raw=true", "/decoders/files/ssh.xml"} {
		s.refused(s.do("GET", path, ""), 403, "Permission Denied", 4000, "")
	}
}
