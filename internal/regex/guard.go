package regex

// Guard is a common property of a pattern's matching subjects: each, in lower
// case, holds one of Texts or begins with one of the bytes in First. It is there
// to rule out most subjects without running the pattern.
type Guard struct {
	// Any says that nothing is known; the rest is empty then.
	Any      bool
	Texts    []string
	First    [4]uint64
	HasFirst bool
	// Exact says that holding one of Texts is all that it takes to match.
	Exact bool
}

// Begins reports whether First has c.
func (g *Guard) Begins(c byte) bool { return g.First[c>>6]>>(c&63)&1 == 1 }

func (g *Guard) addFirst(c byte) {
	c = lowerByte(c)
	g.First[c>>6] |= 1 << (c & 63)
	g.HasFirst = true
}

func (g *Guard) addFirsts(first *[256]bool) {
	for c := range first {
		if first[c] {
			g.addFirst(byte(c))
		}
	}
}

// Guard works out the guard of p. Texts shorter than least are of no use to the
// caller and make it Any.
func (p *Pattern) Guard(least int) Guard {
	g := Guard{Exact: p.kind == OSMatch}
	switch p.kind {
	case OSMatch:
		if p.osm.Inverted() {
			return Guard{Any: true}
		}
		for text, atStart := range p.osm.Alternatives() {
			switch {
			case atStart && text != "":
				g.addFirst(text[0])
				g.Exact = false
			case !atStart:
				g.Texts = append(g.Texts, text)
			default:
				return Guard{Any: true}
			}
		}
		g.Exact = g.Exact && p.osm.Floating()
	case OSRegex:
		for text, first := range p.osr.Needs() {
			// A text says more than a first byte.
			if first != nil && len(text) < least {
				g.addFirsts(first)
			} else {
				g.Texts = append(g.Texts, text)
			}
		}
	case PCRE2:
		first, texts := p.pc.Needs()
		short := len(texts) == 0
		for _, t := range texts {
			short = short || len(t) < least
		}
		if first != nil && short {
			g.addFirsts(first)
		} else {
			g.Texts = texts
		}
	default:
		if p.text == "" {
			return Guard{Any: true}
		}
		g.addFirst(p.text[0])
		return g
	}
	for _, t := range g.Texts {
		if len(t) < least {
			return Guard{Any: true}
		}
	}
	if len(g.Texts) == 0 && !g.HasFirst {
		return Guard{Any: true}
	}
	return g
}

// Needs lists the text that each of the alternatives of an OS_Regex needs, for
// Hints: empty where there is none of least bytes.
func (p *Pattern) Needs(least int) []string {
	if p.kind != OSRegex {
		return nil
	}
	var texts []string
	known := false
	for text := range p.osr.Needs() {
		if len(text) < least {
			text = ""
		}
		known = known || text != ""
		texts = append(texts, text)
	}
	if !known {
		return nil
	}
	return texts
}

// Values lists, in lower case, the only subjects that p can match, if it is a
// pattern for a few whole texts. Whether it matches them may still depend on case.
func (p *Pattern) Values() (values []string, ok bool) {
	switch p.kind {
	case OSMatch:
		return p.osm.Values()
	case OSRegex:
		return p.osr.Values()
	case PCRE2:
		return p.pc.Values()
	}
	return []string{Lower(p.text)}, true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
