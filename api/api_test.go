package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"vedette/api/auth"
	"vedette/api/problem"
	"vedette/api/rbac"
	"vedette/api/rest"
	"vedette/internal/leaktest"
	"vedette/internal/logring"
	"vedette/internal/store"
	"vedette/internal/store/embedded"
	"vedette/internal/store/storetest"
	"vedette/internal/tlsconf"
	"vedette/ruleset"
	"vedette/ruleset/engine"
	"vedette/ruleset/program"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

// fakes are the Deps of tests.
type fakes struct {
	excludedRules    []program.RuleInfo
	excludedDecoders []program.DecoderInfo
	mu               sync.Mutex
	list             []*Agent
	key              *ecdsa.PrivateKey
	users            map[string]rest.User
	health           map[string]error
	prog             *program.Program
	added            []NewAgent
	groups           []Group
	changes          []string // of agents and groups, as "id did"
	// logtest is Deps.Logtest; nil until a test sets it.
	logtest func() (*engine.Engine, []string)
	orders  *fakeOrders
	files   *fakeFiles
	// packages are what agents are upgraded by.
	packages fakePackages
	// nodes are the announcements of processes.
	nodes []schemas.Node
	lines []logring.Line
}

func (f *fakes) List() []*Agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}

func (f *fakes) Add(_ context.Context, n NewAgent) (string, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.ContainsFunc(f.list, func(a *Agent) bool { return a.Name == n.Name }) {
		return "", "", problem.New(problem.AgentName, "")
	}
	f.added = append(f.added, n)
	id := fmt.Sprintf("%03d", len(f.list)+1)
	f.list = append(f.list, &Agent{ID: id, Name: n.Name, RegisterIP: n.IP, Status: "never_connected", Node: unknownNode, ConfigStatus: notSynced, DateAdd: rest.Date{Time: time.Now()}})
	return id, "a2V5", nil
}

func (f *fakes) Remove(_ context.Context, id string, _ bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = slices.DeleteFunc(f.list, func(a *Agent) bool { return a.ID == id })
	return nil
}

// metrics are counters of the roles ingest and analyze.
func (f *fakes) metrics() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	count := func(name string, labels prometheus.Labels, n float64) {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: "h", ConstLabels: labels})
		c.Add(n)
		reg.MustRegister(c)
	}
	for kind, n := range map[string]float64{"startup": 1, "keepalive": 20, "shutdown": 3, "request": 4, "unknown": 5} {
		count("vedette_ingest_control_messages_total", prometheus.Labels{"kind": kind}, n)
	}
	count("vedette_ingest_events_received_total", prometheus.Labels{"source": "agent"}, 1000)
	count("vedette_ingest_events_received_total", prometheus.Labels{"source": "gateway"}, 7)
	count("vedette_ingest_events_refused_total", prometheus.Labels{"reason": "connection_over"}, 2)
	count("vedette_ingest_events_refused_total", prometheus.Labels{"reason": "produce"}, 6)
	count("vedette_ingest_read_bytes_total", nil, 123456)
	count("vedette_ingest_connections", nil, 11)
	count("vedette_ingest_in_flight_bytes", nil, 512)
	count("vedette_ingest_in_flight_bytes_max", nil, 65536)
	count("vedette_analyze_events_total", nil, 900)
	count("vedette_analyze_alerts_total", nil, 90)
	count("vedette_analyze_archives_total", nil, 9)
	count("vedette_kafka_consumed_records_total", prometheus.Labels{"group": "analyze"}, 950)
	count("vedette_kafka_consumed_records_total", prometheus.Labels{"group": "other"}, 1)
	return reg
}

// cluster lets two nodes have announced themselves, this one among them.
func (f *fakes) cluster() {
	at := time.Now().UnixMilli()
	f.nodes = []schemas.Node{
		{Name: "node1", Host: "host1", Roles: []string{"api", "enroll"}, Updated: at},
		{Name: "node1", Host: "host1", Roles: []string{"analyze"}, Updated: at},
		{
			Name: "outside-node", Host: "host2", Roles: []string{"ingest"}, Updated: at, Started: now.UnixMilli(),
			Counters: map[string]float64{"ingest.events": 5, "ingest.connections": 2, "ingest.control": 3, "ingest.control.keepalive": 3, "later.than.this": 1},
		},
	}
}

