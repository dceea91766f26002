package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette/api/problem"
	"vedette/internal/qlang"
)

// serverID is the agent that is the server itself.
const serverID = "000"

// dateForm is how agents' dates are shown.
const dateForm = "2006-01-02T15:04:05+00:00"

// Values implements qlang.Item.
func (a *Agent) Values(path string) []any {
	text := func(s string) []any {
		if s == "" {
			return nil
		}
		return []any{s}
	}
	date := func(t time.Time) []any {
		if t.IsZero() {
			return nil
		}
		return []any{t}
	}
	switch path {
	case "id":
		return text(a.ID)
	case "name":
		return text(a.Name)
	case "ip":
		return text(a.IP)
	case "registerIP":
		return text(a.RegisterIP)
	case "status":
		return text(a.Status)
	case "status_code":
		return []any{a.StatusCode}
	case "version":
		return text(a.Version)
	case "manager":
		return text(a.Manager)
	case "node_name":
		if a.Node == "" { // it has never reported to one
			return text("unknown")
		}
		return text(a.Node)
	case "mergedSum":
		return text(a.MergedSum)
	case "configSum":
		return text(a.ConfigSum)
	case "group_config_status":
		return text(a.syncState())
	case "dateAdd":
		return date(a.DateAdd)
	case "lastKeepAlive":
		return date(a.LastKeepAlive)
	case "disconnection_time":
		return date(a.DisconnectedTime)
	case "group":
		out := make([]any, len(a.Groups))
		for i, g := range a.Groups {
			out[i] = g
		}
		return out
	case "os.name":
		return text(a.OS.Name)
	case "os.platform":
		return text(a.OS.Platform)
	case "os.version":
		return text(a.OS.Version)
	case "os.major":
		return text(a.OS.Major)
	case "os.minor":
		return text(a.OS.Minor)
	case "os.codename":
		return text(a.OS.Codename)
	case "os.uname":
		return text(a.OS.Uname)
	case "os.arch":
		return text(a.OS.Arch)
	case "os.build":
		return text(a.OS.Build)
	}
	return nil
}

func (a *Agent) syncState() string {
	if a.Synced {
		return "synced"
	}
	return "not synced"
}

// agentFields may be selected, sorted and queried.
var agentFields = []string{
	"id", "name", "ip", "status", "os.name", "os.version", "os.platform", "os.codename", "os.major", "os.minor", "os.uname", "os.arch", "os.build",
	"version", "manager", "dateAdd", "group", "mergedSum", "configSum", "node_name", "lastKeepAlive", "registerIP", "disconnection_time",
	"group_config_status", "status_code",
}

// JSON implements item: members without a value are left out.
func (a *Agent) JSON() map[string]any {
	m := map[string]any{}
	for _, f := range agentFields {
		vs := a.Values(f)
		if len(vs) == 0 {
			continue
		}
		v := vs[0]
		if f == "group" {
			v = vs
		}
		if t, ok := v.(time.Time); ok {
			v = t.UTC().Format(dateForm)
		}
		if sub, ok := strings.CutPrefix(f, "os."); ok {
			os, _ := m["os"].(map[string]any)
			if os == nil {
				os = map[string]any{}
				m["os"] = os
			}
			os[sub] = v
			continue
		}
		m[f] = v
	}
	return m
}

// Encoded implements encodedItem.
func (a *Agent) Encoded() (json.RawMessage, error) {
	if b := a.encoded.Load(); b != nil {
		return *b, nil
	}
	b, err := encode(a.JSON())
	if err != nil {
		return nil, err
	}
	raw := json.RawMessage(b)
	a.encoded.Store(&raw)
	return raw, nil
}

// resources are what permissions may know the agent under.
func (a *Agent) resources() []string {
	out := make([]string, 0, 1+len(a.Groups))
	out = append(out, "agent:id:"+a.ID)
	for _, g := range a.Groups {
		out = append(out, "agent:group:"+g)
	}
	return out
}

func agentDate(name string) bool {
	return name == "dateAdd" || name == "lastKeepAlive" || name == "disconnection_time"
}

