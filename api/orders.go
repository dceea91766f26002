package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"vedette/api/problem"
	"vedette/internal/commands"
	"vedette/internal/responses"
	"vedette/schemas"
)

// Orders gives orders to agents; *commands.Client is one.
type Orders interface {
	// Give returns when the orders are durable.
	Give(ctx context.Context, cmds ...schemas.Command) error
	// Do waits for an order's end: of a request, until the agent has answered.
	Do(ctx context.Context, cmd schemas.Command) (schemas.Reply, error)
	// Recent returns the newest orders for which keep is true, at most n.
	Recent(n int, keep func(*commands.Order) bool) []commands.Order
}

const (
	// askMax bounds how long an agent is waited for, whatever the request says.
	askMax = 2 * time.Minute
	// ordersListed bounds the orders that one request looks at.
	ordersListed = 100_000
	// responsesAskMax bounds the agents of one request that are asked whether they
	// respond at all, responsesAskAtOnce those asked at a time, and
	// responsesAskTime how long all of that may take.
	responsesAskMax    = 1000
	responsesAskAtOnce = 64
	responsesAskTime   = 3 * time.Second
	// restartResponse is what agents know a restart by.
	//
	// Source: spec/active-response.md §1 "ar.conf" and §3.
	restartResponse = "restart-wazuh0"
	restartLegacy   = "restart-ossec0 - null (from_the_server) (no_rule_id)"
)

// stateActive is the only state in which an agent can be told something.
const stateActive = string(schemas.StateActive)

// stateNever is the state of agents that have not connected yet.
const stateNever = string(schemas.StateNeverConnected)

// give gives orders, and says so if that does not work.
func (a *API) give(c *call, cmds []schemas.Command) error {
	if len(cmds) == 0 {
		return nil
	}
	if a.deps.Orders == nil {
		return problem.New(problem.NotReady, "")
	}
	err := a.deps.Orders.Give(c.ctx, cmds...)
	if err != nil && c.ctx.Err() == nil {
		a.log.Warn("orders not given", "err", err)
		return problem.New(problem.OrderFailed, "")
	}
	return err
}

// order gives each agent the order that make says, or lists it as failed with
// the code that make says.
func (a *API) order(c *call, l *list, agents []*Agent, make func(x *Agent) (schemas.Command, problem.Code)) (any, error) {
	cmds, done := []schemas.Command{}, []string{}
	for _, x := range agents {
		cmd, refused := make(x)
		if refused != 0 {
			l.fail(refused, x.ID)
			continue
		}
		cmd.AgentID, cmd.Origin = x.ID, c.user.Name
		cmds, done = append(cmds, cmd), append(done, x.ID)
	}
	if err := a.give(c, cmds); err != nil {
		return nil, err
	}
	l.Items, l.Total = done, len(done)
	return l, nil
}

// others leaves the server out, which fails if it was named.
func others(l *list, agents []*Agent, named bool) []*Agent {
	return slices.DeleteFunc(agents, func(x *Agent) bool {
		if x.ID == serverID && named {
			l.fail(problem.NotForServer, x.ID)
		}
		return x.ID == serverID
	})
}

func (a *API) restart(c *call, l *list, agents []*Agent) (any, error) {
	text, err := responses.Message(restartResponse, a.cfg.Identity.Node, nil, nil)
	if err != nil {
		return nil, err
	}
	return a.order(c, l, agents, func(x *Agent) (schemas.Command, problem.Code) {
		if x.Status != stateActive {
			return schemas.Command{}, problem.AgentNotActive
		}
		return schemas.Command{Kind: schemas.CommandResponse, Text: text, Legacy: restartLegacy, Response: restartResponse}, 0
	})
}

func restarted() *list {
	return &list{All: "Restart command was sent to all agents", Some: "Restart command was not sent to some agents", None: "Restart command was not sent to any agent"}
}

