package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vedette/api/problem"
	"vedette/internal/qlang"
	"vedette/internal/store"
)

// visibleAgentsMax bounds the agents a caller who may not see all can search.
const visibleAgentsMax = 1000

// listAlerts is ours: 4.14 has no endpoint for alerts.
func (a *API) listAlerts(c *call) (any, error) {
	l := &list{All: "All alerts asked for are listed", Some: "Some alerts asked for are not listed", None: "No alert is listed", Items: []json.RawMessage{}}
	// Both are looked up in one index of words.
	q := store.Query{Text: strings.TrimSpace(c.str("text") + " " + c.str("search")), Offset: c.num("offset"), Limit: c.num("limit"), Now: c.now}
	if q.Offset > store.MaxWindow || q.Offset+q.Limit > store.MaxWindow {
		return nil, problem.Newf(problem.LimitTooHigh, "offset and limit together are above %d", store.MaxWindow)
	}
	if s := c.str("q"); s != "" {
		x, err := qlang.Parse(s)
		if err != nil {
			return nil, queryProblem(err)
		}
		q.Filter = x
	}
	for _, m := range []struct {
		name string
		to   *time.Time
	}{{"from", &q.From}, {"to", &q.To}} {
		if s := c.str(m.name); s != "" {
			*m.to, _ = moment(s, c.now)
		}
	}
	if s := strings.TrimSpace(c.str("sort")); s != "" {
		desc := strings.HasPrefix(s, "-")
		for f := range strings.SplitSeq(strings.TrimLeft(s, "+- "), ",") {
			f = strings.TrimSpace(f)
			if !slices.Contains(alertSorts, f) {
				return nil, problem.Newf(problem.UnknownSort, "It is not possible to sort by %.100q; there are: %s", f, strings.Join(alertSorts, ", "))
			}
			q.Sort = append(q.Sort, store.Order{Field: f, Desc: desc})
		}
	}
	switch ids, all := a.visibleAgents(c); {
	case all:
	case len(ids) == 0:
		return l, nil
	case len(ids) > visibleAgentsMax:
		return nil, problem.Bad("The caller may read the alerts of %d agents, but not of all; more than %d cannot be searched at once", len(ids), visibleAgentsMax)
	default:
		var some []*qlang.Expr
		for _, id := range ids {
			some = append(some, qlang.Is("agent.id", id))
		}
		q.Filter = qlang.AllOf(q.Filter, qlang.AnyOf(some...))
	}
	p, err := a.deps.Alerts.Search(c.ctx, q)
	var syntax *qlang.Error
	switch {
	case errors.As(err, &syntax):
		return nil, queryProblem(err)
	case errors.Is(err, store.ErrQuery):
		return nil, problem.Bad("%s", err.Error())
	case err != nil && c.ctx.Err() != nil:
		return nil, c.ctx.Err()
	case err != nil:
		a.log.Warn("alerts not searched", "err", err)
		return nil, problem.New(problem.StoreFailed, "")
	}
	if fields, ok := c.strs("select"); ok {
		if l.Items, err = selectFields(p.Items, fields); err != nil {
			return nil, err
		}
	} else if p.Items != nil {
		l.Items = p.Items
	}
	l.Total = p.Total
	return l, nil
}

// alertSorts are the fields that alerts can be sorted by in either store.
var alertSorts = []string{
	"timestamp", "id", "rule.id", "rule.level", "rule.description", "rule.firedtimes", "agent.id", "agent.name", "agent.ip", "manager.name",
	"decoder.name", "location", "data.srcip", "data.dstip", "data.srcport", "data.dstport", "data.srcuser", "data.dstuser", "syscheck.path", "syscheck.event",
}

// selectFields leaves the named parts of documents; an alert may lack any of them.
func selectFields(docs []json.RawMessage, fields []string) ([]any, error) {
	out := make([]any, 0, len(docs))
	for _, d := range docs {
		dec := json.NewDecoder(bytes.NewReader(d))
		dec.UseNumber()
		var m map[string]any
		if err := dec.Decode(&m); err != nil {
			return nil, fmt.Errorf("read alert: %w", err)
		}
		out = append(out, project(m, fields))
	}
	return out, nil
}

// momentForm reports whether s is a moment.
func momentForm(s string) bool {
	_, ok := moment(s, time.Unix(0, 0))
	return ok
}

// moment reads a date, an RFC 3339 time, `now` or `now-1h`.
func moment(s string, now time.Time) (time.Time, bool) {
	if t, ok := qlang.ParseTime(s); ok {
		return t, true
	}
	rest, ok := strings.CutPrefix(s, "now")
	if !ok || rest == "" {
		return now, ok
	}
	d, ok := qlang.ParsePeriod(strings.TrimPrefix(rest, "-"))
	return now.Add(-d), ok && rest[0] == '-'
}
