package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vedette/internal/kafka/kafkatest"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// serveRegistry is serve with agents and groups of a real registry.
func serveRegistry(t *testing.T) (*server, *registry.Registry) {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(kafkatest.New(t), box, "node1", quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-reg.Ready():
	case <-time.After(2 * time.Minute):
		t.Fatal("registry is not ready")
	}
	r, f := NewRegistry(reg, schemas.ForcePolicy{}, "siem"), newFakes()
	sums := func(group, algorithm string) (string, string) {
		if group == "default" {
			return "merged of default by " + algorithm, ""
		}
		return "", ""
	}
	s := start(t, testConfig(t), Deps{Agents: r, Groups: r, GroupSums: sums, Users: f, Rules: f}, f)
	return s, reg
}

// outcome writes what a list answer says: its outcome, the items, what failed.
func (s *server) outcome(method, path string) string {
	s.t.Helper()
	r := s.do(method, path, "")
	if r.status != 200 {
		return fmt.Sprintf("%d %v", r.status, r.json["error"])
	}
	data, _ := r.json["data"].(map[string]any)
	out := fmt.Sprintf("%v %v", r.json["error"], data["affected_items"])
	failed, _ := data["failed_items"].([]any)
	for _, x := range failed {
		out += fmt.Sprintf(" %v:%v", dug(x.(map[string]any), "error.code"), dug(x.(map[string]any), "id"))
	}
	return out
}

