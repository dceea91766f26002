package check

import (
	"regexp"
	"slices"
	"strings"

	"vedette/internal/regex"
	"vedette/ruleset/mitre"
	"vedette/ruleset/program"
)

// traps finds elements that load but do not work as their author expects.
func (c *checker) traps() {
	for _, d := range c.decoders {
		for _, e := range d.e.Children {
			if e.Is("program_name") || e.Is("prematch") || e.Is("regex") {
				c.entity(place{d.f, e}, 0)
			}
		}
	}
	for _, r := range c.p.AllRules {
		at, ok := c.rules[r]
		if !ok {
			continue
		}
		for _, e := range at.e.Children {
			c.trap(place{at.f, e}, r.ID)
		}
	}
}

// patternElements hold patterns or values that are compared with events.
var patternElements = []string{
	"match", "regex", "field", "program_name", "hostname", "location", "id", "url", "status", "protocol", "system_name", "data", "extra_data", "srcport", "dstport",
	"action", "user", "if_matched_regex",
}

func (c *checker) trap(at place, rule int) {
	e := at.e
	name := strings.ToLower(e.Name)
	switch {
	case name == "srcip" || name == "dstip":
		if strings.HasPrefix(strings.TrimSpace(e.Content), "!") {
			c.warn(at, rule, `write negate="yes" instead`, "the ! in front of %s is ignored: <%s> matches the address itself", strings.TrimSpace(e.Content)[1:], name)
		}
	case name == "mitre":
		for _, id := range e.Children {
			c.technique(place{at.f, id}, rule)
		}
	case strings.HasSuffix(name, "_field") && (strings.HasPrefix(name, "same_") || strings.HasPrefix(name, "different_") || strings.HasPrefix(name, "not_same_")):
		field := strings.TrimSpace(e.Content)
		if _, static := program.ParseStatic(field); static {
			c.warn(at, rule, "write <"+strings.TrimSuffix(name, "field")+field+"/> instead", "<%s> names %s, which is a static field and never among those it compares", name, field)
		}
	case slices.Contains(patternElements, name):
		// Values of Windows events do have entities.
		if field, _ := e.Attr("name"); !strings.HasPrefix(field, "win.") {
			c.entity(at, rule)
		}
	}
}

// technique finds ids that alerts cannot name.
func (c *checker) technique(at place, rule int) {
	id := strings.TrimSpace(at.e.Content)
	known := false
	switch {
	case at.e.Is("id"), at.e.Is("techniqueID"):
		_, known = mitre.Find(id)
	case at.e.Is("tacticID"):
		_, known = mitre.Tactic(id)
	default:
		return
	}
	if name, tactic := mitre.Tactic(id); !known && tactic {
		c.warn(at, rule, "name a technique of it, or write <tacticID> and <techniqueID>", "%s is the tactic %s and no technique: alerts do not name it", id, name)
		return
	}
	if !known && id != "" {
		c.warn(at, rule, "check it at attack.mitre.org; ids of other matrices and revoked ones are not known", "unknown ATT&CK id %s: alerts do not name it", id)
	}
}

var entities = regexp.MustCompile(`&(amp|lt|gt|quot|apos|#[0-9]+|#x[0-9A-Fa-f]+);`)

// entity finds XML entities, which this dialect does not have.
func (c *checker) entity(at place, rule int) {
	if found := entities.FindString(at.e.Content); found != "" {
		hint := "write the character itself"
		if found == "&lt;" {
			hint = `write \<, or <regex type="pcre2"> with \x3C`
		}
		c.warn(at, rule, hint, "%s is no entity here: <%s> looks for these %d characters", found, strings.ToLower(at.e.Name), len(found))
	}
}

// regexTokens are tokens of regular expressions, which OS_Match reads as text.
var regexTokens = regexp.MustCompile(`\.[+*]|\\[dwsDWSpt][+*]`)

// alternatives splits a pattern into its alternatives outside of groups. A
// pattern with an empty alternative matches every text.
func alternatives(kind regex.Kind, text string) []string {
	if kind == regex.OSMatch {
		return strings.Split(strings.TrimPrefix(text, "!"), "|")
	}
	var out []string
	depth, class, from := 0, false, 0
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == '\\':
			i++
		case kind == regex.PCRE2 && class:
			class = b != ']'
		case kind == regex.PCRE2 && b == '[':
			class = true
			if strings.HasPrefix(text[i+1:], "]") || strings.HasPrefix(text[i+1:], "^]") {
				i += 2 // a bracket that comes first is a member
			}
		case b == '(':
			depth++
		case b == ')':
			depth--
		case b == '|' && depth == 0:
			out = append(out, text[from:i])
			from = i + 1
		}
	}
	return append(out, text[min(from, len(text)):])
}

func emptyAlternative(p *regex.Pattern) bool {
	if p.Kind() == regex.String {
		return false
	}
	a := alternatives(p.Kind(), p.String())
	return len(a) > 1 && slices.Contains(a, "")
}
