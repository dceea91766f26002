package agents

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/qlang"
	"vedette/schemas"
)

// ServerID is the agent that is the server itself.
const ServerID = "000"

// Encoded returns the agent's JSON, which it keeps.
func (a *Agent) Encoded() (json.RawMessage, error) {
	if b := a.encoded.Load(); b != nil {
		return *b, nil
	}
	b, err := rest.Encode(a)
	if err != nil {
		return nil, err
	}
	raw := json.RawMessage(b)
	a.encoded.Store(&raw)
	return raw, nil
}

// names are the names of the agent in permissions.
func (a *Agent) names() []string {
	out := make([]string, 0, 1+len(a.Groups))
	out = append(out, "agent:id:"+a.ID)
	for _, g := range a.Groups {
		out = append(out, "agent:group:"+g)
	}
	return out
}

// View is how lists of agents are filtered, sorted and cut.
var View = rest.View[Agent]{
	Keys: []string{"id"}, Database: true, Encoded: (*Agent).Encoded,
	Options: qlang.Options{
		Numeric: func(name string) bool { return name == "id" || name == "status_code" },
		Operator: func(name string, op qlang.Op) bool {
			return name != "group" || op == qlang.Equal || op == qlang.NotEqual || op == qlang.Contains
		},
	},
	Rewrite: func(c *qlang.Clause) {
		if v, ok := strings.CutPrefix(c.Value, "Wazuhv"); ok && c.Field == "version" {
			c.Value = "Wazuh v" + v
		}
	},
	Order: func(field string) func(a, b *Agent) int {
		var key func(*Agent) []int
		switch field {
		case "id":
			key = func(a *Agent) []int { return Numbers(a.ID) }
		case "version":
			key = func(a *Agent) []int { return Numbers(a.Version) }
		case "os.version":
			key = func(a *Agent) []int { return append(Numbers(a.OS.Major), Numbers(a.OS.Minor)...) }
		default:
			return nil
		}
		return func(a, b *Agent) int { return slices.Compare(key(a), key(b)) }
	},
	Search: func(a *Agent, text string) bool {
		want, err := strconv.Atoi(text)
		have, err2 := strconv.Atoi(a.ID)
		return err == nil && err2 == nil && want == have
	},
}.Init()

// Numbers returns the numbers in a text, so that 4.10 sorts after 4.9.
func Numbers(s string) []int {
	var out []int
	for f := range strings.FieldsFuncSeq(s, func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ := strconv.Atoi(f)
		out = append(out, n)
	}
	return out
}

