package security

import (
	"encoding/json"
	"slices"
	"vedette/api/rbac"
	"vedette/api/rest"
)

// User is a user as the API shows it.
type User struct {
	ID       int    `json:"id"`
	Username string `json:"username"`
	RunAs    bool   `json:"allow_run_as"`
	Roles    []Role `json:"roles"`
}

// Role is a role of a user, with its policies and security rules in order.
type Role struct {
	ID       int      `json:"id"`
	Name     string   `json:"name"`
	Policies []Policy `json:"policies"`
	Rules    []Rule   `json:"rules"`
}

// Policy is a policy of a role.
type Policy struct {
	ID     int        `json:"id"`
	Name   string     `json:"name"`
	Policy PolicyBody `json:"policy"`
}

// Rule is a security rule of a role.
type Rule struct {
	ID   int             `json:"id"`
	Name string          `json:"name"`
	Rule json.RawMessage `json:"rule"`
}

// PolicyBody holds the actions and resources that a policy allows or denies.
type PolicyBody struct {
	Actions   []string `json:"actions"`
	Resources []string `json:"resources"`
	Effect    string   `json:"effect"`
}

func (a *Service) getUserMe(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	u := User{ID: c.User.ID, Username: c.User.Name, RunAs: c.User.RunAs, Roles: []Role{}}
	roles, policies, rules := a.users.Roles(), a.users.Policies(), a.users.Rules()
	for _, id := range c.User.Roles {
		i := slices.IndexFunc(roles, func(r rbac.Role) bool { return r.ID == id })
		if i < 0 {
			continue
		}
		r := Role{ID: id, Name: roles[i].Name, Policies: []Policy{}, Rules: []Rule{}}
		for _, p := range roles[i].Policies {
			if n := slices.IndexFunc(policies, func(x rbac.Policy) bool { return x.ID == p }); n >= 0 {
				r.Policies = append(r.Policies, Policy{p, policies[n].Name, bodyOf(&policies[n])})
			}
		}
		for _, x := range roles[i].Rules {
			if n := slices.IndexFunc(rules, func(r rbac.SecurityRule) bool { return r.ID == x }); n >= 0 {
				r.Rules = append(r.Rules, Rule(rules[n]))
			}
		}
		u.Roles = append(u.Roles, r)
	}
	return rest.Single(u, "Current user information was returned"), nil
}

func (a *Service) getUserMePolicies(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	return &rest.Data{Data: c.Permissions(), Message: "Current user processed policies information was returned"}, nil
}
