package registry

import (
	"context"
	"errors"
	"maps"
	"slices"

	"vedette/schemas"
)

// User returns an API user.
func (r *Registry) User(name string) (User, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	u, ok := r.state.users[name]
	return u, ok
}

// Users returns the API users sorted by name.
func (s *State) Users() []User {
	out := make([]User, 0, len(s.users))
	for _, name := range slices.Sorted(maps.Keys(s.users)) {
		out = append(out, s.users[name])
	}
	return out
}

// Users returns the API users sorted by name.
func (r *Registry) Users() []User {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Users()
}

// AddUser proposes an API user and waits for the outcome. Of two nodes that add
// the same name one gets a *Refusal with ReasonUserExists.
func (r *Registry) AddUser(ctx context.Context, u User) error {
	p := r.proposal(schemas.ProposalUserAdd)
	p.UserAdd = &schemas.UserAdd{
		Name: u.Name, Roles: u.Roles, RunAs: u.RunAs,
		PasswordHash: r.box.Seal(purposeSeal, []byte(u.PasswordHash.Reveal()), []byte(p.ID)),
	}
	_, err := r.propose(ctx, p)
	return err
}

// TokenKey returns the key that signs API tokens, as PEM, and whether there is one.
func (s *State) TokenKey() ([]byte, bool) { return []byte(s.token.Reveal()), s.token != "" }

// TokenKey returns the key that signs API tokens, as PEM, and whether there is one.
func (r *Registry) TokenKey() ([]byte, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.TokenKey()
}

// SetTokenKey offers a key for API tokens and returns the one that counts on
// every node: the first ever offered.
func (r *Registry) SetTokenKey(ctx context.Context, pem []byte) ([]byte, error) {
	if key, ok := r.TokenKey(); ok {
		return key, nil
	}
	p := r.proposal(schemas.ProposalTokenKey)
	p.TokenKey = &schemas.TokenKey{PEM: r.box.Seal(purposeSeal, pem, []byte(p.ID))}
	_, err := r.propose(ctx, p)
	if refusal := (*Refusal)(nil); err != nil && !(errors.As(err, &refusal) && refusal.Reason == ReasonTokenKeyExists) {
		return nil, err
	}
	key, _ := r.TokenKey()
	return key, nil
}
