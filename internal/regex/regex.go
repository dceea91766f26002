// Package regex puts the pattern languages of the ruleset behind one type.
package regex

import (
	"fmt"
	"strings"

	"vedette/internal/regex/osmatch"
	"vedette/internal/regex/osregex"
	"vedette/internal/regex/pcre"
)

// Kind is a pattern language.
type Kind uint8

// The pattern languages.
const (
	OSRegex Kind = iota
	OSMatch
	String // equality of the whole, with case
	PCRE2
)

var kindNames = [...]string{"osregex", "osmatch", "string", "pcre2"}

func (k Kind) String() string { return kindNames[k] }

// ParseKind reads a type attribute, whose case does not count; String has no name
// there.
func ParseKind(s string) (Kind, bool) {
	switch strings.ToLower(s) {
	case "osregex":
		return OSRegex, true
	case "osmatch":
		return OSMatch, true
	case "pcre2":
		return PCRE2, true
	}
	return 0, false
}

// Pattern is a compiled pattern, safe for concurrent use.
type Pattern struct {
	kind Kind
	osm  *osmatch.Pattern
	pc   *pcre.Regex
	// Not a pointer: most patterns fail at the first look.
	osr  osregex.Regex
	text string

	_ [8]byte // patterns begin where a cache line does
}

// Compile compiles text.
func Compile(kind Kind, text string) (*Pattern, error) {
	p := &Pattern{kind: kind, text: text}
	var err error
	switch kind {
	case OSRegex:
		var r *osregex.Regex
		if r, err = osregex.Compile(text); err == nil {
			p.osr = *r
		}
	case OSMatch:
		p.osm = osmatch.Compile(text)
	case PCRE2:
		p.pc, err = pcre.Compile(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s pattern %q: %w", kind, text, err)
	}
	return p, nil
}

// Kind returns the pattern's language.
func (p *Pattern) Kind() Kind { return p.kind }

// String returns the pattern's text.
func (p *Pattern) String() string { return p.text }

// Machine holds the scratch space of matches; not safe for concurrent use. The
// zero value is ready.
type Machine struct {
	osr    osregex.Machine
	pcre   pcre.Machine
	groups []int
}

// Exceeded counts the matches that ran out of steps and were taken as none.
func (m *Machine) Exceeded() uint64 { return m.osr.Exceeded + m.pcre.Exceeded }

// Match reports whether p matches s. low is Lower(s).
func (m *Machine) Match(p *Pattern, s, low string) bool {
	switch p.kind {
	case OSRegex:
		return m.osr.Match(&p.osr, low)
	case OSMatch:
		return p.osm.Match(low)
	case PCRE2:
		return m.pcre.Match(p.pc, s, low)
	}
	return s == p.text
}

// Find matches s, low being Lower(s), and returns where the next pattern
// resumes and start and end of each group; the groups are valid until the next
// call. Patterns without groups give none.
func (m *Machine) Find(p *Pattern, s, low string) (next int, groups []int, ok bool) {
	return m.FindHinted(p, s, low, nil)
}

// Hints are the known places of the texts that Pattern.Needs lists.
type Hints = osregex.Hints

// FindHinted is Find with hints, or nil.
func (m *Machine) FindHinted(p *Pattern, s, low string, hints *Hints) (next int, groups []int, ok bool) {
	switch p.kind {
	case OSRegex:
		_, next, m.groups, ok = m.osr.Find(&p.osr, low, m.groups[:0], hints)
		return next, m.groups, ok
	case PCRE2:
		next, m.groups, ok = m.pcre.Find(p.pc, s, low, m.groups[:0])
		return next, m.groups, ok
	}
	return len(s), nil, m.Match(p, s, low)
}

// Lower returns s with its ASCII letters in lower case.
func Lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
