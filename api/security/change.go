package security

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"vedette/api/problem"
	"vedette/api/rbac"
	"vedette/api/rest"
	"vedette/schemas"
)

// Users.

type addUser struct {
	Body struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `body:"json"`
}

func (a *Service) addUser(c *rest.Call, p *addUser) (rest.Answer, error) {
	if err := strong(p.Body.Password); err != nil {
		return nil, err
	}
	if err := a.users.AddUser(c.Ctx, p.Body.Username, p.Body.Password); err != nil {
		return nil, err
	}
	for _, u := range a.userEntries() {
		if u.Username == p.Body.Username {
			return rest.Single(u, "User was successfully created"), nil
		}
	}
	return nil, problem.New(problem.NoUser, "") // removed meanwhile
}

// strong checks a new password.
//
// Source: spec/api.md §2.
func strong(password string) error {
	if n := utf8.RuneCountInString(password); n < 8 || n > 64 {
		return problem.New(problem.PasswordLength, "")
	}
	for _, is := range []func(rune) bool{unicode.IsLower, unicode.IsUpper, unicode.IsDigit, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }} {
		if !strings.ContainsFunc(password, is) {
			return problem.New(problem.WeakPassword, "")
		}
	}
	return nil
}

type updateUser struct {
	User *UserEntry `param:"user_id"`
	Body struct {
		Password string `json:"password"`
	} `body:"json"`
}

func (a *Service) updateUser(c *rest.Call, p *updateUser) (rest.Answer, error) {
	switch {
	case p.Body.Password == "":
		return nil, problem.New(problem.NothingToChange, "")
	case p.User.ID < firstFreeID && c.User.ID >= firstFreeID:
		return nil, problem.New(problem.BuiltInUsersOnly, "")
	}
	if err := strong(p.Body.Password); err != nil {
		return nil, err
	}
	return a.changeUser(c, p.User, schemas.AccessChange{Op: schemas.AccessUserPassword}, p.Body.Password, rest.Always("User was successfully updated"))
}

type editRunAs struct {
	User  *UserEntry `param:"user_id"`
	RunAs bool       `param:"allow_run_as"`
}

func (a *Service) editRunAs(c *rest.Call, p *editRunAs) (rest.Answer, error) {
	m := rest.Messages{All: "Parameter allow_run_as has been enabled for the user", None: "The parameter allow_run_as could not be changed for the user"}
	if !p.RunAs {
		m.All = "Parameter allow_run_as has been disabled for the user"
	}
	if p.User.ID < firstFreeID {
		c.Fail(problem.UserBuiltIn, strconv.Itoa(p.User.ID))
		return &rest.List[*UserEntry]{Messages: m, NumericIDs: true}, nil
	}
	return a.changeUser(c, p.User, schemas.AccessChange{Op: schemas.AccessUserRunAs, RunAs: p.RunAs}, "", m)
}

func (a *Service) changeUser(c *rest.Call, u *UserEntry, q schemas.AccessChange, password string, m rest.Messages) (rest.Answer, error) {
	q.ID = u.ID
	if _, err := a.users.Change(c.Ctx, q, password); err != nil {
		return nil, err
	}
	return found1(a.userEntries(), func(x *UserEntry) bool { return x.ID == u.ID }, m, problem.NoUser)
}

// found1 answers with the changed object as it is now.
func found1[T any](all []*T, is func(*T) bool, m rest.Messages, missing problem.Code) (rest.Answer, error) {
	i := slices.IndexFunc(all, is)
	if i < 0 {
		return nil, problem.New(missing, "") // removed meanwhile
	}
	return rest.Items([]*T{all[i]}, m), nil
}

type deleteUsers struct {
	Users rest.Targets[*UserEntry] `param:"user_ids"`
}

