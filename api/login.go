package api

import (
	"net/http"
	"sync"
	"time"

	"vedette/api/problem"
	"vedette/api/rest"
)

type login struct {
	Raw bool `param:"raw"`
}

func (a *API) login(k *rest.Call, p *login) (rest.Answer, error) {
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
	u, ok := a.deps.Users.Authenticate(name, password)
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

func (a *API) loginDeprecated(k *rest.Call, p *login) (rest.Answer, error) {
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
