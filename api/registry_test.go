package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

func TestRegistryAdapter(t *testing.T) {
	box, err := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(kafkatest.New(t), box, "node1", quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	reg.Reserve("siem", "node01")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-reg.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("registry is not ready")
	}
	r := NewRegistry(reg, schemas.ForcePolicy{}, "siem")

	id, key, err := r.Add(ctx, NewAgent{Name: "web1", IP: "any"})
	if err != nil {
		t.Fatal(err)
	}
	line, err := base64.StdEncoding.DecodeString(key)
	if parts := strings.Fields(string(line)); err != nil || len(parts) != 4 || parts[0] != id || parts[1] != "web1" || parts[2] != "any" || len(parts[3]) < 64 {
		t.Errorf("key %q, %v", line, err)
	}
	refusal := func(err error, code problem.Code) {
		t.Helper()
		var p *problem.Problem
		if !errors.As(err, &p) || p.Code != int(code) {
			t.Errorf("%v, want %d", err, code)
		}
	}
	add := func(name, ip string) error {
		_, _, err := r.Add(ctx, NewAgent{Name: name, IP: ip})
		return err
	}
	refusal(add("web1", "any"), problem.AgentName)
	refusal(add("siem", "any"), problem.AgentName)
	refusal(add("x", "any"), problem.EnrolmentFailed)
	refusal(r.Remove(ctx, "999", false), problem.NoAgent)

	as := r.List()
	if len(as) != 1 || as[0].Status != "never_connected" || as[0].IP != "any" || !as[0].LastKeepAlive.IsZero() {
		t.Fatalf("%+v", as)
	}
	seen := make(chan error, 1)
	at := time.Now().Truncate(time.Second)
	reg.SetPresence(schemas.Presence{
		V: 1, ID: id, State: schemas.StateActive, Gateway: "gw", Address: "10.0.0.5", Version: "Wazuh v4.14.7", OS: schemas.OS{Platform: "ubuntu"},
		MergedSum: "m", Updated: at.UnixMilli(), LastKeepalive: at.UnixMilli() + 271,
	}, func(err error) { seen <- err })
	if err := <-seen; err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); r.List()[0].Status != "active"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the presence does not show")
		}
	}
	if a := r.List()[0]; a.IP != "10.0.0.5" || a.RegisterIP != "any" || a.OS.Platform != "ubuntu" || a.Node != "gw" || !a.LastKeepAlive.Equal(at) || a.ConfigStatus != synced {
		t.Errorf("%+v", a)
	}
	if err := r.Remove(ctx, id, false); err != nil || len(r.List()) != 0 {
		t.Errorf("%v, %+v", err, r.List())
	}

	x := NewAccess(reg)
	if err := reg.AddUser(ctx, registry.User{Name: "wazuh", PasswordHash: secret.String(HashPassword("pw")), Roles: []string{"administrator"}}); err != nil {
		t.Fatal(err)
	}
	if u, ok := x.Authenticate("wazuh", "pw"); !ok || len(u.Roles) != 1 || u.Roles[0] != 1 {
		t.Errorf("%+v, %v", u, ok)
	}
	for i, name := range []string{"wazuh-wui", "zoe", "adam"} {
		if err := reg.AddUser(ctx, registry.User{Name: name, PasswordHash: "x"}); err != nil {
			t.Fatalf("add %s: %v", name, err)
		}
		users := x.Users()
		at := slices.IndexFunc(users, func(u rest.User) bool { return u.Name == name })
		if want := []int{2, 100, 101}[i]; at < 0 || users[at].ID != want {
			t.Errorf("%s has not the id %d: %+v", name, want, users)
		}
	}
	for _, c := range [][2]string{{"wazuh", "no"}, {"nobody", "pw"}, {"nobody", "decoy"}} {
		if _, ok := x.Authenticate(c[0], c[1]); ok {
			t.Errorf("%v may log in", c)
		}
	}
	k1, err := x.TokenKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	k2, err := NewAccess(reg).TokenKey(ctx)
	if err != nil || !k1.Equal(k2) {
		t.Errorf("two keys, %v", err)
	}
}