func (a *Service) deleteUsers(c *rest.Call, p *deleteUsers) (rest.Answer, error) {
	return remove(a, c, &p.Users, schemas.AccessUserRemove, "user", func(u *UserEntry) (int, problem.Code) {
		switch {
		case u.ID < firstFreeID:
			return u.ID, problem.UserBuiltIn
		case u.ID == c.User.ID:
			return u.ID, problem.Oneself
		}
		return u.ID, 0
	})
}

// remove removes objects. check returns an object's id, and why it stays.
func remove[T any](a *Service, c *rest.Call, targets *rest.Targets[*T], op schemas.AccessOp, noun string, check func(*T) (int, problem.Code)) (rest.Answer, error) {
	var removed []*T
	for _, x := range targets.Items() {
		id, code := check(x)
		if code != 0 {
			if targets.Named {
				c.Fail(code, strconv.Itoa(id))
			}
			continue
		}
		_, err := a.users.Change(c.Ctx, schemas.AccessChange{Op: op, ID: id}, "")
		if err == nil {
			removed = append(removed, x)
		} else if err := c.FailWith(err, strconv.Itoa(id)); err != nil {
			return nil, err
		}
	}
	l := rest.Items(removed, rest.Messages{All: "All specified " + plural(noun) + " were deleted", Some: "Some " + plural(noun) + " were not deleted", None: "No " + noun + " was deleted"})
	l.NumericIDs = true
	return l, nil
}

func plural(noun string) string {
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return stem + "ies"
	}
	return noun + "s"
}

// Roles.

type named struct {
	Name string `json:"name"`
}

type addRole struct {
	Body named `body:"json"`
}

func (a *Service) addRole(c *rest.Call, p *addRole) (rest.Answer, error) {
	if slices.ContainsFunc(rbac.Roles(), func(r rbac.Role) bool { return r.Name == p.Body.Name }) {
		return nil, problem.New(problem.RoleExists, "")
	}
	id, err := a.users.Change(c.Ctx, schemas.AccessChange{Op: schemas.AccessRoleAdd, Name: p.Body.Name}, "")
	if err != nil {
		return nil, err
	}
	return a.role(id, rest.Always("Role was successfully created"))
}

func (a *Service) role(id int, m rest.Messages) (rest.Answer, error) {
	return found1(a.roleEntries(), func(x *RoleEntry) bool { return x.ID == id }, m, problem.NoRole)
}

type updateRole struct {
	Role *RoleEntry `param:"role_id"`
	Body named      `body:"json"`
}

func (a *Service) updateRole(c *rest.Call, p *updateRole) (rest.Answer, error) {
	switch {
	case p.Role.ID < firstFreeID:
		return nil, problem.New(problem.BuiltIn, "")
	case p.Body.Name == "":
		return nil, problem.New(problem.NothingToChange, "")
	case slices.ContainsFunc(rbac.Roles(), func(r rbac.Role) bool { return r.Name == p.Body.Name }):
		return nil, problem.New(problem.RoleExists, "")
	}
	if _, err := a.users.Change(c.Ctx, schemas.AccessChange{Op: schemas.AccessRoleRename, ID: p.Role.ID, Name: p.Body.Name}, ""); err != nil {
		return nil, err
	}
	return a.role(p.Role.ID, rest.Always("Role was successfully updated"))
}

// builtIn is the check of remove for roles, policies and security rules.
func builtIn(id int) (int, problem.Code) {
	if id < firstFreeID {
		return id, problem.BuiltIn
	}
	return id, 0
}

type deleteRoles struct {
	Roles rest.Targets[*RoleEntry] `param:"role_ids"`
}

func (a *Service) deleteRoles(c *rest.Call, p *deleteRoles) (rest.Answer, error) {
	return remove(a, c, &p.Roles, schemas.AccessRoleRemove, "role", func(r *RoleEntry) (int, problem.Code) { return builtIn(r.ID) })
}

// Policies.

type policyRequest struct {
	Name   string      `json:"name"`
	Policy *PolicyBody `json:"policy"`
}

type addPolicy struct {
	Body policyRequest `body:"json"`
}