func (f *fakes) KeyLine(id string) (string, bool) { return id + " name any key", true }

func (f *fakes) Groups() []Group {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.groups != nil {
		return slices.Clone(f.groups)
	}
	return []Group{{Name: "default", Agents: 2}, {Name: "web", Agents: 1}}
}

func (f *fakes) AddGroup(_ context.Context, name string) error { return f.changed(name, "added") }

func (f *fakes) RemoveGroup(_ context.Context, name string) error { return f.changed(name, "removed") }

func (f *fakes) SetGroups(_ context.Context, id string, _ schemas.GroupMode, groups []string) error {
	return f.changed(append(groups, id)...)
}

func (f *fakes) changed(changes ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = append(f.changes, changes...)
	return nil
}

func (f *fakes) Authenticate(name, password string) (rest.User, bool) {
	u, ok := f.users[name]
	return u, ok && password == "secret"
}

func (f *fakes) Users() []rest.User {
	var out []rest.User
	for _, name := range slices.Sorted(maps.Keys(f.users)) {
		u, _ := f.User(name)
		out = append(out, u)
	}
	return out
}

func (f *fakes) User(name string) (rest.User, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, ok := f.users[name]
	if u.Policies == nil {
		u.Policies = rbac.PoliciesOf(u.Roles)
	}
	return u, ok
}

func (f *fakes) PoliciesOf(roles []int) []rbac.Policy { return rbac.PoliciesOf(roles) }

func (f *fakes) NotBefore([]int, bool) int64 { return 0 }

func (f *fakes) Settings() rest.Settings { return rest.Settings{} }

func (f *fakes) Roles() []rbac.Role { return rbac.Roles() }

func (f *fakes) Policies() []rbac.Policy { return rbac.Policies() }

func (f *fakes) Rules() []rbac.SecurityRule { return rbac.SecurityRules() }

func (f *fakes) AddUser(_ context.Context, name, _ string) error { return f.changed(name) }

func (f *fakes) Change(_ context.Context, q schemas.AccessChange, _ string) (int, error) {
	return 100, f.changed(string(q.Op))
}

func (f *fakes) TokenKey(context.Context) (*ecdsa.PrivateKey, error) { return f.key, nil }

func (f *fakes) Program() *program.Program { return f.prog }

func (f *fakes) Source() ruleset.Source {
	const rules = `<!-- mine -->
<group name="sshd,">
  <rule id="5710" level="5">
    <match>a</match>
    <match type="pcre2">b</match>
    <list field="user">etc/lists/admins</list>
    <description>Login</description>
  </rule>
</group>
<group name="local,"><rule id="1" level="0"><description/></rule></group>
`
	return ruleset.Source{
		Rules:    []ruleset.File{{Name: "0095-sshd.xml", Path: "/var/ossec/ruleset/rules/0095-sshd.xml", Data: []byte(rules)}, {Name: "outside.xml", Path: "rules/outside.xml"}},
		Decoders: []ruleset.File{{Name: "ssh.xml", Path: "decoders/ssh.xml", Data: []byte(`<decoder name="sshd"><prematch>^x</prematch></decoder>`)}},
		Lists: []ruleset.File{
			{Name: "outside", Data: []byte("outside:yes\n")}, {Name: "amazon/aws-sources", Data: []byte("s3:\n\"a:b\":c d\ns3:again\nnothing\n")},
		},
	}
}

func (f *fakes) Excluded() ([]program.RuleInfo, []program.DecoderInfo) {
	return f.excludedRules, f.excludedDecoders
}

var testKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	pem, err := auth.NewKey()
	if err != nil {
		panic(err)
	}
	k, err := auth.ParseKey(pem)
	if err != nil {
		panic(err)
	}
	return k
})

// now of the fixtures.
var now = time.Now().UTC().Truncate(time.Second)

