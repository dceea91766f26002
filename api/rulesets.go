package api

import (
	"errors"
	"slices"
	"time"
	"vedette/api/rest"

	"vedette/api/problem"
)

func (a *API) listRulesets(*rest.Call, *rest.None) (rest.Answer, error) {
	items := []rest.Ordered{}
	if a.deps.Rulesets != nil {
		for _, v := range a.deps.Rulesets.Versions() {
			workers := []rest.Ordered{}
			for _, w := range v.Workers {
				workers = append(workers, rest.Ordered{{Key: "node", Value: w.Node}, {Key: "partitions", Value: w.Partitions}})
			}
			items = append(items, rest.Ordered{
				{Key: "version", Value: v.Version}, {Key: "published", Value: v.Published.UTC().Format(time.RFC3339)}, {Key: "node", Value: v.Node}, {Key: "files", Value: v.Files},
				{Key: "current", Value: v.Current}, {Key: "workers", Value: workers},
			})
		}
	}
	const all = "The versions of the ruleset are listed"
	return rest.Items(items, rest.Messages{All: all, Some: all, None: "No ruleset has been published"}), nil
}

func (a *API) reloadRuleset(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	if a.deps.Rulesets == nil {
		return nil, problem.New(problem.ReloadFailed, "No ruleset runs in this process")
	}
	if err := a.deps.Rulesets.Reload(c.Ctx); err != nil {
		return nil, problem.New(problem.ReloadFailed, err.Error())
	}
	return single(rest.Ordered{{Key: "name", Value: a.cfg.Identity.Node}, {Key: "msg", Value: "Ruleset reload request sent successfully."}}, "Reload request sent to all specified nodes"), nil
}

type promoteRuleset struct {
	Version string `param:"version"`
}

func (a *API) promoteRuleset(c *rest.Call, p *promoteRuleset) (rest.Answer, error) {
	if a.deps.Rulesets == nil {
		return nil, problem.New(problem.ReloadFailed, "No ruleset runs in this process")
	}
	version, err := a.deps.Rulesets.Promote(c.Ctx, p.Version)
	switch {
	case errors.Is(err, ErrNoRuleset):
		return nil, problem.New(problem.NoRuleset, "")
	case err != nil && c.Ctx.Err() != nil:
		return nil, c.Ctx.Err()
	case err != nil:
		return nil, problem.New(problem.ReloadFailed, err.Error())
	}
	return single(rest.Ordered{{Key: "version", Value: version}, {Key: "msg", Value: "Each worker changes over at the next event of each partition"}}, "The version of the ruleset is current"), nil
}

// summarizeShadow shows logs only of agents whose alerts the caller may read.
func (a *API) summarizeShadow(c *rest.Call, p *allAgents) (rest.Answer, error) {
	const listed = "What the shadow ruleset would change is listed"
	l := &rest.List[rest.Ordered]{Messages: rest.Messages{All: listed, Some: listed, None: "The shadow ruleset would change nothing, or there is none"}}
	var agents []*Agent
	if !p.Agents.All {
		agents = p.Agents.Items()
	}
	if a.deps.Shadow == nil || !p.Agents.All && len(agents) == 0 {
		return l, nil
	}
	s, err := a.deps.Shadow(c.Ctx)
	if err != nil {
		if c.Ctx.Err() != nil {
			return nil, c.Ctx.Err()
		}
		a.log.Warn("the shadow ruleset's differences were not read", "err", err)
		return nil, problem.New(problem.ShadowFailed, "")
	}
	items := []rest.Ordered{}
	for _, r := range s.Rules {
		o := rest.Ordered{{Key: "rule", Value: r.ID}, {Key: "level", Value: r.Level}}
		if p.Agents.All || slices.ContainsFunc(agents, func(x *Agent) bool { return x.ID == r.Last.AgentID }) {
			x := &r.Last
			o = append(o, rest.Member{Key: "description", Value: r.Description}, rest.Member{Key: "last", Value: rest.Ordered{
				{Key: "kind", Value: x.Kind}, {Key: "timestamp", Value: x.Time.Format("2006-01-02T15:04:05.000Z")}, {Key: "agent", Value: rest.Ordered{{Key: "id", Value: x.AgentID}, {Key: "name", Value: x.AgentName}}}, {Key: "location", Value: x.Location},
				{Key: "was", Value: x.Was}, {Key: "now", Value: x.Now}, {Key: "event", Value: rest.Ordered{{Key: "partition", Value: x.Partition}, {Key: "offset", Value: x.Offset}}}, {Key: "full_log", Value: x.FullLog},
			}})
		}
		items = append(items, append(o, rest.Member{Key: "added", Value: r.Added}, rest.Member{Key: "removed", Value: r.Removed}, rest.Member{Key: "changed", Value: r.Changed}))
	}
	l.Items, l.Total = rest.Cut(items, c.Offset, c.Limit), len(items)
	l.Extra = rest.Ordered{{Key: "shadow", Value: rest.Ordered{
		{Key: "ruleset", Value: s.Ruleset}, {Key: "against", Value: s.Against}, {Key: "problem", Value: s.Problem}, {Key: "lag", Value: s.Lag},
		{Key: "differences", Value: s.Differences}, {Key: "others", Value: s.Others}, {Key: "cut", Value: s.Cut},
	}}}
	return l, nil
}
