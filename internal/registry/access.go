package registry

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"vedette/internal/secret"
	"vedette/schemas"
)

// Bounds of access.
const (
	// FirstFreeID is the first id of users, roles, policies and security rules that
	// are not built in.
	FirstFreeID = 100
	// accessMax bounds the roles, the policies and the security rules.
	accessMax = 10_000
	// linksMax bounds the links of one user or role.
	linksMax = 1000
	// ruleMax bounds the text of a security rule, in bytes.
	ruleMax = 64 << 10
)

// Role is a role that was added, or the links of a built-in one (id below
// FirstFreeID), which has no name here.
type Role struct {
	ID       int
	Name     string
	Policies []int // in order: a later one wins
	Rules    []int // security rules
}

// Policy allows or denies actions on resources.
type Policy struct {
	ID        int
	Name      string
	Actions   []string
	Resources []string
	Deny      bool
}

// SecurityRule gives roles to logins whose context fits Rule, a JSON object.
type SecurityRule struct {
	ID   int
	Name string
	Rule json.RawMessage
}

// Access holds who may do what, beside the users. A change makes a new one: readers
// need no lock. Times are Unix seconds.
type Access struct {
	Roles    map[int]Role
	Policies map[int]Policy
	Rules    map[int]SecurityRule
	// NotBefore ends tokens with a role that are not younger, with any role under 0;
	// RunAsNotBefore those of logins with a context.
	NotBefore      map[int]int64
	RunAsNotBefore int64
	// TokenSeconds is the lifetime of tokens; 0 is the default.
	TokenSeconds int64
	// Black allows all that no policy denies.
	Black bool

	// The next ids.
	nextUser, nextRole, nextPolicy, nextRule int
}

func newAccess() *Access {
	return &Access{
		Roles: map[int]Role{}, Policies: map[int]Policy{}, Rules: map[int]SecurityRule{}, NotBefore: map[int]int64{},
		nextUser: FirstFreeID, nextRole: FirstFreeID, nextPolicy: FirstFreeID, nextRule: FirstFreeID,
	}
}

// clone copies the maps. Their values are replaced as a whole, never changed.
func (a *Access) clone() *Access {
	c := *a
	c.Roles, c.Policies, c.Rules, c.NotBefore = maps.Clone(a.Roles), maps.Clone(a.Policies), maps.Clone(a.Rules), maps.Clone(a.NotBefore)
	return &c
}

// fixedUserIDs are the ids of built-in users.
//
// Source: spec/api.md §7, "Built-in objects".
var fixedUserIDs = map[string]int{"wazuh": 1, "wazuh-wui": 2}

// builtinRoles have the ids 1, 2, 3, … Before access was active, users named them.
//
// Source: spec/api.md §7, "Built-in objects".
var builtinRoles = []string{"administrator", "readonly", "users_admin", "agents_readonly", "agents_admin", "cluster_readonly", "cluster_admin"}

// roleIDs turns names of built-in roles into ids. Ids stay.
func roleIDs(roles []string) []string {
	out := make([]string, len(roles))
	for i, r := range roles {
		if n := slices.Index(builtinRoles, r); n >= 0 {
			r = strconv.Itoa(n + 1)
		}
		out[i] = r
	}
	return out
}

// beginAccess gives users their ids, in the order in which they were added, when
// changes of access become active.
func (s *State) beginAccess() {
	s.access = newAccess()
	users := slices.SortedFunc(maps.Values(s.users), func(a, b User) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return compareText(a.Name, b.Name)
	})
	for _, u := range users {
		u.ID, u.Roles = s.userID(u.Name), roleIDs(u.Roles)
		s.users[u.Name] = u
	}
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (s *State) userID(name string) int {
	if id := fixedUserIDs[name]; id != 0 {
		return id
	}
	id := s.access.nextUser
	s.access = s.access.clone()
	s.access.nextUser++
	return id
}

// userByID returns a user; there are few.
func (s *State) userByID(id int) (User, bool) {
	for _, u := range s.users {
		if u.ID == id {
			return u, true
		}
	}
	return User{}, false
}

// changeAccess applies one change. It works on a copy, which counts only if nothing
// is refused.
func (s *State) changeAccess(p *schemas.Proposal, opened secret.String) Outcome {
	c := accessChange{s: s, a: s.access.clone(), q: p.Access, now: p.Time / 1000, opened: opened}
	if apply := accessOps[c.q.Op]; apply == nil {
		return refuse(ReasonAccess, string(c.q.Op), "")
	} else if r := apply(&c); r != "" {
		return refuse(r, c.arg, "")
	}
	s.access = c.a
	if c.user != nil {
		if c.remove {
			delete(s.users, c.user.Name)
		} else {
			s.users[c.user.Name] = *c.user
		}
	}
	return Outcome{AccessID: c.id}
}

