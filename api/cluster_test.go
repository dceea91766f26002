package api

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"vedette/api/rest"
	"vedette/rulesets"
	"vedette/schemas"
)

// clusterPaths are the requests of every operation on nodes but GET /cluster/status.
func clusterPaths(t *testing.T) (out []string) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(Document())
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if strings.HasPrefix(path, "/cluster/") && path != "/cluster/status" {
				path := strings.NewReplacer("{component}", "com", "{configuration}", "cluster").Replace(path)
				out = append(out, method+" "+path)
			}
		}
	}
	if len(out) < 9 {
		t.Fatalf("the document has only %d operations on nodes", len(out))
	}
	return out
}

func TestWithOneNodeThereIsNoCluster(t *testing.T) {
	t.Parallel()
	s := serve(t)
	one := schemas.Node{Name: "node1", Roles: []string{"api"}, Updated: time.Now().UnixMilli()}
	for name, nodes := range map[string][]schemas.Node{"no list": nil, "an announcement": {one}, "two processes of one name": {one, {Name: "node1", Roles: []string{"ingest"}, Updated: one.Updated}}} {
		s.fakes.nodes = nodes
		if r := s.do("GET", "/cluster/status", ""); !strings.Contains(r.body, `"data":{"enabled":"no","running":"no"}`) {
			t.Errorf("%s: the status is %s, want no cluster", name, r.body)
		}
		for _, x := range clusterPaths(t) {
			method, path, _ := strings.Cut(x, " ")
			for _, node := range []string{"node1", "unknown"} {
				s.refused(s.do(method, strings.ReplaceAll(path, "{node_id}", node), ""), 400, "Bad Request", 3013, "")
			}
		}
	}
	s.deps.Nodes = nil
	s.rebuild()
	if r := s.do("GET", "/cluster/status", ""); !strings.Contains(r.body, `"enabled":"no"`) {
		t.Errorf("without a list of nodes the status is %s", r.body)
	}
}

func TestNodesHaveTheirNamesTypesAndHosts(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	old := schemas.Node{Name: "zgone", Roles: []string{"ingest"}, Updated: time.Now().Add(-time.Hour).UnixMilli()}
	s.fakes.nodes = append(s.fakes.nodes, old, schemas.Node{Name: "b", Roles: []string{"analyze"}, Updated: time.Now().UnixMilli()})
	if r := s.do("GET", "/cluster/status", ""); !strings.Contains(r.body, `"data":{"enabled":"yes","running":"yes"}`) {
		t.Errorf("the status is %s, want a cluster", r.body)
	}
	want := `[{"name":"b","type":"worker","version":"4.14.7"},{"ip":"host1","name":"node1","type":"master","version":"4.14.7"},{"ip":"host2","name":"outside-node","type":"worker","version":"4.14.7"}]`
	s.shows("/cluster/nodes", want)
	s.shows("/cluster/nodes?type=MASTER&select=name", `[{"name":"node1"}]`)
	s.shows("/cluster/nodes?select=name&sort=-name&limit=1", `[{"name":"outside-node"}]`)
	s.shows("/cluster/nodes?q=type=worker;ip=host2&select=type", `[{"name":"outside-node","type":"worker"}]`)
	s.shows("/cluster/local/info", `[{"node":"node1","cluster":"siem","type":"master"}]`)
	s.shows("/cluster/local/config", `[{"name":"siem","node_name":"node1","node_type":"master","nodes":["b","node1","outside-node"],"hidden":"no","disabled":false}]`)
	if r := s.do("GET", "/cluster/nodes?nodes_list=b,zgone", ""); r.json["error"] != 2.0 || !strings.Contains(r.body, `"code":1730`) || !strings.Contains(r.body, `"id":["zgone"]`) {
		t.Errorf("a node that is silent is not a failed item: %s", r.body)
	}
	s.refused(s.do("GET", "/cluster/nodes?type=other", ""), 400, "Bad Request", 0, "")
	s.refused(s.do("GET", "/cluster/nodes?sort=port", ""), 400, "Bad Request", 1403, "")
	// Whoever comes first by name among those with the API is shown as master.
	s.fakes.nodes = append(s.fakes.nodes, schemas.Node{Name: "a", Roles: []string{"api"}, Updated: time.Now().UnixMilli()})
	s.shows("/cluster/nodes?type=master&select=name", `[{"name":"a"}]`)
	s.shows("/cluster/local/info", `[{"node":"node1","cluster":"siem","type":"worker"}]`)
}

