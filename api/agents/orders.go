package agents

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"vedette/api/problem"
	"vedette/api/rest"
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
	// OrdersListed bounds the orders that one request looks at.
	OrdersListed = 100_000
	// restartResponse is the name under which agents know a restart.
	//
	// Source: spec/active-response.md §1 "ar.conf" and §3.
	restartResponse = "restart-wazuh0"
	restartLegacy   = "restart-ossec0 - null (from_the_server) (no_rule_id)"
)

// StateActive is the only state in which an agent can be told something.
const StateActive = string(schemas.StateActive)

// StateNever is the state of agents that have not connected yet.
const StateNever = string(schemas.StateNeverConnected)

// Give gives orders, and says so if that does not work.
func (a *Service) Give(c *rest.Call, cmds []schemas.Command) error {
	if len(cmds) == 0 {
		return nil
	}
	if a.Orders == nil {
		return problem.New(problem.NotReady, "")
	}
	err := a.Orders.Give(c.Ctx, cmds...)
	if err != nil && c.Ctx.Err() == nil {
		a.Log.Warn("orders not given", "err", err)
		return problem.New(problem.OrderFailed, "")
	}
	return err
}

// Order gives each agent its order, or lists it as failed with
// the code of order.
func (a *Service) Order(c *rest.Call, m rest.Messages, agents []*Agent, order func(x *Agent) (schemas.Command, problem.Code)) (rest.Answer, error) {
	cmds, done := []schemas.Command{}, []string{}
	for _, x := range agents {
		cmd, refused := order(x)
		if refused != 0 {
			c.Fail(refused, x.ID)
			continue
		}
		cmd.AgentID, cmd.Origin = x.ID, c.User.Name
		cmds, done = append(cmds, cmd), append(done, x.ID)
	}
	return rest.Items(done, m), a.Give(c, cmds)
}

// Restart tells active agents to restart; others are failed items.
func (a *Service) Restart(c *rest.Call, agents []*Agent) (rest.Answer, error) {
	text, err := responses.Message(restartResponse, a.Identity.Node, nil, nil)
	if err != nil {
		return nil, err
	}
	m := rest.Messages{All: "Restart command was sent to all agents", Some: "Restart command was not sent to some agents", None: "Restart command was not sent to any agent"}
	return a.Order(c, m, agents, func(x *Agent) (schemas.Command, problem.Code) {
		if x.Status != StateActive {
			return schemas.Command{}, problem.AgentNotActive
		}
		return schemas.Command{Kind: schemas.CommandResponse, Text: text, Legacy: restartLegacy, Response: restartResponse}, 0
	})
}

// Some is for operations on the agents named, or on all.
type Some struct {
	Agents rest.Targets[*Agent] `param:"agents_list"`
}

func (a *Service) restartAgents(c *rest.Call, p *Some) (rest.Answer, error) {
	return a.Restart(c, Real(c, &p.Agents))
}

func (a *Service) restartAgent(c *rest.Call, p *One) (rest.Answer, error) {
	return a.Restart(c, Real(c, &p.Agents))
}

// node is the name of a node that agents report to.
type node string