func (a *Service) addPolicy(c *rest.Call, p *addPolicy) (rest.Answer, error) {
	q := schemas.AccessChange{Op: schemas.AccessPolicyAdd, Name: p.Body.Name}
	if err := fillPolicy(&q, p.Body.Policy); err != nil {
		return nil, err
	}
	id, err := a.users.Change(c.Ctx, q, "")
	if err != nil {
		return nil, err
	}
	return a.policy(id, "Policy was successfully created")
}

func (a *Service) policy(id int, message string) (rest.Answer, error) {
	return found1(a.policyEntries(), func(x *PolicyEntry) bool { return x.ID == id }, rest.Always(message), problem.NoPolicy)
}

var resourceForm = regexp.MustCompile(`^(\*:\*:\*|(agent:(id|group)|group:id|node:id|(rule|decoder|list):file|(user|role|policy|rule):id):[^:&]+)$`)

// fillPolicy checks the body of a policy and compares it with the built-in ones.
func fillPolicy(q *schemas.AccessChange, b *PolicyBody) error {
	if b == nil || len(b.Actions) == 0 || len(b.Resources) == 0 {
		return problem.New(problem.BadPolicy, "")
	}
	for _, action := range b.Actions {
		if action = strings.ToLower(action); strings.Count(action, ":") != 1 {
			return problem.New(problem.BadPolicy, "")
		}
		q.Actions = append(q.Actions, action)
	}
	for _, resource := range b.Resources {
		parts := strings.Split(resource, "&")
		if len(parts) > 2 {
			return problem.New(problem.BadResources, "")
		}
		for i, part := range parts {
			if at := strings.LastIndexByte(part, ':'); at >= 0 {
				part = strings.ToLower(part[:at]) + part[at:]
			}
			if !resourceForm.MatchString(part) {
				return problem.New(problem.BadPolicy, "")
			}
			parts[i] = part
		}
		q.Resources = append(q.Resources, strings.Join(parts, "&"))
	}
	switch strings.ToLower(b.Effect) {
	case "allow":
	case "deny":
		q.Deny = true
	default:
		return problem.New(problem.BadPolicy, "")
	}
	for _, p := range rbac.Policies() {
		if p.Name == q.Name || p.Deny == q.Deny && slices.Equal(p.Actions, q.Actions) && slices.Equal(p.Resources, q.Resources) {
			return problem.New(problem.PolicyExists, "")
		}
	}
	return nil
}

type updatePolicy struct {
	Policy *PolicyEntry  `param:"policy_id"`
	Body   policyRequest `body:"json"`
}

func (a *Service) updatePolicy(c *rest.Call, p *updatePolicy) (rest.Answer, error) {
	switch {
	case p.Policy.ID < firstFreeID:
		return nil, problem.New(problem.BuiltIn, "")
	case p.Body.Name == "" && p.Body.Policy == nil:
		return nil, problem.New(problem.NothingToChange, "")
	}
	q := schemas.AccessChange{Op: schemas.AccessPolicyUpdate, ID: p.Policy.ID, Name: p.Body.Name}
	if q.Name == "" {
		q.Name = p.Policy.Name
	}
	body := p.Body.Policy
	if body == nil {
		body = &p.Policy.Policy
	}
	if err := fillPolicy(&q, body); err != nil {
		return nil, err
	}
	if _, err := a.users.Change(c.Ctx, q, ""); err != nil {
		return nil, err
	}
	return a.policy(p.Policy.ID, "Policy was successfully updated")
}

type deletePolicies struct {
	Policies rest.Targets[*PolicyEntry] `param:"policy_ids"`
}

func (a *Service) deletePolicies(c *rest.Call, p *deletePolicies) (rest.Answer, error) {
	return remove(a, c, &p.Policies, schemas.AccessPolicyRemove, "policy", func(x *PolicyEntry) (int, problem.Code) { return builtIn(x.ID) })
}

// Security rules.

type ruleRequest struct {
	Name string          `json:"name"`
	Rule json.RawMessage `json:"rule"`
}