// A node that was killed leaves the list, and clients do not take the rest for a
// single node.
func TestAClusterStaysOneWhileANodeIsSilent(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.nodes = []schemas.Node{
		{Name: "node1", Roles: []string{"api"}, Updated: time.Now().UnixMilli()}, {Name: "x", Roles: []string{"ingest"}, Updated: time.Now().Add(-4 * time.Minute).UnixMilli()},
	}
	if r := s.do("GET", "/cluster/status", ""); !strings.Contains(r.body, `"enabled":"yes"`) {
		t.Errorf("the status is %s, want a cluster", r.body)
	}
	s.shows("/cluster/nodes?select=name", `[{"name":"node1"}]`)
	s.refused(s.do("GET", "/cluster/x/info", ""), 404, "Resource Not Found", 1730, "")
}

func TestTheHealthOfNodes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	seen := time.UnixMilli(s.fakes.nodes[2].Updated).UTC().Format("2006-01-02T15:04:05.000000Z")
	s.shows("/cluster/healthcheck", `[{"info":{"ip":"host1","name":"node1","type":"master","version":"4.14.7","n_active_agents":1}},`+
		`{"info":{"ip":"host2","name":"outside-node","type":"worker","version":"4.14.7","n_active_agents":0},"status":{"last_keep_alive":"`+seen+`"}}]`)
	s.shows("/cluster/healthcheck?nodes_list=node1", `[{"info":{"ip":"host1","name":"node1","type":"master","version":"4.14.7","n_active_agents":1}}]`)
}

