package api

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"vedette/api/rest"

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
func (a *API) give(c *rest.Call, cmds []schemas.Command) error {
	if len(cmds) == 0 {
		return nil
	}
	if a.deps.Orders == nil {
		return problem.New(problem.NotReady, "")
	}
	err := a.deps.Orders.Give(c.Ctx, cmds...)
	if err != nil && c.Ctx.Err() == nil {
		a.log.Warn("orders not given", "err", err)
		return problem.New(problem.OrderFailed, "")
	}
	return err
}

// order gives each agent the order that make says, or lists it as failed with
// the code that make says.
func (a *API) order(c *rest.Call, m rest.Messages, agents []*Agent, make func(x *Agent) (schemas.Command, problem.Code)) (rest.Answer, error) {
	cmds, done := []schemas.Command{}, []string{}
	for _, x := range agents {
		cmd, refused := make(x)
		if refused != 0 {
			c.Fail(refused, x.ID)
			continue
		}
		cmd.AgentID, cmd.Origin = x.ID, c.User.Name
		cmds, done = append(cmds, cmd), append(done, x.ID)
	}
	return rest.Items(done, m), a.give(c, cmds)
}

func (a *API) restart(c *rest.Call, agents []*Agent) (rest.Answer, error) {
	text, err := responses.Message(restartResponse, a.cfg.Identity.Node, nil, nil)
	if err != nil {
		return nil, err
	}
	m := rest.Messages{All: "Restart command was sent to all agents", Some: "Restart command was not sent to some agents", None: "Restart command was not sent to any agent"}
	return a.order(c, m, agents, func(x *Agent) (schemas.Command, problem.Code) {
		if x.Status != stateActive {
			return schemas.Command{}, problem.AgentNotActive
		}
		return schemas.Command{Kind: schemas.CommandResponse, Text: text, Legacy: restartLegacy, Response: restartResponse}, 0
	})
}

// someAgents is for operations on the agents named, or on all.
type someAgents struct {
	Agents rest.Targets[*Agent] `param:"agents_list"`
}

func (a *API) restartAgents(c *rest.Call, p *someAgents) (rest.Answer, error) {
	return a.restart(c, realAgents(c, &p.Agents))
}

func (a *API) restartAgent(c *rest.Call, p *oneAgent) (rest.Answer, error) {
	return a.restart(c, realAgents(c, &p.Agents))
}

type restartGroup struct {
	Group  string               `param:"group_id"`
	Agents rest.Targets[*Agent] `all:"agent:id"`
}

func (a *API) restartGroup(c *rest.Call, p *restartGroup) (rest.Answer, error) {
	if !slices.ContainsFunc(a.deps.Groups.Groups(), func(g Group) bool { return g.Name == p.Group }) {
		return nil, problem.New(problem.NoGroup, "")
	}
	return a.restart(c, slices.DeleteFunc(p.Agents.Items(), func(x *Agent) bool { return !slices.Contains(x.Groups, p.Group) }))
}

// node is the name of a node that agents report to.
type node string

// nodes returns this node and those that agents report to.
func (a *API) nodes() []node {
	out := []node{node(a.cfg.Identity.Node)}
	for _, x := range a.deps.Agents.List() {
		if x.Node != unknownNode && !slices.Contains(out, node(x.Node)) {
			out = append(out, node(x.Node))
		}
	}
	return out
}

type restartNode struct {
	Node   node                 `param:"node_id"`
	Agents rest.Targets[*Agent] `all:"agent:id"`
}

// restartNode tells the agents that report to a node to restart.
//
// Source: spec/api.md §11 (a node that is not known).
func (a *API) restartNode(c *rest.Call, p *restartNode) (rest.Answer, error) {
	return a.restart(c, slices.DeleteFunc(others(nil, p.Agents.Items()), func(x *Agent) bool { return x.Node != string(p.Node) }))
}

func (a *API) reconnectAgents(c *rest.Call, p *someAgents) (rest.Answer, error) {
	m := rest.Messages{All: "Force reconnect command was sent to all agents", Some: "Force reconnect command was not sent to some agents", None: "Force reconnect command was not sent to any agent"}
	return a.order(c, m, realAgents(c, &p.Agents), func(x *Agent) (schemas.Command, problem.Code) {
		if x.Status != stateActive {
			return schemas.Command{}, problem.AgentNotActive
		}
		return schemas.Command{Kind: schemas.CommandControl, Text: "force_reconnect"}, 0
	})
}

type runResponse struct {
	Agents rest.Targets[*Agent] `param:"agents_list"`
	Body   struct {
		Command   string          `json:"command"`
		Arguments []string        `json:"arguments"`
		Alert     json.RawMessage `json:"alert"`
	} `body:"json"`
}

