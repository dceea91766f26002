package security

import (
	"slices"
	"strings"

	"vedette/api/rbac"
	"vedette/api/rest"
)

type listActions struct {
	Endpoint string `param:"endpoint"`
}

// listActions tells of every action, or of those that one endpoint needs.
func (a *Service) listActions(c *rest.Call, p *listActions) (rest.Answer, error) {
	endpoints, types := c.Endpoints(), rbac.Actions()
	out := rest.Ordered{}
	for _, d := range rbac.ActionTexts {
		related := endpoints[d.Name]
		if p.Endpoint != "" && !slices.ContainsFunc(related, func(e string) bool { return strings.EqualFold(e, p.Endpoint) }) {
			continue
		}
		example := []string{}
		for _, r := range types[d.Name] {
			example = append(example, r+":*")
		}
		out = append(out, rest.Member{Key: d.Name, Value: rest.Ordered{
			{Key: "description", Value: d.Description},
			{Key: "resources", Value: types[d.Name]},
			{Key: "example", Value: PolicyBody{Actions: []string{d.Name}, Resources: example, Effect: "allow"}},
			{Key: "related_endpoints", Value: append([]string{}, related...)},
		}})
	}
	return &rest.Data{Data: out}, nil
}

type listResources struct {
	Resource string `param:"resource"`
}

func (a *Service) listResources(_ *rest.Call, p *listResources) (rest.Answer, error) {
	out := rest.Ordered{}
	for _, d := range rbac.ResourceTypes {
		if p.Resource == "" || p.Resource == d.Name {
			out = append(out, rest.Member{Key: d.Name, Value: rest.Ordered{{Key: "description", Value: d.Description}}})
		}
	}
	return &rest.Data{Data: out}, nil
}