func TestTheDaemonsOfANodeAreItsRoles(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	s.fakes.health = map[string]error{"analyze": errors.New("lag"), "store": nil}
	for path, want := range map[string]map[string]string{
		"/cluster/node1/status":        {"wazuh-analysisd": "failed", "wazuh-authd": "running", "wazuh-remoted": "stopped", "wazuh-clusterd": "running", "wazuh-maild": "stopped", "wazuh-db": "running"},
		"/cluster/outside-node/status": {"wazuh-analysisd": "stopped", "wazuh-authd": "stopped", "wazuh-remoted": "running", "wazuh-clusterd": "running", "wazuh-execd": "running"},
		// The server as a whole: what another node runs, runs.
		"/manager/status": {"wazuh-analysisd": "failed", "wazuh-authd": "running", "wazuh-remoted": "running", "wazuh-clusterd": "running"},
	} {
		r := s.do("GET", path, "")
		items, _ := dug(r.json, "data.affected_items").([]any)
		if len(items) != 1 {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
		for name, state := range want {
			if got := items[0].(map[string]any)[name]; got != state {
				t.Errorf("%s: %s is %v, want %s", path, name, got, state)
			}
		}
	}
	s.fakes.nodes = s.fakes.nodes[:2] // now nobody takes events
	if r := s.do("GET", "/manager/status", ""); !strings.Contains(r.body, `"wazuh-remoted":"stopped"`) || !strings.Contains(r.body, `"wazuh-clusterd":"stopped"`) {
		t.Errorf("without a gateway the status is %s, want remoted stopped", r.body)
	}
}

func TestOnlyANodeItselfTellsItsPathAndZone(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	mine, other := s.do("GET", "/cluster/node1/info", ""), s.do("GET", "/cluster/outside-node/info", "")
	for _, want := range []string{`"path":"/var/lib/vedette"`, `"tz_name":"`, `"uuid":"4b1e4c9a`} {
		if !strings.Contains(mine.body, want) {
			t.Errorf("this node tells %s, want %s", mine.body, want)
		}
	}
	if !strings.Contains(other.body, `"version":"v4.14.7"`) || !strings.Contains(other.body, `"uuid":"4b1e4c9a`) || strings.Contains(other.body, "path") || strings.Contains(other.body, "tz_") {
		t.Errorf("of another node it tells %s, want version and uuid, and neither path nor zone", other.body)
	}
	s.refused(s.do("GET", "/cluster/unknown/info", ""), 404, "Resource Not Found", 1730, "")
	s.refused(s.do("GET", "/cluster/b%20d/info", ""), 400, "Bad Request", 0, "")
}

// countedRulesets counts reloads; it is a rulesets.Rulesets.
type countedRulesets struct {
	versions []rulesets.Version
	reloads  int
	err      error
}

func (f *countedRulesets) Versions() []rulesets.Version { return f.versions }

func (f *countedRulesets) Reload(context.Context) error {
	f.reloads++
	return f.err
}

func (f *countedRulesets) Promote(context.Context, string) (string, error) { return "", f.err }

func TestARestartReadsTheRulesetAnew(t *testing.T) {
	t.Parallel()
	s := serve(t)
	f := &countedRulesets{}
	s.deps.Rulesets = f
	s.rebuild()
	r := s.do("PUT", "/manager/restart", "{}")
	if r.status != 202 || f.reloads != 1 || !strings.Contains(r.body, `"affected_items":["node1"]`) || r.json["message"] != "Restart request sent to all specified nodes" {
		t.Errorf("%d %s after %d reloads, want 202 with this node", r.status, r.body, f.reloads)
	}
	s.fakes.cluster()
	r = s.do("PUT", "/cluster/restart?nodes_list=node1,nope", "{}")
	if r.status != 202 || f.reloads != 2 || !strings.Contains(r.body, `"affected_items":["node1"]`) || !strings.Contains(r.body, `"code":1730`) {
		t.Errorf("%d %s after %d reloads, want 202 with this node and a failed item", r.status, r.body, f.reloads)
	}
	s.shows2("PUT", "/cluster/analysisd/reload", `[{"name":"node1","msg":"Ruleset reload request sent successfully."},{"name":"outside-node","msg":"Ruleset reload request sent successfully."}]`)
	f.err = errors.New("local.xml:3: broken")
	for _, path := range []string{"/manager/restart", "/cluster/restart", "/cluster/analysisd/reload"} {
		s.refused(s.do("PUT", path, ""), 400, "Bad Request", 1914, "local.xml:3: broken")
	}
	reloads := f.reloads
	s.as("reader")
	s.refused(s.do("PUT", "/manager/restart", ""), 403, "Permission Denied", 4000, "")
	s.refused(s.do("PUT", "/cluster/restart?nodes_list=node1", ""), 403, "Permission Denied", 4000, "")
	if r := s.do("PUT", "/cluster/restart", ""); !nothing(r.json["data"]) || f.reloads != reloads {
		t.Errorf("a reader restarts nodes: %s", r.body)
	}
	s.as("wazuh")
	s.deps.Rulesets = nil
	s.rebuild()
	s.refused(s.do("PUT", "/manager/restart", ""), 400, "Bad Request", 1914, "")
}

func TestNodesAreInStepWhenTheyRunTheCurrentRuleset(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	s.fakes.nodes = append(s.fakes.nodes, schemas.Node{Name: "third", Roles: []string{"analyze"}, Updated: time.Now().UnixMilli()})
	s.deps.Rulesets = &countedRulesets{versions: []rulesets.Version{
		{Version: "2", Current: true, Workers: []rulesets.Worker{{Node: "third", Partitions: 1}}},
		{Version: "1", Workers: []rulesets.Worker{{Node: "third", Partitions: 2}, {Node: "outside-node", Partitions: 3}}},
	}}
	s.rebuild()
	s.shows("/cluster/ruleset/synchronization", `[{"name":"outside-node","synced":false},{"name":"third","synced":true}]`)
	s.shows("/cluster/ruleset/synchronization?nodes_list=third", `[{"name":"third","synced":true}]`)
}

func TestNodesNeedAPermission(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	s.fakes.users["nodes"] = rest.User{Name: "nodes", Roles: []int{6}}
	s.as("nodes")
	for _, path := range []string{"/cluster/nodes", "/cluster/local/info", "/cluster/node1/status", "/cluster/outside-node/info"} {
		if r := s.do("GET", path, ""); r.status != 200 {
			t.Errorf("%s: %d %s, want it for a reader of nodes", path, r.status, r.body)
		}
	}
	s.as("nobody")
	for _, path := range []string{"/cluster/local/info", "/cluster/local/config", "/cluster/node1/status", "/cluster/node1/info", "/cluster/nodes?nodes_list=node1"} {
		s.refused(s.do("GET", path, ""), 403, "Permission Denied", 4000, "node:id")
	}
}

// shows compares the items of a list.
func (s *server) shows(path, want string) {
	s.t.Helper()
	s.shows2("GET", path, want)
}

func (s *server) shows2(method, path, want string) {
	s.t.Helper()
	r := s.do(method, path, "{}")
	var v struct {
		Data struct {
			Items json.RawMessage `json:"affected_items"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(r.body), &v); err != nil || r.status != 200 || string(v.Data.Items) != want {
		s.t.Errorf("%s %s: %d %s\nwant the items %s", method, path, r.status, r.body, want)
	}
}
