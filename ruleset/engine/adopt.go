package engine

import (
	"time"

	"vedette/ruleset/program"
)

// Adopt carries a state that another ruleset made over to this engine's, and
// must not be used afterwards. The result is a function of both rulesets and the
// state, so that a re-run over the change comes to the same (docs/design.md D7).
//
// The state belongs to rules by their ids. A rule that both rulesets have keeps
// its counters, ignore= times and remembered events, even if its conditions or
// its level changed. The state of a removed rule is forgotten. Remembered events
// keep the dynamic fields that rules of both rulesets name. First-time-seen, the logs of check_diff and the accumulator stay.
// StepsExceeded and Evicted begin at 0.
func (e *Engine) Adopt(old *Keyed) *Keyed {
	from, to := old.scratch.eng.p, e.p
	a := adoption{
		eng:    e,
		rules:  make([]*program.Rule, len(from.AllRules)),
		fields: make([]int, len(from.FieldIDs)),
	}
	for i, r := range from.AllRules {
		a.rules[i] = to.RuleByID[r.ID]
	}
	for name, id := range from.FieldIDs {
		if at, ok := to.FieldIDs[name]; ok {
			a.fields[id] = at
		} else {
			a.fields[id] = -1
		}
	}
	s := e.NewState()
	for k := old.keys.oldest; k != nil; k = k.prev {
		s.keys.add(a.key(k))
	}
	s.keys.grown(0)
	return s
}

// adoption maps the numbers of one Program to those of another.
type adoption struct {
	eng    *Engine
	rules  []*program.Rule // by old index; nil for a removed rule
	fields []int           // by old id; -1 for a field that no rule names any more
}

func (a *adoption) key(old *keyState) *keyState {
	k := &keyState{key: old.key, now: old.now, firsts: old.firsts, lastLogs: old.lastLogs, accumulator: old.accumulator}
	k.firedHour = old.firedHour
	for i, n := range old.fired {
		if r := a.rules[i]; r != nil {
			if k.fired == nil {
				k.fired = make(map[int]int, len(old.fired))
			}
			k.fired[r.Index] = n
		}
	}
	for i, at := range old.ignored {
		if r := a.rules[i]; r != nil {
			if k.ignored == nil {
				k.ignored = make(map[int]time.Time, len(old.ignored))
			}
			k.ignored[r.Index] = at
		}
	}
	for m := range old.inOrder {
		r := a.rules[m.rule]
		if r == nil || !a.eng.p.Remembers(r) {
			continue
		}
		q := k.queue(a.eng.kinds.byRule[r.Index])
		n := q.roomForEvent()
		*n = *m
		n.rule, n.fields = r.Index, nil
		n.static = append(n.few[:0], m.static...)
		for _, f := range m.fields {
			if id := a.fields[f.id]; id >= 0 {
				n.fields = append(n.fields, rememberedField{id, f.text})
			}
		}
		k.enter(q, n, r)
	}
	return k
}
