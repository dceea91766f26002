// Package rbac decides on permissions: policies fold into an ordered list
// of resources per action, and a request's resources are tested against it.
//
// Not yet: resources combined with `&` cover nothing.
//
// Source: spec/api.md §7.
package rbac

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Policy allows or denies actions on resources, `type:attribute:value` with `*`
// as a value for all.
type Policy struct {
	ID        int
	Name      string
	Actions   []string
	Resources []string
	Deny      bool
}

// Role links policies in order; a later one wins.
type Role struct {
	ID       int
	Name     string
	Policies []int
	// Rules are the security rules that give the role.
	Rules []int
}

// SecurityRule gives roles to logins whose context fits Rule, a JSON object.
type SecurityRule struct {
	ID   int
	Name string
	Rule json.RawMessage
}

// AnyResource is the resource of actions that have none.
const AnyResource = "*:*:*"

type entry struct {
	resource string
	allow    bool
}

// Permissions are those of one user. They are safe for concurrent use.
type Permissions struct {
	black   bool
	actions map[string][]entry
}

// New folds policies in their order. In black mode all is allowed that no policy
// denies, otherwise nothing that no policy allows.
func New(policies []Policy, black bool) *Permissions {
	p := &Permissions{black: black, actions: map[string][]entry{}}
	for _, pol := range policies {
		for _, a := range pol.Actions {
			for _, r := range pol.Resources {
				p.add(a, entry{r, !pol.Deny})
			}
		}
	}
	return p
}

// add appends an entry and drops those before it that it makes pointless.
func (p *Permissions) add(action string, e entry) {
	typ, all := strings.CutSuffix(e.resource, ":*")
	p.actions[action] = append(slices.DeleteFunc(p.actions[action], func(old entry) bool {
		return old.resource == e.resource ||
			all && strings.HasPrefix(old.resource, typ+":") ||
			e.resource == "agent:id:*" && strings.HasPrefix(old.resource, "agent:group:")
	}), e)
}

// Allows reports whether the action may be done to one thing, which is known
// under one or more resources (an agent: by its id and each of its groups).
func (p *Permissions) Allows(action string, resources ...string) bool {
	ok := p.black
	for _, e := range p.actions[action] {
		if covers(e.resource, resources) {
			ok = e.allow
		}
	}
	return ok
}

// Each gives each action in the order of names, with its resources in their order
// and the effect on each: allow or deny.
func (p *Permissions) Each(fn func(action string, resources, effects []string)) {
	for _, action := range slices.Sorted(maps.Keys(p.actions)) {
		var resources, effects []string
		for _, e := range p.actions[action] {
			effect := "deny"
			if e.allow {
				effect = "allow"
			}
			resources, effects = append(resources, e.resource), append(effects, effect)
		}
		fn(action, resources, effects)
	}
}

func covers(have string, resources []string) bool {
	if slices.Contains(resources, have) || have == AnyResource {
		return true
	}
	typ, all := strings.CutSuffix(have, "*")
	return all && slices.ContainsFunc(resources, func(r string) bool { return strings.HasPrefix(r, typ) })
}

// AllowsAll reports whether the action may be done to everything of a type,
// such as `agent:id`.
func (p *Permissions) AllowsAll(action, typ string) bool {
	all := p.black
	for _, e := range p.actions[action] {
		switch {
		case e.resource == typ+":*" || e.resource == AnyResource:
			all = e.allow
		case !e.allow:
			return false // some may be taken away
		}
	}
	return all
}
