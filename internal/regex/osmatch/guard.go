package osmatch

import "iter"

// Inverted reports whether the pattern begins with `!`.
func (p *Pattern) Inverted() bool { return p.negate }

// Alternatives lists the alternatives' texts, in lower case, and whether they
// must be at the subject's start.
func (p *Pattern) Alternatives() iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for i := range p.alts {
			if !yield(p.alts[i].text, p.alts[i].atStart) {
				return
			}
		}
	}
}

// Floating reports whether all alternatives may be anywhere.
func (p *Pattern) Floating() bool {
	for i := range p.alts {
		if p.alts[i].atStart || p.alts[i].atEnd {
			return false
		}
	}
	return true
}

// Values lists the only subjects that match, in lower case, if all alternatives
// are whole texts.
func (p *Pattern) Values() (values []string, ok bool) {
	if p.negate || p.always {
		return nil, false
	}
	for i := range p.alts {
		if !p.alts[i].atStart || !p.alts[i].atEnd {
			return nil, false
		}
		values = append(values, p.alts[i].text)
	}
	return values, true
}
