package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"vedette/internal/commands"
	"vedette/schemas"
)

// fakeOrders takes orders and answers requests by a table.
type fakeOrders struct {
	mu      sync.Mutex
	given   []schemas.Command
	err     error
	answers map[string]schemas.Reply // by what is asked
	recent  []commands.Order
}

func answer(text string) schemas.Reply {
	return schemas.Reply{Status: schemas.ReplyAnswered, Text: text}
}

func newFakeOrders() *fakeOrders {
	return &fakeOrders{answers: map[string]schemas.Reply{
		"agent getconfig client":        answer(`ok {"client":{"notify_time":20}}`),
		"agent getstate":                answer(`{"error":0,"data":{"status":"connected"}}`),
		"com getconfig active-response": answer(`ok  {"active-response":{"disabled":"no"}}`),
	}}
}

func (f *fakeOrders) Give(_ context.Context, cmds ...schemas.Command) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range cmds {
		cmds[i].ID, cmds[i].Time, cmds[i].Expires = "id", 1, 2
		if _, err := cmds[i].Record(); err != nil {
			return err
		}
	}
	f.given = append(f.given, cmds...)
	return f.err
}

func (f *fakeOrders) Do(ctx context.Context, cmd schemas.Command) (schemas.Reply, error) {
	if err := f.Give(ctx, cmd); err != nil {
		return schemas.Reply{}, err
	}
	f.mu.Lock()
	r, ok := f.answers[cmd.Text]
	f.mu.Unlock()
	if !ok { // nobody has the agent
		<-ctx.Done()
		return r, ctx.Err()
	}
	return r, nil
}

func (f *fakeOrders) Recent(n int, keep func(*commands.Order) bool) (out []commands.Order) {
	for _, o := range f.recent {
		if len(out) < n && keep(&o) {
			out = append(out, o)
		}
	}
	return out
}