// accessChange is one change under way.
type accessChange struct {
	s      *State
	a      *Access
	q      *schemas.AccessChange
	now    int64 // Unix seconds
	opened secret.String

	user   *User // to be stored, or removed
	remove bool
	id     int    // of an added object
	arg    string // of a refusal
}

// accessOps has one line for each operation. An empty reason is success.
var accessOps = map[schemas.AccessOp]func(c *accessChange) Reason{
	schemas.AccessUserPassword: func(c *accessChange) Reason {
		return c.changeUser(func(u *User) Reason {
			if c.opened == "" || len(c.opened) > 1024 {
				return ReasonUser
			}
			u.PasswordHash = c.opened
			return ""
		})
	},
	schemas.AccessUserRunAs: func(c *accessChange) Reason {
		return c.changeUser(func(u *User) Reason { u.RunAs = c.q.RunAs; return "" })
	},
	schemas.AccessUserRemove: func(c *accessChange) Reason {
		if c.q.ID < FirstFreeID {
			return ReasonBuiltIn
		}
		c.remove = true
		return c.changeUser(func(*User) Reason { return "" })
	},
	schemas.AccessLogout: func(c *accessChange) Reason {
		return c.changeUser(func(*User) Reason { return "" })
	},
	schemas.AccessUserLink: func(c *accessChange) Reason {
		return c.changeUser(func(u *User) (r Reason) {
			u.Roles, r = c.link(u.Roles, strconv.Itoa(c.q.Link), c.roleExists(c.q.Link))
			return r
		})
	},
	schemas.AccessUserUnlink: func(c *accessChange) Reason {
		return c.changeUser(func(u *User) (r Reason) {
			u.Roles, r = unlink(u.Roles, strconv.Itoa(c.q.Link))
			return r
		})
	},
	schemas.AccessRoleAdd: func(c *accessChange) Reason {
		if len(c.a.Roles) >= accessMax {
			return ReasonFull
		}
		if c.roleNamed(c.q.Name) {
			return ReasonNameExists
		}
		c.id = c.a.nextRole
		c.a.nextRole++
		c.a.Roles[c.id] = Role{ID: c.id, Name: c.q.Name}
		return ""
	},
	schemas.AccessRoleRename: func(c *accessChange) Reason {
		r, ok := c.a.Roles[c.q.ID]
		switch {
		case c.q.ID < FirstFreeID:
			return ReasonBuiltIn
		case !ok:
			return ReasonNoRole
		case r.Name != c.q.Name && c.roleNamed(c.q.Name):
			return ReasonNameExists
		}
		r.Name = c.q.Name
		c.a.Roles[r.ID] = r
		c.mark(r.ID)
		return ""
	},
	schemas.AccessRoleRemove: func(c *accessChange) Reason {
		if c.q.ID < FirstFreeID {
			return ReasonBuiltIn
		}
		if _, ok := c.a.Roles[c.q.ID]; !ok {
			return ReasonNoRole
		}
		delete(c.a.Roles, c.q.ID)
		c.mark(c.q.ID)
		c.forgetRole(strconv.Itoa(c.q.ID))
		return ""
	},
	schemas.AccessPolicyAdd: func(c *accessChange) Reason {
		if len(c.a.Policies) >= accessMax {
			return ReasonFull
		}
		c.id = c.a.nextPolicy
		c.a.nextPolicy++
		return c.setPolicy(c.id)
	},
	schemas.AccessPolicyUpdate: func(c *accessChange) Reason {
		if _, ok := c.a.Policies[c.q.ID]; !ok {
			return ReasonNoPolicy
		}
		return c.setPolicy(c.q.ID)
	},
	schemas.AccessPolicyRemove: func(c *accessChange) Reason {
		return removeLinked(c, c.a.Policies, ReasonNoPolicy, func(r *Role) *[]int { return &r.Policies })
	},
	schemas.AccessRuleAdd: func(c *accessChange) Reason {
		if len(c.a.Rules) >= accessMax {
			return ReasonFull
		}
		c.id = c.a.nextRule
		c.a.nextRule++
		return c.setRule(c.id)
	},
	schemas.AccessRuleUpdate: func(c *accessChange) Reason {
		if _, ok := c.a.Rules[c.q.ID]; !ok {
			return ReasonNoRule
		}
		return c.setRule(c.q.ID)
	},
	schemas.AccessRuleRemove: func(c *accessChange) Reason {
		return removeLinked(c, c.a.Rules, ReasonNoRule, func(r *Role) *[]int { return &r.Rules })
	},
	schemas.AccessPolicyLink: func(c *accessChange) Reason {
		if c.q.ID < FirstFreeID {
			return ReasonBuiltIn
		}
		return c.changeRole(func(r *Role) (reason Reason) {
			r.Policies, reason = c.linkID(r.Policies, c.policyExists(c.q.Link), ReasonNoPolicy)
			c.mark(r.ID)
			return reason
		})
	},
	schemas.AccessPolicyUnlink: func(c *accessChange) Reason {
		if c.q.ID < FirstFreeID {
			return ReasonBuiltIn
		}
		return c.changeRole(func(r *Role) Reason {
			if !drop(&r.Policies, c.q.Link) {
				return ReasonNotLinked
			}
			c.mark(r.ID)
			return ""
		})
	},
	schemas.AccessRuleLink: func(c *accessChange) Reason {
		return c.changeRole(func(r *Role) (reason Reason) {
			r.Rules, reason = c.linkID(r.Rules, c.ruleExists(c.q.Link), ReasonNoRule)
			c.a.RunAsNotBefore = c.now
			return reason
		})
	},
	schemas.AccessRuleUnlink: func(c *accessChange) Reason {
		return c.changeRole(func(r *Role) Reason {
			if !drop(&r.Rules, c.q.Link) {
				return ReasonNotLinked
			}
			c.a.RunAsNotBefore = c.now
			return ""
		})
	},
	schemas.AccessSettings: func(c *accessChange) Reason {
		if c.q.TokenSeconds < 0 {
			return ReasonAccess
		}
		c.a.TokenSeconds, c.a.Black = c.q.TokenSeconds, c.q.Black
		return c.revoke()
	},
	schemas.AccessRevoke: func(c *accessChange) Reason { return c.revoke() },
}