func newFakes() *fakes {
	return &fakes{
		key: testKey(),
		users: map[string]rest.User{
			"wazuh": {ID: 1, Name: "wazuh", RunAs: true, Roles: []int{1}}, "reader": {Name: "reader", Roles: []int{4}}, "nobody": {Name: "nobody"},
		},
		health: map[string]error{"store": nil, "analyze": nil},
		orders: newFakeOrders(), files: newFakeFiles(),
		list: []*Agent{
			{
				ID: "001", Name: "web1", IP: "10.0.0.1", RegisterIP: "any", Status: "active", Version: "Wazuh v4.14.7", Groups: []string{"default", "web"},
				OS:   AgentOS{Name: "Ubuntu", Platform: "ubuntu", Version: "22.04", Major: "22", Minor: "04"},
				Node: "node1", Manager: "siem", ConfigStatus: synced, MergedSum: "m", DateAdd: rest.Date{Time: now.AddDate(0, -1, 0)}, LastKeepAlive: rest.Date{Time: now},
			},
			{
				ID: "002", Name: "Web2", IP: "10.0.0.2", RegisterIP: "10.0.0.2", Status: "disconnected", Version: "Wazuh v4.9.2", Groups: []string{"default"},
				OS:   AgentOS{Name: "Windows", Platform: "windows", Version: "10.0", Major: "10", Minor: "0"},
				Node: "node1", Manager: "siem", ConfigStatus: synced, DateAdd: rest.Date{Time: now.AddDate(0, -1, 0)}, LastKeepAlive: rest.Date{Time: now.AddDate(0, 0, -10)}, DisconnectedTime: rest.Date{Time: now.AddDate(0, 0, -9)},
			},
			{ID: "010", Name: "db", IP: "any", RegisterIP: "any", Status: "never_connected", Node: unknownNode, ConfigStatus: notSynced, DateAdd: rest.Date{Time: now.AddDate(0, 0, -1)}},
		},
		prog: program.NewProgram(program.Program{
			AllRules: []*program.Rule{
				rule(5710, 5, "Login with a name that is not there", "0095-sshd.xml", []string{"syslog", "sshd"}, "T1110"),
				rule(5712, 10, "Guessing", "0095-sshd.xml", []string{"sshd"}, ""),
				rule(100100, 3, "Mine", "local_rules.xml", []string{"local"}, ""),
			},
			AllDecoders: []*program.Decoder{
				{Info: program.DecoderInfo{Name: "sshd", File: "ssh.xml", Dir: "decoders", Position: 0, Details: map[string]any{"prematch": map[string]string{"pattern": "^x"}}}},
				{Info: program.DecoderInfo{Name: "sshd-ok", Parent: "sshd", File: "ssh.xml", Dir: "ruleset/decoders", Position: 1, Details: map[string]any{"order": "srcip, user"}}},
			},
		}),
	}
}

func rule(id, level int, description, file string, groups []string, mitre string) *program.Rule {
	info := program.RuleInfo{
		ID: id, Level: level, Description: description, File: file, Dir: "ruleset/rules", Groups: groups,
		Compliance: map[string][]string{"pci_dss": {"10.2.4"}}, Details: map[string]any{"if_sid": "5700", "match": []string{"a", "b"}},
	}
	if mitre != "" {
		info.Mitre = []string{mitre}
	}
	return &program.Rule{ID: id, Level: level, Info: info}
}

type server struct {
	*httptest.Server
	t     *testing.T
	fakes *fakes
	cfg   Config
	deps  Deps
	api   atomic.Pointer[API]
	token string
}

