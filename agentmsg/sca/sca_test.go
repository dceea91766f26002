package sca_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/agentmsg/laxjson"
	"vedette/agentmsg/sca"
)

const check = `{"type":"check","id":7.5,"policy":"P","policy_id":"p","check":{"id":2,"title":"t","description":"d","rationale":"r","remediation":"m",` +
	`"compliance":{"pci_dss":"2.2,3","cis":1.5,"x":null,"y":""},"rules":["f:/a -> r:x","c:b"],"condition":"all","references":"u","file":"/a,/b","directory":"/d",` +
	`"process":"q","registry":"k","command":"c","result":"failed","previous_result":"passed"}}`

const summary = `{"type":"summary","scan_id":7,"name":"N","policy_id":"p","file":"p.yml","description":"d","references":"u","passed":20,"failed":60,"invalid":3,` +
	`"total_checks":83,"score":25.9,"start_time":1,"end_time":2,"hash":"aa","hash_file":"bb","first_scan":1,"force_alert":"1"}`

func parse(t testing.TB, s string) (sca.Message, bool) {
	t.Helper()
	var r laxjson.Reader
	n, ok := r.Tree(s)
	if !ok {
		t.Fatalf("no JSON: %s", s)
	}
	return sca.Parse(n)
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, msg string
		want      sca.Message
	}{
		{"check", check, sca.Message{Type: "check", Check: &sca.Check{
			ScanID: "7", Policy: "P", PolicyID: "p", ID: "2", Title: "t", Description: "d", Rationale: "r", Remediation: "m", References: "u",
			Compliance: []sca.Standard{{Name: "pci_dss", Sections: "2.2,3"}, {Name: "cis", Sections: "1.5"}}, File: "/a,/b", Directory: "/d", Process: "q",
			Registry: "k", Command: "c", Rules: []string{"f:/a -> r:x", "c:b"}, Condition: "all", Result: "failed", PreviousResult: "passed",
		}}},
		{
			"check that was not made", `{"type":"check","id":1,"policy":"P","policy_id":"p","check":{"id":2,"title":"t","status":"Not applicable","reason":"why"}}`,
			sca.Message{Type: "check", Check: &sca.Check{ScanID: "1", Policy: "P", PolicyID: "p", ID: "2", Title: "t", Result: sca.NotApplicable, Reason: "why"}},
		},
		{"summary", summary, sca.Message{Type: "summary", Summary: &sca.Summary{
			ScanID: "7", Name: "N", PolicyID: "p", File: "p.yml", Description: "d", References: "u", Passed: "20", Failed: "60", Invalid: "3", TotalChecks: "83",
			Score: "25", StartTime: "1", EndTime: "2", Hash: "aa", HashFile: "bb", FirstScan: true, ForceAlert: true,
		}}},
		{"other", `{"type":"policies","policies":["a"]}`, sca.Message{Type: "policies"}},
		{"id that is a text", `{"type":"check","id":"1","policy":"P","policy_id":"p","check":{"id":2,"title":"t"}}`, sca.Message{Type: "check"}},
		{"member that is no text", `{"type":"check","id":1,"policy":"P","policy_id":"p","check":{"id":2,"title":"t","result":1}}`, sca.Message{Type: "check"}},
		{"check that is no object", `{"type":"check","id":1,"policy":"P","policy_id":"p","check":[1]}`, sca.Message{Type: "check"}},
		{"summary without policy", `{"type":"summary","name":"N"}`, sca.Message{Type: "summary"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, ok := parse(t, tc.msg)
			if diff := cmp.Diff(tc.want, got); diff != "" || !ok {
				t.Errorf("taken %v (-want +got):\n%s", ok, diff)
			}
		})
	}
	for _, msg := range []string{`{}`, `{"type":1}`} {
		if m, ok := parse(t, msg); ok {
			t.Errorf("%s was taken: %+v", msg, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(check)
	f.Add(summary)
	f.Fuzz(func(t *testing.T, s string) {
		var r laxjson.Reader
		n, ok := r.Tree(s)
		if !ok {
			return
		}
		m, _ := sca.Parse(n)
		if c := m.Check; c != nil && (c.ID == "" || c.Result == "" || m.Summary != nil) {
			t.Errorf("check %+v", c)
		}
		if c := m.Summary; c != nil && (c.Name == "" || c.PolicyID == "") {
			t.Errorf("summary %+v", c)
		}
	})
}
