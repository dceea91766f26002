package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"vedette/internal/kafka/kafkatest"
	"vedette/internal/secret"
	"vedette/schemas"
)

// accessState is a state with active access and a user 100.
type accessState struct {
	t *testing.T
	s *State
	n int
}

func newAccessState(t *testing.T) *accessState {
	x := &accessState{t: t, s: NewState()}
	x.apply(schemas.Proposal{Kind: schemas.ProposalActivate, Activate: &schemas.Activate{Formats: schemas.Formats{schemas.ProposalAccess: 1}}}, "")
	x.apply(schemas.Proposal{Kind: schemas.ProposalUserAdd, UserAdd: &schemas.UserAdd{Name: "ann"}}, "hash")
	return x
}

func (x *accessState) apply(p schemas.Proposal, opened secret.String) Outcome {
	x.n++
	p.V, p.ID, p.Time = 1, fmt.Sprintf("%032d", x.n), int64(x.n)*1000
	return x.s.Apply(&p, opened, int64(x.n))
}

// change applies a change and demands a reason, empty for success.
func (x *accessState) change(want Reason, q schemas.AccessChange) int {
	x.t.Helper()
	out := x.apply(schemas.Proposal{Kind: schemas.ProposalAccess, Access: &q}, "secret")
	got := Reason("")
	if out.Refusal != nil {
		got = out.Refusal.Reason
	}
	if got != want {
		x.t.Errorf("%s %+v: refused with %q, want %q", q.Op, q, got, want)
	}
	return out.AccessID
}

func (x *accessState) user() User {
	u, _ := x.s.userByID(100)
	return u
}

func TestLinksKeepTheirOrderAndAreRefusedTwice(t *testing.T) {
	t.Parallel()
	x := newAccessState(t)
	role := x.change("", schemas.AccessChange{Op: schemas.AccessRoleAdd, Name: "web"})
	if role != FirstFreeID {
		t.Fatalf("the first role has the id %d", role)
	}
	x.change(ReasonNameExists, schemas.AccessChange{Op: schemas.AccessRoleAdd, Name: "web"})
	first := 0
	x.change("", schemas.AccessChange{Op: schemas.AccessUserLink, ID: 100, Link: 4})
	x.change("", schemas.AccessChange{Op: schemas.AccessUserLink, ID: 100, Link: role, Position: &first})
	x.change(ReasonLinked, schemas.AccessChange{Op: schemas.AccessUserLink, ID: 100, Link: 4})
	x.change(ReasonNoRole, schemas.AccessChange{Op: schemas.AccessUserLink, ID: 100, Link: 999})
	x.change(ReasonNoUser, schemas.AccessChange{Op: schemas.AccessUserLink, ID: 101, Link: 4})
	if got := x.user().Roles; !slices.Equal(got, []string{"100", "4"}) {
		t.Errorf("the user's roles are %q", got)
	}
	policy := x.change("", schemas.AccessChange{Op: schemas.AccessPolicyAdd, Name: "p", Actions: []string{"agent:read"}, Resources: []string{"agent:group:web"}})
	x.change("", schemas.AccessChange{Op: schemas.AccessPolicyLink, ID: role, Link: 5})
	x.change("", schemas.AccessChange{Op: schemas.AccessPolicyLink, ID: role, Link: policy, Position: &first})
	if got := x.s.access.Roles[role].Policies; !slices.Equal(got, []int{policy, 5}) {
		t.Errorf("the role's policies are %d", got)
	}
	x.change("", schemas.AccessChange{Op: schemas.AccessPolicyUnlink, ID: role, Link: 5})
	x.change(ReasonNotLinked, schemas.AccessChange{Op: schemas.AccessPolicyUnlink, ID: role, Link: 5})
	x.change("", schemas.AccessChange{Op: schemas.AccessUserUnlink, ID: 100, Link: 4})
	x.change(ReasonNotLinked, schemas.AccessChange{Op: schemas.AccessUserUnlink, ID: 100, Link: 4})
	x.change(ReasonBuiltIn, schemas.AccessChange{Op: schemas.AccessPolicyLink, ID: 1, Link: policy})
}

