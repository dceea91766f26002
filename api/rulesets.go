package api

import (
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
	return single(ordered{{"name", a.cfg.Identity.Node}, {"msg", "The ruleset was read anew and runs"}}, "The ruleset was reloaded"), nil
}
