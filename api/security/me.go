package security

import (
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

// Role is a role of a user, with its policies in order. Security rules, which
// give roles by the context of a login, are not there yet.
type Role struct {
	ID       int        `json:"id"`
	Name     string     `json:"name"`
	Policies []Policy   `json:"policies"`
	Rules    []struct{} `json:"rules"`
}

// Policy is a policy of a role.
type Policy struct {
	ID     int        `json:"id"`
	Name   string     `json:"name"`
	Policy PolicyBody `json:"policy"`
}

// PolicyBody holds the actions and resources that a policy allows or denies.
type PolicyBody struct {
	Actions   []string `json:"actions"`
	Resources []string `json:"resources"`
	Effect    string   `json:"effect"`
}

func (a *Service) getUserMe(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	u := User{Username: c.User.Name, RunAs: c.User.RunAs, Roles: []Role{}}
	for _, x := range a.users.Users() {
		if x.Name == u.Username {
			u.ID = x.ID
		}
	}
	for _, id := range c.User.Roles {
		role, ok := rbac.RoleByID(id)
		if !ok {
			continue
		}
		r := Role{ID: id, Name: role.Name, Policies: []Policy{}, Rules: []struct{}{}}
		for _, p := range rbac.PoliciesOf([]int{id}) {
			r.Policies = append(r.Policies, Policy{p.ID, p.Name, bodyOf(&p)})
		}
		u.Roles = append(u.Roles, r)
	}
	return rest.Single(u, "Current user information was returned"), nil
}

func (a *Service) getUserMePolicies(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	return &rest.Data{Data: c.Permissions(), Message: "Current user processed policies information was returned"}, nil
}
