package check

import (
	"slices"
	"strings"

	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// exactly is a condition that lets only some values through, without case.
type exactly struct {
	rule   *program.Rule
	values []string
}

// exactValues are the values that a condition lets through, in lower case; nil
// for one of another form than ^a$|^b$.
func exactValues(c program.Condition) (at program.Source, values []string) {
	d := c.Demands()
	if d.Pattern == nil || d.Negate || d.Value.Kind == program.FromLog || d.Value.Kind == program.FromGeoIP {
		return d.Value, nil
	}
	return d.Value, patternValues(d.Pattern)
}

// patternValues are the texts that a pattern matches; nil for one of another form than
// ^a$|^b$.
func patternValues(p *regex.Pattern) []string {
	text := p.String()
	special := "" // the part that is no literal
	switch p.Kind() {
	case regex.String:
		return []string{regex.Lower(text)}
	case regex.OSMatch:
		if strings.HasPrefix(text, "!") {
			return nil
		}
	case regex.OSRegex:
		special = `\()`
	case regex.PCRE2:
		special = `\()[]{}.*+?#`
	}
	var values []string
	for a := range strings.SplitSeq(text, "|") {
		value, begins := strings.CutPrefix(a, "^")
		value, ends := strings.CutSuffix(value, "$")
		if !begins || !ends || value == "" || strings.ContainsAny(value, special+"^$") {
			return nil
		}
		values = append(values, regex.Lower(value))
	}
	return values
}

func disjoint(a, b []string) bool {
	return !slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

// oneOf shows values, cut.
func oneOf(values []string) string {
	text := strings.Join(values, " or ")
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	return text
}

func (c *checker) testedName(at program.Source) string {
	return at.Name(func(id int) string {
		for name, n := range c.p.FieldIDs {
			if n == id {
				return name
			}
		}
		return ""
	})
}
