package embedded

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vedette/internal/datadir"
	"vedette/test/harness"
)

// console is the REST API of one process, in use by one administrator.
type console struct {
	t      *testing.T
	at     string
	client *http.Client
	token  string
}

func newConsole(t *testing.T, dir string, e datadir.Endpoints) *console {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, datadir.APICredentials))
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(strings.TrimSpace(string(raw)), ":")
	c := &console{t: t, at: "https://" + e.API, client: &http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // self-signed by design
	}}
	t.Cleanup(c.client.CloseIdleConnections)
	status, token := c.raw(http.MethodPost, "/security/user/authenticate?raw=true", "application/json", "", func(r *http.Request) { r.SetBasicAuth(user, password) })
	if status != http.StatusOK {
		t.Fatalf("login: %d %s", status, token)
	}
	c.token = string(token)
	return c
}

func (c *console) raw(method, path, kind, body string, login func(*http.Request)) (status int, answer []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.at+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	login(req)
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// call does a request and returns its decoded answer.
func (c *console) call(method, path, kind, body string) (status int, answer map[string]any) {
	c.t.Helper()
	status, raw := c.raw(method, path, kind, body, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+c.token) })
	if err := json.Unmarshal(raw, &answer); err != nil {
		c.t.Fatalf("%s %s: %v: %s", method, path, err, raw)
	}
	return status, answer
}

// items is call for lists, all of which must have been done.
func (c *console) items(method, path, body string) []any {
	c.t.Helper()
	status, answer := c.call(method, path, "application/json", body)
	data, _ := answer["data"].(map[string]any)
	if status != http.StatusOK || answer["error"] != 0.0 || data == nil {
		c.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	items, _ := data["affected_items"].([]any)
	return items
}

// wait repeats a list request until it answers with n items for which all holds.
func (c *console) wait(path string, n int, all func(map[string]any) bool) []any {
	c.t.Helper()
	var last []any
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		last = c.items(http.MethodGet, path, "")
		if len(last) == n && !slices.ContainsFunc(last, func(x any) bool { return !all(x.(map[string]any)) }) {
			return last
		}
	}
	c.t.Fatalf("%s: %v", path, last)
	return nil
}

func is(key string, want any) func(map[string]any) bool {
	return func(m map[string]any) bool { return m[key] == want }
}