// runResponse has agents, or the server, run an active response.
//
// Source: spec/active-response.md §3 and §4.
func (a *API) runResponse(c *rest.Call, p *runResponse) (rest.Answer, error) {
	text, err := a.responseText(p.Body.Command, p.Body.Arguments, p.Body.Alert)
	if err != nil {
		return nil, err
	}
	agents := p.Agents.Items()
	if !p.Agents.Named { // the server responds only when it is named
		agents = others(nil, agents)
	}
	off := a.responsesOff(c, agents)
	m := rest.Messages{All: "AR command was sent to all agents", Some: "AR command was not sent to some agents", None: "AR command was not sent to any agent"}
	return a.order(c, m, agents, func(x *Agent) (schemas.Command, problem.Code) {
		switch {
		case x.Status != stateActive:
			return schemas.Command{}, problem.AgentNotActive
		case off[x.ID]:
			return schemas.Command{}, problem.ResponsesOff
		}
		return schemas.Command{Kind: schemas.CommandResponse, Text: text, Response: p.Body.Command}, 0
	})
}

// responseText returns the message that has an agent run a response.
func (a *API) responseText(name string, args []string, alert []byte) (string, error) {
	script, ok := strings.CutPrefix(name, "!")
	switch {
	case name == "":
		return "", problem.New(problem.NoCommand, "")
	case ok && (script == "" || strings.ContainsAny(script, "/\\ \t\r\n\x00") || strings.HasPrefix(script, ".") || strings.Contains(script, "..")):
		return "", problem.Newf(problem.CommandUnknown, "%.100q is no script's plain name", script)
	case !ok && !a.knownResponse(name):
		return "", problem.Newf(problem.CommandUnknown, "There is no response %.100q; it is named as in ar.conf, with its timeout, and a script with ! in front", name)
	}
	if alert != nil { // its members in the order of their names
		var v any
		if err := json.Unmarshal(alert, &v); err != nil {
			return "", err
		}
		var err error
		if alert, err = rest.Encode(v); err != nil {
			return "", err
		}
	}
	text, err := responses.Message(name, a.cfg.Identity.Node, args, alert)
	if err == nil && (len(text) > schemas.MaxCommandText-64 || strings.IndexByte(text, 0) >= 0) {
		err = problem.Bad("The arguments and the alert take %d bytes, at most %d", len(text), schemas.MaxCommandText-64)
	}
	return text, err
}

