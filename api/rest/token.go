package rest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"vedette/api/auth"
	"vedette/api/problem"
	"vedette/api/rbac"
)

const keyPerms = "permissions"

// authenticate takes the token of a request and loads the permissions of its user.
func (f *Frame) authenticate(k *Call) error {
	h := k.gin.GetHeader("Authorization")
	if h == "" {
		return k.NoToken("No authorization token provided")
	}
	scheme, token, ok := strings.Cut(h, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.Contains(token, " ") {
		return k.NoToken("Invalid authorization header")
	}
	key, err := f.users.TokenKey(k.Ctx)
	if err != nil {
		f.log.Warn("token key not available", "err", err)
		return problem.New(problem.TokenKeyUnusable, "")
	}
	claims, err := auth.ParseToken(&key.PublicKey, token, k.Now)
	if err != nil {
		return k.NoToken("Invalid token")
	}
	life, mode := f.tokenSettings()
	if claims.Mode != mode || claims.Expires-claims.NotBefore != int64(life/time.Second) {
		return k.NoToken("Token expired")
	}
	u, ok := f.users.User(claims.Subject)
	if !ok || !f.good(claims, &u) {
		return k.NoToken("Invalid token")
	}
	policies := u.Policies
	if claims.RunAs {
		u.Roles = claims.Roles
		policies = f.users.PoliciesOf(claims.Roles)
	}
	k.User, k.perms, k.context = u, rbac.New(policies, mode == black), claims.Context
	k.SetUser(u.Name)
	k.gin.Set(keyPerms, k.perms)
	f.limit.used(u.Name)
	return nil
}

// good reports whether the claims of a token still fit the user.
func (f *Frame) good(c *auth.Claims, u *User) bool {
	switch mark := max(u.NotBefore, f.users.NotBefore(c.Roles, c.RunAs)); {
	case mark > 0 && c.NotBefore <= mark:
		return false
	case c.RunAs:
		return u.RunAs
	}
	return slices.Equal(c.Roles, rolesOf(u.Roles))
}

const black, white = "black", "white"

// tokenSettings returns how long tokens are good, and how permissions are read.
func (f *Frame) tokenSettings() (life time.Duration, mode string) {
	s := f.users.Settings()
	if life, mode = f.cfg.TokenLifetime, white; s.Lifetime > 0 {
		life = s.Lifetime
	}
	if s.Black {
		mode = black
	}
	return life, mode
}

// Permissions returns the caller's permissions: for each action the effect on each
// resource, after all policies were applied, and the mode.
func (c *Call) Permissions() Ordered {
	var all Ordered
	c.perms.Each(func(action string, resources, effects []string) {
		var on Ordered
		for i, r := range resources {
			on = append(on, Member{r, effects[i]})
		}
		all = append(all, Member{action, on})
	})
	_, mode := c.frame.tokenSettings()
	return append(all, Member{"rbac_mode", mode})
}

// Endpoints returns the operations, such as "GET /agents", that need each action.
func (c *Call) Endpoints() map[string][]string {
	out := map[string][]string{}
	for _, op := range c.frame.ops {
		for _, n := range op.needs {
			if e := op.method + " " + op.path; !slices.Contains(out[n.action], e) {
				out[n.action] = append(out[n.action], e)
			}
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

// TokenSettings returns how long tokens are good, and how permissions are read:
// white or black.
func (c *Call) TokenSettings() (lifetime time.Duration, rbacMode string) {
	return c.frame.tokenSettings()
}

// DefaultTokenLifetime is the lifetime of tokens unless operators change it.
func (c *Call) DefaultTokenLifetime() time.Duration { return c.frame.cfg.TokenLifetime }

// NoToken counts a request whose token is not good and returns the answer.
func (c *Call) NoToken(detail string) error {
	c.Refused("token")
	return problem.HTTP(http.StatusUnauthorized, detail)
}

// NewToken makes a token for a user whose password is right. context is the hash of
// the context of the login, which gave the user's roles; empty without one.
func (c *Call) NewToken(u User, context string) (string, error) {
	key, err := c.frame.users.TokenKey(c.Ctx)
	if err != nil {
		c.frame.log.Warn("token key not available", "err", err)
		return "", problem.New(problem.TokenKeyUnusable, "")
	}
	life, mode := c.frame.tokenSettings()
	return auth.NewToken(key, auth.Claims{
		Subject: u.Name, Roles: rolesOf(u.Roles), RunAs: context != "", Context: context, Mode: mode,
		NotBefore: c.Now.Unix(), Expires: c.Now.Unix() + int64(life/time.Second),
	})
}

// rolesOf never gives nil, which JSON would write as null.
func rolesOf(roles []int) []int {
	if roles == nil {
		return []int{}
	}
	return roles
}