func (a *API) restartAgents(c *call) (any, error) {
	l := restarted()
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	_, named := c.strs("agents_list")
	return a.restart(c, l, others(l, agents, named))
}

func (a *API) restartAgent(c *call) (any, error) {
	l := restarted()
	agents, err := a.onPath(c, l)
	if err != nil {
		return nil, err
	}
	return a.restart(c, l, others(l, agents, true))
}

func (a *API) restartGroup(c *call) (any, error) {
	name := c.gin.Param("group_id")
	if !formats["group_names"](name) {
		return nil, problem.Bad("'%s' is not a 'group_names' - 'group_id'", name)
	}
	if !slices.ContainsFunc(a.deps.Groups.Groups(), func(g Group) bool { return g.Name == name }) {
		return nil, problem.New(problem.NoGroup, "")
	}
	l := restarted()
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	agents = slices.DeleteFunc(agents, func(x *Agent) bool { return !slices.Contains(x.Groups, name) })
	return a.restart(c, l, agents)
}

func (a *API) reconnectAgents(c *call) (any, error) {
	l := &list{All: "Force reconnect command was sent to all agents", Some: "Force reconnect command was not sent to some agents", None: "Force reconnect command was not sent to any agent"}
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	_, named := c.strs("agents_list")
	return a.order(c, l, others(l, agents, named), func(x *Agent) (schemas.Command, problem.Code) {
		if x.Status != stateActive {
			return schemas.Command{}, problem.AgentNotActive
		}
		return schemas.Command{Kind: schemas.CommandControl, Text: "force_reconnect"}, 0
	})
}

// runResponse has agents, or the server, run an active response.
//
// Source: spec/active-response.md §3 and §4.
func (a *API) runResponse(c *call) (any, error) {
	name, args, alert, err := responseBody(c)
	if err != nil {
		return nil, err
	}
	if script, ok := strings.CutPrefix(name, "!"); ok {
		if script == "" || strings.ContainsAny(script, "/\\ \t\r\n\x00") || strings.HasPrefix(script, ".") || strings.Contains(script, "..") {
			return nil, problem.Newf(problem.CommandUnknown, "%.100q is no script's plain name", script)
		}
	} else if !a.knownResponse(name) {
		return nil, problem.Newf(problem.CommandUnknown, "There is no response %.100q; it is named as in ar.conf, with its timeout, and a script with ! in front", name)
	}
	text, err := responses.Message(name, a.cfg.Identity.Node, args, alert)
	if err != nil {
		return nil, err
	}
	if len(text) > schemas.MaxCommandText-64 || strings.IndexByte(text, 0) >= 0 {
		return nil, problem.Bad("The arguments and the alert take %d bytes, at most %d", len(text), schemas.MaxCommandText-64)
	}
	l := &list{All: "AR command was sent to all agents", Some: "AR command was not sent to some agents", None: "AR command was not sent to any agent"}
	agents, err := a.permitted(c, l)
	if err != nil {
		return nil, err
	}
	if _, named := c.strs("agents_list"); !named { // the server responds only when it is named
		agents = others(l, agents, false)
	}
	off := a.responsesOff(c, agents)
	return a.order(c, l, agents, func(x *Agent) (schemas.Command, problem.Code) {
		switch {
		case x.Status != stateActive:
			return schemas.Command{}, problem.AgentNotActive
		case off[x.ID]:
			return schemas.Command{}, problem.ResponsesOff
		}
		return schemas.Command{Kind: schemas.CommandResponse, Text: text, Response: name}, 0
	})
}

