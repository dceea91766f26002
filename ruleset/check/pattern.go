package check

import (
	"regexp"
	"strings"

	"vedette/internal/regex"
)

// patterns finds patterns with another meaning than their look suggests.
func (c *checker) patterns() {
	seen := map[int]bool{} // a child of several parents is compiled once for each
	for _, d := range c.p.AllDecoders {
		if seen[d.Info.Position] {
			continue
		}
		seen[d.Info.Position] = true
		at := c.decoder(d)
		c.pattern(at.child(named("program_name")), 0, d.ProgramName, false)
		c.pattern(at.child(named("prematch")), 0, d.Prematch, false)
		c.pattern(at.child(named("regex")), 0, d.Regex, false)
	}
	for _, r := range c.p.AllRules {
		at, ok := c.rules[r]
		if !ok {
			continue
		}
		for _, x := range r.Conds {
			if d := x.Demands(); d.Pattern != nil {
				c.pattern(c.condition(at, d.Pattern), r.ID, d.Pattern, d.Negate)
			}
		}
		if x := r.Composite; x != nil {
			c.pattern(at.child(named("if_matched_regex")), r.ID, x.Regex, false)
		}
	}
}

// condition finds the element of a condition by its text.
func (c *checker) condition(at place, p *regex.Pattern) place {
	text := p.String()
	if at.e != nil {
		for _, e := range at.e.Children {
			if e.Content != "" && strings.HasPrefix(text, e.Content) && !e.Is("description") && !e.Is("group") {
				return place{at.f, e}
			}
		}
	}
	return at
}

// bracketRange is how people write a class that OS_Regex does not have.
var bracketRange = regexp.MustCompile(`\[\^?(a-z|A-Z|0-9)+\]`)

func (c *checker) pattern(at place, rule int, p *regex.Pattern, negate bool) {
	if p == nil {
		return
	}
	text := p.String()
	inverted := p.Kind() == regex.OSMatch && strings.HasPrefix(text, "!")
	switch {
	case p.Kind() == regex.OSMatch && always(strings.TrimPrefix(text, "!")) && inverted != negate, emptyAlternative(p) && inverted != negate:
		c.warn(at, rule, "an empty alternative, ^ and $ alone are always true; remove it",
			"pattern %q can never match", shown(text, negate))
	case emptyAlternative(p):
		c.warn(at, rule, "remove the | at its begin or end, or one of two in a row",
			"pattern %q matches every text, since one of its alternatives is empty", shown(text, negate))
	}
	switch p.Kind() {
	case regex.OSMatch:
		if token := regexTokens.FindString(text); token != "" {
			c.warn(at, rule, `use type="pcre2"`,
				"pattern %q: OS_Match knows ^, $, | and ! only, it looks for the characters %s", text, token)
		}
	case regex.OSRegex:
		switch plain := unescaped(text); {
		case strings.Contains(plain, ")("):
			c.warn(at, rule, `put something between the groups, or use type="pcre2"`,
				"pattern %q: OS_Regex reads the second of two adjacent parentheses as a literal", text)
		case strings.Contains(plain, "(^"), strings.Contains(plain, "$)"):
			c.warn(at, rule, `put ^ and $ outside of the group, or use type="pcre2"`,
				"pattern %q: inside of a group OS_Regex reads ^ and $ as literals", text)
		case bracketRange.MatchString(plain):
			c.warn(at, rule, `use \w, \d or alternatives, or type="pcre2"`,
				"pattern %q: OS_Regex has no classes in brackets, it reads them as literals", text)
		}
	}
}

func shown(text string, negate bool) string {
	if negate {
		return text + " (negated)"
	}
	return text
}

// always reports whether an OS_Match pattern without its ! matches every text (§4.1).
func always(text string) bool {
	for a := range strings.SplitSeq(text, "|") {
		if a == "" || a == "^" || a == "$" {
			return true
		}
	}
	return false
}

// unescaped replaces each escape of an OS_Regex by a character without meaning.
func unescaped(text string) string {
	b := []byte(text)
	for i := 0; i+1 < len(b); i++ {
		if b[i] == '\\' {
			b[i], b[i+1] = 0, 0
			i++
		}
	}
	return string(b)
}
