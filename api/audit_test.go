package api

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"vedette/schemas"
)

// Each change and login gives one event with its outcome, and without a password.
func TestChangesAndLoginsAreAudited(t *testing.T) {
	t.Parallel()
	s, _ := secured(t)
	var mu sync.Mutex
	var texts []string
	s.cfg.Audit = Audit("siem", "node1", func(rec schemas.Record) {
		e, err := schemas.ParseEvent(&rec)
		if err != nil || e.AgentID != "000" || e.Location != AuditLocation || e.Gateway != "node1" {
			t.Errorf("the event is not one of the server: %v %+v", err, e)
		}
		mu.Lock()
		defer mu.Unlock()
		texts = append(texts, string(e.Log))
	})
	s.rebuild()
	took := func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := slices.Clone(texts)
		texts = nil
		return out
	}
	expect := func(what string, parts ...string) {
		t.Helper()
		got := took()
		if len(got) != 1 {
			t.Fatalf("%s: the events %q, want one", what, got)
		}
		for _, p := range append(parts, `"integration":"vedette-api"`, `"srcip":"127.0.0.1"`) {
			if !strings.Contains(got[0], p) {
				t.Errorf("%s: no %s in %s", what, p, got[0])
			}
		}
		if strings.Contains(got[0], "ecret.123") {
			t.Errorf("%s: the event holds the password: %s", what, got[0])
		}
	}
	s.as("wazuh")
	expect("a login", `"srcuser":"wazuh"`, `"operation":"login"`, `"status":200`, `"error":0`)
	s.do("POST", "/security/user/authenticate", "", func(r *http.Request) { r.SetBasicAuth("wazuh", "Secret.1234") })
	expect("a refused login", `"srcuser":"wazuh"`, `"status":401`)
	s.do("POST", "/security/users", `{"username":"anna","password":"Secret.123"}`)
	expect("an added user", `"operation":"add_user"`, `"method":"POST"`, `"path":"/security/users"`, `"status":200`, `"error":0`)
	s.do("POST", "/security/users?password=Secret.123", `{"username":"anna","password":"Secret.123"}`)
	expect("an unknown parameter", `"status":400`)
	s.do("DELETE", "/security/users?user_ids=1,100", "")
	expect("a change that was done in part", `"parameters":"user_ids=1%2C100"`, `"status":200`, `"error":2`)
	s.do("GET", "/security/users", "")
	s.do("GET", "/healthz", "")
	s.token = "forged"
	s.do("DELETE", "/security/users?user_ids=100", "")
	if got := took(); len(got) > 0 {
		t.Errorf("reads, probes and strangers without a token are told of: %q", got)
	}
}
