package api

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"vedette/api/auth"
	"vedette/api/problem"
	"vedette/api/rbac"
	"vedette/api/rest"
	"vedette/api/security"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// AccessSource holds users and permissions (*registry.Registry).
type AccessSource interface {
	User(name string) (registry.User, bool)
	Users() []registry.User
	Access() (*registry.Access, bool)
	AddUser(ctx context.Context, u registry.User) error
	ChangeAccess(ctx context.Context, q schemas.AccessChange, secret secret.String) (id int, err error)
	TokenKey() ([]byte, bool)
	SetTokenKey(ctx context.Context, pem []byte) ([]byte, error)
}

// Access is the users and permissions of the API, over the registry.
type Access struct {
	src AccessSource
	// decoy is verified when there is no such user, so that the time tells nothing.
	decoy string

	mu  sync.Mutex
	pem string
	key *ecdsa.PrivateKey
}

var (
	_ rest.Users     = (*Access)(nil)
	_ security.Store = (*Access)(nil)
)

// NewAccess returns the access that a source holds.
func NewAccess(src AccessSource) *Access { return &Access{src: src, decoy: HashPassword("decoy")} }

// User implements rest.Users.
func (x *Access) User(name string) (rest.User, bool) {
	u, ok := x.src.User(name)
	if !ok {
		return rest.User{}, false
	}
	out := x.user(&u)
	if out.ID == 0 { // before changes of access are active
		for _, other := range x.Users() {
			if other.Name == name {
				out.ID = other.ID
			}
		}
	}
	return out, true
}

func (x *Access) user(u *registry.User) rest.User {
	out := rest.User{ID: u.ID, Name: u.Name, RunAs: u.RunAs, NotBefore: u.NotBefore}
	for _, role := range u.Roles {
		if id, ok := rbac.RoleID(role); ok {
			out.Roles = append(out.Roles, id)
		} else if id, err := strconv.Atoi(role); err == nil {
			out.Roles = append(out.Roles, id)
		}
	}
	out.Policies = x.PoliciesOf(out.Roles)
	return out
}

// The built-in users of 4.14 have fixed ids. Before changes of access are active,
// others are numbered in the order in which they were added, as they will be then.
var fixedUserIDs = map[string]int{"wazuh": 1, "wazuh-wui": 2}

