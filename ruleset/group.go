package ruleset

import (
	"strconv"
	"strings"

	"vedette/internal/xmlfile"
	"vedette/ruleset/mitre"
	"vedette/schemas"
)

// groupTextMax is how much of a group string is shown in JSON.
const groupTextMax = 1023

// complianceNames are the standards that groups are split by, in order of test.
var complianceNames = []string{"pci_dss", "cis", "gdpr", "gpg13", "hipaa", "nist_800_53", "tsc"}

// complianceList is one standard's array; lists are in order of first entry.
type complianceList struct {
	name   string
	values []string
}

// splitGroups parts a group string into groups and compliance entries
// (spec/alert-format.md §3).
func splitGroups(s string) (groups []string, compliance []complianceList) {
	s = s[:min(len(s), groupTextMax)]
next:
	for g := range strings.SplitSeq(s, ",") {
		if g == "" {
			continue
		}
		for _, n := range complianceNames {
			rest, ok := strings.CutPrefix(g, n+"_")
			if !ok {
				continue
			}
			for i := range compliance {
				if compliance[i].name == n {
					compliance[i].values = append(compliance[i].values, rest)
					continue next
				}
			}
			compliance = append(compliance, complianceList{n, []string{rest}})
			continue next
		}
		groups = append(groups, g)
	}
	return groups, compliance
}

// groupsJSON is the end of the alert's rule object.
func groupsJSON(groups []string, compliance []complianceList) []byte {
	b := appendStrings([]byte(`,"groups":`), groups)
	for _, c := range compliance {
		b = append(b, `,"`...)
		b = append(b, c.name...)
		b = append(b, `":`...)
		b = appendStrings(b, c.values)
	}
	return b
}

func appendStrings(b []byte, ss []string) []byte {
	b = append(b, '[')
	for i, s := range ss {
		if i > 0 {
			b = append(b, ',')
		}
		b = schemas.AppendJSONString(b, s)
	}
	return append(b, ']')
}

// mitreDraft collects the <mitre> blocks of a rule.
type mitreDraft struct {
	ids   []string    // old form
	pairs [][2]string // new form: tactic, technique
}

func (m *mitreDraft) shown() []string {
	if len(m.pairs) == 0 {
		return m.ids
	}
	var ids []string
	for _, p := range m.pairs {
		ids = append(ids, p[1])
	}
	return ids
}

func (l *loader) mitreBlock(d *ruleDraft, e *xmlfile.Element) {
	var ids, tactics, techniques []string
	for _, c := range e.Children {
		v := strings.TrimSpace(c.Content)
		switch {
		case v == "":
			l.warn(d.f, c, d.r.ID, codeNone, "<"+c.Name+"> in <mitre> is empty, the block is dropped", "")
			return
		case c.Is("id"):
			ids = append(ids, c.Content)
		case c.Is("tacticID"):
			tactics = append(tactics, v)
		case c.Is("techniqueID"):
			techniques = append(techniques, v)
		default:
			l.warn(d.f, c, d.r.ID, codeNone, "unknown element <"+c.Name+"> in <mitre>, the block is dropped", "")
			return
		}
	}
	switch {
	case len(ids) > 0 && len(tactics)+len(techniques) == 0:
		d.mitre.ids = append(d.mitre.ids, ids...)
	case len(ids) == 0 && len(tactics) == 1 && len(techniques) == 1:
		d.mitre.pairs = append(d.mitre.pairs, [2]string{tactics[0], techniques[0]})
	default:
		l.warn(d.f, e, d.r.ID, codeNone, "a <mitre> block holds either <id>s or one <tacticID> and one <techniqueID>; it is dropped", "")
	}
}

// mitreJSON is the mitre object of the alert, or nil when nothing is known.
func (m *mitreDraft) json() []byte {
	var ids, tactics, techniques []string
	add := func(to *[]string, s string) {
		for _, x := range *to {
			if x == s {
				return
			}
		}
		*to = append(*to, s)
	}
	if len(m.pairs) > 0 {
		for _, p := range m.pairs {
			t, ok := mitre.Find(p[1])
			name, known := mitre.Tactic(p[0])
			if !ok || !known || !t.In(name) {
				continue
			}
			add(&ids, p[1])
			add(&tactics, name)
			add(&techniques, t.Name)
		}
	} else {
		ids = m.ids
		for _, id := range m.ids {
			if t, ok := mitre.Find(id); ok {
				techniques = append(techniques, t.Name)
				for _, x := range t.Tactics {
					add(&tactics, x)
				}
			}
		}
	}
	if len(tactics) == 0 {
		return nil
	}
	b := appendStrings([]byte(`{"id":`), ids)
	b = appendStrings(append(b, `,"tactic":`...), tactics)
	b = appendStrings(append(b, `,"technique":`...), techniques)
	return append(b, '}')
}

// head makes the middle of the alert's rule object: id to frequency.
func (d *ruleDraft) head() {
	r := d.r
	b := append([]byte(`,"id":"`), strconv.Itoa(r.ID)...)
	b = append(b, '"')
	if m := d.mitre.json(); m != nil {
		b = append(append(b, `,"mitre":`...), m...)
	}
	if d.cve.Len() > 0 {
		b = schemas.AppendJSONString(append(b, `,"cve":`...), d.cve.String())
	}
	if d.info.Len() > 0 {
		b = schemas.AppendJSONString(append(b, `,"info":`...), d.info.String())
	}
	if r.Composite != nil {
		b = strconv.AppendInt(append(b, `,"frequency":`...), int64(r.Composite.Frequency), 10)
	}
	r.JSONHead = b
}