// server is agent 000.
func (a *Service) server() *Agent {
	id := a.Identity
	return &Agent{
		ID: ServerID, Name: id.Manager, IP: "127.0.0.1", RegisterIP: "127.0.0.1", Status: "active", Version: "Wazuh v" + rest.Version,
		Manager: id.Manager, Node: id.Node, ConfigStatus: Synced, DateAdd: rest.Date{Time: id.Started},
		LastKeepAlive: rest.Date{Time: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
	}
}

// all returns every agent in the order of ids, the server first.
func (a *Service) all() []*Agent {
	return slices.Insert(a.Agents.List(), 0, a.server())
}

// CompareIDs orders ids by their numbers, then by their texts.
func CompareIDs(a, b string) int {
	n, _ := strconv.Atoi(a)
	m, _ := strconv.Atoi(b)
	return cmp.Or(cmp.Compare(n, m), cmp.Compare(a, b))
}

// Filter is the parameters that name one field of agents.
type Filter struct {
	OSPlatform string `param:"os.platform"`
	OSVersion  string `param:"os.version"`
	OSName     string `param:"os.name"`
	Manager    string `param:"manager"`
	Version    string `param:"version"`
	Group      string `param:"group"`
	NodeName   string `param:"node_name"`
	Name       string `param:"name"`
	IP         string `param:"ip"`
	RegisterIP string `param:"registerIP"`
}

func (p *Filter) keeps(a *Agent) bool {
	is := func(want, have string) bool { return want == "" || want == "all" || strings.EqualFold(want, have) }
	return is(p.OSPlatform, a.OS.Platform) && is(p.OSVersion, a.OS.Version) && is(p.OSName, a.OS.Name) && is(p.Manager, a.Manager) &&
		is(p.NodeName, a.Node) && is(p.Name, a.Name) && is(p.IP, a.IP) && is(p.RegisterIP, a.RegisterIP) &&
		(p.Group == "" || p.Group == "all" || slices.ContainsFunc(a.Groups, func(g string) bool { return strings.EqualFold(g, p.Group) })) &&
		(p.Version == "" || strings.ToLower(strings.ReplaceAll(a.Version, " ", "")) == versionForm(p.Version))
}

// versionForm gives 4.14.7, v4.14.7 and Wazuh v4.14.7 one form.
func versionForm(s string) string {
	s = strings.TrimPrefix(strings.ToLower(strings.ReplaceAll(s, " ", "")), "wazuh")
	return "wazuhv" + strings.TrimPrefix(s, "v")
}

// InState reports whether the agent is in one of the states; none are all.
func (a *Agent) InState(states []string) bool {
	return states == nil || slices.Contains(states, "all") || slices.Contains(states, a.Status)
}

// silentFor reports whether an agent gave no sign of life for a time frame; the
// registration counts for those that never connected.
func (a *Agent) silentFor(timeframe string, now time.Time) bool {
	d, _ := qlang.ParsePeriod(timeframe)
	if d.Truncate(time.Second) <= 0 {
		return true
	}
	last := a.LastKeepAlive
	if last.IsZero() {
		last = a.DateAdd
	}
	return last.Before(now.Add(-d.Truncate(time.Second)))
}

// Messages are those of lists of agents.
var Messages = rest.Messages{All: "All selected agents information was returned", Some: "Some agents information was not returned", None: "No agent information was returned"}

type listAgents struct {
	Agents rest.Targets[*Agent] `param:"agents_list"`
	Filter
	Status       []string `param:"status"`
	OlderThan    string   `param:"older_than"`
	ConfigStatus string   `param:"group_config_status"`
}

func (a *Service) listAgents(c *rest.Call, p *listAgents) (rest.Answer, error) {
	// A comparison with a date is about agents that come and go.
	dated := View.Dated(c.Query)
	agents := slices.DeleteFunc(p.Agents.Items(), func(x *Agent) bool {
		return !p.keeps(x) || !x.InState(p.Status) || !x.silentFor(p.OlderThan, c.Now) || p.ConfigStatus != "" && p.ConfigStatus != x.ConfigStatus || dated && x.ID == ServerID
	})
	return View.Page(c, agents, Messages)
}

// All is for operations on all agents that the caller may use.
type All struct {
	Agents rest.Targets[*Agent] `all:"agent:id"`
}

func (a *Service) summarizeAgentStatus(_ *rest.Call, p *All) (rest.Answer, error) {
	return &rest.Data{Data: Summarize(Others(nil, p.Agents.Items()))}, nil
}

// listOutdated answers the agents that have connected with a version other than
// the server's.
func (a *Service) listOutdated(c *rest.Call, p *All) (rest.Answer, error) {
	own := a.server().Version
	list := slices.DeleteFunc(Others(nil, p.Agents.Items()), func(x *Agent) bool { return x.Version == "" || x.Version == own })
	return View.Page(c, list, Messages)
}

// summarizeAgentOS answers the platforms that agents have told.
func (a *Service) summarizeAgentOS(c *rest.Call, p *All) (rest.Answer, error) {
	platforms := []string{}
	for _, x := range Others(nil, p.Agents.Items()) {
		if x.OS.Platform != "" {
			platforms = append(platforms, x.OS.Platform)
		}
	}
	slices.Sort(platforms)
	return rest.Items(slices.Compact(platforms), rest.Messages{
		All: "Showing the operative system of all specified agents", Some: "Some operative systems were not shown", None: "No operative system was shown",
	}), nil
}

type summary struct {
	Agents rest.Targets[*Agent] `param:"agents_list"`
}

// summarizeAgents counts agents by state, platform and group, without the server.
func (a *Service) summarizeAgents(_ *rest.Call, p *summary) (rest.Answer, error) {
	states := map[string]int{StateActive: 0, string(schemas.StateDisconnected): 0, StateNever: 0, string(schemas.StatePending): 0}
	platforms, groups := map[string]int{}, map[string]int{}
	for _, x := range Others(nil, p.Agents.Items()) {
		states[x.Status]++
		if x.OS.Platform != "" {
			platforms[x.OS.Platform]++
		}
		for _, g := range x.Groups {
			groups[g]++
		}
	}
	return &rest.Data{Data: rest.Ordered{{Key: "status", Value: states}, {Key: "os", Value: platforms}, {Key: "groups", Value: groups}}}, nil
}

type countAgents struct {
	All
	Fields []string `param:"fields"`
}

// countAgents counts the agents that have the same values of some fields.
func (a *Service) countAgents(c *rest.Call, p *countAgents) (rest.Answer, error) {
	return View.Count(c, p.Agents.Items(), p.Fields, "N/A", Messages)
}

// mayUninstall is asked before an agent is uninstalled; the permission is all there
// is to it.
func (a *Service) mayUninstall(*rest.Call, *rest.None) (rest.Answer, error) {
	return &rest.Data{Message: "User has permission to uninstall agents."}, nil
}

type agentCounters struct {
	Agents  rest.Targets[*Agent] `param:"agent_id"`
	Daemons []string             `param:"daemons_list"`
}

// agentCounters has nothing to tell: the server counts events by cause, not by agent.
func (a *Service) agentCounters(c *rest.Call, p *agentCounters) (rest.Answer, error) {
	for _, x := range Real(c, &p.Agents) {
		c.Fail(problem.NoCounters, x.ID)
	}
	return rest.Items([]any{}, rest.Messages{
		All: "Statistical information for each daemon was successfully read", Some: "Statistical information for some daemons was not read",
		None: "Statistical information for no daemon was read",
	}), nil
}

// Summarize counts agents by connection and by whether they have their groups' files.
func Summarize(list []*Agent) map[string]any {
	conn := map[string]int{"active": 0, "disconnected": 0, "never_connected": 0, "pending": 0, "total": 0}
	conf := map[string]int{"synced": 0, "not_synced": 0, "total": 0}
	for _, x := range list {
		conn[x.Status]++
		conn["total"]++
		conf["total"]++
		conf[strings.ReplaceAll(x.ConfigStatus, " ", "_")]++
	}
	return map[string]any{"connection": conn, "configuration": conf}
}

// dottedMask reports whether s is a network such as 10.0.0.0/255.0.0.0.
func dottedMask(s string) bool {
	addr, mask, ok := strings.Cut(s, "/")
	_, err := netip.ParseAddr(addr)
	_, err2 := netip.ParseAddr(mask)
	return ok && err == nil && err2 == nil
}

// forceBody says in a request when an agent that is in the way is replaced; absent
// members have the default of openapi.yaml.
type forceBody struct {
	Enabled          *bool   `json:"enabled"`
	AfterRegistering *string `json:"after_registration_time"`
	Disconnected     struct {
		Enabled *bool   `json:"enabled"`
		Value   *string `json:"value"`
	} `json:"disconnected_time"`
}

func (f *forceBody) force() *Force {
	if f == nil {
		return nil
	}
	on := func(b *bool) bool { return b == nil || *b }
	span := func(s *string) time.Duration {
		if s == nil {
			return time.Hour
		}
		d, _ := qlang.ParsePeriod(*s)
		return d
	}
	return &Force{
		Enabled: on(f.Enabled), AfterRegistration: span(f.AfterRegistering),
		DisconnectedEnabled: on(f.Disconnected.Enabled), Disconnected: span(f.Disconnected.Value),
	}
}

type deleteAgents struct {
	Agents rest.Targets[*Agent] `param:"agents_list"`
	Filter
	Purge     bool     `param:"purge"`
	Status    []string `param:"status"`
	OlderThan string   `param:"older_than"`
}

func (a *Service) deleteAgents(c *rest.Call, p *deleteAgents) (rest.Answer, error) {
	chosen, err := p.Choose(c, &p.Agents, func(x *Agent) bool { return x.InState(p.Status) && x.silentFor(p.OlderThan, c.Now) })
	if err != nil {
		return nil, err
	}
	removed, err := DoneFor(c, chosen, func(x *Agent) error { return a.Agents.Remove(c.Ctx, x.ID, p.Purge) })
	l := rest.Items(removed, rest.Messages{All: "All selected agents were deleted", Some: "Some agents were not deleted", None: "No agents were deleted"})
	l.Extra = rest.Ordered{{Key: "older_than", Value: p.OlderThan}}
	return l, err
}

// Choose returns the agents that a request's ids and filters are about, without
// the server; named agents that do not fit are failed items.
func (p *Filter) Choose(c *rest.Call, from *rest.Targets[*Agent], keep func(*Agent) bool) ([]*Agent, error) {
	match := func(*Agent) bool { return true }
	if c.Query != "" {
		var err error
		if match, err = View.Match(c.Query, c.Now); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(Real(c, from), func(x *Agent) bool {
		out := !p.keeps(x) || keep != nil && !keep(x) || !match(x)
		if out && from.Named {
			c.Fail(problem.AgentFilter, x.ID)
		}
		return out
	}), nil
}

// Real returns the agents of a request but the server, which is a failed
// item if the request names it.
func Real(c *rest.Call, from *rest.Targets[*Agent]) []*Agent {
	if !from.Named {
		c = nil
	}
	return Others(c, from.Items())
}

// Others leaves the server out, as a failed item of c unless c is nil.
func Others(c *rest.Call, agents []*Agent) []*Agent {
	return slices.DeleteFunc(agents, func(x *Agent) bool {
		if x.ID == ServerID && c != nil {
			c.Fail(problem.NotForServer, x.ID)
		}
		return x.ID == ServerID
	})
}

// changesAtOnce is how many changes of the registry one request has under way.
const changesAtOnce = 256

// DoneFor changes agents, changesAtOnce at a time, and returns the ids of those
// for which that worked. The others are failed items.
func DoneFor(c *rest.Call, agents []*Agent, change func(*Agent) error) ([]string, error) {
	done := []string{}
	for i, err := range ForEach(len(agents), func(i int) error { return change(agents[i]) }) {
		switch {
		case errors.Is(err, ErrUnasked):
		case err == nil:
			done = append(done, agents[i].ID)
		default:
			if err := c.FailWith(err, agents[i].ID); err != nil {
				return nil, err
			}
		}
	}
	return done, nil
}

// ErrUnasked says that a change was not meant for an agent.
var ErrUnasked = errors.New("not asked for")

// ForEach calls fn for each index, changesAtOnce at a time, and returns the errors.
func ForEach(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, changesAtOnce) {
		wg.Go(func() {
			for i := range next {
				errs[i] = fn(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errs
}
