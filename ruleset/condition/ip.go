package condition

import (
	"strings"

	"vedette/internal/ipset"
	"vedette/ruleset/program"
)

// IP demands that an address belongs to a set of networks.
type IP struct {
	Field  program.Static
	Set    *ipset.Set
	Negate bool
}

// ip is an element whose networks are one set; the last one says whether it is
// negated.
func ip(name string, from program.Static) Kind {
	return Kind{Name: name, Form: Each, Compile: func(l Loader, w *Written) ([]program.Condition, *Fault) {
		c := IP{Field: from, Set: &ipset.Set{}}
		for _, e := range w.Elements {
			if err := c.Set.Add(e.Content); err != nil {
				return nil, fault(e, "%v", err)
			}
			c.Negate = false
			for _, a := range e.Attrs {
				switch strings.ToLower(a.Name) {
				case "negate":
					c.Negate = strings.EqualFold(a.Value, "yes")
				case "type":
				default:
					l.UnknownAttribute(e, a.Name)
				}
			}
		}
		return one(c), nil
	}}
}

func (c IP) source() program.Source { return program.Source{Static: c.Field} }

// Holds reports whether the address is there and belongs to the set.
func (c IP) Holds(e program.Event, _ *program.Rule) bool {
	text, ok := e.Value(c.source())
	return ok && c.Set.Contains(text) != c.Negate
}

// Explain shows the address and the set.
func (c IP) Explain(e program.Event, r *program.Rule) program.Failure {
	name := program.StaticNames[c.Field]
	f := program.Failure{Element: name, Pattern: r.Written(name), Negate: c.Negate}
	value, ok := e.Value(c.source())
	f.Tested(nil, value, ok)
	return f
}

// Demands are the address.
func (c IP) Demands() program.Demands {
	return program.Demands{Element: program.StaticNames[c.Field], Value: c.source(), HasValue: true}
}
