package alerts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/qlang"
	"vedette/internal/store"
)

// Service answers the operations on alerts.
type Service struct {
	Alerts store.Store
	Log    *slog.Logger
}

// Part returns the operations of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{Operations: []rest.Operation{rest.Op("list_alerts", a.listAlerts)}}
}

// visibleAgentsMax bounds the agents a caller who may not see all can search.
const visibleAgentsMax = 1000

type listAlerts struct {
	Agents rest.Targets[*agents.Agent] `all:"agent:id"`
	From   string                      `param:"from"`
	To     string                      `param:"to"`
	Text   string                      `param:"text"`
}

// query returns the search that a request asks for, without its agents.
func (p *listAlerts) query(c *rest.Call) (q store.Query, err error) {
	// Both are looked up in one index of words.
	q = store.Query{Text: strings.TrimSpace(p.Text + " " + c.Search), Offset: c.Offset, Limit: c.Limit, Now: c.Now}
	if q.Offset > store.MaxWindow || q.Offset+q.Limit > store.MaxWindow {
		return q, problem.Newf(problem.LimitTooHigh, "offset and limit together are above %d", store.MaxWindow)
	}
	if c.Query != "" {
		if q.Filter, err = qlang.Parse(c.Query); err != nil {
			return q, rest.QueryProblem(err)
		}
	}
	if p.From != "" {
		q.From, _ = rest.Moment(p.From, c.Now)
	}
	if p.To != "" {
		q.To, _ = rest.Moment(p.To, c.Now)
	}
	if s := strings.TrimSpace(c.Sort); s != "" {
		desc := strings.HasPrefix(s, "-")
		for f := range strings.SplitSeq(strings.TrimLeft(s, "+- "), ",") {
			f = strings.TrimSpace(f)
			if !slices.Contains(alertSorts, f) {
				return q, problem.Newf(problem.UnknownSort, "It is not possible to sort by %.100q; there are: %s", f, strings.Join(alertSorts, ", "))
			}
			q.Sort = append(q.Sort, store.Order{Field: f, Desc: desc})
		}
	}
	return q, nil
}

// listAlerts is ours: 4.14 has no endpoint for alerts.
func (a *Service) listAlerts(c *rest.Call, p *listAlerts) (rest.Answer, error) {
	l := &rest.List[any]{Messages: rest.Messages{All: "All alerts asked for are listed", Some: "Some alerts asked for are not listed", None: "No alert is listed"}}
	q, err := p.query(c)
	if err != nil {
		return nil, err
	}
	if !p.Agents.All {
		chosen := p.Agents.Items()
		switch {
		case len(chosen) == 0:
			return l, nil
		case len(chosen) > visibleAgentsMax:
			return nil, problem.Bad("The caller may read the alerts of %d agents, but not of all; more than %d cannot be searched at once", len(chosen), visibleAgentsMax)
		}
		var some []*qlang.Expr
		for _, x := range chosen {
			some = append(some, qlang.Is("agent.id", x.ID))
		}
		q.Filter = qlang.AllOf(q.Filter, qlang.AnyOf(some...))
	}
	found, err := a.Alerts.Search(c.Ctx, q)
	if err != nil {
		return nil, a.searchProblem(c, err)
	}
	l.Total = found.Total
	l.Items, err = selectFields(found.Items, c.Select)
	return l, err
}

// searchProblem gives an error of the store its code.
func (a *Service) searchProblem(c *rest.Call, err error) error {
	var syntax *qlang.Error
	switch {
	case errors.As(err, &syntax):
		return rest.QueryProblem(err)
	case errors.Is(err, store.ErrQuery):
		return problem.Bad("%s", err.Error())
	case c.Ctx.Err() != nil:
		return c.Ctx.Err()
	}
	a.Log.Warn("alerts not searched", "err", err)
	return problem.New(problem.StoreFailed, "")
}

// alertSorts are the fields that alerts can be sorted by in either store.
var alertSorts = []string{
	"timestamp", "id", "rule.id", "rule.level", "rule.description", "rule.firedtimes", "agent.id", "agent.name", "agent.ip", "manager.name",
	"decoder.name", "location", "data.srcip", "data.dstip", "data.srcport", "data.dstport", "data.srcuser", "data.dstuser", "syscheck.path", "syscheck.event",
}

// selectFields leaves the named parts of documents, nil for all; an alert may lack
// any of them.
func selectFields(docs []json.RawMessage, fields []string) ([]any, error) {
	out := make([]any, 0, len(docs))
	for _, d := range docs {
		if fields == nil {
			out = append(out, d)
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(d))
		dec.UseNumber()
		var m map[string]any
		if err := dec.Decode(&m); err != nil {
			return nil, fmt.Errorf("read alert: %w", err)
		}
		out = append(out, rest.Project(m, fields))
	}
	return out, nil
}
