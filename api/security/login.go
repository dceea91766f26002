package security

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/blake2b"

	"vedette/api/problem"
	"vedette/api/rest"
)

const (
	// passwordChecks at the same time: each takes a core and 32 MiB.
	passwordChecks = 2
	// blockedAddresses remembered; beyond it the oldest is forgotten.
	blockedAddresses = 10_000
)

// Service answers the operations of logging in, and on users, roles, policies and
// security rules.
type Service struct {
	users    Store
	log      *slog.Logger
	logins   *loginLimit
	checking chan struct{} // one token per password check
}

// New returns the service. maxAttempts failures of one address within blockTime
// block its logins until blockTime is over.
func New(users Store, maxAttempts int, blockTime time.Duration, log *slog.Logger) *Service {
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
		rest.Op("login_run_as", a.loginRunAs), rest.Op("logout", a.logout), rest.Op("revoke_tokens", a.revoke),
		rest.Op("update_security_config", a.updateConfig), rest.Op("restore_security_config", a.restoreConfig),
		rest.Op("add_user", a.addUser), rest.Op("update_user", a.updateUser), rest.Op("edit_run_as", a.editRunAs), rest.Op("delete_users", a.deleteUsers),
		rest.Op("add_role", a.addRole), rest.Op("update_role", a.updateRole), rest.Op("delete_roles", a.deleteRoles),
		rest.Op("add_policy", a.addPolicy), rest.Op("update_policy", a.updatePolicy), rest.Op("delete_policies", a.deletePolicies),
		rest.Op("add_security_rule", a.addRule), rest.Op("update_security_rule", a.updateRule), rest.Op("delete_security_rules", a.deleteRules),
		rest.Op("link_roles", a.linkRoles), rest.Op("unlink_roles", a.unlinkRoles),
		rest.Op("link_policies", a.linkPolicies), rest.Op("unlink_policies", a.unlinkPolicies),
		rest.Op("link_security_rules", a.linkRules), rest.Op("unlink_security_rules", a.unlinkRules),
	}}
}

type login struct {
	Raw bool `param:"raw"`
}

func (a *Service) login(k *rest.Call, p *login) (rest.Answer, error) {
	u, err := a.authenticate(k)
	if err != nil {
		return nil, err
	}
	return a.token(k, u, "", p.Raw)
}

func (a *Service) token(k *rest.Call, u rest.User, context string, raw bool) (rest.Answer, error) {
	token, err := k.NewToken(u, context)
	if err != nil {
		return nil, err
	}
	if raw {
		return rest.Text(token), nil
	}
	return &rest.Data{Data: map[string]string{"token": token}}, nil
}

// authenticate checks the name and the password of a login.
func (a *Service) authenticate(k *rest.Call) (rest.User, error) {
	from := k.RemoteIP()
	if a.logins.blocked(from, k.Now) {
		k.Refused("login_blocked")
		a.log.Warn("IP blocked due to exceeded number of logins attempts: "+from, "ip", from)
		return rest.User{}, problem.New(problem.AddressBlocked, "")
	}
	if k.Request().Header.Get("Authorization") == "" {
		return rest.User{}, k.NoToken("No authorization token provided")
	}
	name, password, ok := k.Request().BasicAuth()
	if !ok {
		return rest.User{}, k.NoToken("Invalid authorization header")
	}
	// Checking a password takes a core for a while: a bound keeps logins from
	// taking them all.
	select {
	case a.checking <- struct{}{}:
	case <-k.Ctx.Done():
		return rest.User{}, k.Ctx.Err()
	}
	u, ok := a.users.Authenticate(name, password)
	<-a.checking
	if !ok {
		a.logins.failed(from, k.Now)
		k.Refused("login")
		k.SetUser(name[:min(len(name), 64)]) // for the log only
		return rest.User{}, problem.HTTP(http.StatusUnauthorized, "Invalid credentials")
	}
	k.SetUser(u.Name)
	return u, nil
}

type loginRunAs struct {
	Raw  bool           `param:"raw"`
	Body map[string]any `body:"json"`
}

// contextBytesMax bounds the context of a login.
const contextBytesMax = 8 << 10

// loginRunAs gives the roles whose security rules fit the context.
func (a *Service) loginRunAs(k *rest.Call, p *loginRunAs) (rest.Answer, error) {
	u, err := a.authenticate(k)
	if err != nil {
		return nil, err
	}
	if !u.RunAs {
		return nil, problem.New(problem.RunAsDisabled, "")
	}
	text, err := json.Marshal(p.Body)
	if err != nil {
		return nil, err
	}
	if len(text) > contextBytesMax {
		return nil, problem.HTTP(http.StatusRequestEntityTooLarge, "The authorization context has more than 8 KiB")
	}
	hash, err := blake2b.New(16, nil)
	if err != nil {
		return nil, err
	}
	hash.Write(text)
	u.Roles = a.rolesFor(u.ID, p.Body)
	return a.token(k, u, hex.EncodeToString(hash.Sum(nil)), p.Raw)
}

// dashboardUser is the account of the dashboard, to which alone the built-in
// security rules apply.
const dashboardUser = 2

// rolesFor returns the roles that the security rules give to a context.
func (a *Service) rolesFor(user int, context map[string]any) []int {
	fit := map[int]bool{}
	for _, r := range a.users.Rules() {
		if r.ID < firstFreeID && user != dashboardUser {
			continue
		}
		if tree, ok := ruleTree(r.Rule); ok {
			fit[r.ID] = fits(tree, context)
		}
	}
	roles := []int{}
	for _, r := range a.users.Roles() {
		if slices.ContainsFunc(r.Rules, func(id int) bool { return fit[id] }) {
			roles = append(roles, r.ID)
		}
	}
	return roles
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
