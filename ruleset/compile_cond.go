package ruleset

import (
	"slices"
	"strconv"
	"strings"

	"vedette/internal/ipset"
	"vedette/internal/regex"
	"vedette/internal/xmlfile"
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
	add := func(rank int, c program.Condition) { d.conds = append(d.conds, rankedCond{rank, c}) }
	for name, tc := range textConds {
		t := d.texts[name]
		if t == nil {
			continue
		}
		kind := tc.kind
		if t.hasKind {
			kind = t.kind
		}
		p, err := l.pattern(kind, t.value)
		if err != nil {
			return d.fatal(t.e, "%v", err)
		}
		add(tc.rank, program.Condition{Op: tc.op, Static: tc.static, Pattern: p, Negate: t.negate})
	}
	if t := d.texts["decoded_as"]; t != nil {
		id, ok := l.p.DecoderIDs[t.value]
		if !ok || t.value == "" {
			p := d.fatal(t.e, "<decoded_as> names decoder %q, which is not loaded", t.value)
			p.Hint = "decoders are loaded before all rules; check the name"
			return p
		}
		add(rankDecodedAs, program.Condition{Op: program.OpDecodedAs, Number: id})
	}
	for _, f := range d.fields {
		c, p := l.fieldCond(d, f)
		if p != nil {
			return p
		}
		add(rankField, c)
	}
	if p := l.ipCond(d, d.srcips, rankSrcIP, program.OpSrcIP); p != nil {
		return p
	}
	if p := l.ipCond(d, d.dstips, rankDstIP, program.OpDstIP); p != nil {
		return p
	}
	if t := d.texts["compiled_rule"]; t != nil {
		n := slices.Index([]string{
			"check_id_size", "comp_mswin_targetuser_calleruser_diff",
			"comp_srcuser_dstuser", "is_simple_http_request", "is_valid_crawler",
		}, t.value)
		if n < 0 {
			return d.fatal(t.e, "unknown <compiled_rule> %q", t.value)
		}
		add(rankCompiled, program.Condition{Op: program.OpCompiled, Number: n})
	}
	if t := d.texts["time"]; t != nil {
		c, ok := parseTime(t.value)
		if !ok {
			return d.fatal(t.e, "bad <time> %q; it reads like 6 pm - 8:30 am", t.value)
		}
		add(rankTime, c)
	}
	if t := d.texts["weekday"]; t != nil {
		days, ok := parseWeekdays(t.value)
		if !ok {
			return d.fatal(t.e, "bad <weekday> %q", t.value)
		}
		add(rankWeekday, program.Condition{Op: program.OpWeekday, Number: days})
	}
	if d.checkDiff {
		add(rankCheckDiff, program.Condition{Op: program.OpCheckDiff})
	}
	if d.fts {
		add(rankFTS, program.Condition{Op: program.OpFTS})
	}
	lists := d.lists
	if len(lists) > 2 {
		// 4.14 tests the last two only (§9, example E54).
		lists = lists[len(lists)-2:]
	}
	for _, e := range lists {
		c, p := l.listCond(d, e)
		if p != nil {
			return p
		}
		add(rankList, c)
	}
	slices.SortStableFunc(d.conds, func(a, b rankedCond) int { return a.rank - b.rank })
	for _, c := range d.conds {
		d.r.Conds = append(d.r.Conds, c.c)
	}
	return nil
}

func (l *loader) fieldCond(d *ruleDraft, e *xmlfile.Element) (program.Condition, *Problem) {
	var none program.Condition
	name, ok := e.Attr("name")
	if !ok || name == "" {
		return none, d.fatal(e, "<field> has no name")
	}
	if _, static := program.ParseStatic(name); static {
		p := d.fatal(e, "<field> names %q, which is a static field", name)
		p.Hint = "use <" + name + "> instead"
		return none, p
	}
	t := &text{}
	l.patternAttrs(d, e, t, "name")
	kind := regex.OSRegex
	if t.hasKind {
		kind = t.kind
	}
	p, err := l.pattern(kind, e.Content)
	if err != nil {
		return none, d.fatal(e, "%v", err)
	}
	return program.Condition{Op: program.OpDynamic, Field: l.fieldID(name), Pattern: p, Negate: t.negate}, nil
}

