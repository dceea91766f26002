package pcre

import "strings"

// plainMax bounds the alternatives of a pattern that is compared as texts.
const plainMax = 64

// plain is a pattern that is nothing but a few texts: most conditions on fields
// are, and comparing texts takes no steps.
type plain []plainText

// plainText is one of the texts; in lower case if it compares without case.
type plainText struct {
	text    string
	fold    folding
	atStart bool
	atEnd   bool
	newline bool // atEnd holds before a last newline too
}

// folding is how the letters of a text compare.
type folding uint8

const (
	noLetters folding = iota
	withCase
	withoutCase
)

// plainTexts takes the pattern apart; ok is false if it is more than texts.
func plainTexts(n *node) (p plain, ok bool) {
	switch n.kind {
	case kEmpty:
		return plain{{}}, true
	case kChar:
		if n.c >= 128 && n.fold {
			return nil, false
		}
		c := byte(n.c)
		t := plainText{text: string([]byte{c})}
		if isAlpha(c) {
			t.fold = withCase
			if n.fold {
				t.fold, t.text = withoutCase, lower(t.text)
			}
		}
		return plain{t}, true
	case kSet:
		return plainSet(n.set)
	case kAssert:
		switch n.assert {
		case aStart:
			return plain{{atStart: true}}, true
		case aEnd:
			return plain{{atEnd: true}}, true
		case aEndNL:
			return plain{{atEnd: true, newline: true}}, true
		}
		return nil, false
	case kGroup:
		return plainTexts(n.subs[0])
	case kAlt:
		for _, s := range n.subs {
			q, ok := plainTexts(s)
			if !ok || len(p)+len(q) > plainMax {
				return nil, false
			}
			p = append(p, q...)
		}
		return p, true
	case kRepeat:
		if n.max < 0 || n.max > 4 || n.mode == possessive {
			return nil, false
		}
		q, ok := plainTexts(n.subs[0])
		if !ok {
			return nil, false
		}
		times := plain{{}}
		for i := 0; i <= n.max; i++ {
			if i >= n.min {
				if len(p)+len(times) > plainMax {
					return nil, false
				}
				p = append(p, times...)
			}
			if i < n.max {
				if times, ok = times.then(q); !ok {
					return nil, false
				}
			}
		}
		return p, true
	case kCat:
		p = plain{{}}
		for _, s := range n.subs {
			q, ok := plainTexts(s)
			if !ok {
				return nil, false
			}
			if p, ok = p.then(q); !ok {
				return nil, false
			}
		}
		return p, true
	}
	return nil, false
}

// plainSet takes a small set as its members. A set with both cases of a letter
// compares it without case.
func plainSet(s *set) (plain, bool) {
	const membersMax = 4
	var p plain
	for i := range 256 {
		c := byte(i)
		if !s.hasByte(c) {
			continue
		}
		t := plainText{text: string([]byte{c})}
		if isAlpha(c) {
			t.fold = withCase
			if s.hasByte(c ^ 0x20) {
				if isUpper(c) {
					continue
				}
				t.fold = withoutCase
			}
		}
		if p = append(p, t); len(p) > membersMax {
			return nil, false
		}
	}
	return p, len(p) > 0
}

// then is p followed by q.
func (p plain) then(q plain) (plain, bool) {
	if len(p)*len(q) > plainMax {
		return nil, false
	}
	out := make(plain, 0, len(p)*len(q))
	for _, a := range p {
		for _, b := range q {
			t := plainText{text: a.text + b.text, fold: max(a.fold, b.fold), atStart: a.atStart, atEnd: a.atEnd || b.atEnd, newline: a.newline || b.newline}
			mixed := a.fold != noLetters && b.fold != noLetters && a.fold != b.fold
			endsTwice := a.atEnd && b.atEnd && a.newline != b.newline
			if mixed || endsTwice || a.atEnd && b.text != "" {
				return nil, false
			}
			if b.atStart {
				if a.text != "" {
					return nil, false
				}
				t.atStart = true
			}
			out = append(out, t)
		}
	}
	return out, true
}

// match reports whether one of the texts is in s; low is s in lower case.
func (p plain) match(s, low string) bool {
	for i := range p {
		t := &p[i]
		sub := s
		if t.fold == withoutCase {
			sub = low
		}
		if t.atEnd && t.newline && strings.HasSuffix(sub, "\n") && t.at(sub[:len(sub)-1]) || t.at(sub) {
			return true
		}
	}
	return false
}

func (t *plainText) at(sub string) bool {
	switch {
	case t.atStart && t.atEnd:
		return sub == t.text
	case t.atStart:
		return strings.HasPrefix(sub, t.text)
	case t.atEnd:
		return strings.HasSuffix(sub, t.text)
	}
	return strings.Contains(sub, t.text)
}

// Needs returns the known common properties of all matches: the bytes they begin
// with, and texts in lower case of which they hold one.
func (r *Regex) Needs() (first *[256]bool, texts []string) {
	if r.utf {
		return nil, nil
	}
	texts = r.need
	if r.plain != nil {
		texts = nil
		for _, t := range r.plain {
			texts = append(texts, lower(t.text))
		}
	}
	if r.anchored && r.hasFirst {
		first = &r.first
	}
	return first, texts
}

// Values lists the only subjects that can match, in lower case, if the pattern
// is a few whole texts.
func (r *Regex) Values() (values []string, ok bool) {
	if r.plain == nil {
		return nil, false
	}
	for _, t := range r.plain {
		if !t.atStart || !t.atEnd {
			return nil, false
		}
		values = append(values, lower(t.text))
		if t.newline {
			values = append(values, lower(t.text)+"\n")
		}
	}
	return values, true
}
