package embedded

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vedette/test/harness"
)

// The API tells of the running process what only it knows: the names of metrics, of
// configuration keys and of packages are those that the process really has.
func TestTheAPITellsOfItsProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := harness.Launch(t, bin, "server", dir, append(env(zero), "VEDETTE_API_MAX_LOGIN_ATTEMPTS=7"), "run")
	e := p.Endpoints(t, time.Minute)
	c := newConsole(t, dir, e)
	one := func(path string) map[string]any {
		t.Helper()
		items := c.items(http.MethodGet, path, "")
		if len(items) != 1 {
			t.Fatalf("%s: %v, want one item", path, items)
		}
		return items[0].(map[string]any)
	}
	for path, want := range map[string][]string{
		"/manager/stats/remoted":   {"queue_size", "total_queue_size", "tcp_sessions", "evt_count", "ctrl_msg_count", "discarded_count", "recv_bytes", "dequeued_after_close"},
		"/manager/stats/analysisd": {"total_events_decoded", "events_processed", "events_received", "alerts_written"},
	} {
		got := one(path)
		for _, name := range want {
			if _, ok := got[name].(float64); !ok {
				t.Errorf("%s has no number %s: %v", path, name, got)
			}
		}
	}
	if n := len(c.items(http.MethodGet, "/manager/daemons/stats", "")); n != 2 {
		t.Errorf("%d daemons have counters, want analysisd and remoted", n)
	}
	access := one("/manager/api/config")["node_api_config"].(map[string]any)["access"].(map[string]any)
	if access["max_login_attempts"] != 7.0 || access["block_time"] != 300.0 {
		t.Errorf("the API's settings are %v, want those that are configured", access)
	}
	remote := one("/manager/configuration/request/remote")["remote"].([]any)[0].(map[string]any)
	if !strings.HasSuffix(e.Ingest, ":"+remote["port"].(string)) && remote["port"] != "0" {
		t.Errorf("agents connect to %s, and the configuration says %v", e.Ingest, remote)
	}
	if got := one("/manager/configuration/validation"); got["status"] != "OK" {
		t.Errorf("the configuration is %v", got)
	}
	if status, answer := c.call(http.MethodGet, "/cluster/nodes", "", ""); status != http.StatusBadRequest || answer["error"] != 3013.0 {
		t.Errorf("a single process answers for a cluster: %d %v", status, answer)
	}
	eventually(t, "the log has a line for each role that started", func() bool {
		lines := fmt.Sprint(c.items(http.MethodGet, "/manager/logs?search=role%20started&tag=vedette:app&level=info", ""))
		return !slices.ContainsFunc([]string{"ingest", "enroll", "analyze", "forward", "api"}, func(role string) bool { return !strings.Contains(lines, "role="+role+" ") })
	})
	for _, x := range c.items(http.MethodGet, "/manager/logs?limit=500", "") {
		if text := x.(map[string]any)["description"].(string); strings.HasPrefix(text, "request ") {
			t.Errorf("the log holds a request: %s", text)
		}
	}
	if status, answer := c.call(http.MethodPut, "/manager/restart", "", ""); status != http.StatusAccepted || answer["error"] != 0.0 {
		t.Errorf("a restart answers %d %v, want 202", status, answer)
	}
	files := c.items(http.MethodGet, "/rules/files?limit=1", "")
	name := files[0].(map[string]any)["filename"].(string)
	if status, raw := request(t, dir, e, http.MethodGet, "/rules/files/"+name+"?raw=true"); status != http.StatusOK || !strings.Contains(string(raw), "<rule ") {
		t.Errorf("the file %s is %d %.200s", name, status, raw)
	}
	if err := p.Stop(30 * time.Second); err != nil {
		t.Error(err)
	}
}
