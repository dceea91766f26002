package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vedette/api/auth"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// memory is an AccessSource over a state of the registry, without brokers.
type memory struct {
	mu    sync.Mutex
	state *registry.State
	n     int
	past  int64 // seconds by which the clock of changes is behind
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	m := &memory{state: registry.NewState(), past: 5}
	if err := m.apply(schemas.Proposal{Kind: schemas.ProposalActivate, Activate: &schemas.Activate{Formats: schemas.Formats{schemas.ProposalAccess: 1}}}, "", nil); err != nil {
		t.Fatal(err)
	}
	for _, u := range []registry.User{{Name: "wazuh", Roles: []string{"administrator"}, RunAs: true}, {Name: "wazuh-wui", Roles: []string{"administrator"}, RunAs: true}} {
		u.PasswordHash = secret.String(passwordHash())
		if err := m.AddUser(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

var passwordHash = sync.OnceValue(func() string { return HashPassword("secret") })

func (m *memory) apply(p schemas.Proposal, opened secret.String, out *registry.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	p.V, p.ID, p.Time = 1, fmt.Sprintf("%032d", m.n), time.Now().UnixMilli()-1000*m.past
	o := m.state.Apply(&p, opened, int64(m.n))
	if out != nil {
		*out = o
	}
	if o.Refusal != nil {
		return o.Refusal
	}
	return nil
}

func (m *memory) User(name string) (registry.User, bool) {
	for _, u := range m.Users() {
		if u.Name == name {
			return u, true
		}
	}
	return registry.User{}, false
}

func (m *memory) Users() []registry.User {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Users()
}

func (m *memory) Access() (*registry.Access, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Access()
}

func (m *memory) AddUser(_ context.Context, u registry.User) error {
	return m.apply(schemas.Proposal{Kind: schemas.ProposalUserAdd, UserAdd: &schemas.UserAdd{Name: u.Name, Roles: u.Roles, RunAs: u.RunAs}}, u.PasswordHash, nil)
}

func (m *memory) ChangeAccess(_ context.Context, q schemas.AccessChange, hidden secret.String) (int, error) {
	var out registry.Outcome
	err := m.apply(schemas.Proposal{Kind: schemas.ProposalAccess, Access: &q}, hidden, &out)
	return out.AccessID, err
}

func (m *memory) TokenKey() ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.TokenKey()
}

func (m *memory) SetTokenKey(_ context.Context, pem []byte) ([]byte, error) {
	err := m.apply(schemas.Proposal{Kind: schemas.ProposalTokenKey, TokenKey: &schemas.TokenKey{}}, secret.String(pem), nil)
	return pem, err
}

// secured serves the API over a memory and logs in as wazuh.
func secured(t *testing.T) (*server, *memory) {
	t.Helper()
	s, m := serve(t), newMemory(t)
	s.deps.Users = NewAccess(m)
	s.rebuild()
	s.as("wazuh")
	return s, m
}

// wants sends a request and demands a status and parts of the answer.
func (s *server) wants(method, path, body string, status int, parts ...string) reply {
	s.t.Helper()
	r := s.do(method, path, body)
	for _, part := range append(parts, "") {
		if r.status != status || !strings.Contains(r.body, part) {
			s.t.Errorf("%s %s: %d %s; want %d with %s", method, path, r.status, r.body, status, part)
		}
	}
	return r
}

func TestUsersAreManaged(t *testing.T) {
	t.Parallel()
	s, _ := secured(t)
	s.wants("POST", "/security/users", `{"username":"anna","password":"Secret.123"}`, 200, `"affected_items":[{"id":100,"username":"anna","allow_run_as":false,"roles":[]}]`, `"total_affected_items":1`)
	s.wants("POST", "/security/users", `{"username":"anna","password":"Secret.123"}`, 400, `"error":5000`)
	s.wants("POST", "/security/users", `{"username":"otto","password":"Short.1"}`, 400, `"error":5009`)
	s.wants("POST", "/security/users", `{"username":"otto","password":"`+strings.Repeat("aA1.", 17)+`"}`, 400, `"error":5009`)
	for _, weak := range []string{"secret.123", "SECRET.123", "Secretxyz.", "Secret1234"} {
		s.wants("POST", "/security/users", `{"username":"otto","password":"`+weak+`"}`, 400, `"error":5007`)
	}
	s.wants("POST", "/security/users", `{"username":"abc","password":"Secret.123"}`, 400)
	s.wants("PUT", "/security/users/100", `{"password":"Other.123"}`, 200, `"id":100`)
	s.wants("PUT", "/security/users/100", `{}`, 400, `"error":4001`)
	s.wants("PUT", "/security/users/999", `{"password":"Other.123"}`, 400, `"error":5001`)
	s.wants("PUT", "/security/users/100/run_as?allow_run_as=true", "", 200, `"allow_run_as":true`)
	s.wants("PUT", "/security/users/1/run_as?allow_run_as=false", "", 200, `"code":5004`, `"id":[1]`, `"error":1`)
	if r := s.do("POST", "/security/user/authenticate", "", func(r *http.Request) { r.SetBasicAuth("anna", "Other.123") }); r.status != 200 {
		t.Errorf("the new password does not log in: %d %s", r.status, r.body)
	}
	s.wants("DELETE", "/security/users?user_ids=1,100,999", "", 200, `"affected_items":[{"id":100`, `"code":5001`, `"id":[999]`, `"code":5004`, `"error":2`)
	s.wants("DELETE", "/security/users?user_ids=all", "", 200, `"total_affected_items":0`, `"total_failed_items":0`)
	s.wants("DELETE", "/security/users", "", 400)
}

func TestRolesPoliciesAndTheirOrder(t *testing.T) {
	t.Parallel()
	s, _ := secured(t)
	s.wants("POST", "/security/roles", `{"name":"web"}`, 200, `"affected_items":[{"id":100,"name":"web","policies":[],"users":[],"rules":[]}]`)
	s.wants("POST", "/security/roles", `{"name":"web"}`, 400, `"error":4005`)
	s.wants("POST", "/security/roles", `{"name":"readonly"}`, 400, `"error":4005`)
	s.wants("PUT", "/security/roles/100", `{"name":"web2"}`, 200, `"name":"web2"`)
	s.wants("PUT", "/security/roles/1", `{"name":"x"}`, 400, `"error":4008`)
	s.wants("PUT", "/security/roles/77", `{"name":"x"}`, 400, `"error":4002`)
	s.wants("POST", "/security/policies", `{"name":"p","policy":{"actions":["Agent:Read"],"resources":["AGENT:ID:001"],"effect":"Allow"}}`, 200,
		`{"id":100,"name":"p","policy":{"actions":["agent:read"],"resources":["agent:id:001"],"effect":"allow"},"roles":[]}`)
	s.wants("POST", "/security/policies", `{"name":"q","policy":{"actions":["agent:read"],"resources":["agent:id:001"],"effect":"allow"}}`, 400, `"error":4009`)
	s.wants("POST", "/security/policies", `{"name":"agents_read_agents","policy":{"actions":["agent:read"],"resources":["agent:id:009"],"effect":"allow"}}`, 400, `"error":4009`)
	s.wants("POST", "/security/policies", `{"name":"q","policy":{"actions":["agent:read"],"resources":["nothing"],"effect":"allow"}}`, 400, `"error":4006`)
	s.wants("POST", "/security/policies", `{"name":"q","policy":{"actions":["agent:read"],"resources":["agent:id:001&node:id:a&node:id:b"],"effect":"allow"}}`, 400, `"error":4500`)
	s.wants("POST", "/security/policies", `{"name":"q","policy":{"actions":["agent:read"],"resources":["agent:id:002"],"effect":"perhaps"}}`, 400, `"error":4006`)
	s.wants("POST", "/security/roles/100/policies?policy_ids=100,5,999", "", 200, `"policies":[100,5]`, `"total_affected_items":2`, `"code":4007`, `"id":[999]`, `"error":2`)
	s.wants("POST", "/security/roles/100/policies?policy_ids=13,4&position=1", "", 200, `"policies":[100,13,4,5]`)
	s.wants("POST", "/security/roles/100/policies?policy_ids=4", "", 200, `"code":4011`, `"error":1`, `"affected_items":[]`)
	s.wants("POST", "/security/roles/100/policies?policy_ids=25,2&position=0", "", 200, `"policies":[25,2,100,13,4,5]`)
	s.wants("DELETE", "/security/roles/100/policies?policy_ids=25,2", "", 200, `"policies":[100,13,4,5]`)
	s.wants("DELETE", "/security/roles/100/policies?policy_ids=4,16", "", 200, `"policies":[100,13,5]`, `"code":4010`, `"id":[16]`)
	s.wants("POST", "/security/roles/1/policies?policy_ids=100", "", 200, `"code":4008`)
	s.wants("DELETE", "/security/roles/100/policies?policy_ids=all", "", 200, `"policies":[]`, `"total_failed_items":0`)
	s.wants("DELETE", "/security/policies?policy_ids=100,1", "", 200, `"affected_items":[{"id":100`, `"code":4008`)
	s.wants("DELETE", "/security/roles?role_ids=100,2,999", "", 200, `"affected_items":[{"id":100`, `"code":4008`, `"code":4002`)
}

func TestSecurityRulesAndTheirLinks(t *testing.T) {
	t.Parallel()
	s, _ := secured(t)
	s.wants("POST", "/security/rules", `{"name":"r","rule":{"MATCH":{"definition":"x"}}}`, 200, `{"id":100,"name":"r","rule":{"MATCH":{"definition":"x"}},"roles":[]}`)
	s.wants("POST", "/security/rules", `{"name":"s","rule":{"MATCH":{"definition":"x"}}}`, 400, `"error":4005`)
	s.wants("POST", "/security/rules", `{"name":"s","rule":{"WRONG":{"definition":"x"}}}`, 400, `"error":4003`)
	s.wants("PUT", "/security/rules/100", `{"rule":{"FIND":{"definition":"y"}}}`, 200, `"name":"r"`, `"FIND"`)
	s.wants("PUT", "/security/rules/1", `{"name":"x"}`, 400, `"error":4008`)
	s.wants("POST", "/security/roles/4/rules?rule_ids=100", "", 200, `"id":4`, `"rules":[100]`)
	s.wants("POST", "/security/roles/4/rules?rule_ids=100", "", 200, `"code":4023`)
	s.wants("POST", "/security/roles/1/rules?rule_ids=1", "", 200, `"code":4023`)
	s.wants("DELETE", "/security/roles/1/rules?rule_ids=1,2", "", 200, `"code":4025`, `"id":[1,2]`)
	s.wants("DELETE", "/security/roles/4/rules?rule_ids=all", "", 200, `"rules":[]`)
	s.wants("DELETE", "/security/roles/4/rules?rule_ids=100", "", 200, `"code":4024`)
	s.wants("DELETE", "/security/rules?rule_ids=1,100", "", 200, `"affected_items":[{"id":100`, `"code":4008`)
}

// A user has the permissions of its roles, at once.
func TestPermissionsFollowTheLinks(t *testing.T) {
	t.Parallel()
	s, m := secured(t)
	admin := s.token
	s.wants("POST", "/security/users", `{"username":"anna","password":"Secret.123"}`, 200)
	s.wants("POST", "/security/roles", `{"name":"web"}`, 200)
	s.wants("POST", "/security/policies", `{"name":"p","policy":{"actions":["agent:read"],"resources":["agent:group:web"],"effect":"allow"}}`, 200)
	s.wants("POST", "/security/roles/100/policies?policy_ids=100", "", 200)
	s.wants("POST", "/security/users/100/roles?role_ids=100", "", 200, `"roles":[100]`, `"total_affected_items":1`)
	s.wants("POST", "/security/users/100/roles?role_ids=100,999", "", 200, `"code":4017`, `"code":4002`, `"affected_items":[]`)
	s.wants("POST", "/security/users/1/roles?role_ids=100", "", 200, `"code":4008`)
	login := func() string {
		t.Helper()
		r := s.do("POST", "/security/user/authenticate?raw=true", "", func(r *http.Request) { r.SetBasicAuth("anna", "Secret.123") })
		if r.status != 200 {
			t.Fatalf("login: %d %s", r.status, r.body)
		}
		return r.body
	}
	s.token = login()
	anna := s.token
	if ids, _ := s.items("/agents", "id"); !slices.Equal(ids, []string{"001"}) {
		t.Errorf("the user of the group sees the agents %q, want 001", ids)
	}
	s.wants("GET", "/security/users/me", "", 200, `"id":100`, `"name":"web"`, `"name":"p"`)
	// A denial behind the policy takes the agent away; the old token ends with the change.
	s.token = admin
	s.wants("POST", "/security/policies", `{"name":"d","policy":{"actions":["agent:read"],"resources":["agent:id:001"],"effect":"deny"}}`, 200)
	m.past = -1 // the mark is younger than any token made before
	s.wants("POST", "/security/roles/100/policies?policy_ids=101", "", 200, `"policies":[100,101]`)
	s.token = anna
	s.wants("GET", "/agents", "", 401, "Invalid token")
	s.token = admin
	s.wants("DELETE", "/security/users/100/roles?role_ids=100,4", "", 200, `"roles":[]`, `"code":4016`)
}

func TestLogoutAndRevocationEndTokens(t *testing.T) {
	t.Parallel()
	s, m := secured(t)
	m.past = -1
	s.wants("DELETE", "/security/user/authenticate", "", 200, "User wazuh was successfully logged out")
	s.wants("GET", "/agents", "", 401, "Invalid token")
	m.past = 5
	s, _ = secured(t)
	before := s.token
	s.wants("PUT", "/security/user/revoke", "", 200, "Tokens were successfully revoked")
	s.wants("GET", "/agents", "", 401, "Invalid token")
	s.as("wazuh")
	s.wants("GET", "/agents", "", 200)
	if s.token == before {
		t.Error("the token is the one from before")
	}
}

func TestTheSecurityConfigurationIsChanged(t *testing.T) {
	t.Parallel()
	s, _ := secured(t)
	s.wants("GET", "/security/config", "", 200, `{"auth_token_exp_timeout":900,"rbac_mode":"white"}`)
	s.wants("PUT", "/security/config", `{"auth_token_exp_timeout":10}`, 400)
	s.wants("PUT", "/security/config", `{"rbac_mode":"grey"}`, 400)
	s.wants("PUT", "/security/config", `{}`, 400)
	s.wants("PUT", "/security/config", `{"auth_token_exp_timeout":60,"rbac_mode":"black"}`, 200, "Configuration was successfully updated")
	s.wants("GET", "/security/config", "", 401)
	s.as("wazuh")
	s.wants("GET", "/security/config", "", 200, `{"auth_token_exp_timeout":60,"rbac_mode":"black"}`)
	s.wants("GET", "/security/users/me/policies", "", 200, `"rbac_mode":"black"`)
	// In black mode a user without roles may do all that nobody forbids.
	s.wants("POST", "/security/users", `{"username":"anna","password":"Secret.123"}`, 200)
	admin := s.token
	r := s.do("POST", "/security/user/authenticate?raw=true", "", func(r *http.Request) { r.SetBasicAuth("anna", "Secret.123") })
	s.token = r.body
	s.wants("GET", "/agents", "", 200, `"total_affected_items":4`)
	s.token = admin
	s.wants("DELETE", "/security/config", "", 200)
	s.as("wazuh")
	s.wants("GET", "/security/config", "", 200, `{"auth_token_exp_timeout":900,"rbac_mode":"white"}`)
}

func TestALoginWithAContextGetsTheRolesOfItsRules(t *testing.T) {
	t.Parallel()
	s, m := secured(t)
	login := func(user, context string) (reply, *auth.Claims) {
		t.Helper()
		r := s.do("POST", "/security/user/authenticate/run_as?raw=true", context, func(r *http.Request) { r.SetBasicAuth(user, "secret") })
		if r.status != 200 {
			return r, nil
		}
		pem, _ := m.TokenKey()
		key, err := auth.ParseKey(pem)
		if err != nil {
			t.Fatal(err)
		}
		c, err := auth.ParseToken(&key.PublicKey, r.body, time.Now())
		if err != nil {
			t.Fatalf("%v: %s", err, r.body)
		}
		return r, c
	}
	admin := `{"user_name":"admin","roles":["all_access"]}`
	r, c := login("wazuh-wui", admin)
	if c == nil || !c.RunAs || !slices.Equal(c.Roles, []int{1}) || len(c.Context) != 32 {
		t.Fatalf("the dashboard's account with the indexer's admin: %+v %s", c, r.body)
	}
	s.token = r.body
	s.wants("GET", "/agents", "", 200)
	// The built-in rules are for the dashboard's account only.
	if _, c := login("wazuh", admin); c == nil || len(c.Roles) != 0 {
		t.Errorf("another account got %+v", c)
	}
	s.as("wazuh")
	s.wants("POST", "/security/rules", `{"name":"r","rule":{"OR":[{"FIND":{"r'^dep.*'":"r'^web'"}},{"MATCH$":{"roles":["a","b"]}}]}}`, 200)
	s.wants("POST", "/security/roles/4/rules?rule_ids=100", "", 200)
	for context, want := range map[string][]int{
		`{"person":{"department":"webshop"}}`: {4}, `{"person":{"department":"shop"}}`: {}, `{"roles":["b","a"]}`: {4}, `{"roles":["a","b","c"]}`: {}, `{}`: {},
	} {
		r, c := login("wazuh", context)
		if c == nil || !slices.Equal(c.Roles, want) {
			t.Errorf("the context %s gets %+v, want the roles %d: %s", context, c, want, r.body)
		}
	}
	r, _ = login("wazuh", `{"person":{"department":"webshop"}}`)
	s.token = r.body
	s.wants("GET", "/agents", "", 200)
	s.wants("GET", "/manager/info", "", 403, `"error":4000`)
	if r, _ := login("wazuh", `{"a":"`+strings.Repeat("x", 9000)+`"}`); r.status != 413 {
		t.Errorf("a context of 9,000 bytes: %d %.100s", r.status, r.body)
	}
	m.past = -1
	s.as("wazuh")
	m.past = 5
	s.wants("POST", "/security/users", `{"username":"anna","password":"Secret.123"}`, 200)
	r = s.do("POST", "/security/user/authenticate/run_as", "{}", func(r *http.Request) { r.SetBasicAuth("anna", "Secret.123") })
	if r.status != 403 || !strings.Contains(r.body, `"error":6004`) {
		t.Errorf("a user without the flag: %d %s", r.status, r.body)
	}
}

// A user who may only read users sees neither passwords nor anything to change.
func TestUsersWithoutTheRightChangeNothing(t *testing.T) {
	t.Parallel()
	s, m := secured(t)
	if err := m.AddUser(t.Context(), registry.User{Name: "reader", PasswordHash: secret.String(passwordHash()), Roles: []string{"readonly"}}); err != nil {
		t.Fatal(err)
	}
	s.as("reader")
	before, _ := json.Marshal(slices.Sorted(maps.Keys(s.do("GET", "/security/users/me", "").json)))
	for _, r := range [][3]string{
		{"POST", "/security/users", `{"username":"anna","password":"Secret.123"}`}, {"PUT", "/security/users/100", `{"password":"Secret.123"}`},
		{"DELETE", "/security/users?user_ids=1", ""}, {"PUT", "/security/users/100/run_as?allow_run_as=true", ""}, {"POST", "/security/users/100/roles?role_ids=1", ""},
		{"POST", "/security/roles", `{"name":"x"}`}, {"DELETE", "/security/roles?role_ids=100", ""}, {"PUT", "/security/config", `{"rbac_mode":"black"}`},
		{"PUT", "/security/user/revoke", ""},
	} {
		s.wants(r[0], r[1], r[2], 403, `"error":4000`)
	}
	if len(before) == 0 {
		t.Error("the user cannot see itself")
	}
}