// responsesOff asks the active agents whether they have responses switched off,
// and returns those that say so. It takes responsesAskTime at most; what does not
// answer until then is told to respond as if it had not been asked, and so is
// everybody where more than responsesAskMax would have to be asked.
//
// Source: spec/agent-protocol.md §8a "Observed forms".
func (a *API) responsesOff(c *call, agents []*Agent) map[string]bool {
	var ids []string
	for _, x := range agents {
		if x.Status == stateActive && x.ID != serverID {
			ids = append(ids, x.ID)
		}
	}
	off := map[string]bool{}
	if len(ids) > responsesAskMax || a.deps.Orders == nil {
		return off
	}
	ctx, cancel := context.WithTimeout(c.ctx, responsesAskTime)
	defer cancel()
	next := make(chan string, len(ids))
	for _, id := range ids {
		next <- id
	}
	close(next)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(responsesAskAtOnce, len(ids)) {
		wg.Go(func() {
			for id := range next {
				if ctx.Err() != nil {
					return
				}
				now := time.Now()
				r, err := a.deps.Orders.Do(ctx, schemas.Command{
					Kind: schemas.CommandRequest, AgentID: id, Text: "com getconfig active-response", Origin: c.user.Name,
					Time: now.UnixMilli(), Expires: now.Add(responsesAskTime).UnixMilli(),
				})
				if err == nil && r.Status == schemas.ReplyAnswered && saysOff(r.Text) {
					mu.Lock()
					off[id] = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return off
}

// saysOff reads an agent's answer to `com getconfig active-response`.
func saysOff(answer string) bool {
	var conf struct {
		Responses struct {
			Disabled string `json:"disabled"`
		} `json:"active-response"`
	}
	text, ok := strings.CutPrefix(answer, "ok")
	return ok && json.Unmarshal([]byte(text), &conf) == nil && conf.Responses.Disabled == "yes"
}

// knownResponse reports whether ar.conf has a line of this identity.
//
// Source: spec/active-response.md §1 "ar.conf".
func (a *API) knownResponse(identity string) bool {
	for line := range strings.Lines(string(a.deps.ARConf)) {
		if have, _, ok := strings.Cut(line, " - "); ok && have == identity {
			return true
		}
	}
	return false
}

func responseBody(c *call) (name string, args []string, alert []byte, err error) {
	name, _ = c.body["command"].(string)
	if name == "" {
		return "", nil, nil, problem.New(problem.NoCommand, "")
	}
	given, _ := c.body["arguments"].([]any)
	for _, v := range given {
		s, ok := v.(string)
		if !ok {
			return "", nil, nil, problem.Bad("%s is not of type 'string' - 'arguments'", short(v))
		}
		args = append(args, s)
	}
	if v, ok := c.body["alert"]; ok {
		alert, err = encode(v)
	}
	return name, args, alert, err
}

// configurations are what agents can be asked for, by component.
//
// Source: spec/api.md §12 "Live configuration".
var configurations = map[string][]string{
	"agent": {"client", "buffer", "labels", "internal", "anti_tampering"}, "agentless": {"agentless"},
	"analysis": {"global", "active_response", "alerts", "command", "rules", "decoders", "internal", "rule_test"},
	"auth":     {"auth"}, "com": {"active-response", "logging", "internal", "cluster"}, "csyslog": {"csyslog"}, "integrator": {"integration"},
	"logcollector": {"localfile", "socket", "internal"}, "mail": {"global", "alerts", "internal"}, "monitor": {"global", "internal", "reports"},
	"request": {"global", "remote", "internal"}, "syscheck": {"syscheck", "rootcheck", "internal"}, "wazuh-db": {"wdb", "internal"}, "wmodules": {"wmodules"},
}

// pathWord is a word of the path out of a closed set, whatever its case.
func pathWord(c *call, name string, among []string) (string, error) {
	v := strings.ToLower(c.gin.Param(name))
	if !slices.Contains(among, v) {
		slices.Sort(among)
		return "", problem.Bad("%.100q is not one of %v - '%s'", v, slices.Compact(among), name)
	}
	return v, nil
}

// ask puts a request to an agent and returns its answer.
func (a *API) ask(c *call, x *Agent, text string) (string, error) {
	if x.Status != stateActive {
		return "", problem.New(problem.ActiveOnly, "")
	}
	if a.deps.Orders == nil {
		return "", problem.New(problem.NotReady, "")
	}
	ctx, cancel := context.WithTimeout(c.ctx, askMax)
	defer cancel()
	r, err := a.deps.Orders.Do(ctx, schemas.Command{Kind: schemas.CommandRequest, AgentID: x.ID, Text: text, Origin: c.user.Name})
	switch {
	case err != nil && ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, commands.ErrBusy):
		return "", problem.New(problem.ComponentSilent, "Too many requests wait for their agents")
	case err != nil:
		a.log.Warn("an agent was not asked", "agent_id", x.ID, "err", err)
		return "", problem.New(problem.OrderFailed, "")
	case r.Status != schemas.ReplyAnswered:
		return "", problem.Newf(problem.ComponentSilent, "The agent did not answer: %.200s", r.Text)
	}
	return r.Text, nil
}

// agentConfig answers with a part of the configuration that an agent runs.
//
// Source: spec/agent-protocol.md §8a; spec/api.md §12.
func (a *API) agentConfig(c *call) (any, error) {
	component, err := pathWord(c, "component", slices.Collect(maps.Keys(configurations)))
	if err != nil {
		return nil, err
	}
	configuration, err := pathWord(c, "configuration", slices.Concat(slices.Collect(maps.Values(configurations))...))
	if err != nil {
		return nil, err
	}
	x, err := a.pathAgent(c)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(configurations[component], configuration) {
		return nil, problem.New(problem.ConfigPair, "")
	}
	if x.ID == serverID {
		return a.ownConfig(component, configuration)
	}
	answer, err := a.ask(c, x, component+" getconfig "+configuration)
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutPrefix(answer, "ok")
	var data json.RawMessage
	switch {
	case ok && json.Unmarshal([]byte(text), &data) == nil:
		return &plain{Data: data}, nil
	case strings.Contains(answer, "requested section"):
		return nil, problem.New(problem.ConfigMissing, "")
	case strings.HasPrefix(answer, "err"):
		return nil, problem.Newf(problem.ComponentDown, "The agent's component is off or does not answer: %.200s", answer)
	}
	return nil, problem.New(problem.ComponentSilent, "The agent's answer cannot be read")
}

// ownConfig answers for the server itself. Of the daemons of 4.14 there is only
// the name of the cluster to tell; the others are not there to be asked.
func (a *API) ownConfig(component, configuration string) (any, error) {
	if component != "com" || configuration != "cluster" {
		return nil, problem.New(problem.ComponentDown, "The server has no such component; see `vedette config show`")
	}
	return &plain{Data: ordered{{"cluster", ordered{
		{"name", a.cfg.Identity.Manager}, {"node_name", a.cfg.Identity.Node}, {"node_type", "master"}, {"disabled", true}, {"hidden", false},
	}}}}, nil
}

// agentStats answers with what a component of an agent has counted.
func (a *API) agentStats(c *call) (any, error) {
	component, err := pathWord(c, "component", []string{"agent", "logcollector"})
	if err != nil {
		return nil, err
	}
	l := &list{
		All: "Statistical information for each agent was successfully read", Some: "Statistical information for some agents was not read",
		None: "Statistical information for no agent was read", Items: []any{},
	}
	agents, err := a.onPath(c, l)
	if err != nil || len(agents) == 0 {
		return l, err
	}
	stats, err := a.statsOf(c, agents[0], component)
	if err != nil {
		return l, l.failWith(err, agents[0].ID)
	}
	l.Items, l.Total = []any{stats}, 1
	return l, nil
}

// statsOf asks an agent for the statistics of a component. The server collects
// no logs of its own: its log collector has counted nothing since the start.
func (a *API) statsOf(c *call, x *Agent, component string) (any, error) {
	if x.ID == serverID {
		if component == "agent" {
			return nil, problem.New(problem.OnlyRealAgents, "")
		}
		const form = "2006-01-02T15:04:05Z"
		since, now := a.cfg.Identity.Started.UTC().Format(form), c.now.UTC().Format(form)
		return ordered{
			{"global", ordered{{"start", since}, {"end", now}, {"files", []any{}}}},
			{"interval", ordered{{"start", now}, {"end", now}, {"files", []any{}}}},
		}, nil
	}
	if v := numbers(x.Version); len(v) > 0 && slices.Compare(v, []int{4, 2}) < 0 {
		return nil, problem.New(problem.OldAgent, "")
	}
	answer, err := a.ask(c, x, component+" getstate")
	if err != nil {
		return nil, err
	}
	var state struct {
		Error *int            `json:"error"`
		Data  json.RawMessage `json:"data"`
	}
	if json.Unmarshal([]byte(answer), &state) != nil || state.Error == nil || *state.Error != 0 || len(state.Data) == 0 {
		return nil, problem.Newf(problem.ComponentDown, "The agent's component is off or does not answer: %.200s", answer)
	}
	return state.Data, nil
}

// agentSynced says whether an agent has its groups' files; deprecated.
func (a *API) agentSynced(c *call) (any, error) {
	l := &list{All: "Sync info was returned for all selected agents", Some: "Sync info was not returned for some agents", None: "No sync info was returned"}
	agents, err := a.onPath(c, l)
	if err != nil {
		return nil, err
	}
	items := []ordered{}
	for _, x := range others(l, agents, true) {
		items = append(items, ordered{{"id", x.ID}, {"synced", x.Synced}})
	}
	l.Items, l.Total = items, len(items)
	return l, nil
}

// Statuses of orders that nobody has answered.
const (
	orderWaiting = "waiting"
	orderUnsent  = "unsent"
)

func orderStatus(o *commands.Order, now time.Time) string {
	switch {
	case o.Status != "":
		return string(o.Status)
	case o.Final(now):
		return orderUnsent
	}
	return orderWaiting
}

// listResponses is ours: which active responses were ordered and what came of
// them, as far as the topics reach back.
func (a *API) listResponses(c *call) (any, error) {
	l := &list{All: "All responses asked for are listed", Some: "Some responses asked for are not listed", None: "No response is listed", Items: []any{}}
	agents, err := a.permitted(c, l)
	if err != nil || a.deps.Orders == nil {
		return l, err
	}
	_, named := c.strs("agents_list")
	everyone := !named && c.perms.AllowsAll(c.op.action, "agent:id") // removed agents too
	visible := make(map[string]bool, len(agents))
	for _, x := range agents {
		visible[x.ID] = true
	}
	states, byState := c.strs("status")
	alert := c.str("alert_id")
	found := a.deps.Orders.Recent(ordersListed, func(o *commands.Order) bool {
		return o.Kind == schemas.CommandResponse && (everyone || visible[o.AgentID]) && (alert == "" || o.AlertID == alert) &&
			(!byState || slices.Contains(states, orderStatus(o, c.now)))
	})
	items := []ordered{}
	for _, o := range page(found, c.num("offset"), c.num("limit")) {
		items = append(items, orderItem(&o, c.now))
	}
	l.Items, l.Total = items, len(found)
	return l, nil
}

func orderItem(o *commands.Order, now time.Time) ordered {
	m := ordered{{"id", o.ID}, {"agent_id", o.AgentID}, {"response", o.Response}, {"status", orderStatus(o, now)}}
	add := func(key, value string) {
		if value != "" {
			m = append(m, member{key, value})
		}
	}
	date := func(key string, t time.Time) {
		if !t.IsZero() {
			add(key, t.UTC().Format(dateForm))
		}
	}
	add("result", o.Text)
	add("ordered_by", o.Origin)
	add("alert_id", o.AlertID)
	add("rule_id", o.RuleID)
	add("node", o.Node)
	date("time", o.Given)
	date("result_time", o.Changed)
	return m
}
