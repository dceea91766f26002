package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"vedette/api/rbac"
	"vedette/api/rest"
	"vedette/internal/commands"
	"vedette/internal/groups"
	"vedette/internal/shadowlog"
	"vedette/internal/store/storetest"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// The walk knows two worlds. Everything of one group is inside and has that word
// in its texts; everything else is outside.
const (
	insideAgent, outsideAgent = "001", "002"
	insideGroup, outsideGroup = "inside-group", "outside-group"
)

// walker sends the document's operations as one user.
type walker struct {
	*server
	t *testing.T
}

func newWalker(t *testing.T, user rest.User) *walker {
	t.Helper()
	packages := t.TempDir()
	for _, name := range []string{"inside.wpk", "wazuh_agent_v4.14.7_linux.wpk"} {
		if err := os.WriteFile(filepath.Join(packages, name), []byte("package"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, func(c *Config) { c.PackagesDir = packages })
	s.withLogtest("outside")
	w := &walker{s, t}
	f := s.fakes
	f.cluster()
	f.groups = []Group{{Name: outsideGroup, Agents: 1}, {Name: insideGroup, Agents: 1}}
	f.users[user.Name] = user
	f.prog = program.NewProgram(program.Program{
		AllRules:    []*program.Rule{rule(5710, 5, "outside rule", "outside.xml", nil, "")},
		AllDecoders: []*program.Decoder{{Info: program.DecoderInfo{Name: "outside", File: "outside.xml", Dir: "decoders"}}},
	})
	var orders []commands.Order
	var alerts []schemas.Alert
	var rules []shadowlog.Rule
	for i, side := range []string{"inside", "outside"} {
		id := []string{insideAgent, outsideAgent}[i]
		for _, kind := range []schemas.CommandKind{schemas.CommandResponse, schemas.CommandUpgrade} {
			o := commands.Order{}
			o.ID, o.Kind, o.AgentID, o.Response, o.Origin, o.Text = side, kind, id, side, side, side+" order"
			orders = append(orders, o)
		}
		alerts = append(alerts, storetest.Alert("walk", 100+i, map[string]any{"agent": map[string]any{"id": id, "name": side}, "full_log": side + " log"}))
		rules = append(rules, shadowlog.Rule{ID: 1, Description: side, Last: shadowlog.Sample{AgentID: id, AgentName: side, FullLog: side}})
	}
	f.orders.recent = orders
	if _, err := s.deps.Alerts.Put(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
	s.deps.Shadow = func(context.Context) (*shadowlog.Summary, error) { return &shadowlog.Summary{Rules: rules}, nil }
	s.rebuild()
	w.restore()
	w.as(user.Name)
	return w
}

// restore undoes changes of agents and of groups' files.
func (w *walker) restore() {
	w.fakes.mu.Lock()
	defer w.fakes.mu.Unlock()
	agent := func(id, name, group, node string) *Agent {
		return &Agent{
			ID: id, Name: name, IP: "any", RegisterIP: "any", Status: "active", Version: "Wazuh v4.9.0", Groups: []string{group}, Node: node,
			ConfigStatus: synced, OS: AgentOS{Platform: "ubuntu"}, DateAdd: rest.Date{Time: now}, LastKeepAlive: rest.Date{Time: now},
		}
	}
	w.fakes.files.mu.Lock()
	defer w.fakes.files.mu.Unlock()
	conf := func(side string) []groups.File {
		return []groups.File{{Path: "agent.conf", Data: []byte(`<agent_config><labels><label key="a">` + side + `</label></labels></agent_config>`)}}
	}
	w.fakes.files.by = map[string][]groups.File{insideGroup: conf("inside"), outsideGroup: conf("outside")}
	w.fakes.list = []*Agent{agent(insideAgent, "inside-agent", insideGroup, "node1"), agent(outsideAgent, "outside-agent", outsideGroup, "outside-node")}
}

// request is one request for an operation.
type request struct {
	method, path, body, contentType string
	needs                           bool // it needs a permission
	basic                           bool
	// named are the values of the request, which its answer may repeat.
	named []string
}

// requests makes the requests for an operation: with every parameter that names
// resources absent, or "all", and with resources of one side.
func requests(path, method string, op *openapi3.Operation, inside bool) (out []request) {
	ids := map[string]string{"agent:id": outsideAgent, "group:id": outsideGroup, "node:id": "outside-node"}
	if inside {
		ids = map[string]string{"agent:id": insideAgent, "group:id": insideGroup, "node:id": "node1"}
	}
	for _, resource := range []string{"user:id", "role:id", "policy:id", "rule:id"} { // belong to no group of agents
		ids[resource] = "1"
	}
	ids["rule:file"], ids["decoder:file"], ids["list:file"] = "outside.xml", "ssh.xml", "outside"
	needs, _ := op.Extensions["x-vedette-permissions"].([]any)
	byParameter := map[string]string{}
	for _, n := range needs {
		m := n.(map[string]any)
		if p, ok := m["parameter"].(string); ok {
			byParameter[p] = m["resource"].(string)
		}
	}
	for _, naming := range []bool{false, true} {
		r := request{method: method, path: path, contentType: "application/json", needs: len(needs) > 0}
		query := url.Values{}
		for _, ref := range op.Parameters {
			p := ref.Value
			resource, names := byParameter[p.Name]
			value := sample(p.Schema.Value)
			if names {
				value = ids[resource]
			}
			array := p.Schema.Value.Type.Is("array")
			switch {
			case p.In == "path":
				r.path = strings.ReplaceAll(r.path, "{"+p.Name+"}", value)
			case names && array && !naming && !p.Required, !names && !p.Required:
				continue
			case names && array && !naming && !strings.HasSuffix(p.Schema.Value.Items.Value.Format, "numbers"): // which does not allow it
				value = "all"
			}
			if p.In != "path" {
				query.Set(p.Name, value)
			}
			r.named = append(r.named, value)
		}
		if op.Parameters.GetByInAndName("query", "older_than") != nil {
			query.Set("older_than", "0s")
		}
		if len(query) > 0 {
			r.path += "?" + query.Encode()
		}
		if op.RequestBody != nil {
			content := op.RequestBody.Value.Content
			if m := content.Get("application/json"); m != nil {
				b, _ := json.Marshal(sampleObject(m.Schema.Value))
				r.body = string(b)
			} else {
				r.contentType, r.body = "application/xml", "<agent_config></agent_config>"
			}
		}
		r.basic = op.Security != nil && len(*op.Security) > 0
		out = append(out, r)
	}
	return out
}

// sample is a value that a schema allows.
func sample(s *openapi3.Schema) string {
	if s.Type.Is("array") {
		s = s.Items.Value
	}
	known := map[string]string{"numbers": insideAgent, "numbers_or_all": insideAgent, "wpk_path": "inside.wpk", "wazuh_version": "4.14.7", "timeframe": "0s", "range": "1", "moment": "now", "date": "2026-01-31"}
	switch {
	case len(s.Enum) > 0:
		return fmt.Sprint(s.Enum[0])
	case s.Type.Is("integer"):
		return "1"
	case s.Type.Is("boolean"):
		return "true"
	case known[s.Format] != "":
		return known[s.Format]
	}
	return insideGroup // fits the other formats
}

func sampleObject(s *openapi3.Schema) map[string]any {
	out := map[string]any{}
	for _, name := range s.Required {
		switch p := s.Properties[name].Value; {
		case p.Type.Is("object"):
			out[name] = sampleObject(p)
		case p.Type.Is("array"):
			out[name] = []any{}
		case p.Type.Is("boolean"):
			out[name] = true
		case name == "command":
			out[name] = "!inside"
		default:
			out[name] = sample(p)
		}
	}
	return out
}

// walk sends every request of the document and gives check the answers.
func (w *walker) walk(sides []bool, check func(id string, r request, got reply)) {
	w.t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(Document())
	if err != nil {
		w.t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for _, inside := range sides {
				for _, r := range requests(path, method, op, inside) {
					w.restore()
					got := w.do(r.method, r.path, r.body, func(q *http.Request) {
						q.Header.Set("Content-Type", r.contentType)
						if r.basic {
							q.SetBasicAuth("nobody", "secret")
						}
					})
					check(op.OperationID, r, got)
				}
			}
		}
	}
}

// effects are all ids that the requests have changed or given orders to.
func (w *walker) effects() []string {
	w.fakes.mu.Lock()
	defer w.fakes.mu.Unlock()
	w.fakes.orders.mu.Lock()
	defer w.fakes.orders.mu.Unlock()
	out := append(slices.Clone(w.fakes.changes), w.fakes.files.published...)
	for _, c := range w.fakes.orders.given {
		out = append(out, c.AgentID)
	}
	return out
}

// nothing reports whether a value holds no item and no number but 0.
func nothing(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if items, ok := v["affected_items"].([]any); ok {
			return len(items) == 0
		}
		for _, e := range v {
			if !nothing(e) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return v == nil || v == 0.0 || v == ""
}

func TestAUserWithoutRightsSeesAndDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWalker(t, rest.User{Name: "nobody"})
	asked := 0
	w.walk([]bool{true, false}, func(id string, r request, got reply) {
		if !r.needs {
			return
		}
		asked++
		done := got.status == http.StatusOK || got.status == http.StatusAccepted
		if got.status != http.StatusForbidden && (!done || !nothing(got.json["data"])) {
			t.Errorf("%s: %s %s answers a user without rights with %d %.300s, want 403 or nothing", id, r.method, r.path, got.status, got.body)
		}
	})
	if asked < 150 {
		t.Errorf("only %d requests were sent; the walk does not reach the document's operations", asked)
	}
	// Everybody may end the own tokens.
	if done := slices.DeleteFunc(w.effects(), func(s string) bool { return s == string(schemas.AccessLogout) }); len(done) > 0 {
		t.Errorf("a user without rights has changed %q, want nothing", done)
	}
}

// limited may do everything to the agents of one group and to that group.
func limited() rest.User {
	var policies []rbac.Policy
	for action, types := range rbac.Actions() {
		for typ, resource := range map[string]string{"agent:group": "agent:group:" + insideGroup, "agent:id": "agent:group:" + insideGroup, "group:id": "group:id:" + insideGroup} {
			if slices.Contains(types, typ) {
				policies = append(policies, rbac.Policy{Actions: []string{action}, Resources: []string{resource}})
			}
		}
	}
	return rest.User{Name: "limited", Policies: policies}
}

func TestAUserOfOneGroupSeesAndDoesNothingOutsideOfIt(t *testing.T) {
	t.Parallel()
	w := newWalker(t, limited())
	sees := map[string]bool{}
	w.walk([]bool{true, false}, func(id string, r request, got reply) {
		body := got.body
		for _, value := range r.named {
			body = strings.ReplaceAll(body, value, "")
		}
		if strings.Contains(body, "outside") {
			t.Errorf("%s: %s %s shows a user of one group something outside of it: %d %.400s", id, r.method, r.path, got.status, got.body)
		}
		if got.status == http.StatusOK && strings.Contains(body, "inside") {
			sees[id] = true
		}
	})
	if len(sees) < 8 {
		t.Errorf("the user sees its own group in %d operations only, so that the walk shows little: %v", len(sees), sees)
	}
	done := w.effects()
	for _, id := range done {
		if id == outsideAgent || id == outsideGroup || id == serverID {
			t.Errorf("a user of one group has changed %q, which is outside of it", id)
		}
	}
	if !slices.Contains(done, insideAgent) || !slices.Contains(done, insideGroup) {
		t.Errorf("the user has changed %q, want its own agent and group among them", done)
	}
}

// The two walks above mean something only if the outside can be seen.
func TestAnAdministratorSeesTheOutside(t *testing.T) {
	t.Parallel()
	w := newWalker(t, rest.User{Name: "wazuh", Roles: []int{1}, RunAs: true})
	sees := map[string]bool{}
	w.walk([]bool{false}, func(id string, r request, got reply) {
		if got.status == http.StatusForbidden && id != "login_run_as" || // logins are of a user without rights
			got.status >= 500 && got.status != 504 {
			t.Errorf("%s: %s %s answers an administrator with %d %.300s", id, r.method, r.path, got.status, got.body)
		}
		if strings.Contains(got.body, "outside") {
			sees[id] = true
		}
	})
	for _, id := range []string{"list_agents", "list_groups", "list_alerts", "list_rules", "list_decoders", "list_responses", "list_upgrades", "summarize_shadow", "read_group_config"} {
		if !sees[id] {
			t.Errorf("%s does not show what is outside, so that the walks prove nothing of it", id)
		}
	}
	if done := w.effects(); !slices.Contains(done, outsideAgent) || !slices.Contains(done, outsideGroup) {
		t.Errorf("an administrator has changed %q, want agent and group outside among them", done)
	}
}
