package check

import (
	"strings"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/program"
)

// produced holds the fields that the decoders behind one decoder name can fill.
type produced struct {
	// open says that a plugin or an internal decoder gives fields whose names
	// are not known; openStatic that one gives static fields only.
	open, openStatic bool
	statics          [program.NumStatic]bool
	dynamic          map[string]bool
}

// fields finds conditions on fields that no decoder fills. A condition on a
// field that an event lacks fails, negated or not (example E24).
func (c *checker) fields() {
	names := make([]string, len(c.p.FieldIDs))
	for n, id := range c.p.FieldIDs {
		names[id] = n
	}
	cache := map[context]*produced{}
	for _, r := range c.p.AllRules {
		at, known := c.rules[r]
		contexts := c.contexts[r]
		if !known || c.dead[r] || len(contexts) == 0 {
			continue
		}
		var all []*produced
		for _, ctx := range contexts {
			if cache[ctx] == nil {
				cache[ctx] = c.produced(ctx)
			}
			all = append(all, cache[ctx])
		}
		of := "any decoder"
		if d := contexts[0].decoder; len(contexts) == 1 && d != 0 {
			of = "decoder " + c.decoderName(d)
		}
		tested(r, names, func(src program.Source, element func(*xmlfile.Element) bool) {
			for _, p := range all {
				if p.fills(src, names) {
					return
				}
			}
			at := at
			if element != nil {
				at = at.child(element)
			}
			c.warn(at, r.ID, "check the name, or add it to an <order>; a field that is missing fails the condition, negated or not",
				"can never match: it tests field %s, which %s never fills", sourceName(src, names), of)
		})
	}
}

// tested gives the values that a rule tests, and how to find their elements; nil for
// the rule itself.
func tested(r *program.Rule, names []string, yield func(program.Source, func(*xmlfile.Element) bool)) {
	for _, x := range r.Conds {
		if d := x.Demands(); d.HasValue {
			yield(d.Value, testOf(d.Element, sourceName(d.Value, names)))
		}
	}
	if r.Composite == nil {
		return
	}
	for _, s := range r.Composite.Same {
		yield(s, nil)
	}
	for _, id := range r.Composite.SameFields {
		if _, static := program.ParseStatic(names[id]); static {
			continue // see traps
		}
		yield(program.Source{Kind: program.FromDynamic, Field: id}, func(e *xmlfile.Element) bool {
			return e.Is("same_field") && strings.EqualFold(strings.TrimSpace(e.Content), names[id])
		})
	}
}

// testOf finds the element that tests a value. Elements that can test any value name
// it in an attribute.
func testOf(element, value string) func(*xmlfile.Element) bool {
	return func(e *xmlfile.Element) bool {
		for _, attr := range [...]string{"name", "field"} {
			if v, ok := e.Attr(attr); ok && !strings.EqualFold(v, value) {
				return false
			}
		}
		return e.Is(element)
	}
}

func sourceName(s program.Source, names []string) string {
	switch s.Kind {
	case program.FromStatic, program.FromGeoIP:
		return program.StaticNames[s.Static]
	case program.FromDynamic:
		return names[s.Field]
	}
	return "user"
}

func (p *produced) fills(s program.Source, names []string) bool {
	if p.open {
		return true
	}
	switch s.Kind {
	case program.FromStatic, program.FromGeoIP:
		return p.openStatic || p.statics[s.Static]
	case program.FromListUser, program.FromUser:
		return p.openStatic || p.statics[program.SrcUser] || p.statics[program.DstUser]
	case program.FromDynamic:
		return p.dynamic[names[s.Field]]
	}
	return true // every event may have a host, a program, a location
}

// produced collects the fields of all decoders that an event of a context may
// have gone through: the whole family of a top-level decoder, since siblings of
// any name may add theirs.
func (c *checker) produced(ctx context) *produced {
	p := &produced{dynamic: map[string]bool{}}
	// Events of internal decoders have category ossec; their names are not in
	// any file, and their fields come from the agent.
	p.open = ctx.category == program.Ossec
	if ctx.decoder != 0 {
		xml := false
		for _, d := range c.p.AllDecoders {
			xml = xml || d.NameID == ctx.decoder
		}
		p.open = p.open || !xml
	}
	for _, list := range [][]*program.Decoder{c.p.WithProgram, c.p.WithoutProgram} {
		for _, top := range list {
			p.family(ctx.decoder, top)
		}
	}
	return p
}

func (p *produced) family(id int, top *program.Decoder) {
	members := append([]*program.Decoder{top}, top.Children...)
	if id != 0 {
		found := false
		for _, d := range members {
			found = found || d.NameID == id
		}
		if !found {
			return
		}
	}
	for _, d := range members {
		switch d.Plugin {
		case program.NoPlugin, program.PluginOSSECAlert:
		case program.PluginJSON:
			p.open = true
		default:
			p.openStatic = true
		}
		for _, o := range d.Order {
			if o.Dynamic {
				p.dynamic[regex.Lower(o.Name)] = true
			} else {
				p.statics[o.Static] = true
			}
		}
	}
}