var agentListing = listing{
	fields: agentFields, sortable: agentFields, keys: []string{"id"}, database: true,
	options: qlang.Options{
		Date:    agentDate,
		Numeric: func(name string) bool { return name == "id" || name == "status_code" },
		Operator: func(name string, op qlang.Op) bool {
			return name != "group" || op == qlang.Equal || op == qlang.NotEqual || op == qlang.Contains
		},
	},
	rewrite: func(c *qlang.Clause) {
		if v, ok := strings.CutPrefix(c.Value, "Wazuhv"); ok && c.Field == "version" {
			c.Value = "Wazuh v" + v
		}
	},
	order: func(field string) func(a, b item) int {
		var key func(*Agent) []int
		switch field {
		case "id":
			key = func(a *Agent) []int { return numbers(a.ID) }
		case "version":
			key = func(a *Agent) []int { return numbers(a.Version) }
		case "os.version":
			key = func(a *Agent) []int { return append(numbers(a.OS.Major), numbers(a.OS.Minor)...) }
		default:
			return nil
		}
		return func(a, b item) int { return slices.Compare(key(a.(*Agent)), key(b.(*Agent))) }
	},
	search: func(it item, text string) bool {
		a := it.(*Agent)
		for _, f := range agentFields {
			for _, v := range a.Values(f) {
				if holds(v, text) {
					return true
				}
			}
		}
		want, err := strconv.Atoi(text)
		have, err2 := strconv.Atoi(a.ID)
		return err == nil && err2 == nil && want == have
	},
}

// numbers returns the numbers in a text, so that 4.10 sorts after 4.9.
func numbers(s string) []int {
	var out []int
	for f := range strings.FieldsFuncSeq(s, func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ := strconv.Atoi(f)
		out = append(out, n)
	}
	return out
}

// server is agent 000.
func (a *API) server() *Agent {
	id := a.cfg.Identity
	return &Agent{
		ID: serverID, Name: id.Manager, IP: "127.0.0.1", RegisterIP: "127.0.0.1", Status: "active", Version: "Wazuh v" + Version,
		Manager: id.Manager, Node: id.Node, Synced: true, DateAdd: id.Started, LastKeepAlive: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
}

// agents returns every agent in the order of ids, the server first.
func (a *API) agents() []*Agent {
	return slices.Insert(a.deps.Agents.List(), 0, a.server())
}

// compareIDs orders ids by their numbers, then by their texts.
func compareIDs(a, b string) int {
	n, _ := strconv.Atoi(a)
	m, _ := strconv.Atoi(b)
	return cmp.Or(cmp.Compare(n, m), cmp.Compare(a, b))
}

// agentFilter is made of the parameters that name one field.
func agentFilter(c *call) func(*Agent) bool {
	is := func(param, field string) func(*Agent) bool {
		want := c.str(param)
		if want == "" || want == "all" {
			return nil
		}
		return func(a *Agent) bool {
			return slices.ContainsFunc(a.Values(field), func(v any) bool { return strings.EqualFold(qlang.Text(v), want) })
		}
	}
	var tests []func(*Agent) bool
	for _, p := range []string{"name", "ip", "registerIP", "manager", "node_name", "group", "os.platform", "os.version", "os.name", "group_config_status"} {
		if t := is(p, p); t != nil {
			tests = append(tests, t)
		}
	}
	if v := c.str("version"); v != "" {
		want := strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(v, " ", "")), "wazuh")
		want = "wazuhv" + strings.TrimPrefix(want, "v")
		tests = append(tests, func(a *Agent) bool { return strings.ToLower(strings.ReplaceAll(a.Version, " ", "")) == want })
	}
	if states, ok := c.strs("status"); ok && !slices.Contains(states, "all") {
		tests = append(tests, func(a *Agent) bool { return slices.Contains(states, a.Status) })
	}
	if sec, ok := c.period("older_than"); ok && sec > 0 {
		before := c.now.Add(-time.Duration(sec) * time.Second)
		tests = append(tests, func(a *Agent) bool {
			if a.LastKeepAlive.IsZero() {
				return a.DateAdd.Before(before)
			}
			return a.LastKeepAlive.Before(before)
		})
	}
	return func(a *Agent) bool {
		for _, t := range tests {
			if !t(a) {
				return false
			}
		}
		return true
	}
}

// permitted returns the agents that the request is about and the caller may
// use, and puts what was named but is not there, or not permitted, into l.
func (a *API) permitted(c *call, l *list) ([]*Agent, error) {
	ids, named := c.strs("agents_list")
	if !named || slices.Contains(ids, "all") {
		all := a.agents()
		if c.perms.AllowsAll(c.op.action, "agent:id") {
			return all, nil
		}
		return slices.DeleteFunc(all, func(x *Agent) bool { return !c.may(x.resources()...) }), nil
	}
	return a.named(c, l, ids)
}

// onPath is permitted for operations that name one agent in the path and answer
// with a list: an agent that is not there is a failed item, not an error.
func (a *API) onPath(c *call, l *list) ([]*Agent, error) {
	id, err := pathID(c)
	if err != nil {
		return nil, err
	}
	return a.named(c, l, []string{id})
}