// changeUser changes the user of q.ID; all tokens of the user end.
func (c *accessChange) changeUser(fn func(u *User) Reason) Reason {
	u, ok := c.s.userByID(c.q.ID)
	if !ok {
		return ReasonNoUser
	}
	u.Roles = slices.Clone(u.Roles)
	if r := fn(&u); r != "" {
		return r
	}
	u.NotBefore = c.now
	c.user = &u
	return ""
}

// changeRole changes the role of q.ID, or the links of a built-in one.
func (c *accessChange) changeRole(fn func(r *Role) Reason) Reason {
	if !c.roleExists(c.q.ID) {
		return ReasonNoRole
	}
	r := c.a.Roles[c.q.ID]
	r.ID, r.Policies, r.Rules = c.q.ID, slices.Clone(r.Policies), slices.Clone(r.Rules)
	if reason := fn(&r); reason != "" {
		return reason
	}
	if c.a.Roles[r.ID] = r; r.ID < FirstFreeID && len(r.Policies) == 0 && len(r.Rules) == 0 {
		delete(c.a.Roles, r.ID)
	}
	return ""
}

// eachRole lets fn change every role; roles it changes are marked.
func (c *accessChange) eachRole(fn func(r *Role) bool) {
	for _, id := range slices.Sorted(maps.Keys(c.a.Roles)) {
		r := c.a.Roles[id]
		r.Policies, r.Rules = slices.Clone(r.Policies), slices.Clone(r.Rules)
		if fn(&r) {
			c.a.Roles[id] = r
			c.mark(id)
		}
	}
}

// removeLinked removes the object of q.ID, and the links of roles to it.
func removeLinked[T any](c *accessChange, objects map[int]T, missing Reason, links func(r *Role) *[]int) Reason {
	if _, ok := objects[c.q.ID]; !ok {
		return missing
	}
	delete(objects, c.q.ID)
	c.eachRole(func(r *Role) bool { return drop(links(r), c.q.ID) })
	return ""
}

// forgetRole removes a role from all users. Their tokens end by the role's mark.
func (c *accessChange) forgetRole(role string) {
	for name, u := range c.s.users {
		if roles, r := unlink(slices.Clone(u.Roles), role); r == "" {
			u.Roles = roles
			c.s.users[name] = u
		}
	}
}

// mark ends the tokens with a role. Many marks become one for all roles.
func (c *accessChange) mark(role int) {
	if len(c.a.NotBefore) >= accessMax {
		c.a.NotBefore, role = map[int]int64{}, 0
	}
	c.a.NotBefore[role] = c.now
}

// revoke ends all tokens by another key.
func (c *accessChange) revoke() Reason {
	if c.opened == "" {
		return ReasonKey
	}
	c.s.token = c.opened
	c.a.NotBefore, c.a.RunAsNotBefore = map[int]int64{}, 0
	return ""
}