type addRule struct {
	Body ruleRequest `body:"json"`
}

func (a *Service) addRule(c *rest.Call, p *addRule) (rest.Answer, error) {
	q := schemas.AccessChange{Op: schemas.AccessRuleAdd, Name: p.Body.Name}
	if err := fillRule(&q, p.Body.Rule); err != nil {
		return nil, err
	}
	id, err := a.users.Change(c.Ctx, q, "")
	if err != nil {
		return nil, err
	}
	return a.rule(id, "Security rule was successfully created")
}

func (a *Service) rule(id int, message string) (rest.Answer, error) {
	return found1(a.ruleEntries(), func(x *RuleEntry) bool { return x.ID == id }, rest.Always(message), problem.NoSecurityRule)
}

// fillRule checks a security rule and writes it in one form, so that equal rules
// are equal texts.
func fillRule(q *schemas.AccessChange, raw json.RawMessage) error {
	tree, ok := ruleTree(raw)
	if !ok {
		return problem.New(problem.BadRule, "")
	}
	text, err := json.Marshal(tree) // members in the order of names
	if err != nil {
		return problem.New(problem.BadRule, "")
	}
	q.Rule = text
	for _, r := range rbac.SecurityRules() {
		if r.Name == q.Name || string(r.Rule) == string(text) {
			return problem.New(problem.RoleExists, "")
		}
	}
	return nil
}

type updateRule struct {
	Rule *RuleEntry  `param:"rule_id"`
	Body ruleRequest `body:"json"`
}

func (a *Service) updateRule(c *rest.Call, p *updateRule) (rest.Answer, error) {
	switch {
	case p.Rule.ID < firstFreeID:
		return nil, problem.New(problem.BuiltIn, "")
	case p.Body.Name == "" && p.Body.Rule == nil:
		return nil, problem.New(problem.NothingToChange, "")
	}
	q := schemas.AccessChange{Op: schemas.AccessRuleUpdate, ID: p.Rule.ID, Name: p.Body.Name}
	if q.Name == "" {
		q.Name = p.Rule.Name
	}
	raw := p.Body.Rule
	if raw == nil {
		raw = p.Rule.Rule
	}
	if err := fillRule(&q, raw); err != nil {
		return nil, err
	}
	if _, err := a.users.Change(c.Ctx, q, ""); err != nil {
		return nil, err
	}
	return a.rule(p.Rule.ID, "Security rule was successfully updated")
}

type deleteRules struct {
	Rules rest.Targets[*RuleEntry] `param:"rule_ids"`
}

func (a *Service) deleteRules(c *rest.Call, p *deleteRules) (rest.Answer, error) {
	return remove(a, c, &p.Rules, schemas.AccessRuleRemove, "security rule", func(x *RuleEntry) (int, problem.Code) { return builtIn(x.ID) })
}

// Links.