func TestRemovedObjectsLeaveNoLinks(t *testing.T) {
	t.Parallel()
	x := newAccessState(t)
	role := x.change("", schemas.AccessChange{Op: schemas.AccessRoleAdd, Name: "web"})
	policy := x.change("", schemas.AccessChange{Op: schemas.AccessPolicyAdd, Name: "p", Actions: []string{"agent:read"}, Resources: []string{"*:*:*"}})
	rule := x.change("", schemas.AccessChange{Op: schemas.AccessRuleAdd, Name: "r", Rule: json.RawMessage(`{"FIND":{"a":1}}`)})
	x.change("", schemas.AccessChange{Op: schemas.AccessUserLink, ID: 100, Link: role})
	x.change("", schemas.AccessChange{Op: schemas.AccessPolicyLink, ID: role, Link: policy})
	x.change("", schemas.AccessChange{Op: schemas.AccessRuleLink, ID: role, Link: rule})
	x.change("", schemas.AccessChange{Op: schemas.AccessRuleLink, ID: 1, Link: rule}) // a built-in role
	x.change("", schemas.AccessChange{Op: schemas.AccessPolicyRemove, ID: policy})
	x.change("", schemas.AccessChange{Op: schemas.AccessRuleRemove, ID: rule})
	if r := x.s.access.Roles[role]; len(r.Policies)+len(r.Rules)+len(x.s.access.Roles[1].Rules) > 0 {
		t.Errorf("links to removed objects stay: %+v, %+v", r, x.s.access.Roles[1])
	}
	x.change("", schemas.AccessChange{Op: schemas.AccessRoleRemove, ID: role})
	if got := x.user().Roles; len(got) > 0 {
		t.Errorf("the user keeps the removed role: %q", got)
	}
	x.change(ReasonNoRole, schemas.AccessChange{Op: schemas.AccessRoleRemove, ID: role})
	if again := x.change("", schemas.AccessChange{Op: schemas.AccessRoleAdd, Name: "web"}); again != role+1 {
		t.Errorf("the id of a removed role is used again: %d", again)
	}
	x.change("", schemas.AccessChange{Op: schemas.AccessUserRemove, ID: 100})
	x.change(ReasonNoUser, schemas.AccessChange{Op: schemas.AccessUserRemove, ID: 100})
	x.apply(schemas.Proposal{Kind: schemas.ProposalUserAdd, UserAdd: &schemas.UserAdd{Name: "ann"}}, "hash")
	if _, ok := x.s.userByID(100); ok || x.s.users["ann"].ID != 101 {
		t.Errorf("the id of a removed user is used again: %d", x.s.users["ann"].ID)
	}
}

func TestTwoPoliciesOrRulesMayNotBeEqual(t *testing.T) {
	t.Parallel()
	x := newAccessState(t)
	body := schemas.AccessChange{Op: schemas.AccessPolicyAdd, Name: "p", Actions: []string{"agent:read"}, Resources: []string{"agent:id:001"}}
	id := x.change("", body)
	body.Name = "q"
	x.change(ReasonBodyExists, body)
	body.Deny = true
	other := x.change("", body)
	body.Op, body.ID, body.Deny = schemas.AccessPolicyUpdate, other, false
	x.change(ReasonBodyExists, body)
	body.ID = id // to itself under another name, which the other has
	x.change(ReasonNameExists, body)
	x.change(ReasonAccess, schemas.AccessChange{Op: schemas.AccessPolicyAdd, Name: "r"})
	x.change("", schemas.AccessChange{Op: schemas.AccessRuleAdd, Name: "a", Rule: json.RawMessage(`{"FIND":{"a":1}}`)})
	x.change(ReasonBodyExists, schemas.AccessChange{Op: schemas.AccessRuleAdd, Name: "b", Rule: json.RawMessage(`{"FIND":{"a":1}}`)})
	x.change(ReasonNameExists, schemas.AccessChange{Op: schemas.AccessRuleAdd, Name: "a", Rule: json.RawMessage(`{"FIND":{"a":2}}`)})
	x.change(ReasonAccess, schemas.AccessChange{Op: schemas.AccessRuleAdd, Name: "c", Rule: json.RawMessage(`{`)})
}

