package api

import (
	"errors"
	"slices"
	"time"

	"vedette/api/problem"
)

func (a *API) listRulesets(*call) (any, error) {
	l := &list{Items: []any{}, All: "The versions of the ruleset are listed", None: "No ruleset has been published"}
	l.Some = l.All
	if a.deps.Rulesets == nil {
		return l, nil
	}
	items := []any{}
	for _, v := range a.deps.Rulesets.Versions() {
		workers := []ordered{}
		for _, w := range v.Workers {
			workers = append(workers, ordered{{"node", w.Node}, {"partitions", w.Partitions}})
		}
		items = append(items, ordered{
			{"version", v.Version}, {"published", v.Published.UTC().Format(time.RFC3339)}, {"node", v.Node}, {"files", v.Files},
			{"current", v.Current}, {"workers", workers},
		})
	}
	l.Items, l.Total = items, len(items)
	return l, nil
}

func (a *API) reloadRuleset(c *call) (any, error) {
	if a.deps.Rulesets == nil {
		return nil, problem.New(problem.ReloadFailed, "No ruleset runs in this process")
	}
	if err := a.deps.Rulesets.Reload(c.ctx); err != nil {
		return nil, problem.New(problem.ReloadFailed, err.Error())
	}
	return single(ordered{{"name", a.cfg.Identity.Node}, {"msg", "Ruleset reload request sent successfully."}}, "Reload request sent to all specified nodes"), nil
}

func (a *API) promoteRuleset(c *call) (any, error) {
	if a.deps.Rulesets == nil {
		return nil, problem.New(problem.ReloadFailed, "No ruleset runs in this process")
	}
	version, err := a.deps.Rulesets.Promote(c.ctx, c.str("version"))
	switch {
	case errors.Is(err, ErrNoRuleset):
		return nil, problem.New(problem.NoRuleset, "")
	case err != nil && c.ctx.Err() != nil:
		return nil, c.ctx.Err()
	case err != nil:
		return nil, problem.New(problem.ReloadFailed, err.Error())
	}
	return single(ordered{{"version", version}, {"msg", "Each worker changes over at the next event of each partition"}}, "The version of the ruleset is current"), nil
}

// summarizeShadow shows logs only of agents whose alerts the caller may read.
func (a *API) summarizeShadow(c *call) (any, error) {
	l := &list{Items: []any{}, All: "What the shadow ruleset would change is listed", None: "The shadow ruleset would change nothing, or there is none"}
	l.Some = l.All
	ids, all := a.visibleAgents(c)
	if a.deps.Shadow == nil || !all && len(ids) == 0 {
		return l, nil
	}
	s, err := a.deps.Shadow(c.ctx)
	if err != nil {
		if c.ctx.Err() != nil {
			return nil, c.ctx.Err()
		}
		a.log.Warn("the shadow ruleset's differences were not read", "err", err)
		return nil, problem.New(problem.ShadowFailed, "")
	}
	items := []any{}
	for _, r := range s.Rules {
		o := ordered{{"rule", r.ID}, {"level", r.Level}}
		if all || slices.Contains(ids, r.Last.AgentID) {
			x := &r.Last
			o = append(o, member{"description", r.Description}, member{"last", ordered{
				{"kind", x.Kind}, {"timestamp", x.Time.Format("2006-01-02T15:04:05.000Z")}, {"agent", ordered{{"id", x.AgentID}, {"name", x.AgentName}}}, {"location", x.Location},
				{"was", x.Was}, {"now", x.Now}, {"event", ordered{{"partition", x.Partition}, {"offset", x.Offset}}}, {"full_log", x.FullLog},
			}})
		}
		items = append(items, append(o, member{"added", r.Added}, member{"removed", r.Removed}, member{"changed", r.Changed}))
	}
	l.Items, l.Total = page(items, c.num("offset"), c.num("limit")), len(items)
	l.Extra = map[string]any{"shadow": ordered{
		{"ruleset", s.Ruleset}, {"against", s.Against}, {"problem", s.Problem}, {"lag", s.Lag},
		{"differences", s.Differences}, {"others", s.Others}, {"cut", s.Cut},
	}}
	return l, nil
}
