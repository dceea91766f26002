package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vedette/schemas"
)

// NotActiveError says that a change needs records that not every node may be able
// to read yet.
type NotActiveError struct{ Kind schemas.ProposalKind }

func (e *NotActiveError) Error() string {
	return fmt.Sprintf("changes of the kind %q are not active yet: upgrade all nodes, then run `vedette registry activate`", e.Kind)
}

// MissingError says which nodes do not read the formats that are to be activated.
type MissingError struct{ Nodes []Support }

func (e *MissingError) Error() string {
	var names []string
	for _, n := range e.Nodes {
		names = append(names, n.Node)
	}
	return "these nodes must be upgraded first: " + strings.Join(names, ", ")
}

// Support tells how far one node reads the formats that are to be activated.
type Support struct {
	// Node is the node's name. Announced is its announcement; nil for a gateway that
	// holds agents and announces nothing, as programs before activation did.
	Node      string
	Announced *schemas.Node
	// Lacks are the kinds with formats it does not read, sorted.
	Lacks []schemas.ProposalKind
}

// format returns the newest format of a kind that may be written; 0 is none.
func (s *State) format(kind schemas.ProposalKind) int {
	return max(schemas.FreeFormat(kind), s.active[kind])
}

func (s *State) activate(q *schemas.Activate) Outcome {
	for kind, format := range q.Formats {
		if format <= s.format(kind) {
			continue
		}
		if s.active == nil {
			s.active = schemas.Formats{}
		}
		s.active[kind] = format
	}
	if s.access == nil && s.format(schemas.ProposalAccess) > 0 {
		s.beginAccess()
	}
	return Outcome{}
}

// Inactive returns the formats that this program knows and nobody may write yet.
func (r *Registry) Inactive() schemas.Formats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := schemas.Formats{}
	for kind, format := range r.formats {
		if format > r.state.format(kind) {
			out[kind] = format
		}
	}
	return out
}

// Support tells which nodes read the formats of Inactive. nodes are the
// announcements; processes that read no registry are passed over. Gateways that
// hold agents without an announcement count as nodes that read none.
func (r *Registry) Support(nodes []schemas.Node) []Support {
	want := r.Inactive()
	var out []Support
	announced := map[string]bool{}
	for i := range nodes {
		n := &nodes[i]
		announced[n.Name] = true
		if len(n.Registry) == 0 {
			continue
		}
		s := Support{Node: n.Name, Announced: n}
		for _, kind := range slices.Sorted(maps.Keys(want)) {
			if n.Registry[kind] < want[kind] {
				s.Lacks = append(s.Lacks, kind)
			}
		}
		out = append(out, s)
	}
	silent := map[string]bool{}
	r.mu.RLock()
	for _, p := range r.presences {
		if connected := p.State == schemas.StateActive || p.State == schemas.StatePending; connected && !announced[p.Gateway] {
			silent[p.Gateway] = true
		}
	}
	r.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(silent)) {
		out = append(out, Support{Node: name, Lacks: slices.Sorted(maps.Keys(want))})
	}
	return out
}

// Activate allows the formats of Inactive to be written, and waits until this
// node has read that. Nodes that do not read them make it a *MissingError, except
// those named in without, which must never start again with their old program.
// It returns the formats activated, none where none is left.
func (r *Registry) Activate(ctx context.Context, nodes []schemas.Node, without []string) (schemas.Formats, error) {
	if !wait(ctx, r.ready) {
		return nil, fmt.Errorf("registry is not ready: %w", ctx.Err())
	}
	want := r.Inactive()
	if len(want) == 0 {
		return nil, nil
	}
	missing := slices.DeleteFunc(r.Support(nodes), func(s Support) bool {
		return len(s.Lacks) == 0 || slices.Contains(without, s.Node)
	})
	if len(missing) > 0 {
		return nil, &MissingError{missing}
	}
	p := r.proposal(schemas.ProposalActivate)
	p.Activate = &schemas.Activate{Formats: want}
	if _, err := r.propose(ctx, p); err != nil {
		return nil, err
	}
	return want, nil
}
