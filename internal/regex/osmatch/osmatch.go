// Package osmatch implements OS_Match, the plain-text pattern language of rule
// conditions: alternatives separated by `|`, each with an optional `^` and `$`,
// and a leading `!` that inverts the whole. Letters compare without case (ASCII).
//
// Source: spec/ruleset-language.md §4.1.
package osmatch

import "strings"

// Pattern is a compiled pattern, safe for concurrent use.
type Pattern struct {
	negate bool
	always bool
	one    alternative // the first of alts once more, for most have no other
	alts   []alternative
}

type alternative struct {
	text           string
	atStart, atEnd bool
}

// Compile compiles text; every text is a pattern.
func Compile(text string) *Pattern {
	p := &Pattern{}
	if strings.HasPrefix(text, "!") {
		p.negate, text = true, text[1:]
	}
	for a := range strings.SplitSeq(text, "|") {
		var alt alternative
		if strings.HasPrefix(a, "^") {
			alt.atStart, a = true, a[1:]
		}
		if strings.HasSuffix(a, "$") {
			alt.atEnd, a = true, a[:len(a)-1]
		}
		alt.text = lower(a)
		if alt.text == "" && (!alt.atStart || !alt.atEnd) {
			p.always = true
		}
		p.alts = append(p.alts, alt)
	}
	p.one = p.alts[0]
	return p
}

// Match reports whether the pattern matches; low is the subject with its ASCII
// letters in lower case.
func (p *Pattern) Match(low string) bool {
	return p.match(low) != p.negate
}

func (p *Pattern) match(low string) bool {
	if p.always {
		return true
	}
	for i := range p.alts {
		a := &p.one
		if i > 0 {
			a = &p.alts[i]
		}
		switch {
		case a.atStart && a.atEnd:
			if low == a.text {
				return true
			}
		case a.atStart:
			if strings.HasPrefix(low, a.text) {
				return true
			}
		case a.atEnd:
			if strings.HasSuffix(low, a.text) {
				return true
			}
		default:
			if strings.Contains(low, a.text) {
				return true
			}
		}
	}
	return false
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