// The marks are those of spec/api.md §2, "Revocation".
func TestEachChangeEndsTheTokensItConcerns(t *testing.T) {
	t.Parallel()
	x := newAccessState(t)
	role := x.change("", schemas.AccessChange{Op: schemas.AccessRoleAdd, Name: "web"})
	policy := x.change("", schemas.AccessChange{Op: schemas.AccessPolicyAdd, Name: "p", Actions: []string{"agent:read"}, Resources: []string{"*:*:*"}})
	rule := x.change("", schemas.AccessChange{Op: schemas.AccessRuleAdd, Name: "r", Rule: json.RawMessage(`{"FIND":{"a":1}}`)})
	user := func(q schemas.AccessChange) {
		t.Helper()
		q.ID = 100
		x.change("", q)
		if got := x.user().NotBefore; got != int64(x.n) {
			t.Errorf("%s leaves the user's tokens of second %d", q.Op, got)
		}
	}
	user(schemas.AccessChange{Op: schemas.AccessUserPassword})
	user(schemas.AccessChange{Op: schemas.AccessUserRunAs, RunAs: true})
	user(schemas.AccessChange{Op: schemas.AccessUserLink, Link: role})
	user(schemas.AccessChange{Op: schemas.AccessUserUnlink, Link: role})
	user(schemas.AccessChange{Op: schemas.AccessLogout})
	marks := func(q schemas.AccessChange) {
		t.Helper()
		x.change("", q)
		if got := x.s.access.NotBefore[role]; got != int64(x.n) {
			t.Errorf("%s leaves the role's tokens of second %d, now is %d", q.Op, got, x.n)
		}
	}
	marks(schemas.AccessChange{Op: schemas.AccessPolicyLink, ID: role, Link: policy})
	marks(schemas.AccessChange{Op: schemas.AccessPolicyUpdate, ID: policy, Name: "p2", Actions: []string{"agent:read"}, Resources: []string{"*:*:*"}})
	x.change("", schemas.AccessChange{Op: schemas.AccessRuleLink, ID: role, Link: rule})
	if x.s.access.RunAsNotBefore != int64(x.n) {
		t.Error("a linked security rule leaves the tokens of logins with a context")
	}
	marks(schemas.AccessChange{Op: schemas.AccessRuleUpdate, ID: rule, Name: "r", Rule: json.RawMessage(`{"FIND":{"a":2}}`)})
	marks(schemas.AccessChange{Op: schemas.AccessRoleRename, ID: role, Name: "web2"})
	marks(schemas.AccessChange{Op: schemas.AccessPolicyRemove, ID: policy})
	marks(schemas.AccessChange{Op: schemas.AccessRoleRemove, ID: role})
	x.s.token = "old"
	x.change("", schemas.AccessChange{Op: schemas.AccessRevoke})
	if x.s.token != "secret" || len(x.s.access.NotBefore) > 0 || x.s.access.RunAsNotBefore != 0 {
		t.Error("a revocation keeps the key or the marks")
	}
}

// Users from before access keep their roles and get ids in the order in which they
// were added, on every node.
func TestUsersGetTheirIDsAtTheActivation(t *testing.T) {
	t.Parallel()
	s := NewState()
	for i, name := range []string{"wazuh", "zoe", "adam", "wazuh-wui"} {
		p := schemas.Proposal{V: 1, ID: fmt.Sprintf("%032d", i), Kind: schemas.ProposalUserAdd, Time: int64(1000 * i), UserAdd: &schemas.UserAdd{Name: name, Roles: []string{"administrator", "7"}}}
		if out := s.Apply(&p, "hash", int64(i)); out.Refusal != nil {
			t.Fatal(out.Refusal)
		}
	}
	early, err := DecodeState(s.AppendBinary(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*State{s, early} {
		s.Apply(&schemas.Proposal{V: 1, ID: "00000000000000000000000000000099", Kind: schemas.ProposalActivate, Activate: &schemas.Activate{Formats: schemas.Formats{schemas.ProposalAccess: 1}}}, "", 9)
		for name, id := range map[string]int{"wazuh": 1, "wazuh-wui": 2, "zoe": 100, "adam": 101} {
			if u := s.users[name]; u.ID != id || !slices.Equal(u.Roles, []string{"1", "7"}) {
				t.Errorf("%s has the id %d and the roles %q, want %d and 1, 7", name, u.ID, u.Roles, id)
			}
		}
	}
}

func TestNodesAgreeOnConcurrentChangesOfAccess(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.New(t)
	a, b := start(t, cluster, "a"), start(t, cluster, "b")
	type result struct {
		id  int
		err error
	}
	out := make(chan result, 2)
	for _, r := range []*Registry{a, b} {
		go func() {
			id, err := r.ChangeAccess(t.Context(), schemas.AccessChange{Op: schemas.AccessRoleAdd, Name: "web"}, "")
			out <- result{id, err}
		}()
	}
	refused := 0
	for range 2 {
		x := <-out
		var refusal *Refusal
		switch {
		case errors.As(x.err, &refusal) && refusal.Reason == ReasonNameExists:
			refused++
		case x.err != nil || x.id != FirstFreeID:
			t.Errorf("id %d, %v", x.id, x.err)
		}
	}
	if refused != 1 {
		t.Errorf("%d of two equal changes were refused", refused)
	}
	for _, r := range []*Registry{a, b} {
		eventually(t, "both nodes have the role", func() bool {
			access, active := r.Access()
			return active && access.Roles[FirstFreeID].Name == "web"
		})
	}
}
