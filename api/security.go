package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"vedette/api/auth"
	"vedette/api/problem"
	"vedette/api/rbac"
)

// mode is how permissions are read; `black` comes with the security settings.
const mode = "white"

const keyPerms = "permissions"

func unauthorized(detail string) *problem.Problem {
	return problem.HTTP(http.StatusUnauthorized, detail)
}

// authenticate takes the token of a request and learns what its user may do.
func (a *API) authenticate(k *call) error {
	h := k.gin.GetHeader("Authorization")
	if h == "" {
		return a.noToken("No authorization token provided")
	}
	scheme, token, ok := strings.Cut(h, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.Contains(token, " ") {
		return a.noToken("Invalid authorization header")
	}
	key, err := a.deps.Users.TokenKey(k.ctx)
	if err != nil {
		a.log.Warn("token key not available", "err", err)
		return problem.New(problem.TokenKeyUnusable, "")
	}
	claims, err := auth.ParseToken(&key.PublicKey, token, k.now)
	if err != nil {
		return a.noToken("Invalid token")
	}
	if claims.Mode != mode || claims.Expires-claims.NotBefore != int64(a.cfg.TokenLifetime/time.Second) {
		return a.noToken("Token expired")
	}
	u, ok := a.deps.Users.User(claims.Subject)
	if !ok || u.NotBefore > 0 && claims.NotBefore <= u.NotBefore || claims.RunAs || !slices.Equal(claims.Roles, rolesOf(u)) {
		return a.noToken("Invalid token")
	}
	k.user, k.perms = u, rbac.New(rbac.PoliciesOf(u.Roles), mode == "black")
	k.gin.Set(keyUser, u.Name)
	k.gin.Set(keyPerms, k.perms)
	a.limit.used(u.Name)
	return nil
}

func (a *API) noToken(detail string) error {
	a.metrics.refused.WithLabelValues("token").Inc()
	return unauthorized(detail)
}

// rolesOf never gives nil, which JSON would write as null.
func rolesOf(u User) []int {
	if u.Roles == nil {
		return []int{}
	}
	return u.Roles
}

func (a *API) login(k *call) (any, error) {
	from := k.gin.RemoteIP()
	if a.logins.blocked(from, k.now) {
		a.metrics.refused.WithLabelValues("login_blocked").Inc()
		a.log.Warn("IP blocked due to exceeded number of logins attempts: "+from, "ip", from)
		return nil, problem.New(problem.AddressBlocked, "")
	}
	if k.gin.GetHeader("Authorization") == "" {
		return nil, a.noToken("No authorization token provided")
	}
	name, password, ok := k.gin.Request.BasicAuth()
	if !ok {
		return nil, a.noToken("Invalid authorization header")
	}
	// Checking a password takes a core for a while: a bound keeps logins from
	// taking them all.
	select {
	case a.checking <- struct{}{}:
	case <-k.ctx.Done():
		return nil, k.ctx.Err()
	}
	u, ok := a.deps.Users.Authenticate(name, password)
	<-a.checking
	if !ok {
		a.logins.failed(from, k.now)
		a.metrics.refused.WithLabelValues("login").Inc()
		k.gin.Set(keyUser, name[:min(len(name), 64)]) // for the log only
		return nil, unauthorized("Invalid credentials")
	}
	k.gin.Set(keyUser, u.Name)
	key, err := a.deps.Users.TokenKey(k.ctx)
	if err != nil {
		a.log.Warn("token key not available", "err", err)
		return nil, problem.New(problem.TokenKeyUnusable, "")
	}
	token, err := auth.NewToken(key, u.Name, rolesOf(u), false, mode, k.now, a.cfg.TokenLifetime)
	if err != nil {
		return nil, err
	}
	if k.flag("raw") {
		return text(token), nil
	}
	return &plain{Data: map[string]string{"token": token}}, nil
}

func (a *API) loginDeprecated(k *call) (any, error) {
	k.gin.Header("Link", `</security/user/authenticate>; rel="Deprecated"`)
	return a.login(k)
}

// loginLimit blocks addresses with too many failed logins.
type loginLimit struct {
	max  int
	time time.Duration

	mu    sync.Mutex
	addrs map[string]*attempts
}

type attempts struct {
	first time.Time
	n     int
}

func newLoginLimit(n int, d time.Duration) *loginLimit {
	return &loginLimit{max: n, time: d, addrs: map[string]*attempts{}}
}

// source is what an address counts as: an IPv6 network of 64 bits is one
// customer's.
func source(addr string) string {
	if ip, err := netip.ParseAddr(addr); err == nil && ip.Is6() && !ip.Is4In6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr
}

func (l *loginLimit) blocked(addr string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.addrs[source(addr)]
	if at != nil && now.Sub(at.first) >= l.time {
		delete(l.addrs, source(addr))
		return false
	}
	return at != nil && at.n >= l.max
}

func (l *loginLimit) failed(addr string, now time.Time) {
	addr = source(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.addrs[addr]
	if at == nil || now.Sub(at.first) >= l.time {
		if len(l.addrs) >= blockedAddresses {
			l.forget(now)
		}
		at = &attempts{first: now}
		l.addrs[addr] = at
	}
	at.n++
}

// forget drops what is over, and the oldest if nothing is.
func (l *loginLimit) forget(now time.Time) {
	oldest := ""
	for a, at := range l.addrs {
		if now.Sub(at.first) >= l.time {
			delete(l.addrs, a)
		} else if oldest == "" || at.first.Before(l.addrs[oldest].first) {
			oldest = a
		}
	}
	if len(l.addrs) >= blockedAddresses {
		delete(l.addrs, oldest)
	}
}
