package condition

import (
	"slices"
	"strings"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/program"
)

// List looks a value up in a CDB list.
type List struct {
	Name   string
	From   program.Source
	Lookup Lookup
	Value  *regex.Pattern // of check_value
	List   program.List
}

// Lookup is the lookup attribute.
type Lookup int

// The lookups.
const (
	MatchKey Lookup = iota
	NotMatchKey
	MatchKeyValue
	AddressMatchKey
	NotAddressMatchKey
	AddressMatchKeyValue
)

var lookupNames = []string{"match_key", "not_match_key", "match_key_value", "address_match_key", "not_address_match_key", "address_match_key_value"}

// listsTested is how many lists of a rule 4.14 tests: the last ones (§9, example E54).
const listsTested = 2

var list = Kind{Name: "list", Form: Each, Compile: func(l Loader, w *Written) (conds []program.Condition, f *Fault) {
	for _, e := range w.Elements[max(0, len(w.Elements)-listsTested):] {
		c, f := readList(l, e)
		if f != nil {
			return nil, f
		}
		conds = append(conds, c)
	}
	return conds, nil
}}

func readList(l Loader, e *xmlfile.Element) (*List, *Fault) {
	field, lookup, value := "", lookupNames[MatchKey], ""
	for _, a := range e.Attrs {
		switch strings.ToLower(a.Name) {
		case "field":
			field = a.Value
		case "lookup":
			lookup = a.Value
		case "check_value":
			value = a.Value
		default:
			l.UnknownAttribute(e, a.Name)
		}
	}
	if field == "" {
		return nil, fault(e, "<list> has no field")
	}
	c := &List{Lookup: Lookup(slices.Index(lookupNames, lookup))}
	if c.Lookup < 0 {
		return nil, fault(e, "unknown lookup %q of <list>", lookup)
	}
	var err error
	if c.Value, err = l.Pattern(regex.OSMatch, value); err != nil {
		return nil, fault(e, "%v", err)
	}
	c.From = l.Source(field)
	if field == "user" {
		c.From = program.Source{Kind: program.FromListUser}
	}
	c.Name = strings.TrimSuffix(strings.TrimSpace(e.Content), ".cdb")
	c.List = l.List(e, c.Name)
	return c, nil
}

// Holds looks the value up.
func (c *List) Holds(e program.Event, _ *program.Rule) bool {
	key, ok := e.Value(c.From)
	if !ok {
		return false
	}
	switch c.Lookup {
	case MatchKey, NotMatchKey:
		_, found := c.List[key]
		return found == (c.Lookup == MatchKey)
	case MatchKeyValue:
		return c.matchValue(e, key)
	case AddressMatchKey, NotAddressMatchKey:
		return c.addressKey(key) == (c.Lookup == AddressMatchKey)
	}
	// Inverted, as 4.14 has it (example E53).
	if c.matchValue(e, key) {
		return false
	}
	for i := range len(key) {
		if key[i] == '.' && c.matchValue(e, key[:i+1]) {
			return false
		}
	}
	return true
}

// matchValue reports whether the list has a key and its value matches.
func (c *List) matchValue(e program.Event, key string) bool {
	value, ok := c.List[key]
	return ok && e.MatchText(c.Value, value)
}

// addressKey reports whether the list has the whole key, or a prefix of it that ends
// in a dot.
func (c *List) addressKey(key string) bool {
	if _, ok := c.List[key]; ok {
		return true
	}
	for i := range len(key) {
		if key[i] == '.' {
			if _, ok := c.List[key[:i+1]]; ok {
				return true
			}
		}
	}
	return false
}

// Explain shows the value and the list.
func (c *List) Explain(e program.Event, _ *program.Rule) program.Failure {
	f := program.Failure{Element: "list", Pattern: c.Name, Note: lookupNames[c.Lookup]}
	if c.Value.String() != "" {
		f.Note += " " + program.Cut(c.Value.String())
	}
	value, ok := e.Value(c.From)
	f.Tested(nil, value, ok)
	return f
}

// Demands are the value.
func (c *List) Demands() program.Demands {
	return program.Demands{Element: "list", Value: c.From, HasValue: true}
}