func testConfig(t testing.TB) Config {
	cert, err := tlsconf.LoadOrCreate("", "", t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Listen, cfg.Certificate, cfg.MaxRequestsPerMinute = "127.0.0.1:0", cert, 0
	cfg.Identity = Identity{Manager: "siem", Node: "node1", InstallationID: "4b1e4c9a-0000-4000-8000-000000000000", Path: "/var/lib/vedette", Started: now}
	return cfg
}

func serve(t *testing.T, change ...func(*Config)) *server {
	t.Helper()
	cfg := testConfig(t)
	for _, c := range change {
		c(&cfg)
	}
	scfg := embedded.Default()
	scfg.Dir = t.TempDir()
	st, err := embedded.Open(scfg, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if _, err := st.Put(t.Context(), storetest.Series("t", 12)); err != nil {
		t.Fatal(err)
	}
	f := newFakes()
	deps := Deps{
		Agents: f, Groups: f, Users: f, Rules: f, Alerts: st, Health: func() map[string]error { return f.health },
		Orders: f.orders, ARConf: []byte("firewall-drop600 - firewall-drop - 600\n"), GroupFiles: f.files, Packages: &f.packages, Nodes: func() []schemas.Node { return f.nodes }, Metrics: f.metrics(), Logs: func() []logring.Line { return f.lines }, Settings: testSettings(),
		Logtest: func() (*engine.Engine, []string) {
			if f.logtest == nil {
				return nil, nil
			}
			return f.logtest()
		},
	}
	return start(t, cfg, deps, f)
}

// start serves and logs in as the administrator.
func start(t *testing.T, cfg Config, deps Deps, f *fakes) *server {
	t.Helper()
	s := &server{t: t, fakes: f, cfg: cfg, deps: deps}
	s.rebuild()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.api.Load().Handler().ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	s.as("wazuh")
	return s
}

// rebuild makes a change of cfg and deps count.
func (s *server) rebuild() {
	s.t.Helper()
	a, err := build(s.cfg, s.deps, quiet, prometheus.NewRegistry())
	if err != nil {
		s.t.Fatal(err)
	}
	s.api.Store(a)
}

// as logs in as a user.
func (s *server) as(user string) {
	s.t.Helper()
	r := s.do("POST", "/security/user/authenticate?raw=true", "", func(r *http.Request) { r.SetBasicAuth(user, "secret") })
	if r.status != 200 {
		s.t.Fatalf("login: %d %s", r.status, r.body)
	}
	s.token = r.body
}

type reply struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (s *server) do(method, path, body string, change ...func(*http.Request)) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.token)
	for _, c := range change {
		c(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	r := reply{status: res.StatusCode, header: res.Header, body: string(b)}
	_ = json.Unmarshal(b, &r.json)
	return r
}

// items answers a list request with one member of each item.
func (s *server) items(path, key string) (got []string, total int) {
	s.t.Helper()
	r := s.do("GET", path, "{}")
	if r.status != 200 || r.json["error"] != 0.0 {
		s.t.Fatalf("%s: %d %s", path, r.status, r.body)
	}
	data := r.json["data"].(map[string]any)
	got = []string{}
	for _, it := range data["affected_items"].([]any) {
		got = append(got, fmt.Sprint(dug(it.(map[string]any), key)))
	}
	return got, int(data["total_affected_items"].(float64))
}

// dug returns the value at a dotted path, nil if there is none.
func dug(m map[string]any, key string) any {
	head, rest, nested := strings.Cut(key, ".")
	if next, ok := m[head].(map[string]any); ok && nested {
		return dug(next, rest)
	}
	if nested {
		return nil
	}
	return m[head]
}

// refused checks a problem.
func (s *server) refused(r reply, status int, title string, code int, detail string) {
	s.t.Helper()
	got, _ := r.json["error"].(float64)
	if r.status != status || r.json["title"] != title || int(got) != code || !strings.Contains(fmt.Sprint(r.json["detail"]), detail) {
		s.t.Errorf("got %d %s, want %d %q %d %q", r.status, r.body, status, title, code, detail)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/problem+json; charset=utf-8" {
		s.t.Errorf("content type %q", ct)
	}
}

func TestBannerHeadersAndPretty(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("GET", "/", "{}")
	if dug(r.json, "data.api_version") != "4.14.7" || dug(r.json, "data.hostname") != "siem" || r.header.Get("Server") != "Wazuh" || r.header.Get("X-Frame-Options") != "deny" {
		t.Errorf("%s %v", r.body, r.header)
	}
	if r := s.do("GET", "/?pretty=true", ""); !strings.HasPrefix(r.body, "{\n   \"data\": {\n      \"title\"") {
		t.Error(r.body)
	}
	if r := s.do("GET", "/nothing?pretty=true", ""); !strings.HasPrefix(r.body, "{\n   \"title\"") {
		t.Error(r.body)
	}
}

func TestRequestsThatFitNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.refused(s.do("GET", "/nothing", ""), 404, "Not Found", 0, "404: Not Found")
	s.refused(s.do("GET", "/agents/", ""), 404, "Not Found", 0, "404: Not Found")
	s.refused(s.do("PATCH", "/agents", ""), 405, "Method Not Allowed", 0, "405: Method Not Allowed")
	bad := func(path, detail string) {
		t.Helper()
		s.refused(s.do("GET", path, ""), 400, "Bad Request", 0, detail)
	}
	bad("/agents?bogus=1", "Extra query parameter(s) bogus not in spec")
	bad("/agents?limit=ten", "Wrong type, expected 'integer' for query parameter 'limit'")
	bad("/agents?limit=0", "less than the minimum")
	bad("/agents?limit=100001", "greater than the maximum")
	bad("/agents?offset=-1", "less than the minimum")
	bad("/agents?distinct=maybe", "expected 'boolean'")
	bad("/agents?status=sleeping", "is not one of")
	bad("/agents?agents_list=1", "wrong length")
	bad("/agents?agents_list=abc", "is not a 'numbers'")
	bad("/agents?search=a;b", "is not a 'search'")
	bad("/agents?group=all", "is not a 'group_names'")
	bad("/agents?older_than=soon", "is not a 'timeframe'")
	bad("/rules?level=1-2-3", "is not a 'range'")
	bad("/rules?relative_dirname=etc/rules/../..", "is not a 'get_dirnames_path'")
	bad("/alerts?from=yesterday", "is not a 'moment'")
	bad("/alerts?limit=10001", "greater than the maximum")
	s.refused(s.do("DELETE", "/agents?agents_list=all", ""), 400, "Bad Request", 0, "Missing query parameter 'status'")
	code := func(path string, code int) {
		t.Helper()
		s.refused(s.do("GET", path, ""), 400, "Bad Request", code, "")
	}
	code("/agents?sort=color", 1403)
	code("/agents?select=color", 1724)
	code("/agents?q=name", 1407)
	code("/agents?q=color=red", 1408)
	code("/agents?q=group>a", 1409)
	code("/agents?q=lastKeepAlive>soon", 1412)
	code("/agents?q=internal_key=a", 1408)
	code("/rules?level=17", 1203)
	code("/alerts?offset=9999&limit=10", 1405)
	code("/alerts?q=timestamp>soon", 1412)
}

func TestBodies(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.MaxUploadBytes = 2000 })
	f := func(body string, status int, title string, code int, detail string) {
		t.Helper()
		s.refused(s.do("POST", "/agents", body), status, title, code, detail)
	}
	f(`{"name":"a","color":"red"}`, 400, "Bad Request", 0, "Invalid field found {'color'}")
	f(`{"name":"a","force":{"on":1}}`, 400, "Bad Request", 0, "Invalid field found {'force.on'}")
	f(`{"ip":"any"}`, 400, "Bad Request", 0, "'name' is a required property")
	f(`{"name":7}`, 400, "Bad Request", 0, "is not of type 'string'")
	f(`{"name":"a b"}`, 400, "Bad Request", 0, "is not a 'names'")
	f(`{"name":"a","force":{"enabled":"yes"}}`, 400, "Bad Request", 0, "is not of type 'boolean'")
	f(`{"name":`, 400, "Bad Request", 1018, "")
	f(`[]`, 400, "Bad Request", 0, "JSON object")
	f(strings.Repeat("[", 150)+strings.Repeat("]", 150), 400, "Bad Request", 0, "Maximum recursion depth exceeded")
	f(`{"name":"a","ip":"nowhere"}`, 400, "Bad Request", 1706, "")
	f(`{"name":"`+strings.Repeat("a", 129)+`"}`, 400, "Bad Request", 1738, "")
	f(`{"name":"`+strings.Repeat("a", 3000)+`"}`, 413, "Content size exceeded.", 0, "")
	s.refused(s.do("POST", "/agents", "name=a", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }), 415, "Unsupported Media Type", 0, "")
	// net/http refuses it itself, but not over HTTP/2.
	rec, req := httptest.NewRecorder(), httptest.NewRequest("GET", "/agents", nil)
	req.Header.Set("Expect", "miracles")
	req.Header.Set("Authorization", "Bearer "+s.token)
	if s.api.Load().Handler().ServeHTTP(rec, req); rec.Code != 417 || !strings.Contains(rec.Body.String(), "Expectation failed") {
		t.Error(rec.Code, rec.Body)
	}
	// What has no body ignores one.
	if r := s.do("GET", "/agents", `{"idHost":"default"}`); r.status != 200 {
		t.Error(r.body)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.as("reader")
	if _, n := s.items("/agents", "id"); n != 4 {
		t.Errorf("reader sees %d agents", n)
	}
	s.refused(s.do("GET", "/manager/info", ""), 403, "Permission Denied", 4000, "Resource type: *:*")
	s.refused(s.do("POST", "/agents", `{"name":"new"}`), 403, "Permission Denied", 4000, "")
	s.refused(s.do("DELETE", "/agents?agents_list=001&status=all", ""), 403, "Permission Denied", 4000, "Permission denied: Resource type: agent:id")
	if r := s.do("DELETE", "/agents?agents_list=all&status=all&older_than=0s", ""); r.status != 200 || len(s.fakes.List()) != 3 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if _, n := s.items("/alerts", "id"); n != 0 {
		t.Errorf("agents_readonly sees %d alerts", n)
	}
	s.as("nobody")
	if _, n := s.items("/agents", "id"); n != 0 {
		t.Errorf("nobody sees %d agents", n)
	}
	if _, n := s.items("/rules", "id"); n != 0 {
		t.Errorf("nobody sees %d rules", n)
	}
	r := s.do("GET", "/manager/info", "")
	if d := dug(r.json, "dapi_errors"); fmt.Sprint(d) == "" || !strings.Contains(r.body, "unknown-node") {
		t.Error(r.body)
	}
}

