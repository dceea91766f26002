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

// mode is how permissions are read; `black` comes with the security settings.
const mode = "white"

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
	if claims.Mode != mode || claims.Expires-claims.NotBefore != int64(f.cfg.TokenLifetime/time.Second) {
		return k.NoToken("Token expired")
	}
	u, ok := f.users.User(claims.Subject)
	if !ok || u.NotBefore > 0 && claims.NotBefore <= u.NotBefore || claims.RunAs || !slices.Equal(claims.Roles, rolesOf(u)) {
		return k.NoToken("Invalid token")
	}
	k.User, k.perms = u, rbac.New(u.Policies, mode == "black")
	k.SetUser(u.Name)
	k.gin.Set(keyPerms, k.perms)
	f.limit.used(u.Name)
	return nil
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
	return c.frame.cfg.TokenLifetime, mode
}

// NoToken counts a request whose token is not good and returns the answer.
func (c *Call) NoToken(detail string) error {
	c.Refused("token")
	return problem.HTTP(http.StatusUnauthorized, detail)
}

// NewToken makes a token for a user whose password is right.
func (c *Call) NewToken(u User) (string, error) {
	key, err := c.frame.users.TokenKey(c.Ctx)
	if err != nil {
		c.frame.log.Warn("token key not available", "err", err)
		return "", problem.New(problem.TokenKeyUnusable, "")
	}
	return auth.NewToken(key, u.Name, rolesOf(u), false, mode, c.Now, c.frame.cfg.TokenLifetime)
}

// rolesOf never gives nil, which JSON would write as null.
func rolesOf(u User) []int {
	if u.Roles == nil {
		return []int{}
	}
	return u.Roles
}
