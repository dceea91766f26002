package security

import (
	"encoding/json"
	"slices"
	"strconv"

	"vedette/api/problem"
	"vedette/api/rbac"
	"vedette/api/rest"
)

// UserEntry is a user as lists show it, with the ids of roles.
type UserEntry struct {
	ID       int    `json:"id"`
	Username string `json:"username"`
	RunAs    bool   `json:"allow_run_as"`
	Roles    []int  `json:"roles"`
}

// RoleEntry is a role as lists show it. Order counts for policies: a later one wins.
type RoleEntry struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	Policies []int  `json:"policies"`
	Users    []int  `json:"users"`
	Rules    []int  `json:"rules"`
}

// PolicyEntry is a policy as lists show it.
type PolicyEntry struct {
	ID     int        `json:"id"`
	Name   string     `json:"name"`
	Policy PolicyBody `json:"policy"`
	Roles  []int      `json:"roles"`
}

// RuleEntry is a security rule: it gives roles to logins whose context fits.
type RuleEntry struct {
	ID    int             `json:"id"`
	Name  string          `json:"name"`
	Rule  json.RawMessage `json:"rule"`
	Roles []int           `json:"roles"`
}

func (a *Service) userEntries() []*UserEntry {
	var out []*UserEntry
	for _, u := range a.users.Users() {
		out = append(out, &UserEntry{u.ID, u.Name, u.RunAs, append([]int{}, u.Roles...)})
	}
	return out
}

func (a *Service) roleEntries() []*RoleEntry {
	users := a.users.Users()
	var out []*RoleEntry
	for _, r := range a.users.Roles() {
		e := &RoleEntry{ID: r.ID, Name: r.Name, Policies: append([]int{}, r.Policies...), Users: []int{}, Rules: append([]int{}, r.Rules...)}
		for _, u := range users {
			if slices.Contains(u.Roles, r.ID) {
				e.Users = append(e.Users, u.ID)
			}
		}
		out = append(out, e)
	}
	return out
}

func (a *Service) policyEntries() []*PolicyEntry {
	roles := a.users.Roles()
	var out []*PolicyEntry
	for _, p := range a.users.Policies() {
		e := &PolicyEntry{ID: p.ID, Name: p.Name, Policy: bodyOf(&p), Roles: []int{}}
		for _, r := range roles {
			if slices.Contains(r.Policies, p.ID) {
				e.Roles = append(e.Roles, r.ID)
			}
		}
		out = append(out, e)
	}
	return out
}

func (a *Service) ruleEntries() []*RuleEntry {
	roles := a.users.Roles()
	var out []*RuleEntry
	for _, x := range a.users.Rules() {
		e := &RuleEntry{ID: x.ID, Name: x.Name, Rule: x.Rule, Roles: []int{}}
		for _, r := range roles {
			if slices.Contains(r.Rules, x.ID) {
				e.Roles = append(e.Roles, r.ID)
			}
		}
		out = append(out, e)
	}
	return out
}

func bodyOf(p *rbac.Policy) PolicyBody {
	effect := "allow"
	if p.Deny {
		effect = "deny"
	}
	return PolicyBody{p.Actions, p.Resources, effect}
}

// kinds are the resources of this package, named by their numbers.
func (a *Service) kinds() []rest.AnyKind {
	return []rest.AnyKind{
		&rest.Kind[*UserEntry]{Resource: "user:id", All: a.userEntries, Missing: problem.NoUser, ID: func(x *UserEntry) string { return strconv.Itoa(x.ID) }},
		&rest.Kind[*RoleEntry]{Resource: "role:id", All: a.roleEntries, Missing: problem.NoRole, ID: func(x *RoleEntry) string { return strconv.Itoa(x.ID) }},
		&rest.Kind[*PolicyEntry]{Resource: "policy:id", All: a.policyEntries, Missing: problem.NoPolicy, ID: func(x *PolicyEntry) string { return strconv.Itoa(x.ID) }},
		&rest.Kind[*RuleEntry]{Resource: "rule:id", All: a.ruleEntries, Missing: problem.NoSecurityRule, ID: func(x *RuleEntry) string { return strconv.Itoa(x.ID) }},
	}
}

var (
	userView   = rest.View[UserEntry]{Keys: []string{"id"}}.Init()
	roleView   = rest.View[RoleEntry]{Keys: []string{"id"}}.Init()
	policyView = rest.View[PolicyEntry]{Keys: []string{"id"}}.Init()
	ruleView   = rest.View[RuleEntry]{Keys: []string{"id"}}.Init()
)

type listUsers struct {
	Users rest.Targets[*UserEntry] `param:"user_ids"`
}

func (a *Service) listUsers(c *rest.Call, p *listUsers) (rest.Answer, error) {
	return page(c, userView, p.Users.Items(), "users")
}

type listRoles struct {
	Roles rest.Targets[*RoleEntry] `param:"role_ids"`
}

func (a *Service) listRoles(c *rest.Call, p *listRoles) (rest.Answer, error) {
	return page(c, roleView, p.Roles.Items(), "roles")
}

type listPolicies struct {
	Policies rest.Targets[*PolicyEntry] `param:"policy_ids"`
}

func (a *Service) listPolicies(c *rest.Call, p *listPolicies) (rest.Answer, error) {
	return page(c, policyView, p.Policies.Items(), "policies")
}

type listRules struct {
	Rules rest.Targets[*RuleEntry] `param:"rule_ids"`
}

func (a *Service) listRules(c *rest.Call, p *listRules) (rest.Answer, error) {
	return page(c, ruleView, p.Rules.Items(), "security rules")
}

func page[T any](c *rest.Call, v *rest.View[T], items []*T, what string) (rest.Answer, error) {
	l, err := v.Page(c, items, rest.Messages{All: "All specified " + what + " were returned", Some: "Some " + what + " were not returned", None: "No " + what + " were returned"})
	if err != nil {
		return nil, err
	}
	l.NumericIDs = true
	return l, nil
}

func (a *Service) securityConfig(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	lifetime, mode := c.TokenSettings()
	return &rest.Data{Data: rest.Ordered{{Key: "auth_token_exp_timeout", Value: int(lifetime.Seconds())}, {Key: "rbac_mode", Value: mode}}}, nil
}