// named returns the agents of these ids that the caller may use.
func (a *API) named(c *call, l *list, ids []string) ([]*Agent, error) {
	all := a.agents()
	byID := make(map[string]*Agent, len(all))
	for _, x := range all {
		byID[x.ID] = x
	}
	var out []*Agent
	denied := 0
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		x := byID[id]
		resources := []string{"agent:id:" + id}
		if x != nil {
			resources = x.resources()
		}
		switch {
		case !c.may(resources...):
			denied++
			l.fail(problem.PermissionDenied, id)
		case x == nil:
			l.fail(problem.NoAgent, id)
		default:
			out = append(out, x)
		}
	}
	if denied > 0 && len(out) == 0 && len(l.failed) == 1 {
		return nil, problem.New(problem.PermissionDenied, "Permission denied: Resource type: agent:id")
	}
	return out, nil
}

func (a *API) listAgents(c *call) (any, error) {
	l := &list{All: "All selected agents information was returned", Some: "Some agents information was not returned", None: "No agent information was returned"}
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	keep := agentFilter(c)
	items := make([]item, 0, len(agents))
	for _, x := range agents {
		if keep(x) {
			items = append(items, x)
		}
	}
	// A comparison with a date is about agents that come and go.
	if q := c.str("q"); q != "" {
		if x, err := qlang.Parse(q); err == nil {
			dated := false
			_ = x.Walk(func(cl *qlang.Clause) error { dated = dated || agentDate(cl.Field); return nil })
			if dated {
				items = slices.DeleteFunc(items, func(it item) bool { return it.(*Agent).ID == serverID })
			}
		}
	}
	l.Items, l.Total, err = agentListing.cut(c, items)
	return l, err
}

func (a *API) summarizeAgentStatus(c *call) (any, error) {
	conn := map[string]int{"active": 0, "disconnected": 0, "never_connected": 0, "pending": 0, "total": 0}
	conf := map[string]int{"synced": 0, "not_synced": 0, "total": 0}
	for _, x := range a.agents() {
		if x.ID == serverID || !c.may(x.resources()...) {
			continue
		}
		conn[x.Status]++
		conn["total"]++
		conf["total"]++
		if x.Synced {
			conf["synced"]++
		} else {
			conf["not_synced"]++
		}
	}
	return &plain{Data: map[string]any{"connection": conn, "configuration": conf}}, nil
}

// dottedMask reports whether s is a network such as 10.0.0.0/255.0.0.0.
func dottedMask(s string) bool {
	addr, mask, ok := strings.Cut(s, "/")
	_, err := netip.ParseAddr(addr)
	_, err2 := netip.ParseAddr(mask)
	return ok && err == nil && err2 == nil
}

// force reads the body's member of that name; what is absent has the default of
// openapi.yaml.
func force(m map[string]any) Force {
	on := func(m map[string]any, name string) bool {
		b, ok := m[name].(bool)
		return b || !ok
	}
	span := func(m map[string]any, name string) time.Duration {
		s, ok := m[name].(string)
		if !ok {
			return time.Hour
		}
		d, _ := qlang.ParsePeriod(s)
		return d
	}
	d, _ := m["disconnected_time"].(map[string]any)
	return Force{
		Enabled: on(m, "enabled"), AfterRegistration: span(m, "after_registration_time"),
		DisconnectedEnabled: on(d, "enabled"), Disconnected: span(d, "value"),
	}
}

func (a *API) deleteAgents(c *call) (any, error) {
	l := &list{
		All: "All selected agents were deleted", Some: "Some agents were not deleted", None: "No agents were deleted",
		Extra: map[string]any{"older_than": c.str("older_than")},
	}
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	ids, _ := c.strs("agents_list")
	all := slices.Contains(ids, "all")
	var m *qlang.Matcher
	if q := c.str("q"); q != "" {
		if m, err = agentListing.query(q, c.now); err != nil {
			return nil, err
		}
	}
	keep := agentFilter(c)
	chosen := []*Agent{}
	for _, x := range agents {
		switch {
		case x.ID == serverID:
			if !all {
				l.fail(problem.NotForServer, x.ID)
			}
			continue
		case !keep(x) || m != nil && !m.Match(x):
			if !all {
				l.fail(problem.AgentFilter, x.ID)
			}
			continue
		}
		chosen = append(chosen, x)
	}
	removed := []string{}
	for i, err := range forEach(len(chosen), func(i int) error { return a.deps.Agents.Remove(c.ctx, chosen[i].ID, c.flag("purge")) }) {
		if err != nil {
			if err := l.failWith(err, chosen[i].ID); err != nil {
				return nil, err
			}
			continue
		}
		removed = append(removed, chosen[i].ID)
	}
	l.Items, l.Total = removed, len(removed)
	return l, nil
}

// visibleAgents returns the ids of the agents on which the caller may do an
// action; all says that it is every agent there is or was.
func (a *API) visibleAgents(c *call) (ids []string, all bool) {
	if c.perms.AllowsAll(c.op.action, "agent:id") {
		return nil, true
	}
	set := map[string]bool{}
	for _, x := range a.agents() {
		if c.may(x.resources()...) {
			set[x.ID] = true
		}
	}
	return slices.Sorted(maps.Keys(set)), false
}
