package api

import (
	"slices"
	"strings"
	"testing"

	"vedette/api/rbac"
)

// The dashboard starts with these.
func TestTheCallingUser(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("GET", "/security/users/me", "")
	for _, w := range []string{`"affected_items":[{"id":1,"username":"wazuh","allow_run_as":true,"roles":[{"id":1,"name":"administrator","policies":[{"id":1,"name":"agents_all_resourceless","policy":{"actions":["agent:create"`, `"effect":"allow"`, `"total_affected_items":1`} {
		if r.status != 200 || !strings.Contains(r.body, w) {
			t.Errorf("%d, no %s in %.400s", r.status, w, r.body)
		}
	}
	r = s.do("GET", "/security/users/me/policies", "")
	for _, w := range []string{`"agent:read":{"agent:id:*":"allow"`, `"cluster:status":{"*:*:*":"allow"}`, `"rbac_mode":"white"}`, `"error":0`} {
		if r.status != 200 || !strings.Contains(r.body, w) {
			t.Errorf("%d, no %s in %.400s", r.status, w, r.body)
		}
	}
	if r := s.do("GET", "/cluster/status", ""); r.status != 200 || !strings.Contains(r.body, `{"enabled":"no","running":"no"}`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.as("reader")
	if r := s.do("GET", "/security/users/me/policies", ""); r.status != 200 || !strings.Contains(r.body, `"group:read"`) || strings.Contains(r.body, "agent:create") {
		t.Errorf("%d %.400s", r.status, r.body)
	}
	s.refused(s.do("GET", "/cluster/status", ""), 403, "Permission Denied", 4000, "Resource type: *:*")
}

func TestUsersRolesAndPoliciesAreListed(t *testing.T) {
	t.Parallel()
	s := serve(t)
	contains := func(path string, want ...string) {
		t.Helper()
		r := s.do("GET", path, "")
		for _, w := range want {
			if r.status != 200 || !strings.Contains(r.body, w) {
				t.Errorf("%s: %d, no %s in %.600s", path, r.status, w, r.body)
			}
		}
	}
	contains("/security/users?user_ids=1", `"affected_items":[{"id":1,"username":"wazuh","allow_run_as":true,"roles":[1]}],"total_affected_items":1`)
	contains("/security/users?user_ids=1,77", `"code":5001`, `"id":[77]`, `"error":2`)
	contains("/security/roles?role_ids=4", `{"id":4,"name":"agents_readonly","policies":[4,5],"users":[`, `"rules":[]`)
	contains("/security/roles?sort=-name&select=name", `"total_affected_items":7`, `"name":"users_admin"`)
	contains("/security/policies?policy_ids=2", `"resources":["agent:id:*","agent:group:*"],"effect":"allow"},"roles":[1,5]`)
	contains("/security/rules", `{"id":1,"name":"wui_elastic_admin","rule":{"FIND":{"username":"elastic"}},"roles":[1]}`, `"total_affected_items":2`)
	contains("/security/actions", `"agent:create":{"description":`, `"resources":["*:*"],"example":{"actions":["agent:create"],"resources":["*:*:*"],"effect":"allow"},"related_endpoints":["POST /agents"`)
	contains("/security/actions?endpoint=get+/alerts", `{"data":{"alert:read":{`)
	contains("/security/resources?resource=agent:id", `{"data":{"agent:id":{"description":`)
	for action := range rbac.Actions() {
		if !slices.ContainsFunc(rbac.ActionTexts, func(d rbac.Described) bool { return d.Name == action }) {
			t.Errorf("nothing describes the action %s", action)
		}
	}
	contains("/security/config", `{"auth_token_exp_timeout":900,"rbac_mode":"white"}`)
	s.as("reader") // may see agents, no users
	contains("/security/users", `"total_affected_items":0`)
	s.refused(s.do("GET", "/security/users?user_ids=1", ""), 403, "Permission Denied", 4000, "Resource type: user:id")
	s.refused(s.do("GET", "/security/config", ""), 403, "Permission Denied", 4000, "Resource type: *:*")
}
