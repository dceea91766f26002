package engine

import "vedette/ruleset/program"

// matching is the part that finds the event's rule.
type matching struct {
	*scratch
	view    view
	history *searching

	// Of the index. Entries whose stamp differs from the event's belong to an earlier
	// event.
	outcomes   []outcome // by test
	failed     []uint32  // stamps, by rule entry
	candidates []uint64  // stack of sets of children
}

// choose finds the event's rule, nil for none.
func (s *matching) choose() *program.Rule {
	if id := s.ev.forwarded; id > 0 {
		return s.eng.p.RuleByID[id]
	}
	if !s.plain() {
		return s.evaluateIndexed()
	}
	if n := s.evaluate(); n != nil {
		return n.Rule
	}
	return nil
}

// evaluate walks the rule tree and returns the place of the rule chosen, or nil
// (§6.4).
func (s *matching) evaluate() *program.Node {
	for _, n := range s.eng.p.Roots {
		if n.Rule.Category != s.ev.category {
			continue
		}
		if r := s.try(n); r != nil {
			return r
		}
	}
	return nil
}

func (s *matching) try(n *program.Node) *program.Node {
	r := n.Rule
	traced := -1
	if s.trace != nil {
		traced = s.trace.enter(n)
	}
	for i := range r.Conds {
		if !r.Conds[i].Holds(s.view, r) {
			if traced >= 0 {
				s.trace.Rules[traced].Failed = s.failure(r, i)
			}
			return nil
		}
	}
	if r.Composite != nil && !s.history.search(r) {
		if traced >= 0 {
			s.trace.Rules[traced].Failed = s.history.explain(r)
		}
		return nil
	}
	if s.trace != nil {
		s.trace.matched(traced, r)
	}
	for _, c := range n.Children {
		if m := s.try(c); m != nil {
			if m == c {
				s.ev.above = r
			}
			return m
		}
	}
	if s.trace != nil {
		s.trace.leave(traced, r)
	}
	if r.NoAlert {
		return nil
	}
	return n
}
