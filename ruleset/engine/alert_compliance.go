package engine

import (
	"bytes"
	"slices"
	"strings"

	"vedette/agentmsg"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// Bounds of the compliance that an event adds to its rule: how many standards,
// and how much of the full log is searched for them.
const (
	complianceMax    = 64
	complianceSearch = 1023
)

// complianceList is one standard and its entries.
type complianceList struct {
	name   string
	values []string
}

// ruleMembers are taken by other things than compliance.
var ruleMembers = []string{
	"level", "description", "id", "mitre", "cve", "info", "frequency", "firedtimes", "mail", "groups",
}

// groups writes the rule's groups and compliance, with the compliance values
// that the event itself carries (spec/alert-format.md §3).
func (w *writer) groups(r *program.Rule) {
	e := &w.r.s.ev
	added := e.compliance
	if w.r.s.eng.rootcheck[r] {
		added = append(slices.Clip(added), bracedCompliance(e.fullLog[:min(len(e.fullLog), complianceSearch)])...)
	}
	b := r.JSONGroups
	for i := range added {
		b = addCompliance(b, &added[i])
	}
	w.b = append(w.b, b...)
}

// addCompliance returns groups with c appended to the array of its name, which
// is made if there is none. groups is not changed.
func addCompliance(groups []byte, c *complianceList) []byte {
	if len(c.values) == 0 || slices.Contains(ruleMembers, c.name) {
		return groups
	}
	var values []byte
	for i, v := range c.values {
		if i > 0 {
			values = append(values, ',')
		}
		values = schemas.AppendJSONString(values, v)
	}
	// A quoted name behind a comma and before :[ cannot stand inside a value,
	// whose quotes are escaped.
	key := append(schemas.AppendJSONString([]byte{','}, c.name), ":["...)
	at := bytes.Index(groups, key)
	if at < 0 {
		return slices.Concat(groups, key, values, []byte{']'})
	}
	at += len(key)
	for text := false; at < len(groups) && (text || groups[at] != ']'); at++ {
		switch groups[at] {
		case '"':
			text = !text
		case '\\':
			at++
		}
	}
	if at >= len(groups) {
		return groups
	}
	if groups[at-1] != '[' {
		values = append([]byte{','}, values...)
	}
	return slices.Concat(groups[:at], values, groups[at:])
}

// bracedCompliance finds every `{Name: a, b}` in s.
func bracedCompliance(s string) []complianceList {
	var out []complianceList
	for len(out) < complianceMax {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			break
		}
		s = s[i+1:]
		n := 0
		for n < len(s) && word(s[n]) {
			n++
		}
		if n == 0 || n >= len(s) || s[n] != ':' {
			continue
		}
		end := n + 1
		for end < len(s) && (word(s[end]) || strings.IndexByte("., ", s[end]) >= 0) {
			end++
		}
		if end >= len(s) || s[end] != '}' {
			continue
		}
		if v := agentmsg.SplitList(s[n+1:end], ","); len(v) > 0 {
			out = append(out, complianceList{strings.ToLower(s[:n]), v})
		}
		s = s[end+1:]
	}
	return out
}

func word(c byte) bool {
	return c == '_' || digit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
