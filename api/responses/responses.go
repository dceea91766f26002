package responses

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/commands"
	"vedette/internal/responses"
	"vedette/schemas"
)

// Service answers the operations on active responses.
type Service struct {
	*agents.Service
	// ARConf is the file by which agents know responses.
	ARConf []byte
}

// Part returns the operations of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{Operations: []rest.Operation{rest.Op("run_response", a.runResponse), rest.Op("list_responses", a.listResponses)}}
}

const (
	// responsesAskMax bounds the agents of one request that are asked whether they
	// respond at all, responsesAskAtOnce those asked at a time, and
	// responsesAskTime how long all of that may take.
	responsesAskMax    = 1000
	responsesAskAtOnce = 64
	responsesAskTime   = 3 * time.Second
)

type runResponse struct {
	Agents rest.Targets[*agents.Agent] `param:"agents_list"`
	Body   struct {
		Command   string          `json:"command"`
		Arguments []string        `json:"arguments"`
		Alert     json.RawMessage `json:"alert"`
	} `body:"json"`
}

// runResponse has agents, or the server, run an active response.
//
// Source: spec/active-response.md §3 and §4.
func (a *Service) runResponse(c *rest.Call, p *runResponse) (rest.Answer, error) {
	text, err := a.responseText(p.Body.Command, p.Body.Arguments, p.Body.Alert)
	if err != nil {
		return nil, err
	}
	chosen := p.Agents.Items()
	if !p.Agents.Named { // the server responds only when it is named
		chosen = agents.Others(nil, chosen)
	}
	off := a.responsesOff(c, chosen)
	m := rest.Messages{All: "AR command was sent to all agents", Some: "AR command was not sent to some agents", None: "AR command was not sent to any agent"}
	return a.Order(c, m, chosen, func(x *agents.Agent) (schemas.Command, problem.Code) {
		switch {
		case x.Status != agents.StateActive:
			return schemas.Command{}, problem.AgentNotActive
		case off[x.ID]:
			return schemas.Command{}, problem.ResponsesOff
		}
		return schemas.Command{Kind: schemas.CommandResponse, Text: text, Response: p.Body.Command}, 0
	})
}

// responseText returns the message that has an agent run a response.
func (a *Service) responseText(name string, args []string, alert []byte) (string, error) {
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
	text, err := responses.Message(name, a.Identity.Node, args, alert)
	if err == nil && (len(text) > schemas.MaxCommandText-64 || strings.IndexByte(text, 0) >= 0) {
		err = problem.Bad("The arguments and the alert take %d bytes, at most %d", len(text), schemas.MaxCommandText-64)
	}
	return text, err
}

// responsesOff asks the active agents whether they have responses switched off,
// and returns those that say so. It takes responsesAskTime at most. Agents
// that do not answer by then get the order nevertheless. Where more than
// responsesAskMax agents would have to be asked, none is asked.
//
// Source: spec/agent-protocol.md §8a "Observed forms".
func (a *Service) responsesOff(c *rest.Call, chosen []*agents.Agent) map[string]bool {
	var ids []string
	for _, x := range chosen {
		if x.Status == agents.StateActive && x.ID != agents.ServerID {
			ids = append(ids, x.ID)
		}
	}
	off := map[string]bool{}
	if len(ids) > responsesAskMax || a.Orders == nil {
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
				r, err := a.Orders.Do(ctx, schemas.Command{
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
func (a *Service) knownResponse(identity string) bool {
	for line := range strings.Lines(string(a.ARConf)) {
		if have, _, ok := strings.Cut(line, " - "); ok && have == identity {
			return true
		}
	}
	return false
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
	Agents  rest.Targets[*agents.Agent] `param:"agents_list"`
	Status  []string                    `param:"status"`
	AlertID string                      `param:"alert_id"`
}

// listResponses is an operation of ours: the active responses that were ordered
// and their outcomes, as far as the topics reach back.
func (a *Service) listResponses(c *rest.Call, p *listResponses) (rest.Answer, error) {
	l := rest.Items([]rest.Ordered{}, rest.Messages{All: "All responses asked for are listed", Some: "Some responses asked for are not listed", None: "No response is listed"})
	if a.Orders == nil {
		return l, nil
	}
	visible := map[string]bool{}
	if !p.Agents.All { // removed agents too
		for _, x := range p.Agents.Items() {
			visible[x.ID] = true
		}
	}
	found := a.Orders.Recent(agents.OrdersListed, func(o *commands.Order) bool {
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