func (l *loader) ipCond(d *ruleDraft, es []*xmlfile.Element, rank int, op program.Op) *Problem {
	if len(es) == 0 {
		return nil
	}
	c := program.Condition{Op: op, IPs: &ipset.Set{}}
	for _, e := range es {
		if err := c.IPs.Add(e.Content); err != nil {
			return d.fatal(e, "%v", err)
		}
		c.Negate = false
		for _, a := range e.Attrs {
			switch strings.ToLower(a.Name) {
			case "negate":
				c.Negate = strings.EqualFold(a.Value, "yes")
			case "type":
			default:
				l.unknownAttr(d.f, e, d.r.ID, a.Name)
			}
		}
	}
	d.conds = append(d.conds, rankedCond{rank, c})
	return nil
}

var lookups = map[string]program.LookupKind{
	"match_key":               program.MatchKey,
	"not_match_key":           program.NotMatchKey,
	"match_key_value":         program.MatchKeyValue,
	"address_match_key":       program.AddressMatchKey,
	"not_address_match_key":   program.NotAddressMatchKey,
	"address_match_key_value": program.AddressMatchKeyValue,
}

// listCond compiles a <list>; a list that is not loaded makes the rule be skipped.
func (l *loader) listCond(d *ruleDraft, e *xmlfile.Element) (program.Condition, *Problem) {
	look := &program.ListLookup{}
	c := program.Condition{Op: program.OpList, List: look}
	field, lookup, value := "", "match_key", ""
	for _, a := range e.Attrs {
		switch strings.ToLower(a.Name) {
		case "field":
			field = a.Value
		case "lookup":
			lookup = a.Value
		case "check_value":
			value = a.Value
		default:
			l.unknownAttr(d.f, e, d.r.ID, a.Name)
		}
	}
	if field == "" {
		return c, d.fatal(e, "<list> has no field")
	}
	var ok bool
	if look.Lookup, ok = lookups[lookup]; !ok {
		return c, d.fatal(e, "unknown lookup %q of <list>", lookup)
	}
	p, err := l.pattern(regex.OSMatch, value)
	if err != nil {
		return c, d.fatal(e, "%v", err)
	}
	look.Value = p
	look.From = l.source(field)
	if field == "user" {
		look.From = program.Source{Kind: program.FromListUser}
	}
	path := strings.TrimSuffix(strings.TrimSpace(e.Content), ".cdb")
	list, ok := l.lists[strings.TrimPrefix(path, "etc/lists/")]
	if !ok {
		l.warn(d.f, e, d.r.ID, codeListNotLoaded, "list "+path+" is not loaded, the rule is skipped", "put the file below lists/")
		d.skip = true
	}
	look.Name, look.List = path, list
	return c, nil
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

// parseTime reads `hh[:mm][am|pm] - hh[:mm][am|pm]` with an optional leading `!`.
func parseTime(s string) (program.Condition, bool) {
	c := program.Condition{Op: program.OpTime}
	s = strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(s, "!"); ok {
		c.Negate, s = true, strings.TrimSpace(rest)
	}
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return c, false
	}
	var ok1, ok2 bool
	c.From, ok1 = parseClock(from)
	c.To, ok2 = parseClock(to)
	return c, ok1 && ok2
}

// parseClock reads a time of day as minutes.
func parseClock(s string) (int, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	half := -1
	if rest, ok := strings.CutSuffix(s, "am"); ok {
		half, s = 0, rest
	} else if rest, ok := strings.CutSuffix(s, "pm"); ok {
		half, s = 12, rest
	}
	hh, mm, hasMinutes := strings.Cut(strings.TrimSpace(s), ":")
	h, ok := number(strings.TrimSpace(hh), 2)
	if !ok {
		return 0, false
	}
	m := 0
	if hasMinutes {
		if m, ok = number(strings.TrimSpace(mm), 2); !ok || m > 59 {
			return 0, false
		}
	}
	if half >= 0 {
		if h < 1 || h > 12 {
			return 0, false
		}
		h = h%12 + half
	}
	if h > 24 || h == 24 && m > 0 {
		return 0, false
	}
	return h*60 + m, true
}

var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// parseWeekdays reads names of days into a set of bits, Sunday being bit 0.
func parseWeekdays(s string) (int, bool) {
	set := 0
	for _, w := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		switch w {
		case "weekdays":
			set |= 0b0111110
			continue
		case "weekends":
			set |= 0b1000001
			continue
		}
		day := slices.IndexFunc(weekdays, func(d string) bool { return w == d || w == d[:3] })
		if day < 0 {
			return 0, false
		}
		set |= 1 << day
	}
	return set, set != 0
}

// parseIDs reads the numbers of if_sid: digits, commas, blanks.
func parseIDs(s string) ([]int, bool) {
	var ids []int
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
		if _, ok := number(w, 10); !ok {
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
