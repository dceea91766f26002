package security

import (
	"context"

	"vedette/api/rbac"
	"vedette/api/rest"
	"vedette/schemas"
)

// Store holds users, roles, policies and security rules. It is safe for concurrent
// use. Its errors are *problem.Problem, unwrapped.
type Store interface {
	rest.Users
	// Lists by id, the built-in objects first. They may be changed by the caller.
	Users() []rest.User
	Roles() []rbac.Role
	Policies() []rbac.Policy
	Rules() []rbac.SecurityRule
	// AddUser adds a user without roles.
	AddUser(ctx context.Context, name, password string) error
	// Change makes one change and waits until it is in force here. It returns the id
	// of an added object. password is for AccessUserPassword only.
	Change(ctx context.Context, q schemas.AccessChange, password string) (id int, err error)
}

// firstFreeID is the first id that is not of a built-in object.
const firstFreeID = 100
