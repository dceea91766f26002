package rbac

import "testing"

func TestALaterPolicyWins(t *testing.T) {
	t.Parallel()
	allow := func(rs ...string) Policy { return Policy{Actions: []string{"agent:read"}, Resources: rs} }
	deny := func(rs ...string) Policy {
		return Policy{Actions: []string{"agent:read"}, Resources: rs, Deny: true}
	}
	f := func(want, black bool, resource string, ps ...Policy) {
		t.Helper()
		if got := New(ps, black).Allows("agent:read", resource, "agent:group:web"); got != want {
			t.Errorf("%s is %v", resource, got)
		}
	}
	f(false, false, "agent:id:001")
	f(true, true, "agent:id:001")
	f(true, false, "agent:id:001", allow("agent:id:001"))
	f(false, false, "agent:id:002", allow("agent:id:001"))
	f(true, false, "agent:id:002", allow("agent:group:web"))
	f(false, false, "agent:id:001", allow("agent:id:*"), deny("agent:id:001"))
	f(true, false, "agent:id:001", deny("agent:id:001"), allow("agent:id:*"))
	f(true, false, "agent:id:001", deny("agent:group:web"), allow("agent:id:*"))
	f(false, false, "agent:id:001", allow("agent:id:*"), deny("agent:group:web"))
	f(true, false, "agent:id:001", allow("agent:id:001"), deny("agent:id:001"), allow("agent:id:001"))
	f(false, true, "agent:id:001", deny("agent:id:*"))

	if p := New(PoliciesOf([]int{1}), false); !p.AllowsAll("agent:read", "agent:id") || !p.Allows("manager:read", AnyResource) || !p.Allows("rules:read", "rule:file:a.xml") {
		t.Error("the administrator may not")
	}
	if p := New(PoliciesOf([]int{4}), false); p.Allows("agent:delete", "agent:id:001") || p.Allows("manager:read", AnyResource) || p.Allows(AlertRead, "agent:id:001") {
		t.Error("agents_readonly may")
	}
	if New([]Policy{allow("agent:id:*"), deny("agent:id:1")}, false).AllowsAll("agent:read", "agent:id") {
		t.Error("all but one is all")
	}
	if New(nil, false).AllowsAll("agent:read", "agent:id") {
		t.Error("nothing is all")
	}
}

func TestBuiltinPoliciesStandAtTheirIDs(t *testing.T) {
	t.Parallel()
	for i, p := range policies {
		if p.ID != i+1 {
			t.Errorf("policy %d stands at %d", p.ID, i+1)
		}
	}
	if id, ok := RoleID("administrator"); !ok || id != 1 {
		t.Error("the administrator is not role 1")
	}
}