func TestManager(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := s.do("GET", "/manager/info", "")
	if !strings.Contains(r.body, `"version":"v4.14.7","type":"server","max_agents":"unlimited"`) || !strings.Contains(r.body, `"uuid":"4b1e4c9a-`) {
		t.Error(r.body)
	}
	s.fakes.health["analyze"] = errors.New("lost")
	r = s.do("GET", "/manager/status", "")
	for _, w := range []string{`"wazuh-execd":"running"`, `"wazuh-modulesd":"running"`, `"wazuh-db":"running"`, `"wazuh-analysisd":"failed"`, `"wazuh-clusterd":"stopped"`} {
		if !strings.Contains(r.body, w) {
			t.Errorf("no %s in %s", w, r.body)
		}
	}
}

func TestProbesNeedNoTokenAndNoLimit(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *Config) { c.MaxRequestsPerMinute = 1 })
	s.token = "nonsense"
	for range 5 {
		if r := s.do("GET", "/healthz", ""); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	if r := s.do("GET", "/readyz", ""); r.status != 200 || r.body != `{"status":"ready","components":{"analyze":"ok","store":"ok"}}` {
		t.Errorf("%d %s", r.status, r.body)
	}
	s.fakes.health["store"] = errors.New("password is hunter2")
	if r := s.do("GET", "/readyz", ""); r.status != 503 || r.body != `{"status":"not ready","components":{"analyze":"ok","store":"failing"}}` {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	s := serve(t)
	base := storetest.Base()
	f := func(query string, total int, want ...string) {
		t.Helper()
		got, n := s.items("/alerts?"+query, "rule.firedtimes")
		if d := cmp.Diff(want, got); d != "" || n != total {
			t.Errorf("%s: total %d, want %d; %s", query, n, total, d)
		}
	}
	f("limit=3", 12, "11", "10", "9")
	f("limit=2&offset=2&sort=timestamp", 12, "2", "3")
	f("limit=2&sort=-rule.level,timestamp", 12, "9", "8")
	f("q=rule.id=5701;rule.level>4", 2, "9", "5")
	f("text=accepted+u1&limit=1", 4, "10")
	f("from="+url.QueryEscape(base.Add(3*time.Minute).Format(time.RFC3339))+"&to="+url.QueryEscape(base.Add(5*time.Minute).Format("2006-01-02T15:04:05Z")), 2, "4", "3")
	f("from=now-1h", 0, []string{}...)
	f("from=now-5d&to=now&limit=1", 12, "11")
	f("q=agent.id=999", 0, []string{}...)

	s.fakes.mu.Lock()
	s.fakes.users["two"] = rest.User{Name: "two", Roles: []int{2}}
	s.fakes.mu.Unlock()
	s.as("two")
	f("limit=1", 12, "11")
}

type brokenStore struct{ store.Store }

func (brokenStore) Search(context.Context, store.Query) (store.Page, error) {
	return store.Page{}, errors.New("host indexer.internal refused")
}

func TestAStoreThatFailsSaysNothingOfItself(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.deps.Alerts = brokenStore{}
	s.rebuild()
	r := s.do("GET", "/alerts", "")
	s.refused(r, 500, "Wazuh Internal Error", 2003, "")
	if strings.Contains(r.body, "internal refused") {
		t.Error(r.body)
	}
}

func TestAPanicIsA500(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.deps.Alerts = nil
	s.rebuild()
	s.refused(s.do("GET", "/alerts", ""), 500, "Wazuh Internal Error", 1000, "")
	if r := s.do("GET", "/", ""); r.status != 200 {
		t.Error(r.body)
	}
}

// TestDocument walks openapi.yaml: every operation answers, has the words that
// people read, and lists answer in the envelope the document promises.
func TestDocument(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.fakes.cluster()
	doc, err := openapi3.NewLoader().LoadFromData(Document())
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Summary == "" || len(op.Tags) != 1 || op.Responses.Value("200") == nil && op.Responses.Value("202") == nil {
				t.Errorf("%s %s lacks a summary, a tag or a response", method, path)
			}
			if method != http.MethodGet {
				continue
			}
			if strings.HasPrefix(path, "/manager/") || strings.HasPrefix(path, "/cluster/") {
				path = strings.NewReplacer("{component}", "com", "{configuration}", "cluster").Replace(path)
			}
			path = strings.Replace(path, "/decoders/files/{filename}", "/decoders/files/ssh.xml", 1)
			path = strings.NewReplacer("{agent_id}", "001", "{group_id}", "default", "{component}", "agent", "{configuration}", "client", "{file_name}", "agent.conf", "{requirement}", "pci_dss", "{node_id}", "node1", "/rules/files/{filename}", "/rules/files/0095-sshd.xml", "{filename}", "outside").Replace(path)
			r := s.do(method, path, "{}", func(r *http.Request) {
				if op.Security != nil {
					r.SetBasicAuth("wazuh", "secret")
				}
			})
			if strings.HasPrefix(path, "/manager/stats") || strings.HasPrefix(path, "/cluster/node1/stats") {
				if !strings.HasSuffix(path, "d") { // no totals are kept by hour
					s.refused(r, 400, "Bad Request", 1308, "")
					continue
				}
			}
			content := op.Responses.Value("200").Value.Content.Get("application/json")
			var v any
			if err := json.Unmarshal([]byte(r.body), &v); r.status != 200 || err != nil {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			} else if err := content.Schema.Value.VisitJSON(v); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			r = s.do(method, path, "", func(r *http.Request) { r.Header.Del("Authorization") })
			if open := op.Extensions["x-vedette-auth"] == "none"; (r.status == 200) != open {
				t.Errorf("%s without a token: %d", path, r.status)
			}
		}
	}
}

func TestServesTLSAndStops(t *testing.T) {
	cfg := testConfig(t)
	f := newFakes()
	a, err := New(cfg, Deps{Agents: f, Users: f, Rules: f}, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // G402: the test's own certificate
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get("https://" + a.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 200 || res.TLS.Version < tls.VersionTLS12 {
		t.Errorf("%d", res.StatusCode)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	bad := cfg
	bad.Certificate = tls.Certificate{}
	if _, err := New(bad, Deps{}, quiet, nil); err == nil {
		t.Error("served without a certificate")
	}
}

func TestMoments(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f := func(s string, want time.Time, ok bool) {
		t.Helper()
		if got, good := rest.Moment(s, at); good != ok || ok && !got.Equal(want) {
			t.Errorf("%s is %s, %v", s, got, good)
		}
	}
	f("now", at, true)
	f("now-1h", at.Add(-time.Hour), true)
	f("now-7d", at.AddDate(0, 0, -7), true)
	f("2026-11-01", time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), true)
	f("2026-11-01T10:00:00+02:00", time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC), true)
	f("now+1h", at, false)
	f("now1h", at, false)
	f("", at, false)
	f("soon", at, false)
}