func TestGroupsAreMadeListedAndRemoved(t *testing.T) {
	t.Parallel()
	s, _ := serveRegistry(t)
	made := func(body string, status int, code any) {
		t.Helper()
		if r := s.do("POST", "/groups", body); r.status != status || fmt.Sprint(r.json["error"]) != fmt.Sprint(code) {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
	made(`{"group_id":"web"}`, 200, 0)
	made(`{"group_id":"db"}`, 200, 0)
	made(`{"group_id":"web"}`, 400, 1711)
	made(`{"group_id":"default"}`, 400, 1711)
	made(`{"group_id":"ar.conf"}`, 400, 1713)
	for _, bad := range []string{"..", ".", "all", "../etc", "a/b", "a b", "a\\u0000b", "", strings.Repeat("g", 129)} {
		made(`{"group_id":"`+bad+`"}`, 400, nil)
	}
	if got, n := s.items("/groups?sort=-name", "name"); n != 3 || !slices.Equal(got, []string{"web", "default", "db"}) {
		t.Errorf("%v", got)
	}
	if got, _ := s.items("/groups?groups_list=default&hash=sha256", "mergedSum"); got[0] != "merged of default by sha256" {
		t.Errorf("%v", got)
	}
	if got, _ := s.items("/groups?q=count=0;name~b&select=name", "name"); !slices.Equal(got, []string{"db", "web"}) {
		t.Errorf("%v", got)
	}
	f := func(method, path, want string) {
		t.Helper()
		if got := s.outcome(method, path); got != want {
			t.Errorf("%s %s: %s, want %s", method, path, got, want)
		}
	}
	f("GET", "/groups?groups_list=web,nope&select=name", "2 [map[name:web]] 1710:[nope]")
	f("DELETE", "/groups", "400 <nil>")
	f("DELETE", "/groups?groups_list=default,nope,web", "2 [web] 1710:[nope] 1712:[default]")
	f("DELETE", "/groups?groups_list=all", "0 [db]")
	f("GET", "/groups/nope/agents", "404 1710")
	f("GET", "/groups/..%2fetc/agents", "400 <nil>")
	s.as("reader")
	f("DELETE", "/groups?groups_list=default", "403 4000")
	if r := s.do("POST", "/groups", `{"group_id":"x"}`); r.status != 403 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestAgentsArePutIntoGroupsAndTakenOut(t *testing.T) {
	t.Parallel()
	s, reg := serveRegistry(t)
	ctx := t.Context()
	for _, g := range []string{"a", "b"} {
		if err := reg.AddGroup(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		if _, err := reg.Add(ctx, registry.AddRequest{Name: fmt.Sprint("agent", i)}); err != nil {
			t.Fatal(err)
		}
	}
	f := func(method, path, want, groups string) {
		t.Helper()
		if got := s.outcome(method, path); got != want {
			t.Errorf("%s %s: %s, want %s", method, path, got, want)
		}
		var have []string
		for _, a := range reg.Agents() {
			have = append(have, strings.Join(a.Groups, "+"))
		}
		if got := strings.Join(have, " "); got != groups {
			t.Errorf("%s %s: then the groups are %q, want %q", method, path, got, groups)
		}
	}
	if got, n := s.items("/agents/no_group", "id"); n != 3 || got[0] != "001" {
		t.Error(got, n)
	}
	f("PUT", "/agents/001/group/a", "0 [001]", "a  ")
	f("PUT", "/agents/001/group/a", "1 [] 1751:[001]", "a  ")
	f("PUT", "/agents/001/group/b", "0 [001]", "a+b  ")
	f("PUT", "/agents/001/group/nope", "404 1710", "a+b  ")
	f("PUT", "/agents/009/group/a", "1 [] 1701:[009]", "a+b  ")
	f("PUT", "/agents/000/group/a", "1 [] 1703:[000]", "a+b  ")
	f("PUT", "/agents/x/group/a", "400 <nil>", "a+b  ")
	f("PUT", "/agents/001/group/b?force_single_group=true", "0 [001]", "b  ")
	f("PUT", "/agents/group?group_id=a&agents_list=000,001,003,009", "2 [001 003] 1701:[009] 1703:[000]", "b+a  a")
	f("PUT", "/agents/group?group_id=b&force_single_group=true", "0 [001 002 003]", "b b b")
	f("PUT", "/agents/group?group_id=nope", "404 1710", "b b b")
	f("PUT", "/agents/group", "400 <nil>", "b b b")
	if got, n := s.items("/groups/b/agents?select=name&sort=-id", "name"); n != 3 || got[0] != "agent2" {
		t.Error(got, n)
	}
	f("PUT", "/agents/group?group_id=a&agents_list=001,002", "0 [001 002]", "b+a b+a b")
	f("DELETE", "/agents/group?group_id=a&agents_list=001,003", "2 [001] 1734:[003]", "b b+a b")
	f("DELETE", "/agents/group?group_id=a", "400 <nil>", "b b+a b")
	f("DELETE", "/agents/group?group_id=a&agents_list=all", "0 [002]", "b b b")
	f("DELETE", "/agents/003/group/b", "0 <nil>", "b b default")
	f("DELETE", "/agents/003/group/b", "400 1734", "b b default")
	f("DELETE", "/agents/003/group/default", "400 1745", "b b default")
	f("PUT", "/agents/003/group/a", "0 [003]", "b b default+a")
	f("DELETE", "/agents/003/group?groups_list=a,b,nope", "2 [a] 1710:[nope] 1734:[b]", "b b default")
	f("DELETE", "/agents/003/group", "1 [] 1745:[default]", "b b default")
	f("DELETE", "/agents/002/group", "0 [b]", "b default default")
	f("DELETE", "/groups?groups_list=b", "0 [b]", "default default default")
	if got, _ := s.items("/groups", "count"); fmt.Sprint(got) != "[0 3]" {
		t.Error(got)
	}
	s.as("reader")
	f("PUT", "/agents/001/group/a", "403 4000", "default default default")
	f("PUT", "/agents/group?group_id=a", "403 4000", "default default default")
	f("DELETE", "/agents/001/group", "403 4000", "default default default")
}

func TestAgentsAreInsertedWithTheirIDAndKey(t *testing.T) {
	t.Parallel()
	s, reg := serveRegistry(t)
	key := strings.Repeat("k1", 32)
	f := func(body string, status int, code any) map[string]any {
		t.Helper()
		r := s.do("POST", "/agents/insert", body)
		if r.status != status || fmt.Sprint(r.json["error"]) != fmt.Sprint(code) {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
		data, _ := r.json["data"].(map[string]any)
		return data
	}
	line := func(s any) string {
		b, _ := base64.StdEncoding.DecodeString(fmt.Sprint(s))
		return string(b)
	}
	got := f(`{"name":"web1","id":"050","key":"`+key+`","ip":"10.0.0.0/8"}`, 200, 0)
	if got["id"] != "050" || line(got["key"]) != "050 web1 10.0.0.0/8 "+key {
		t.Errorf("%v", got)
	}
	f(`{"name":"web2","id":"050"}`, 400, 1708)
	f(`{"name":"web1","id":"051"}`, 400, 1705)
	f(`{"name":"web2","ip":"10.0.0.0"}`, 400, 1706)
	f(`{"name":"web2","ip":"x"}`, 400, 1706)
	f(`{"name":"web2","key":"short"}`, 400, 1709)
	f(`{"name":"web2","key":"`+key[:63]+` "}`, 400, 1709)
	f(`{"name":"web2","id":"000"}`, 400, 1708)
	f(`{"name":"web2","id":"1"}`, 400, nil)
	f(`{"name":"`+strings.Repeat("n", 129)+`"}`, 400, 1738)
	f(`{"name":"web3","id":"050","force":{"enabled":true,"disconnected_time":{"enabled":false}}}`, 400, 1708) // younger than an hour
	f(`{"name":"web3","id":"050","force":{"enabled":true,"after_registration_time":"0s"}}`, 200, 0)
	if _, ok := reg.AgentByName("web1"); ok {
		t.Error("the agent was not replaced")
	}
	if got := f(`{"name":"web4"}`, 200, 0); got["id"] != "051" {
		t.Errorf("%v", got)
	}
	r := s.do("POST", "/agents/insert/quick?agent_name=quick", "")
	if data, _ := r.json["data"].(map[string]any); r.status != 200 || !strings.HasPrefix(line(data["key"]), "052 quick any ") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := s.do("POST", "/agents/insert/quick", ""); r.status != 400 {
		t.Errorf("%d %s", r.status, r.body)
	}
	keys, n := s.items("/agents/052/key", "key")
	if n != 1 || !strings.HasPrefix(line(keys[0]), "052 quick any ") {
		t.Errorf("%v", keys)
	}
	for path, want := range map[string]string{"/agents/000/key": "1 [] 1703:[000]", "/agents/999/key": "1 [] 1701:[999]", "/agents/ab/key": "400 <nil>"} {
		if got := s.outcome("GET", path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	s.as("nobody")
	for _, path := range []string{"/agents/052/key", "/agents/999/key"} {
		if got := s.outcome("GET", path); got != "403 4000" {
			t.Errorf("%s: %s", path, got)
		}
	}
	if r := s.do("POST", "/agents/insert/quick?agent_name=x2", ""); r.status != 403 {
		t.Errorf("%d %s", r.status, r.body)
	}
}
