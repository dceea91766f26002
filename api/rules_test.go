package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRulesAndDecoders(t *testing.T) {
	t.Parallel()
	s := serve(t)
	f := func(path, key string, want ...string) {
		t.Helper()
		got, _ := s.items(path, key)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
	f("/rules", "id", "5710", "5712", "100100")
	f("/rules?rule_ids=5712", "id", "5712")
	f("/rules?level=5-10", "id", "5710", "5712")
	f("/rules?level=3", "id", "100100")
	f("/rules?group=sshd&filename=0095-sshd.xml", "id", "5710", "5712")
	f("/rules?mitre=T1110", "id", "5710")
	f("/rules?pci_dss=10.2.4&limit=1", "id", "5710")
	f("/rules?pci_dss=9", "id", []string{}...)
	f("/rules?status=disabled", "id", []string{}...)
	f("/rules?relative_dirname=ruleset/rules&search=GUESS", "id", "5712")
	f("/decoders?relative_dirname=ruleset/decoders", "name", "sshd", "sshd-ok")
	f("/rules?sort=-level", "id", "5712", "5710", "100100")
	f("/rules?sort=-id&limit=1", "id", "100100")
	f("/rules?q=level>4;groups=syslog", "id", "5710")
	f("/rules?q=details.match=b;id=5712", "id", "5712")
	f("/rules?q=description~guess", "id", []string{}...) // case matters here
	f("/rules?q=color=red", "id", []string{}...)         // and unknown fields match nothing
	f("/rules?select=level&sort=level", "id", "100100", "5710", "5712")
	r := s.do("GET", "/rules?rule_ids=5710,9", "")
	if r.json["error"] != 2.0 || !strings.Contains(r.body, `"code":1208`) {
		t.Error(r.body)
	}
	r = s.do("GET", "/rules?rule_ids=5712", "")
	want := `{"description":"Guessing","details":{"if_sid":"5700","match":["a","b"]},"filename":"0095-sshd.xml","gdpr":[],"gpg13":[],"groups":["sshd"],"hipaa":[],"id":5712,"level":10,"mitre":[],"nist_800_53":[],"pci_dss":["10.2.4"],"relative_dirname":"ruleset/rules","status":"enabled","tsc":[]}`
	if !strings.Contains(r.body, want) {
		t.Error(r.body)
	}
	for path, want := range map[string]string{
		"/rules/groups":                                   `"sshd","syslog"`,
		"/rules/groups?search=pci":                        `"affected_items":["pci_dss_10.2.4"],"total_affected_items":1`,
		"/rules/groups?sort=-&limit=1":                    `"affected_items":["syslog"]`,
		"/rules/requirement/PCI_dss":                      `"affected_items":["10.2.4"],"total_affected_items":1,"total_failed_items":0,"failed_items":[]},"message":"All selected rules were returned","error":0`,
		"/rules/requirement/mitre":                        `"T1110"`,
		"/rules/requirement/gdpr":                         `"affected_items":[],"total_affected_items":0`,
		"/decoders/parents?select=name&relative_dirname=": "",
	} {
		if r := s.do("GET", path, ""); want == "" && r.status != 400 || want != "" && (r.status != 200 || !strings.Contains(r.body, want)) {
			t.Errorf("%s: %d %s; want %s", path, r.status, r.body, want)
		}
	}
	f("/decoders/parents", "name", "sshd")
	f("/rules/files?filename=0095-sshd.xml", "relative_dirname", "ruleset/rules")
	f("/rules/files?relative_dirname=ruleset/rules&search=sshd", "filename", "0095-sshd.xml")
	f("/decoders/files?status=disabled", "filename", []string{}...)
	f("/decoders", "name", "sshd", "sshd-ok")
	f("/decoders?decoder_names=sshd-ok", "details.parent", "sshd")
	f("/decoders?q=details.order~user", "name", "sshd-ok")
	f("/decoders?sort=-position&limit=1", "name", "sshd-ok")
	if r := s.do("GET", "/decoders?decoder_names=nope", ""); r.json["error"] != 1.0 || !strings.Contains(r.body, `"code":1504`) {
		t.Error(r.body)
	}
}