func TestOrdersReachAgentsAndTheirOutcomeIsTold(t *testing.T) {
	t.Parallel()
	const agents = 3
	dir := filepath.Join(t.TempDir(), "data")
	packages := filepath.Join(t.TempDir(), "packages")
	if err := os.MkdirAll(packages, 0o750); err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 1<<20+17)
	_, _ = rand.Read(content)
	if err := os.WriteFile(filepath.Join(packages, "own.wpk"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "vedette.yaml")
	text := "active_response:\n  commands: [{name: block, executable: block, timeout_allowed: true}]\n  responses: [{command: block, location: local, timeout: 600, level: 16}]\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := harness.Launch(t, bin, "orders", dir, append(env(datadir.Endpoints{}), "VEDETTE_AGENTS_PACKAGES_DIR="+packages), "run", "--config", conf)
	at := p.Endpoints(t, time.Minute)
	c := newConsole(t, dir, at)
	sim := harness.StartSimulate(t, harness.SimulateConfig{
		Agents: agents, Front: at, PasswordFile: filepath.Join(dir, datadir.EnrollmentPassword), Idle: true, Keepalive: 500 * time.Millisecond,
	})
	// Each agent is in default, has its files, and says so.
	synced := func(m map[string]any) bool {
		return m["status"] == "active" && m["group_config_status"] == "synced" && fmt.Sprint(m["group"]) == "[default]"
	}
	before := c.wait("/agents?q=id!=000", agents, synced)[0].(map[string]any)["mergedSum"]

	// An agent.conf that agents would not take changes nothing; another one is sent.
	put := func(body string) (int, map[string]any) {
		return c.call(http.MethodPut, "/groups/default/configuration", "application/xml", body)
	}
	if status, answer := put("<agent_config>\n<nonsense/></agent_config>"); status != http.StatusBadRequest || answer["error"] != 1114.0 {
		t.Fatalf("%d %v", status, answer)
	}
	if status, answer := put(`<agent_config><labels><label key="site">north</label></labels></agent_config>`); status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	after := c.wait("/agents?q=id!=000", agents, func(m map[string]any) bool { return synced(m) && m["mergedSum"] != before })[0].(map[string]any)["mergedSum"]
	if sum := c.items(http.MethodGet, "/groups?groups_list=default", "")[0].(map[string]any)["mergedSum"]; sum != after {
		t.Errorf("the group's sum is %v, the agents' %v", sum, after)
	}
	if x := c.items(http.MethodGet, "/agents/001/group/is_sync", "")[0].(map[string]any); x["synced"] != true {
		t.Errorf("%v", x)
	}

	// Asked, restarted, told to respond.
	status, answer := c.call(http.MethodGet, "/agents/001/config/agent/client", "application/json", "")
	if data, _ := answer["data"].(map[string]any); status != http.StatusOK || data["client"] == nil {
		t.Errorf("%d %v", status, answer)
	}
	if x := c.items(http.MethodGet, "/agents/002/stats/agent", "")[0].(map[string]any); x["status"] != "connected" {
		t.Errorf("%v", x)
	}
	c.items(http.MethodPut, "/agents/restart", "")
	c.items(http.MethodPut, "/active-response?agents_list=001,002", `{"command":"block600","alert":{"data":{"srcip":"192.0.2.1"}}}`)
	c.wait("/active-response?status=sent", agents+2, func(m map[string]any) bool { return m["ordered_by"] == "wazuh" && m["node"] != nil })
	// The server has a script of its own.
	script := filepath.Join(dir, datadir.ActiveResponse)
	if err := os.MkdirAll(script, 0o750); err != nil {
		t.Fatal(err)
	}
	marker := filepath.Join(t.TempDir(), "ran")
	if err := os.WriteFile(filepath.Join(script, "mark"), []byte("#!/bin/sh\ncat > "+marker+" &\nsleep 0.2\n"), 0o700); err != nil { //nolint:gosec // a script
		t.Fatal(err)
	}
	c.items(http.MethodPut, "/active-response?agents_list=000", `{"command":"!mark"}`)
	c.wait("/active-response?agents_list=000", 1, is("status", "done"))

	// Upgraded by the API, and by the command line beside the running process.
	c.items(http.MethodPut, "/agents/upgrade_custom?agents_list=001,002&file_path=own.wpk", "")
	c.wait("/agents/upgrade_result", 2, is("status", "Done"))
	vedette := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--config", conf)...)
		cmd.Env = append(os.Environ(), "VEDETTE_DATA_DIR="+dir)
		var errText bytes.Buffer
		cmd.Stderr = &errText
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v\n%s%s", args, err, out, errText.Bytes())
		}
		return string(out)
	}
	c.items(http.MethodPut, "/agents/reconnect?agents_list=001", "")
	if out := vedette("agents", "upgrade", "003", "--package", filepath.Join(packages, "own.wpk")); !strings.HasPrefix(out, "003 done by ") {
		t.Error(out)
	}
	if out := vedette("agents", "request", "002", "agent getstate"); !strings.Contains(out, `"error":0`) {
		t.Error(out)
	}
	if out := vedette("agents", "restart", "002", "003"); strings.Count(out, " sent by ") != 2 {
		t.Error(out)
	}

	sim.End()
	r := sim.Wait(t)
	if r.Reconnects != 1 {
		t.Errorf("%d connections anew, want that of the agent that was told to", r.Reconnects)
	}
	if r.Upgrades != agents || r.Responses != agents+2+2 || r.BadFiles != 0 || r.UnknownResponses != 0 {
		t.Errorf("upgrades %d, responses %d, of them unknown %d, broken files %d", r.Upgrades, r.Responses, r.UnknownResponses, r.BadFiles)
	}
}
