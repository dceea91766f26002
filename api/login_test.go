package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vedette/api/auth"
	"vedette/api/rest"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	s := serve(t)
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	for _, body := range []string{"", "{}"} {
		r := s.do("POST", "/security/user/authenticate", body, basic("wazuh", "secret"))
		token, _ := dug(r.json, "data.token").(string)
		if r.status != 200 || r.json["error"] != 0.0 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		c, err := auth.ParseToken(&testKey().PublicKey, token, time.Now())
		if err != nil || !slices.Equal(c.Roles, []int{1}) || c.Expires-c.NotBefore != 900 || c.Subject != "wazuh" {
			t.Errorf("%+v, %v", c, err)
		}
	}
	r := s.do("GET", "/security/user/authenticate", "", basic("wazuh", "secret"))
	if r.status != 200 || r.header.Get("Deprecated") != "true" || !strings.Contains(r.header.Get("Link"), `rel="Deprecated"`) {
		t.Errorf("%d %v", r.status, r.header)
	}
	s.refused(s.do("POST", "/security/user/authenticate", "", basic("wazuh", "wrong")), 401, "Unauthorized", 0, "Invalid credentials")
	s.refused(s.do("POST", "/security/user/authenticate", "", basic("who", "secret")), 401, "Unauthorized", 0, "Invalid credentials")
	s.refused(s.do("POST", "/security/user/authenticate", ""), 401, "Unauthorized", 0, "Invalid authorization header")
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := serve(t)
	bearer := func(h string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del("Authorization")
			if h != "" {
				r.Header.Set("Authorization", h)
			}
		}
	}
	f := func(header, detail string) {
		t.Helper()
		s.refused(s.do("GET", "/", "", bearer(header)), 401, "Unauthorized", 0, detail)
	}
	f("", "No authorization token provided")
	f("Basic eDp5", "Invalid authorization header")
	f("Bearer", "Invalid authorization header")
	f("Bearer abc", "Invalid token")
	token := func(user string, roles []int, at time.Time, life time.Duration) string {
		tok, err := auth.NewToken(testKey(), auth.Claims{Subject: user, Roles: roles, Mode: "white", NotBefore: at.Unix(), Expires: at.Unix() + int64(life/time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + tok
	}
	f(token("wazuh", []int{1}, time.Now().Add(-time.Hour), 900*time.Second), "Invalid token")
	f(token("wazuh", []int{1}, time.Now(), 500*time.Second), "Token expired")
	f(token("gone", []int{1}, time.Now(), 900*time.Second), "Invalid token")
	f(token("reader", []int{1}, time.Now(), 900*time.Second), "Invalid token") // roles have changed
	// Another algorithm, with the public key as the secret.
	f("Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJ3YXp1aCJ9.", "Invalid token")
	s.fakes.mu.Lock()
	s.fakes.users["wazuh"] = rest.User{Name: "wazuh", Roles: []int{1}, NotBefore: time.Now().Unix() + 1}
	s.fakes.mu.Unlock()
	f(token("wazuh", []int{1}, time.Now(), 900*time.Second), "Invalid token") // logged out
}

func TestLoginsAreBlockedAfterFailures(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.MaxLoginAttempts = 3 })
	login := func(password string) reply {
		return s.do("POST", "/security/user/authenticate", "", func(r *http.Request) { r.SetBasicAuth("wazuh", password) })
	}
	for range 3 {
		s.refused(login("wrong"), 401, "Unauthorized", 0, "Invalid credentials")
	}
	s.refused(login("secret"), 403, "Permission Denied", 6000, "")
	if r := s.do("GET", "/", ""); r.status != 200 {
		t.Error("a token that is good is refused:", r.body)
	}
}
