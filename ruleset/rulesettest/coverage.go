package rulesettest

import (
	"fmt"
	"io"
	"slices"

	"vedette/ruleset/engine"
	"vedette/ruleset/program"
)

// rootMax is the highest id of a root rule, of which no test speaks.
const rootMax = 9

// Coverage counts which rules and decoders tests have hit. A rule is hit when an
// event ends at it, or at any rule below it, at any depth. A decoder is hit when
// an event shows its name; children without use_own_name show their parent's,
// and are not told apart.
type Coverage struct {
	p         *program.Program
	above     map[*program.Rule][]*program.Rule
	rules     map[*program.Rule]bool
	decoders  map[string]bool
	ruleFiles []*program.Rule
	names     []*program.Decoder // the first of each name
}

// NewCoverage counts for one ruleset.
func NewCoverage(p *program.Program) *Coverage {
	c := &Coverage{p: p, above: map[*program.Rule][]*program.Rule{}, rules: map[*program.Rule]bool{}, decoders: map[string]bool{}}
	// The way to a node is carried along, since nodes of many places are shared.
	var walk func(n *program.Node, way []*program.Rule)
	walk = func(n *program.Node, way []*program.Rule) {
		chain := slices.Clone(way)
		if old, seen := c.above[n.Rule]; seen {
			// Of several places only the ancestors of all of them are sure.
			chain = slices.DeleteFunc(chain, func(r *program.Rule) bool { return !slices.Contains(old, r) })
		}
		c.above[n.Rule] = chain
		way = append(way, n.Rule)
		for _, child := range n.Children {
			walk(child, way)
		}
	}
	for _, n := range p.Roots {
		walk(n, nil)
	}
	for _, r := range p.AllRules {
		if r.ID > rootMax {
			c.ruleFiles = append(c.ruleFiles, r)
		}
	}
	seen := map[string]bool{}
	for _, d := range p.AllDecoders {
		if !seen[d.Name] {
			seen[d.Name] = true
			c.names = append(c.names, d)
		}
	}
	return c
}

func (c *Coverage) hit(r *engine.Result) {
	c.decoders[r.Decoder] = true
	rule := r.Rule()
	if rule == nil || c.rules[rule] {
		return
	}
	c.rules[rule] = true
	for _, up := range c.above[rule] {
		c.rules[up] = true
	}
}

// Write lists the rules and decoders without a hit, and the shares.
func (c *Coverage) Write(w io.Writer) error {
	var rules, decoders []string
	for _, r := range c.ruleFiles {
		if !c.rules[r] {
			rules = append(rules, fmt.Sprintf("  %d  %s  %s", r.ID, r.Info.File, r.Description.Text))
		}
	}
	for _, d := range c.names {
		if !c.decoders[d.Name] {
			decoders = append(decoders, fmt.Sprintf("  %s  %s", d.Name, d.Info.File))
		}
	}
	part := func(what string, all int, missed []string) error {
		hit := all - len(missed)
		share := 100.0
		if all > 0 {
			share = 100 * float64(hit) / float64(all)
		}
		if _, err := fmt.Fprintf(w, "%s hit: %d of %d (%.1f %%)\n", what, hit, all, share); err != nil {
			return err
		}
		if len(missed) == 0 {
			return nil
		}
		if _, err := fmt.Fprintf(w, "%s never hit:\n", what); err != nil {
			return err
		}
		for _, m := range missed {
			if _, err := fmt.Fprintln(w, m); err != nil {
				return err
			}
		}
		return nil
	}
	if err := part("rules", len(c.ruleFiles), rules); err != nil {
		return err
	}
	return part("decoders", len(c.names), decoders)
}
