package engine

import (
	"math/bits"

	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// at is the text of a source, nil if the event lacks it.
func (e *event) at(src source) *value {
	var v *value
	switch {
	case src >= fromDynamic:
		return e.field(int(src - fromDynamic))
	case src >= fromStatic:
		v = &e.static[src-fromStatic]
	case src == fromLog:
		v = &e.log
	case src == fromProgram:
		v = &e.program
	case src == fromLocation:
		v = &e.location
	case src == fromHostname:
		v = &e.hostname
	default:
		if v = &e.static[program.DstUser]; !v.set {
			v = &e.static[program.SrcUser]
		}
	}
	if !v.set {
		return nil
	}
	return v
}

// evaluateIndexed gives the result of evaluate, but tries only rules that could match.
func (s *matching) evaluateIndexed() *program.Rule {
	category := s.ev.category
	for _, e := range s.eng.index.roots {
		if e.rule.Category != category {
			continue
		}
		if r := s.tryEntry(e); r != nil {
			return r
		}
	}
	return nil
}

func (s *matching) tryEntry(e *ruleEntry) *program.Rule {
	stamp := s.ev.stamp
	if e.stateless && s.failed[e.id] == stamp {
		return nil // in another place
	}
	if m := s.tryOnce(e); m != nil {
		return m
	}
	s.failed[e.id] = stamp
	return nil
}

func (s *matching) tryOnce(e *ruleEntry) *program.Rule {
	for i := range e.tests {
		if !s.passes(e.rule, &e.tests[i]) {
			return nil
		}
	}
	if e.composite && !s.history.searchIndexed(e) {
		return nil
	}
	if e.children != nil {
		if m := s.tryChildren(e); m != nil {
			return m
		}
	}
	if e.noAlert {
		return nil
	}
	return e.rule
}

// tryBelow tries a child of e.
func (s *matching) tryBelow(e, child *ruleEntry) *program.Rule {
	m := s.tryEntry(child)
	if m == child.rule {
		s.ev.above = e.rule
	}
	return m
}

// tryChildren tries the children of e that could match, in their order.
func (s *matching) tryChildren(e *ruleEntry) *program.Rule {
	c := e.children
	if c.few {
		for _, child := range c.list {
			if m := s.tryBelow(e, child); m != nil {
				return m
			}
		}
		return nil
	}
	// The set of places stands on a stack, since children have children.
	base := len(s.candidates)
	for range c.words {
		s.candidates = append(s.candidates, 0)
	}
	s.choosePlaces(&c.all, s.candidates[base:])
	if g := c.byDecoder[s.ev.decoderID]; g != nil {
		s.choosePlaces(g, s.candidates[base:])
	}
	for w := range c.words {
		for set := s.candidates[base+w]; set != 0; set &= set - 1 {
			child := c.list[w<<6+bits.TrailingZeros64(set)]
			if m := s.tryBelow(e, child); m != nil {
				s.candidates = s.candidates[:base]
				return m
			}
		}
	}
	s.candidates = s.candidates[:base]
	return nil
}

// choosePlaces adds the places of g that the event could match to set.
func (s *matching) choosePlaces(g *group, set []uint64) {
	x := s.scratch
	e := &x.ev
	for _, at := range g.always {
		set[at>>6] |= 1 << (at & 63)
	}
	for i := range g.equal {
		q := &g.equal[i]
		if v := e.at(q.src); v != nil {
			for _, at := range q.values[x.lower(v)] {
				set[at>>6] |= 1 << (at & 63)
			}
		}
	}
	for i := range g.there {
		t := &g.there[i]
		if e.at(t.src) != nil {
			for _, at := range t.places {
				set[at>>6] |= 1 << (at & 63)
			}
		}
	}
	for i := range g.texts {
		t := &g.texts[i]
		v := e.at(t.src)
		if v == nil {
			continue
		}
		low := x.lower(v)
		for j, q := range t.guards {
			if q.begins(low) {
				at := t.begins[j]
				set[at>>6] |= 1 << (at & 63)
			}
		}
		if len(t.texts) > 0 {
			t.find(x.hits(t.src), set)
		}
	}
}

// passes tests a condition.
func (s *matching) passes(r *program.Rule, t *test) bool {
	e := &s.ev
	switch t.kind {
	case testDecoder:
		return e.decoderID == int(t.id)
	case testOther:
		return (*t.cond).Holds(s.view, r)
	}
	v := e.at(t.src)
	if v == nil {
		return false
	}
	known := &s.outcomes[t.id]
	if known.stamp != e.stamp {
		known.stamp, known.matched = e.stamp, s.matches(t, v)
	}
	return known.matched != t.negate
}

// outcome is the result of a test for the event with that stamp.
type outcome struct {
	stamp   uint32
	matched bool
}

func (s *matching) matches(t *test, v *value) bool {
	if t.guard != nil {
		found := t.guard.found(s.hits(t.src).Found)
		if !found || t.guard.exact {
			return found
		}
	}
	p := t.pattern
	low := ""
	if p.Kind() != regex.String {
		low = s.lower(v)
	}
	return s.rx.Match(p, v.text, low)
}