func (c *accessChange) setPolicy(id int) Reason {
	q := c.q
	if len(q.Actions) == 0 || len(q.Actions) > accessMax || len(q.Resources) == 0 || len(q.Resources) > accessMax {
		return ReasonAccess
	}
	p := Policy{ID: id, Name: q.Name, Actions: slices.Clone(q.Actions), Resources: slices.Clone(q.Resources), Deny: q.Deny}
	for _, other := range c.a.Policies {
		if other.ID == id {
			continue
		}
		if other.Name == p.Name {
			return ReasonNameExists
		}
		if other.Deny == p.Deny && slices.Equal(other.Actions, p.Actions) && slices.Equal(other.Resources, p.Resources) {
			return ReasonBodyExists
		}
	}
	c.a.Policies[id] = p
	c.eachRole(func(r *Role) bool { return slices.Contains(r.Policies, id) })
	return ""
}

func (c *accessChange) setRule(id int) Reason {
	if len(c.q.Rule) > ruleMax || !json.Valid(c.q.Rule) {
		return ReasonAccess
	}
	r := SecurityRule{ID: id, Name: c.q.Name, Rule: slices.Clone(c.q.Rule)}
	for _, other := range c.a.Rules {
		if other.ID == id {
			continue
		}
		if other.Name == r.Name {
			return ReasonNameExists
		}
		if string(other.Rule) == string(r.Rule) {
			return ReasonBodyExists
		}
	}
	c.a.Rules[id] = r
	c.eachRole(func(role *Role) bool { return slices.Contains(role.Rules, id) })
	return ""
}

func (c *accessChange) roleNamed(name string) bool {
	for _, r := range c.a.Roles {
		if r.Name == name && r.ID >= FirstFreeID {
			return true
		}
	}
	return false
}

// The proposer has looked whether a built-in object exists.

func (c *accessChange) roleExists(id int) bool {
	_, ok := c.a.Roles[id]
	return ok || id > 0 && id < FirstFreeID
}

func (c *accessChange) policyExists(id int) bool {
	_, ok := c.a.Policies[id]
	return ok || id > 0 && id < FirstFreeID
}

func (c *accessChange) ruleExists(id int) bool {
	_, ok := c.a.Rules[id]
	return ok || id > 0 && id < FirstFreeID
}

// link inserts a role at the asked position, or at the end.
func (c *accessChange) link(list []string, x string, exists bool) ([]string, Reason) {
	switch {
	case !exists:
		return nil, ReasonNoRole
	case slices.Contains(list, x):
		return nil, ReasonLinked
	case len(list) >= linksMax:
		return nil, ReasonFull
	}
	return slices.Insert(list, c.position(len(list)), x), ""
}

func (c *accessChange) linkID(list []int, exists bool, missing Reason) ([]int, Reason) {
	switch {
	case !exists:
		return nil, missing
	case slices.Contains(list, c.q.Link):
		return nil, ReasonLinked
	case len(list) >= linksMax:
		return nil, ReasonFull
	}
	return slices.Insert(list, c.position(len(list)), c.q.Link), ""
}

func (c *accessChange) position(n int) int {
	if c.q.Position == nil || *c.q.Position < 0 {
		return n
	}
	return min(*c.q.Position, n)
}

func unlink(list []string, x string) ([]string, Reason) {
	i := slices.Index(list, x)
	if i < 0 {
		return nil, ReasonNotLinked
	}
	return slices.Delete(list, i, i+1), ""
}

// drop removes x from a list, and reports whether it was there.
func drop(list *[]int, x int) bool {
	i := slices.Index(*list, x)
	if i < 0 {
		return false
	}
	*list = slices.Delete(*list, i, i+1)
	return true
}

// Access returns who may do what, and whether changes of it are active. It is not
// to be changed.
func (s *State) Access() (*Access, bool) {
	if s.access == nil {
		return newAccess(), false
	}
	return s.access, true
}

// Access returns the State's access.
func (r *Registry) Access() (*Access, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Access()
}

// ChangeAccess proposes a change and waits for the outcome. secret is a password
// hash or a token key in clear text, or empty. It returns the id of an added
// object. Of two changes of one name or body the later is a *Refusal.
func (r *Registry) ChangeAccess(ctx context.Context, q schemas.AccessChange, secret secret.String) (id int, err error) {
	p := r.proposal(schemas.ProposalAccess)
	if secret != "" {
		q.Secret = r.box.Seal(purposeSeal, []byte(secret.Reveal()), []byte(p.ID))
	}
	p.Access = &q
	out, err := r.propose(ctx, p)
	return out.AccessID, err
}