// Users implements security.Store.
func (x *Access) Users() []rest.User {
	all := x.src.Users()
	slices.SortStableFunc(all, func(a, b registry.User) int { return a.Created.Compare(b.Created) })
	var out []rest.User
	next := registry.FirstFreeID
	for i := range all {
		u := x.user(&all[i])
		if u.ID == 0 {
			if u.ID = fixedUserIDs[u.Name]; u.ID == 0 {
				u.ID = next
				next++
			}
		}
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b rest.User) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Authenticate implements rest.Users.
func (x *Access) Authenticate(name, password string) (rest.User, bool) {
	hash := x.decoy
	u, known := x.src.User(name)
	if known {
		hash = u.PasswordHash.Reveal()
	}
	ok, err := auth.VerifyPassword(hash, password)
	if !known || !ok || err != nil {
		return rest.User{}, false
	}
	return x.User(name)
}

// TokenKey implements rest.Users: the first node to need the key makes it.
func (x *Access) TokenKey(ctx context.Context) (*ecdsa.PrivateKey, error) {
	b, ok := x.src.TokenKey()
	if !ok {
		mine, err := auth.NewKey()
		if err != nil {
			return nil, err
		}
		if b, err = x.src.SetTokenKey(ctx, mine); err != nil {
			return nil, err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.pem != string(b) {
		k, err := auth.ParseKey(b)
		if err != nil {
			return nil, err
		}
		x.pem, x.key = string(b), k
	}
	return x.key, nil
}

// Settings implements rest.Users.
func (x *Access) Settings() rest.Settings {
	a, _ := x.src.Access()
	return rest.Settings{Lifetime: time.Duration(a.TokenSeconds) * time.Second, Black: a.Black}
}

// NotBefore implements rest.Users.
func (x *Access) NotBefore(roles []int, runAs bool) int64 {
	a, _ := x.src.Access()
	mark := a.NotBefore[0]
	for _, id := range roles {
		mark = max(mark, a.NotBefore[id])
	}
	if runAs {
		mark = max(mark, a.RunAsNotBefore)
	}
	return mark
}

// PoliciesOf implements rest.Users.
func (x *Access) PoliciesOf(roles []int) []rbac.Policy {
	a, _ := x.src.Access()
	var out []rbac.Policy
	for _, id := range roles {
		if id < registry.FirstFreeID {
			out = append(out, rbac.PoliciesOf([]int{id})...)
			continue
		}
		for _, p := range a.Roles[id].Policies {
			if policy, ok := policyOf(a, p); ok {
				out = append(out, policy)
			}
		}
	}
	return out
}

func policyOf(a *registry.Access, id int) (rbac.Policy, bool) {
	if id < registry.FirstFreeID {
		return rbac.PolicyByID(id)
	}
	p, ok := a.Policies[id]
	return rbac.Policy(p), ok
}

// Roles implements security.Store.
func (x *Access) Roles() []rbac.Role {
	a, _ := x.src.Access()
	out := rbac.Roles()
	for i := range out {
		out[i].Rules = append(slices.Clone(out[i].Rules), a.Roles[out[i].ID].Rules...)
	}
	for _, id := range slices.Sorted(maps.Keys(a.Roles)) {
		if id >= registry.FirstFreeID {
			out = append(out, rbac.Role(a.Roles[id]))
		}
	}
	return out
}

// Policies implements security.Store.
func (x *Access) Policies() []rbac.Policy {
	a, _ := x.src.Access()
	out := rbac.Policies()
	for _, id := range slices.Sorted(maps.Keys(a.Policies)) {
		out = append(out, rbac.Policy(a.Policies[id]))
	}
	return out
}

// Rules implements security.Store.
func (x *Access) Rules() []rbac.SecurityRule {
	a, _ := x.src.Access()
	out := rbac.SecurityRules()
	for _, id := range slices.Sorted(maps.Keys(a.Rules)) {
		out = append(out, rbac.SecurityRule(a.Rules[id]))
	}
	return out
}

// AddUser implements security.Store.
func (x *Access) AddUser(ctx context.Context, name, password string) error {
	err := x.src.AddUser(ctx, registry.User{Name: name, PasswordHash: secret.String(HashPassword(password))})
	return accessProblem("", err)
}

// Change implements security.Store.
func (x *Access) Change(ctx context.Context, q schemas.AccessChange, password string) (int, error) {
	var hidden secret.String
	switch q.Op {
	case schemas.AccessUserPassword:
		hidden = secret.String(HashPassword(password))
	case schemas.AccessSettings, schemas.AccessRevoke:
		key, err := auth.NewKey()
		if err != nil {
			return 0, err
		}
		hidden = secret.String(key)
	}
	id, err := x.src.ChangeAccess(ctx, q, hidden)
	return id, accessProblem(q.Op, err)
}

// accessRefusals are the codes of refusals that do not depend on the operation.
var accessRefusals = map[registry.Reason]problem.Code{
	registry.ReasonNoUser: problem.NoUser, registry.ReasonNoRole: problem.NoRole, registry.ReasonNoPolicy: problem.NoPolicy, registry.ReasonNoRule: problem.NoSecurityRule,
	registry.ReasonUserExists: problem.UserExists, registry.ReasonUser: problem.UserExists, registry.ReasonBuiltIn: problem.BuiltIn,
	registry.ReasonBodyExists: problem.PolicyExists, registry.ReasonNameExists: problem.NameExists, registry.ReasonAccess: problem.BadPolicy,
}

// opRefusals are the codes of refusals of one operation.
var opRefusals = map[schemas.AccessOp]map[registry.Reason]problem.Code{
	schemas.AccessUserRemove:   {registry.ReasonBuiltIn: problem.UserBuiltIn},
	schemas.AccessUserLink:     {registry.ReasonLinked: problem.UserRoleLinked},
	schemas.AccessUserUnlink:   {registry.ReasonNotLinked: problem.UserRoleNotLinked},
	schemas.AccessPolicyLink:   {registry.ReasonLinked: problem.RolePolicyLinked},
	schemas.AccessPolicyUnlink: {registry.ReasonNotLinked: problem.RolePolicyNotLinked},
	schemas.AccessRuleLink:     {registry.ReasonLinked: problem.RoleRuleLinked},
	schemas.AccessRuleUnlink:   {registry.ReasonNotLinked: problem.RoleRuleNotLinked},
	schemas.AccessRoleAdd:      {registry.ReasonNameExists: problem.RoleExists},
	schemas.AccessRoleRename:   {registry.ReasonNameExists: problem.RoleExists},
	schemas.AccessPolicyAdd:    {registry.ReasonNameExists: problem.PolicyExists},
	schemas.AccessRuleAdd:      {registry.ReasonNameExists: problem.RoleExists, registry.ReasonBodyExists: problem.RoleExists, registry.ReasonAccess: problem.BadRule},
	schemas.AccessRuleUpdate:   {registry.ReasonNameExists: problem.RoleExists, registry.ReasonBodyExists: problem.RoleExists, registry.ReasonAccess: problem.BadRule},
}

// accessProblem gives a refusal its code.
func accessProblem(op schemas.AccessOp, err error) error {
	if err == nil {
		return nil
	}
	var inactive *registry.NotActiveError
	if errors.As(err, &inactive) {
		return problem.New(problem.NotReady, "Users, roles and policies cannot be changed yet: run `vedette registry activate` once all nodes have this version")
	}
	var ref *registry.Refusal
	if !errors.As(err, &ref) {
		return problem.New(problem.EnrolmentDown, "")
	}
	if code, ok := opRefusals[op][ref.Reason]; ok {
		return problem.New(code, "")
	}
	if code, ok := accessRefusals[ref.Reason]; ok {
		return problem.New(code, "")
	}
	return problem.New(problem.Internal, "")
}