// responsesOff asks the active agents whether they have responses switched off,
// and returns those that say so. It takes responsesAskTime at most; what does not
// answer until then is told to respond as if it had not been asked, and so is
// everybody where more than responsesAskMax would have to be asked.
//
// Source: spec/agent-protocol.md §8a "Observed forms".
func (a *API) responsesOff(c *rest.Call, agents []*Agent) map[string]bool {
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
	ctx, cancel := context.WithTimeout(c.Ctx, responsesAskTime)
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
					Kind: schemas.CommandRequest, AgentID: id, Text: "com getconfig active-response", Origin: c.User.Name,
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

// ask puts a request to an agent and returns its answer.
func (a *API) ask(c *rest.Call, x *Agent, text string) (string, error) {
	if x.Status != stateActive {
		return "", problem.New(problem.ActiveOnly, "")
	}
	if a.deps.Orders == nil {
		return "", problem.New(problem.NotReady, "")
	}
	ctx, cancel := context.WithTimeout(c.Ctx, askMax)
	defer cancel()
	r, err := a.deps.Orders.Do(ctx, schemas.Command{Kind: schemas.CommandRequest, AgentID: x.ID, Text: text, Origin: c.User.Name})
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

type agentConfig struct {
	Agent         *Agent `param:"agent_id"`
	Component     string `param:"component"`
	Configuration string `param:"configuration"`
}

// agentConfig answers with a part of the configuration that an agent runs.
//
// Source: spec/agent-protocol.md §8a; spec/api.md §12.
func (a *API) agentConfig(c *rest.Call, p *agentConfig) (rest.Answer, error) {
	x, component, configuration := p.Agent, p.Component, p.Configuration
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
		return &rest.Data{Data: data}, nil
	case strings.Contains(answer, "requested section"):
		return nil, problem.New(problem.ConfigMissing, "")
	case strings.HasPrefix(answer, "err"):
		return nil, problem.Newf(problem.ComponentDown, "The agent's component is off or does not answer: %.200s", answer)
	}
	return nil, problem.New(problem.ComponentSilent, "The agent's answer cannot be read")
}

// ownConfig answers for the server itself. Of the daemons of 4.14 there is only
// the name of the cluster to tell; the others are not there to be asked.
func (a *API) ownConfig(component, configuration string) (rest.Answer, error) {
	if component != "com" || configuration != "cluster" {
		return nil, problem.New(problem.ComponentDown, "The server has no such component; see `vedette config show`")
	}
	return &rest.Data{Data: rest.Ordered{{Key: "cluster", Value: rest.Ordered{
		{Key: "name", Value: a.cfg.Identity.Manager}, {Key: "node_name", Value: a.cfg.Identity.Node}, {Key: "node_type", Value: "master"}, {Key: "disabled", Value: true}, {Key: "hidden", Value: false},
	}}}}, nil
}

type agentStats struct {
	Agents    rest.Targets[*Agent] `param:"agent_id"`
	Component string               `param:"component"`
}

// agentStats answers with what a component of an agent has counted.
func (a *API) agentStats(c *rest.Call, p *agentStats) (rest.Answer, error) {
	items := []any{}
	for _, x := range p.Agents.Items() {
		stats, err := a.statsOf(c, x, p.Component)
		if err == nil {
			items = append(items, stats)
		} else if err := c.FailWith(err, x.ID); err != nil {
			return nil, err
		}
	}
	return rest.Items(items, rest.Messages{
		All: "Statistical information for each agent was successfully read", Some: "Statistical information for some agents was not read",
		None: "Statistical information for no agent was read",
	}), nil
}

// statsOf asks an agent for the statistics of a component. The server collects
// no logs of its own: its log collector has counted nothing since the start.
func (a *API) statsOf(c *rest.Call, x *Agent, component string) (any, error) {
	if x.ID == serverID {
		if component == "agent" {
			return nil, problem.New(problem.OnlyRealAgents, "")
		}
		const form = "2006-01-02T15:04:05Z"
		since, now := a.cfg.Identity.Started.UTC().Format(form), c.Now.UTC().Format(form)
		return rest.Ordered{
			{Key: "global", Value: rest.Ordered{{Key: "start", Value: since}, {Key: "end", Value: now}, {Key: "files", Value: []any{}}}},
			{Key: "interval", Value: rest.Ordered{{Key: "start", Value: now}, {Key: "end", Value: now}, {Key: "files", Value: []any{}}}},
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
func (a *API) agentSynced(c *rest.Call, p *oneAgent) (rest.Answer, error) {
	items := []rest.Ordered{}
	for _, x := range realAgents(c, &p.Agents) {
		items = append(items, rest.Ordered{{Key: "id", Value: x.ID}, {Key: "synced", Value: x.ConfigStatus == synced}})
	}
	return rest.Items(items, rest.Messages{All: "Sync info was returned for all selected agents", Some: "Sync info was not returned for some agents", None: "No sync info was returned"}), nil
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

type listResponses struct {
	Agents  rest.Targets[*Agent] `param:"agents_list"`
	Status  []string             `param:"status"`
	AlertID string               `param:"alert_id"`
}

// listResponses is ours: which active responses were ordered and what came of
// them, as far as the topics reach back.
func (a *API) listResponses(c *rest.Call, p *listResponses) (rest.Answer, error) {
	l := rest.Items([]rest.Ordered{}, rest.Messages{All: "All responses asked for are listed", Some: "Some responses asked for are not listed", None: "No response is listed"})
	if a.deps.Orders == nil {
		return l, nil
	}
	visible := map[string]bool{}
	if !p.Agents.All { // removed agents too
		for _, x := range p.Agents.Items() {
			visible[x.ID] = true
		}
	}
	found := a.deps.Orders.Recent(ordersListed, func(o *commands.Order) bool {
		return o.Kind == schemas.CommandResponse && (p.Agents.All || visible[o.AgentID]) && (p.AlertID == "" || o.AlertID == p.AlertID) &&
			(p.Status == nil || slices.Contains(p.Status, orderStatus(o, c.Now)))
	})
	for _, o := range rest.Cut(found, c.Offset, c.Limit) {
		l.Items = append(l.Items, orderItem(&o, c.Now))
	}
	l.Total = len(found)
	return l, nil
}

func orderItem(o *commands.Order, now time.Time) rest.Ordered {
	m := rest.Ordered{{Key: "id", Value: o.ID}, {Key: "agent_id", Value: o.AgentID}, {Key: "response", Value: o.Response}, {Key: "status", Value: orderStatus(o, now)}}
	add := func(key, value string) {
		if value != "" {
			m = append(m, rest.Member{Key: key, Value: value})
		}
	}
	date := func(key string, t time.Time) {
		if !t.IsZero() {
			add(key, t.UTC().Format("2006-01-02T15:04:05+00:00"))
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