// told returns what was ordered since the last call, as kind, agent and text.
func (f *fakeOrders) told() (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.given {
		if c.Kind == schemas.CommandRequest {
			continue // whether they respond
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s by %s %s", c.Kind, c.AgentID, c.Origin, c.Response)))
	}
	f.given = nil
	return out
}

func TestOnlyActiveAgentsAreToldToRestart(t *testing.T) {
	t.Parallel()
	s := serve(t)
	f := func(method, path, want string, told ...string) {
		t.Helper()
		if got := s.outcome(method, path); got != want {
			t.Errorf("%s %s: %s, want %s", method, path, got, want)
		}
		if got := s.fakes.orders.told(); fmt.Sprint(got) != fmt.Sprint(told) {
			t.Errorf("%s %s: %q", method, path, got)
		}
	}
	const restart = "response 001 by wazuh restart-wazuh0"
	f("PUT", "/agents/restart", "2 [001] 1707:[002 010]", restart)
	f("PUT", "/agents/restart?agents_list=000,001,999", "2 [001] 1701:[999] 1703:[000]", restart)
	f("PUT", "/agents/001/restart", "0 [001]", restart)
	f("PUT", "/agents/002/restart", "1 [] 1707:[002]")
	f("PUT", "/agents/000/restart", "1 [] 1703:[000]")
	f("PUT", "/agents/999/restart", "1 [] 1701:[999]")
	f("PUT", "/agents/group/web/restart", "0 [001]", restart)
	f("PUT", "/agents/group/default/restart", "2 [001] 1707:[002]", restart)
	f("PUT", "/agents/group/none/restart", "404 1710")
	f("PUT", "/agents/node/node1/restart", "2 [001] 1707:[002]", restart)
	f("PUT", "/agents/node/none/restart", "404 1730")
	f("PUT", "/agents/node/a%20b/restart", "400 <nil>")
	f("PUT", "/agents/reconnect?agents_list=001,010", "2 [001] 1707:[010]", "control 001 by wazuh")
	s.fakes.orders.err = errors.New("no broker")
	f("PUT", "/agents/001/restart", "500 1014", restart)
	s.as("reader") // who may look at agents, and no more
	f("PUT", "/agents/001/restart", "403 4000")
	f("PUT", "/agents/restart", "0 []")
	f("PUT", "/agents/node/node1/restart", "403 4000")
	f("PUT", "/agents/reconnect?agents_list=001", "403 4000")
}

func TestResponsesAreOrderedByTheirNamesInARConf(t *testing.T) {
	t.Parallel()
	s := serve(t)
	put := func(path, body string) reply { t.Helper(); return s.do("PUT", "/active-response"+path, body) }
	r := put("?agents_list=001,002,000", `{"command":"firewall-drop600","arguments":["-x","<&>"],"alert":{"data":{"srcip":"192.0.2.1"}}}`)
	if r.status != 200 || r.json["error"] != 2.0 || fmt.Sprint(dug(r.json, "data.affected_items")) != "[000 001]" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var text string
	for _, c := range s.fakes.orders.given {
		text = c.Text
	}
	want := `{"version":1,"origin":{"name":"node1","module":"api"},"command":"firewall-drop600","parameters":{"extra_args":["-x","<&>"],"alert":{"data":{"srcip":"192.0.2.1"}}}}`
	if text != want {
		t.Error(text)
	}
	if got := s.fakes.orders.told(); fmt.Sprint(got) != "[response 000 by wazuh firewall-drop600 response 001 by wazuh firewall-drop600]" {
		t.Errorf("%q", got)
	}
	put("", `{"command":"!block"}`) // all agents, and not the server
	if got := s.fakes.orders.told(); fmt.Sprint(got) != "[response 001 by wazuh !block]" {
		t.Errorf("%q", got)
	}
	f := func(body string, code int) {
		t.Helper()
		s.refused(put("?agents_list=001", body), 400, "Bad Request", code, "")
	}
	f(`{"command":"firewall-drop"}`, 1652)
	f(`{"command":""}`, 1650)
	f(`{"command":"!"}`, 1652)
	f(`{"command":"!../x"}`, 1652)
	f(`{"command":"!a b"}`, 1652)
	f(`{}`, 0)
	f(`{"command":"!x","arguments":"y"}`, 0)
	f(`{"command":"!x","arguments":[1]}`, 0)
	f(`{"command":"!x","more":1}`, 0)
	f(`{"command":"!x","arguments":["`+strings.Repeat("y", 70_000)+`"]}`, 0)
	if got := s.fakes.orders.told(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	s.as("reader")
	s.refused(put("?agents_list=001", `{"command":"!x"}`), 403, "Permission Denied", 4000, "")
}

func TestAnAgentThatHasResponsesSwitchedOffIsNotTold(t *testing.T) {
	t.Parallel()
	s := serve(t)
	f := func(says schemas.Reply, want string, told ...string) {
		t.Helper()
		s.fakes.orders.mu.Lock()
		s.fakes.orders.answers["com getconfig active-response"] = says
		s.fakes.orders.mu.Unlock()
		r := s.do("PUT", "/active-response?agents_list=000,001,002", `{"command":"!block"}`)
		got := fmt.Sprint(dug(r.json, "data.affected_items"))
		for _, x := range dug(r.json, "data.failed_items").([]any) {
			got += fmt.Sprint(" ", dug(x.(map[string]any), "error.code"), dug(x.(map[string]any), "id"))
		}
		if got != want {
			t.Errorf("%q: %s, want %s", says.Text, got, want)
		}
		if got := s.fakes.orders.told(); fmt.Sprint(got) != fmt.Sprint(told) {
			t.Errorf("%q: %q", says.Text, got)
		}
	}
	const server, first = "response 000 by wazuh !block", "response 001 by wazuh !block"
	f(answer(`ok  {"active-response":{"disabled":"yes"}}`), "[000] 1707 [002] 1750 [001]", server)
	f(answer(`ok  {"active-response":{"disabled":"no"}}`), "[000 001] 1707 [002]", server, first)
	// Whoever does not say so is told as before.
	f(answer("err Could not get requested section"), "[000 001] 1707 [002]", server, first)
	f(answer(`ok {"active-response":7}`), "[000 001] 1707 [002]", server, first)
	f(schemas.Reply{Status: schemas.ReplyTimedOut, Text: "err Response timeout"}, "[000 001] 1707 [002]", server, first)
	s.fakes.orders.mu.Lock()
	delete(s.fakes.orders.answers, "com getconfig active-response") // nobody has the agent
	s.fakes.orders.mu.Unlock()
	if r := s.do("PUT", "/active-response?agents_list=001", `{"command":"!block"}`); fmt.Sprint(dug(r.json, "data.affected_items")) != "[001]" {
		t.Errorf("an agent that does not say whether it responds is not told to: %s", r.body)
	}
}

func TestAgentsAreAskedForWhatTheyRun(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.RequestTimeout = 200 * time.Millisecond })
	for text, r := range map[string]schemas.Reply{
		"com getconfig active-response": answer(`ok  {"active-response":{"disabled":"no"}}`),
		"syscheck getconfig rootcheck":  answer("err Could not get requested section"),
		"wmodules getconfig wmodules":   answer("err Connection refused"),
		"logcollector getconfig socket": {Status: schemas.ReplyTimedOut, Text: "err Response timeout"},
		"logcollector getstate":         answer("err No such file or directory"),
	} {
		s.fakes.orders.answers[text] = r
	}
	f := func(path string, status int, want string) {
		t.Helper()
		r := s.do("GET", path, "{}")
		got := fmt.Sprint(r.json["error"])
		if status == 200 {
			b, _ := json.Marshal(r.json["data"])
			got = string(b)
		}
		if r.status != status || got != want {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	f("/agents/001/config/agent/client", 200, `{"client":{"notify_time":20}}`)
	f("/agents/001/config/COM/active-response", 200, `{"active-response":{"disabled":"no"}}`)
	f("/agents/001/config/syscheck/rootcheck", 400, "1116")
	f("/agents/001/config/wmodules/wmodules", 400, "1117")
	f("/agents/001/config/logcollector/socket", 500, "1118")
	f("/agents/001/config/logcollector/localfile", 500, "3021") // no gateway has it
	f("/agents/001/config/agent/rootcheck", 400, "1128")
	f("/agents/001/config/agent/x", 400, "<nil>")
	f("/agents/002/config/agent/client", 400, "1740")
	f("/agents/000/config/agent/client", 400, "1117")
	f("/agents/000/config/com/cluster", 200, `{"cluster":{"disabled":true,"hidden":"no","name":"siem","node_name":"node1","node_type":"master","nodes":["node1"]}}`)
	f("/agents/999/config/agent/client", 404, "1701")
	f("/agents/001/stats/agent", 200, `{"affected_items":[{"status":"connected"}],"failed_items":[],"total_affected_items":1,"total_failed_items":0}`)
	for path, want := range map[string]string{
		"/agents/001/stats/logcollector": "1 [] 1117:[001]",
		"/agents/000/stats/agent":        "1 [] 1310:[000]",
		"/agents/002/stats/agent":        "1 [] 1740:[002]",
		"/agents/999/stats/agent":        "1 [] 1701:[999]",
		"/agents/001/stats/other":        "400 <nil>",
		"/agents/000/group/is_sync":      "1 [] 1703:[000]",
		"/agents/999/group/is_sync":      "1 [] 1701:[999]",
	} {
		if got := s.outcome("GET", path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if r := s.do("GET", "/agents/000/stats/logcollector", ""); r.status != 200 || !strings.Contains(r.body, `"total_affected_items":1`) || !strings.Contains(r.body, `"interval":{"start":"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := s.do("GET", "/agents/001/group/is_sync", ""); r.header.Get("Deprecated") != "true" || !strings.Contains(r.body, `{"id":"001","synced":true}`) {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestWhatCameOfResponsesIsListed(t *testing.T) {
	t.Parallel()
	s := serve(t)
	order := func(id, agent string, status schemas.ReplyStatus) commands.Order {
		return commands.Order{
			ID: id, Kind: schemas.CommandResponse, AgentID: agent, Status: status, Response: "block600", AlertID: "17.1", RuleID: "5712", Origin: "node1",
			Given: now, Expires: now.Add(time.Minute), Node: "gw1", Changed: now.Add(time.Second),
		}
	}
	gone := order("4", "777", "")
	gone.Expires = now.Add(-time.Hour)
	request := order("5", "001", "")
	request.Kind = schemas.CommandRequest
	other := order("6", "002", schemas.ReplyFailed)
	other.AlertID = "18.1"
	s.fakes.orders.recent = []commands.Order{order("1", "001", schemas.ReplySent), order("2", "000", schemas.ReplyDone), order("3", "002", ""), gone, request, other}
	f := func(query, want string) {
		t.Helper()
		got, _ := s.items("/active-response"+query, "id")
		if strings.Join(got, "") != want {
			t.Errorf("%s: %q, want %s", query, got, want)
		}
	}
	f("", "12346")
	f("?status=waiting,unsent", "34")
	f("?alert_id=18.1", "6")
	f("?agents_list=001,000", "12")
	f("?offset=1&limit=2", "23")
	r := s.do("GET", "/active-response?limit=1", "")
	item := dug(r.json, "data.affected_items").([]any)[0].(map[string]any)
	for k, v := range map[string]any{
		"agent_id": "001", "response": "block600", "status": "sent", "alert_id": "17.1", "rule_id": "5712", "ordered_by": "node1", "node": "gw1", "time": now.Format("2006-01-02T15:04:05+00:00"),
	} {
		if item[k] != v {
			t.Errorf("%s is %v", k, item[k])
		}
	}
	s.as("nobody")
	f("", "")
}