// nodes returns this node and those that agents report to.
func (a *Service) nodes() []node {
	out := []node{node(a.Identity.Node)}
	for _, x := range a.Agents.List() {
		if x.Node != UnknownNode && !slices.Contains(out, node(x.Node)) {
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
func (a *Service) restartNode(c *rest.Call, p *restartNode) (rest.Answer, error) {
	return a.Restart(c, slices.DeleteFunc(Others(nil, p.Agents.Items()), func(x *Agent) bool { return x.Node != string(p.Node) }))
}

func (a *Service) reconnectAgents(c *rest.Call, p *Some) (rest.Answer, error) {
	m := rest.Messages{All: "Force reconnect command was sent to all agents", Some: "Force reconnect command was not sent to some agents", None: "Force reconnect command was not sent to any agent"}
	return a.Order(c, m, Real(c, &p.Agents), func(x *Agent) (schemas.Command, problem.Code) {
		if x.Status != StateActive {
			return schemas.Command{}, problem.AgentNotActive
		}
		return schemas.Command{Kind: schemas.CommandControl, Text: "force_reconnect"}, 0
	})
}

// configurations are the sections that agents answer for, by component.
//
// Source: spec/api.md §12 "Live configuration".
var configurations = map[string][]string{
	"agent": {"client", "buffer", "labels", "internal", "anti_tampering"}, "agentless": {"agentless"},
	"analysis": {"global", "active_response", "alerts", "command", "rules", "decoders", "internal", "rule_test"},
	"auth":     {"auth"}, "com": {"active-response", "logging", "internal", "cluster"}, "csyslog": {"csyslog"}, "integrator": {"integration"},
	"logcollector": {"localfile", "socket", "internal"}, "mail": {"global", "alerts", "internal"}, "monitor": {"global", "internal", "reports"},
	"request": {"global", "remote", "internal"}, "syscheck": {"syscheck", "rootcheck", "internal"}, "wazuh-db": {"wdb", "internal"}, "wmodules": {"wmodules"},
}

// HasConfiguration reports whether a component has a part of a configuration under
// that name.
func HasConfiguration(component, configuration string) bool {
	return slices.Contains(configurations[component], configuration)
}

// ask puts a request to an agent and returns its answer.
func (a *Service) ask(c *rest.Call, x *Agent, text string) (string, error) {
	if x.Status != StateActive {
		return "", problem.New(problem.ActiveOnly, "")
	}
	if a.Orders == nil {
		return "", problem.New(problem.NotReady, "")
	}
	ctx, cancel := context.WithTimeout(c.Ctx, askMax)
	defer cancel()
	r, err := a.Orders.Do(ctx, schemas.Command{Kind: schemas.CommandRequest, AgentID: x.ID, Text: text, Origin: c.User.Name})
	switch {
	case err != nil && ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, commands.ErrBusy):
		return "", problem.New(problem.ComponentSilent, "Too many requests wait for their agents")
	case err != nil:
		a.Log.Warn("an agent was not asked", "agent_id", x.ID, "err", err)
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
func (a *Service) agentConfig(c *rest.Call, p *agentConfig) (rest.Answer, error) {
	x, component, configuration := p.Agent, p.Component, p.Configuration
	if !HasConfiguration(component, configuration) {
		return nil, problem.New(problem.ConfigPair, "")
	}
	if x.ID == ServerID {
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

// ownConfig answers for the server itself.
func (a *Service) ownConfig(component, configuration string) (rest.Answer, error) {
	if a.Own == nil {
		return nil, problem.New(problem.ComponentDown, "")
	}
	value, err := a.Own(component, configuration)
	if err != nil {
		return nil, err
	}
	return &rest.Data{Data: value}, nil
}

type agentStats struct {
	Agents    rest.Targets[*Agent] `param:"agent_id"`
	Component string               `param:"component"`
}

// agentStats answers with the counters of one component of an agent.
func (a *Service) agentStats(c *rest.Call, p *agentStats) (rest.Answer, error) {
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
func (a *Service) statsOf(c *rest.Call, x *Agent, component string) (any, error) {
	if x.ID == ServerID {
		if component == "agent" {
			return nil, problem.New(problem.OnlyRealAgents, "")
		}
		const form = "2006-01-02T15:04:05Z"
		since, now := a.Identity.Started.UTC().Format(form), c.Now.UTC().Format(form)
		return rest.Ordered{
			{Key: "global", Value: rest.Ordered{{Key: "start", Value: since}, {Key: "end", Value: now}, {Key: "files", Value: []any{}}}},
			{Key: "interval", Value: rest.Ordered{{Key: "start", Value: now}, {Key: "end", Value: now}, {Key: "files", Value: []any{}}}},
		}, nil
	}
	if v := Numbers(x.Version); len(v) > 0 && slices.Compare(v, []int{4, 2}) < 0 {
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
func (a *Service) agentSynced(c *rest.Call, p *One) (rest.Answer, error) {
	items := []rest.Ordered{}
	for _, x := range Real(c, &p.Agents) {
		items = append(items, rest.Ordered{{Key: "id", Value: x.ID}, {Key: "synced", Value: x.ConfigStatus == Synced}})
	}
	return rest.Items(items, rest.Messages{All: "Sync info was returned for all selected agents", Some: "Sync info was not returned for some agents", None: "No sync info was returned"}), nil
}