// links makes one change for each id, from a position on, and returns how many
// were made.
func (a *Service) links(c *rest.Call, q schemas.AccessChange, ids []int, position int) (n int, err error) {
	for _, id := range ids {
		at := position + n
		q.Link, q.Position = id, &at
		_, err := a.users.Change(c.Ctx, q, "")
		if err == nil {
			n++
		} else if err := c.FailWith(err, strconv.Itoa(id)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// linked answers with the changed object, and the number of links made or removed.
func linked[T any](all []*T, is func(*T) bool, n int, m rest.Messages) (rest.Answer, error) {
	l := &rest.List[*T]{Total: n, Messages: m, NumericIDs: true}
	if i := slices.IndexFunc(all, is); i >= 0 && n > 0 {
		l.Items = []*T{all[i]}
	}
	return l, nil
}

func ids[T any](items []*T, id func(*T) int) (out []int) {
	for _, x := range items {
		out = append(out, id(x))
	}
	return out
}

type linkRoles struct {
	User     *UserEntry               `param:"user_id"`
	Roles    rest.Targets[*RoleEntry] `param:"role_ids"`
	Position int                      `param:"position"`
}

func (a *Service) linkRoles(c *rest.Call, p *linkRoles) (rest.Answer, error) {
	name := p.User.Username
	return a.changeRoles(c, p.User, schemas.AccessUserLink, ids(p.Roles.InOrder(), func(r *RoleEntry) int { return r.ID }), p.Position, rest.Messages{
		All: "All roles were linked to " + name, Some: "Some roles were not linked to " + name, None: "No role was linked to " + name,
	})
}

type unlinkRoles struct {
	User  *UserEntry               `param:"user_id"`
	Roles rest.Targets[*RoleEntry] `param:"role_ids"`
}

func (a *Service) unlinkRoles(c *rest.Call, p *unlinkRoles) (rest.Answer, error) {
	name := p.User.Username
	roles := ids(p.Roles.Items(), func(r *RoleEntry) int { return r.ID })
	if !p.Roles.Named {
		roles = slices.DeleteFunc(roles, func(id int) bool { return !slices.Contains(p.User.Roles, id) })
	}
	return a.changeRoles(c, p.User, schemas.AccessUserUnlink, roles, 0, rest.Messages{
		All: "All roles were unlinked from user " + name, Some: "Some roles were not unlinked from user " + name, None: "No role was unlinked from user " + name,
	})
}

func (a *Service) changeRoles(c *rest.Call, u *UserEntry, op schemas.AccessOp, roles []int, position int, m rest.Messages) (rest.Answer, error) {
	n := 0
	if u.ID < firstFreeID {
		for _, id := range roles {
			c.Fail(problem.BuiltIn, strconv.Itoa(id))
		}
	} else {
		var err error
		if n, err = a.links(c, schemas.AccessChange{Op: op, ID: u.ID}, roles, position); err != nil {
			return nil, err
		}
	}
	return linked(a.userEntries(), func(x *UserEntry) bool { return x.ID == u.ID }, n, m)
}

type linkPolicies struct {
	Role     *RoleEntry                 `param:"role_id"`
	Policies rest.Targets[*PolicyEntry] `param:"policy_ids"`
	Position int                        `param:"position"`
}

func (a *Service) linkPolicies(c *rest.Call, p *linkPolicies) (rest.Answer, error) {
	return a.changePolicies(c, p.Role, schemas.AccessPolicyLink, ids(p.Policies.InOrder(), func(x *PolicyEntry) int { return x.ID }), p.Position, "linked to role")
}

type unlinkPolicies struct {
	Role     *RoleEntry                 `param:"role_id"`
	Policies rest.Targets[*PolicyEntry] `param:"policy_ids"`
}

func (a *Service) unlinkPolicies(c *rest.Call, p *unlinkPolicies) (rest.Answer, error) {
	chosen := ids(p.Policies.Items(), func(x *PolicyEntry) int { return x.ID })
	if !p.Policies.Named {
		chosen = slices.DeleteFunc(chosen, func(id int) bool { return !slices.Contains(p.Role.Policies, id) })
	}
	return a.changePolicies(c, p.Role, schemas.AccessPolicyUnlink, chosen, 0, "unlinked from role")
}

func (a *Service) changePolicies(c *rest.Call, r *RoleEntry, op schemas.AccessOp, policies []int, position int, verb string) (rest.Answer, error) {
	n := 0
	if r.ID < firstFreeID {
		for _, id := range policies {
			c.Fail(problem.BuiltIn, strconv.Itoa(id))
		}
	} else {
		var err error
		if n, err = a.links(c, schemas.AccessChange{Op: op, ID: r.ID}, policies, position); err != nil {
			return nil, err
		}
	}
	return a.linkedRole(r.ID, n, "policies", "policy", verb)
}

func (a *Service) linkedRole(id, n int, many, one, verb string) (rest.Answer, error) {
	return linked(a.roleEntries(), func(x *RoleEntry) bool { return x.ID == id }, n, rest.Messages{
		All:  fmt.Sprintf("All %s were %s %d", many, verb, id),
		Some: fmt.Sprintf("Some %s were not %s %d", many, verb, id),
		None: fmt.Sprintf("No %s was %s %d", one, verb, id),
	})
}

type linkRules struct {
	Role  *RoleEntry               `param:"role_id"`
	Rules rest.Targets[*RuleEntry] `param:"rule_ids"`
}

func (a *Service) linkRules(c *rest.Call, p *linkRules) (rest.Answer, error) {
	var chosen []int
	for _, r := range p.Rules.Items() {
		if requiredLink(p.Role.ID, r.ID) {
			c.Fail(problem.RoleRuleLinked, strconv.Itoa(r.ID))
			continue
		}
		chosen = append(chosen, r.ID)
	}
	n, err := a.links(c, schemas.AccessChange{Op: schemas.AccessRuleLink, ID: p.Role.ID}, chosen, 0)
	if err != nil {
		return nil, err
	}
	return a.linkedRole(p.Role.ID, n, "security rules", "security rule", "linked to role")
}

// requiredLink reports whether a link is built in.
func requiredLink(role, rule int) bool { return role == 1 && rule < firstFreeID }

type unlinkRules struct {
	Role  *RoleEntry               `param:"role_id"`
	Rules rest.Targets[*RuleEntry] `param:"rule_ids"`
}

func (a *Service) unlinkRules(c *rest.Call, p *unlinkRules) (rest.Answer, error) {
	var chosen []int
	for _, r := range p.Rules.Items() {
		switch {
		case requiredLink(p.Role.ID, r.ID):
			if p.Rules.Named {
				c.Fail(problem.RequiredLink, strconv.Itoa(r.ID))
			}
		case p.Rules.Named || slices.Contains(p.Role.Rules, r.ID):
			chosen = append(chosen, r.ID)
		}
	}
	n, err := a.links(c, schemas.AccessChange{Op: schemas.AccessRuleUnlink, ID: p.Role.ID}, chosen, 0)
	if err != nil {
		return nil, err
	}
	return a.linkedRole(p.Role.ID, n, "security rules", "security rule", "unlinked from role")
}

// Tokens and settings.

func (a *Service) logout(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	if _, err := a.users.Change(c.Ctx, schemas.AccessChange{Op: schemas.AccessLogout, ID: c.User.ID}, ""); err != nil {
		return nil, err
	}
	return &rest.Data{Message: "User " + c.User.Name + " was successfully logged out"}, nil
}

func (a *Service) revoke(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	if _, err := a.users.Change(c.Ctx, schemas.AccessChange{Op: schemas.AccessRevoke}, ""); err != nil {
		return nil, err
	}
	return &rest.Data{Message: "Tokens were successfully revoked"}, nil
}

type updateConfig struct {
	Body struct {
		Timeout *int    `json:"auth_token_exp_timeout"`
		Mode    *string `json:"rbac_mode"`
	} `body:"json"`
}

func (a *Service) updateConfig(c *rest.Call, p *updateConfig) (rest.Answer, error) {
	if p.Body.Timeout == nil && p.Body.Mode == nil {
		return nil, problem.HTTP(http.StatusBadRequest, "Missing field: auth_token_exp_timeout or rbac_mode")
	}
	q := schemas.AccessChange{Op: schemas.AccessSettings}
	if p.Body.Timeout != nil {
		q.TokenSeconds = int64(*p.Body.Timeout)
	}
	q.Black = p.Body.Mode != nil && *p.Body.Mode == "black"
	return a.settings(c, q)
}

func (a *Service) restoreConfig(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	return a.settings(c, schemas.AccessChange{Op: schemas.AccessSettings})
}

func (a *Service) settings(c *rest.Call, q schemas.AccessChange) (rest.Answer, error) {
	if _, err := a.users.Change(c.Ctx, q, ""); err != nil {
		return nil, err
	}
	return &rest.Data{Message: "Configuration was successfully updated"}, nil
}
