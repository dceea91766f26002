package groups

import (
	"cmp"
	"maps"
	"slices"

	"vedette/api/agents"
	"vedette/api/rest"
)

// notKnown is shown for a value that no agent of a count has told.
const notKnown = "N/A"

type overview struct {
	Agents rest.Targets[*agents.Agent] `all:"agent:id"`
	Groups rest.Targets[Group]         `all:"group:id"`
}

type nodeCount struct {
	Node  string `json:"node_name"`
	Count int    `json:"count"`
}

type versionCount struct {
	Version string `json:"version"`
	Count   int    `json:"count"`
}

type osCount struct {
	OS    osName `json:"os"`
	Count int    `json:"count"`
}

type osName struct {
	Name     string `json:"name"`
	Platform string `json:"platform"`
	Version  string `json:"version"`
}

// overviewAgents counts the caller's agents, without the server, by node, system,
// version and state, and shows the agent that was registered last.
func (a *Service) overviewAgents(_ *rest.Call, p *overview) (rest.Answer, error) {
	list := agents.Others(nil, p.Agents.Items())
	nodes, versions, systems := map[string]int{}, map[string]int{}, map[osName]int{}
	last := []*agents.Agent{}
	known := func(s string) string { return cmp.Or(s, notKnown) }
	for _, x := range list {
		nodes[x.Node]++
		versions[known(x.Version)]++
		systems[osName{known(x.OS.Name), known(x.OS.Platform), known(x.OS.Version)}]++
		if len(last) == 0 || !x.DateAdd.Before(last[0].DateAdd.Time) {
			last = []*agents.Agent{x}
		}
	}
	byNode, byVersion, bySystem := []nodeCount{}, []versionCount{}, []osCount{}
	for _, n := range slices.Sorted(maps.Keys(nodes)) {
		byNode = append(byNode, nodeCount{n, nodes[n]})
	}
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		byVersion = append(byVersion, versionCount{v, versions[v]})
	}
	for s, n := range systems {
		bySystem = append(bySystem, osCount{s, n})
	}
	slices.SortFunc(bySystem, func(a, b osCount) int {
		return cmp.Or(cmp.Compare(a.OS.Name, b.OS.Name), cmp.Compare(a.OS.Platform, b.OS.Platform), cmp.Compare(a.OS.Version, b.OS.Version))
	})
	return &rest.Data{Data: rest.Ordered{
		{Key: "nodes", Value: byNode},
		{Key: "groups", Value: a.items(p.Groups.Items(), "md5")},
		{Key: "agent_os", Value: bySystem},
		{Key: "agent_status", Value: agents.Summarize(list)},
		{Key: "agent_version", Value: byVersion},
		{Key: "last_registered_agent", Value: last},
	}}, nil
}
