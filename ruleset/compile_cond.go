package ruleset

import (
	"slices"
	"strconv"
	"strings"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/condition"
	"vedette/ruleset/program"
)

// fieldID numbers a dynamic field that rules name.
func (l *loader) fieldID(name string) int {
	name = regex.Lower(name)
	id, ok := l.p.FieldIDs[name]
	if !ok {
		id = len(l.p.FieldIDs)
		l.p.FieldIDs[name] = id
	}
	return id
}

// conditions compiles all conditions of a rule, in order of evaluation.
func (l *loader) conditions(d *ruleDraft) *Problem {
	for i := range condition.Kinds {
		k := &condition.Kinds[i]
		w := d.texts[k.Name]
		if w == nil || k.Form == condition.Attribute {
			continue
		}
		if p := l.condition(d, k, i, w); p != nil {
			return p
		}
	}
	slices.SortStableFunc(d.conds, func(a, b rankedCond) int { return a.rank - b.rank })
	for _, c := range d.conds {
		d.r.Conds = append(d.r.Conds, c.c)
	}
	return nil
}

// condition compiles the elements of one kind, whose conditions have that rank in the
// order of evaluation.
func (l *loader) condition(d *ruleDraft, k *condition.Kind, rank int, w *condition.Written) *Problem {
	conds, fault := k.Compile(conditionLoader{l, d}, w)
	if fault != nil {
		e := fault.Element
		if e == nil {
			e = d.e
		}
		p := d.fatal(e, "%s", fault.Msg)
		p.Hint = fault.Hint
		return p
	}
	for _, c := range conds {
		d.conds = append(d.conds, rankedCond{rank, c})
	}
	return nil
}

// conditionLoader gives the conditions of one rule access to the ruleset.
type conditionLoader struct {
	l *loader
	d *ruleDraft
}

func (c conditionLoader) Pattern(kind regex.Kind, text string) (*regex.Pattern, error) {
	return c.l.pattern(kind, text)
}

func (c conditionLoader) PatternAttributes(e *xmlfile.Element, w *condition.Written, also ...string) {
	c.l.patternAttrs(c.d, e, w, also...)
}

func (c conditionLoader) UnknownAttribute(e *xmlfile.Element, name string) {
	c.l.unknownAttr(c.d.f, e, c.d.r.ID, name)
}

func (c conditionLoader) FieldID(name string) int { return c.l.fieldID(name) }

func (c conditionLoader) DecoderID(name string) (id int, ok bool) {
	id, ok = c.l.p.DecoderIDs[name]
	return id, ok
}

func (c conditionLoader) Source(name string) program.Source { return c.l.source(name) }

func (c conditionLoader) List(e *xmlfile.Element, name string) program.List {
	list, ok := c.l.lists[strings.TrimPrefix(name, "etc/lists/")]
	if !ok {
		c.l.warn(c.d.f, e, c.d.r.ID, codeListNotLoaded, "list "+name+" is not loaded, the rule is skipped", "put the file below lists/")
		c.d.skip = true
	}
	return list
}

// source resolves a name as used in lists and descriptions.
func (l *loader) source(name string) program.Source {
	switch name {
	case "program_name":
		return program.Source{Kind: program.FromProgramName}
	case "hostname":
		return program.Source{Kind: program.FromHostname}
	}
	if s, ok := program.ParseStatic(name); ok && name != "user" {
		return program.Source{Static: s}
	}
	return program.Source{Kind: program.FromDynamic, Field: l.fieldID(name)}
}

// template cuts a description at its $(names).
func (l *loader) template(s string) program.Template {
	s = strings.Replace(s, "\n", " ", 1)
	t := program.Template{Text: s}
	for {
		i := strings.Index(s, "$(")
		if i < 0 {
			break
		}
		n := strings.IndexByte(s[i:], ')')
		if n < 0 {
			break
		}
		if i > 0 {
			t.Parts = append(t.Parts, program.TemplatePart{Text: s[:i]})
		}
		t.Parts = append(t.Parts, program.TemplatePart{Ref: true, From: l.source(s[i+2 : i+n])})
		s = s[i+n+1:]
	}
	if s != "" {
		t.Parts = append(t.Parts, program.TemplatePart{Text: s})
	}
	return t
}

// parseIDs reads the numbers of if_sid: digits, commas, blanks.
func parseIDs(s string) ([]int, bool) {
	var ids []int
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
		if _, ok := xmlfile.Number(w, 10); !ok {
			return nil, false
		}
		n, err := strconv.Atoi(w)
		if err != nil {
			return nil, false
		}
		ids = append(ids, n)
	}
	return ids, len(ids) > 0
}
