package rulesets

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"vedette/api/agents"
	"vedette/api/problem"
	"vedette/api/rest"
	"vedette/internal/shadowlog"
	"vedette/rulesets"
)

// Service answers the operations on versions of the ruleset.
type Service struct {
	// Rulesets looks after the versions of the ruleset; nil where none runs.
	Rulesets Rulesets
	// Shadow sums up the changes that a candidate ruleset would make; nil where
	// there is no candidate.
	Shadow func(ctx context.Context) (*shadowlog.Summary, error)
	Node   string
	Log    *slog.Logger
}

// Part returns the operations of this package.
func (a *Service) Part() rest.Part {
	return rest.Part{Operations: []rest.Operation{
		rest.Op("reload_ruleset", a.reloadRuleset), rest.Op("list_rulesets", a.listRulesets), rest.Op("promote_ruleset", a.promoteRuleset),
		rest.Op("summarize_shadow", a.summarizeShadow),
	}}
}

// Rulesets are the published versions of the ruleset.
type Rulesets interface {
	// Versions returns them, the newest first.
	Versions() []rulesets.Version
	// Reload reads the ruleset's directories anew and returns when this node runs
	// them; the error says why it does not.
	Reload(ctx context.Context) error
	// Promote makes a version the current one, or the one before it if it says
	// rulesets.PreviousVersion, and returns which. A candidate that this node tries is
	// published for it. The error says why not, with rulesets.ErrNoVersion for a version
	// that nobody knows.
	Promote(ctx context.Context, version string) (string, error)
}

func (a *Service) listRulesets(*rest.Call, *rest.None) (rest.Answer, error) {
	items := []rest.Ordered{}
	if a.Rulesets != nil {
		for _, v := range a.Rulesets.Versions() {
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

func (a *Service) reloadRuleset(c *rest.Call, _ *rest.None) (rest.Answer, error) {
	if a.Rulesets == nil {
		return nil, problem.New(problem.ReloadFailed, "No ruleset runs in this process")
	}
	if err := a.Rulesets.Reload(c.Ctx); err != nil {
		return nil, problem.New(problem.ReloadFailed, err.Error())
	}
	return rest.Single(rest.Ordered{{Key: "name", Value: a.Node}, {Key: "msg", Value: "Ruleset reload request sent successfully."}}, "Reload request sent to all specified nodes"), nil
}

type promoteRuleset struct {
	Version string `param:"version"`
}

func (a *Service) promoteRuleset(c *rest.Call, p *promoteRuleset) (rest.Answer, error) {
	if a.Rulesets == nil {
		return nil, problem.New(problem.ReloadFailed, "No ruleset runs in this process")
	}
	version, err := a.Rulesets.Promote(c.Ctx, p.Version)
	switch {
	case errors.Is(err, rulesets.ErrNoVersion):
		return nil, problem.New(problem.NoRuleset, "")
	case err != nil && c.Ctx.Err() != nil:
		return nil, c.Ctx.Err()
	case err != nil:
		return nil, problem.New(problem.ReloadFailed, err.Error())
	}
	return rest.Single(rest.Ordered{{Key: "version", Value: version}, {Key: "msg", Value: "Each worker changes over at the next event of each partition"}}, "The version of the ruleset is current"), nil
}

// summarizeShadow shows logs only of agents whose alerts the caller may read.
func (a *Service) summarizeShadow(c *rest.Call, p *agents.All) (rest.Answer, error) {
	const listed = "What the shadow ruleset would change is listed"
	l := &rest.List[rest.Ordered]{Messages: rest.Messages{All: listed, Some: listed, None: "The shadow ruleset would change nothing, or there is none"}}
	var chosen []*agents.Agent
	if !p.Agents.All {
		chosen = p.Agents.Items()
	}
	if a.Shadow == nil || !p.Agents.All && len(chosen) == 0 {
		return l, nil
	}
	s, err := a.Shadow(c.Ctx)
	if err != nil {
		if c.Ctx.Err() != nil {
			return nil, c.Ctx.Err()
		}
		a.Log.Warn("the shadow ruleset's differences were not read", "err", err)
		return nil, problem.New(problem.ShadowFailed, "")
	}
	items := []rest.Ordered{}
	for _, r := range s.Rules {
		o := rest.Ordered{{Key: "rule", Value: r.ID}, {Key: "level", Value: r.Level}}
		if p.Agents.All || slices.ContainsFunc(chosen, func(x *agents.Agent) bool { return x.ID == r.Last.AgentID }) {
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
