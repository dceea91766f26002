package check

import (
	"slices"
	"strings"

	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// tested names the part of an event that a condition tests.
type tested struct {
	op     program.Op
	static program.Static
	field  int
}

// exactly is a condition that lets only some values through, without case.
type exactly struct {
	rule   *program.Rule
	values []string
}

// exactValues are the values that a condition lets through, in lower case; nil
// for one of another form than ^a$|^b$.
func exactValues(c *program.Condition) (tested, []string) {
	at := tested{op: c.Op}
	switch c.Op {
	case program.OpStatic:
		at.static = c.Static
	case program.OpDynamic:
		at.field = c.Field
	case program.OpProgramName, program.OpHostname, program.OpLocation, program.OpUser:
	default:
		return at, nil
	}
	if c.Negate || c.Pattern == nil {
		return at, nil
	}
	text := c.Pattern.String()
	special := "" // the part that is no literal
	switch c.Pattern.Kind() {
	case regex.String:
		return at, []string{regex.Lower(text)}
	case regex.OSMatch:
		if strings.HasPrefix(text, "!") {
			return at, nil
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
			return at, nil
		}
		values = append(values, regex.Lower(value))
	}
	return at, values
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

func (c *checker) testedName(at tested) string {
	switch at.op {
	case program.OpStatic:
		return program.StaticNames[at.static]
	case program.OpDynamic:
		for name, id := range c.p.FieldIDs {
			if id == at.field {
				return name
			}
		}
	case program.OpProgramName:
		return "program_name"
	case program.OpHostname:
		return "hostname"
	case program.OpLocation:
		return "location"
	}
	return "user"
}
