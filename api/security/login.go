package security

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"vedette/api/problem"
	"vedette/api/rest"
)

const (
	// passwordChecks at the same time: each takes a core and 32 MiB.
	passwordChecks = 2
	// blockedAddresses remembered; beyond it the oldest is forgotten.
	blockedAddresses = 10_000
)

// Service answers the operations of logging in, and lists users, roles and policies.
type Service struct {
	users    rest.Users
	log      *slog.Logger
	logins   *loginLimit
	checking chan struct{} // one token per password check
}

// New returns the service. maxAttempts failures of one address within blockTime
// block its logins until blockTime is over.
func New(users rest.Users, maxAttempts int, blockTime time.Duration, log *slog.Logger) *Service {
	return &Service{users: users, log: log, logins: newLoginLimit(maxAttempts, blockTime), checking: make(chan struct{}, passwordChecks)}
}

// Part returns the operations of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{Kinds: a.kinds(), Items: []rest.Item{
		rest.ItemOf[UserEntry]("UserEntry"), rest.ItemOf[RoleEntry]("RoleEntry"), rest.ItemOf[PolicyEntry]("PolicyEntry"), rest.ItemOf[RuleEntry]("SecurityRule"),
	}, Operations: []rest.Operation{
		rest.Op("login", a.login), rest.Op("login_deprecated", a.loginDeprecated),
		rest.Op("get_user_me", a.getUserMe), rest.Op("get_user_me_policies", a.getUserMePolicies),
		rest.Op("list_users", a.listUsers), rest.Op("list_roles", a.listRoles), rest.Op("list_policies", a.listPolicies), rest.Op("list_security_rules", a.listRules),
		rest.Op("security_config", a.securityConfig), rest.Op("list_actions", a.listActions), rest.Op("list_resources", a.listResources),
	}}
}

type login struct {
	Raw bool `param:"raw"`
}

func (a *Service) login(k *rest.Call, p *login) (rest.Answer, error) {
	from := k.RemoteIP()
	if a.logins.blocked(from, k.Now) {
		k.Refused("login_blocked")
		a.log.Warn("IP blocked due to exceeded number of logins attempts: "+from, "ip", from)
		return nil, problem.New(problem.AddressBlocked, "")
	}
	if k.Request().Header.Get("Authorization") == "" {
		return nil, k.NoToken("No authorization token provided")
	}
	name, password, ok := k.Request().BasicAuth()
	if !ok {
		return nil, k.NoToken("Invalid authorization header")
	}
	// Checking a password takes a core for a while: a bound keeps logins from
	// taking them all.
	select {
	case a.checking <- struct{}{}:
	case <-k.Ctx.Done():
		return nil, k.Ctx.Err()
	}
	u, ok := a.users.Authenticate(name, password)
	<-a.checking
	if !ok {
		a.logins.failed(from, k.Now)
		k.Refused("login")
		k.SetUser(name[:min(len(name), 64)]) // for the log only
		return nil, problem.HTTP(http.StatusUnauthorized, "Invalid credentials")
	}
	k.SetUser(u.Name)
	token, err := k.NewToken(u)
	if err != nil {
		return nil, err
	}
	if p.Raw {
		return rest.Text(token), nil
	}
	return &rest.Data{Data: map[string]string{"token": token}}, nil
}

func (a *Service) loginDeprecated(k *rest.Call, p *login) (rest.Answer, error) {
	k.SetHeader("Link", `</security/user/authenticate>; rel="Deprecated"`)
	return a.login(k, p)
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

func (l *loginLimit) blocked(addr string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.addrs[rest.Source(addr)]
	if at != nil && now.Sub(at.first) >= l.time {
		delete(l.addrs, rest.Source(addr))
		return false
	}
	return at != nil && at.n >= l.max
}

func (l *loginLimit) failed(addr string, now time.Time) {
	addr = rest.Source(addr)
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

// forget drops the attempts that have expired, and the oldest if none has.
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
