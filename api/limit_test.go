package api

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// statusFrom asks as a client of an address and returns the answer's status.
func (s *server) statusFrom(addr, token string) int {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, "/", nil)
	r.RemoteAddr = net.JoinHostPort(addr, "1234")
	r.Header.Set("Authorization", "Bearer "+token)
	s.api.Load().Handler().ServeHTTP(w, r)
	return w.Code
}

func TestRequestsOfAMinuteAreBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.MaxRequestsPerMinute = 4 }) // one is the login
	for i := range 8 {
		r := s.do("GET", "/", "", func(r *http.Request) { r.Header.Del("Authorization") }) // counted before the token
		switch {
		case i < 3 && r.status != 401:
			t.Fatalf("request %d: %d", i, r.status)
		case i >= 3:
			s.refused(r, 429, "Too Many Requests", 6001, "")
			if r.json["remediation"] == nil {
				t.Error("no remediation")
			}
			if sec, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || sec < 1 || sec > 60 {
				t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
			}
		}
	}
}

func TestOneClientCannotUseUpTheLimitOfAll(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.MaxRequestsPerMinute = 22 }) // two are the logins
	wazuh := s.token
	s.as("reader")
	reader := s.token
	count := func(n int, addr, token string) (answered int) {
		t.Helper()
		for range n {
			switch status := s.statusFrom(addr, token); status {
			case 200:
				answered++
			case 429:
			default:
				t.Fatalf("%s: status %d", addr, status)
			}
		}
		return answered
	}
	if n := count(23, "192.0.2.1", wazuh); n != 20 {
		t.Fatalf("the first client has %d answers, want the limit", n)
	}
	// Each other address has its share, whoever asks.
	if n := count(3, "192.0.2.2", wazuh); n != 2 {
		t.Errorf("another address has %d answers, want 2", n)
	}
	// Another user behind the first address has one, too.
	if n := count(3, "192.0.2.1", reader); n != 2 {
		t.Errorf("another user behind the address has %d answers, want 2", n)
	}
	// All of that is bounded.
	total := 0
	for i := range 40 {
		total += count(1, fmt.Sprintf("198.51.100.%d", i), wazuh)
	}
	if total > 22 {
		t.Errorf("%d requests are answered beyond the limit", total)
	}
}
