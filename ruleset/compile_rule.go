package ruleset

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/condition"
	"vedette/ruleset/program"
)

// ruleFiles reads all rules, roots that are missing first.
func (l *loader) ruleFiles(files []File) {
	type parsed struct {
		f     *File
		roots []*xmlfile.Element
	}
	var all []parsed
	known := map[program.Category]bool{}
	ids := map[int]bool{}
	for i := range files {
		f := &files[i]
		roots, err := xmlfile.Parse(f.Data)
		if err != nil {
			l.report(xmlProblem(f, err))
			continue
		}
		all = append(all, parsed{f, roots})
		for _, g := range roots {
			for _, r := range g.Children {
				l.scanRule(r, known, ids)
			}
		}
	}
	l.suppliedRoots(known, ids)
	for _, p := range all {
		l.report(l.ruleFile(p.f, p.roots))
	}
}

// rootMax is the highest id of a root rule.
const rootMax = 9

// scanRule notes the category of a root rule, and whether there are stock rules.
func (l *loader) scanRule(r *xmlfile.Element, known map[program.Category]bool, ids map[int]bool) {
	v, _ := r.Attr("id")
	id, err := strconv.Atoi(v)
	l.hasStock = l.hasStock || err == nil && id > rootMax && id <= stockMax
	if err != nil || id < 1 || id > rootMax {
		return
	}
	ids[id] = true
	cat := program.Syslog
	for _, c := range r.Children {
		if c.Is("category") {
			if x, ok := program.ParseCategory(c.Content); ok {
				cat = x
			}
		}
	}
	known[cat] = true
}

// suppliedRoots adds the templates that a ruleset lacks: one per category, ids 1 to 7.
func (l *loader) suppliedRoots(known map[program.Category]bool, ids map[int]bool) {
	for cat := program.Syslog; cat <= program.Ossec; cat++ {
		id := int(cat) + 1
		if known[cat] || ids[id] {
			continue
		}
		r := &program.Rule{
			ID: id, Category: cat, NoAlert: true,
			Description: l.template("Root of all " + cat.String() + " rules."),
			GroupText:   cat.String() + ",",
		}
		r.Info = program.RuleInfo{Details: map[string]any{"noalert": "1", "category": cat.String()}}
		l.meta[r] = &ruleMeta{}
		l.addRule(r)
		l.placeRoot(r)
	}
}

func (l *loader) ruleFile(f *File, roots []*xmlfile.Element) *Problem {
	for _, g := range roots {
		if !g.Is("group") {
			return fatal(f, g, "unknown element <%s>; rule files hold <group>", g.Name)
		}
		name, ok := g.Attr("name")
		if !ok || len(g.Attrs) != 1 {
			return fatal(f, g, "<group> needs exactly the attribute name")
		}
		for _, r := range g.Children {
			if !r.Is("rule") {
				return fatal(f, r, "unknown element <%s>; a <group> holds <rule>", r.Name)
			}
			// The load fails, but the other faults are worth knowing.
			l.report(l.rule(f, name, r))
		}
	}
	return nil
}

// ruleMeta is the part of a rule that only loading needs.
type ruleMeta struct {
	texts      map[string]*condition.Written
	orderLevel int
	last       bool // accuracy="0"
}

// ruleDraft is a rule while it is read.
type ruleDraft struct {
	f     *File
	e     *xmlfile.Element
	r     *program.Rule
	meta  *ruleMeta
	attrs map[string]string

	overwrite    bool
	frequency    int
	hasFrequency bool
	timeframe    time.Duration

	texts     map[string]*condition.Written
	conds     []rankedCond
	same      []string // names of same_… elements, without prefix
	different []string
	sameField []string
	diffField []string
	global    bool
	group     strings.Builder
	desc      strings.Builder
	info, cve strings.Builder
	mitre     mitreDraft
	hasDesc   bool
	skip      bool // with a warning given
}

type rankedCond struct {
	rank int
	c    program.Condition
}

func (d *ruleDraft) fatal(e *xmlfile.Element, format string, args ...any) *Problem {
	p := fatal(d.f, e, format, args...)
	p.RuleID = d.r.ID
	return p
}

func (l *loader) rule(f *File, group string, e *xmlfile.Element) *Problem {
	d := &ruleDraft{f: f, e: e, r: &program.Rule{}, attrs: map[string]string{}, texts: map[string]*condition.Written{}, timeframe: program.DefaultTimeframe}
	d.meta = &ruleMeta{texts: d.texts}
	if p := l.ruleAttrs(d); p != nil {
		return p
	}
	for _, c := range e.Children {
		if p := l.ruleElement(d, c); p != nil {
			return p
		}
	}
	if !d.hasDesc {
		return d.fatal(e, "rule has no description")
	}
	return l.finishRule(d, group)
}

func (l *loader) ruleAttrs(d *ruleDraft) *Problem {
	e, r := d.e, d.r
	id, ok := e.Attr("id")
	if !ok {
		return d.fatal(e, "rule has no id")
	}
	if r.ID, ok = xmlfile.Number(id, 6); !ok {
		return d.fatal(e, "id %q is not a number of at most 6 digits", id)
	}
	hasLevel := false
	for _, a := range e.Attrs {
		name := strings.ToLower(a.Name)
		d.attrs[name] = a.Value
		hasLevel = hasLevel || name == "level"
		if read := ruleAttributes[name]; read != nil {
			if !read(l, d, a.Value) {
				return d.fatal(e, "bad value %q of attribute %s", a.Value, name)
			}
			continue
		}
		k, rank := condition.Find(name, true)
		if k == nil {
			return d.fatal(e, "unknown attribute %s of a rule", a.Name)
		}
		if p := l.condition(d, k, rank, &condition.Written{Value: a.Value}); p != nil {
			return p
		}
	}
	if !hasLevel {
		return d.fatal(e, "rule has no level")
	}
	return nil
}

// ruleAttributes read the attributes of a rule that are no conditions. They return
// false for a bad value.
var ruleAttributes = map[string]func(l *loader, d *ruleDraft, value string) bool{
	"id": func(*loader, *ruleDraft, string) bool { return true }, // is read before
	"level": func(_ *loader, d *ruleDraft, value string) (ok bool) {
		d.r.Level, ok = xmlfile.Number(value, 3)
		return ok && d.r.Level <= 16
	},
	"frequency": func(_ *loader, d *ruleDraft, value string) (ok bool) {
		d.frequency, ok = xmlfile.Number(value, 4)
		d.hasFrequency = ok
		return ok && d.frequency >= 2
	},
	"timeframe": func(_ *loader, d *ruleDraft, value string) bool { return seconds(&d.timeframe, value, 5) },
	"ignore":    func(_ *loader, d *ruleDraft, value string) bool { return seconds(&d.r.Ignore, value, 6) },
	"overwrite": func(_ *loader, d *ruleDraft, value string) bool {
		d.overwrite = strings.EqualFold(value, "yes")
		return d.overwrite || strings.EqualFold(value, "no")
	},
	"noalert": func(l *loader, d *ruleDraft, value string) bool {
		switch value {
		case "0":
		case "1":
			d.r.NoAlert = true
		default:
			l.warn(d.f, d.e, d.r.ID, codeNone, "noalert is neither 0 nor 1 and is ignored", "")
		}
		return true
	},
	"accuracy": func(_ *loader, d *ruleDraft, value string) bool {
		n, ok := xmlfile.LeadingNumber(value, 6)
		d.meta.last = ok && n == 0
		return ok
	},
}

// seconds reads a number of at most that many digits.
func seconds(to *time.Duration, value string, digits int) bool {
	n, ok := xmlfile.LeadingNumber(value, digits)
	if ok {
		*to = time.Duration(n) * time.Second
	}
	return ok
}

// plainTexts are elements that place a rule; their text is read when the rule is complete.
var plainTexts = map[string]bool{
	"category": true, "if_sid": true, "if_level": true, "if_group": true,
	"if_matched_sid": true, "if_matched_group": true, "if_matched_regex": true,
}

// correlated maps the names behind same_ and different_ to the compared value.
var correlated = map[string]program.Source{
	"srcip":        {Static: program.SrcIP},
	"source_ip":    {Static: program.SrcIP},
	"dstip":        {Static: program.DstIP},
	"srcport":      {Static: program.SrcPort},
	"src_port":     {Static: program.SrcPort},
	"dstport":      {Static: program.DstPort},
	"dst_port":     {Static: program.DstPort},
	"srcuser":      {Static: program.SrcUser},
	"user":         {Static: program.DstUser},
	"id":           {Static: program.ID},
	"url":          {Static: program.URL},
	"data":         {Static: program.Data},
	"extra_data":   {Static: program.ExtraData},
	"status":       {Static: program.Status},
	"system_name":  {Static: program.SystemName},
	"protocol":     {Static: program.Protocol},
	"action":       {Static: program.Action},
	"location":     {Kind: program.FromLocation},
	"srcgeoip":     {Kind: program.FromGeoIP, Static: program.SrcIP},
	"dstgeoip":     {Kind: program.FromGeoIP, Static: program.DstIP},
	"source_geoip": {Kind: program.FromGeoIP, Static: program.SrcIP},
}

func (l *loader) ruleElement(d *ruleDraft, c *xmlfile.Element) *Problem {
	name := strings.ToLower(c.Name)
	if k, _ := condition.Find(name, false); k != nil || plainTexts[name] {
		return l.ruleText(d, name, k, c)
	}
	switch name {
	case "ignore", "check_if_ignored":
		// They suppress nothing in 4.14 (§8.3); names are not checked either.
	case "description":
		d.hasDesc = true
		d.desc.WriteString(c.Content)
	case "group":
		d.group.WriteString(strings.ReplaceAll(c.Content, "\n", ""))
	case "info":
		d.info.WriteString(c.Content)
	case "cve":
		d.cve.WriteString(c.Content)
	case "mitre":
		l.mitreBlock(d, c)
	case "options":
		return ruleOption(d, c)
	case "global_frequency":
		d.global = true
	case "same_agent", "not_same_agent":
		l.warn(d.f, c, d.r.ID, codeNone, "<"+name+"> is deprecated and ignored", "")
	default:
		return l.correlation(d, name, c)
	}
	return nil
}

func (l *loader) correlation(d *ruleDraft, name string, c *xmlfile.Element) *Problem {
	rest, same := strings.CutPrefix(name, "same_")
	if !same {
		var ok bool
		if rest, ok = strings.CutPrefix(name, "different_"); !ok {
			if rest, ok = strings.CutPrefix(name, "not_same_"); !ok {
				return d.fatal(c, "unknown element <%s> of a rule", c.Name)
			}
		}
	}
	if rest == "field" {
		f := strings.TrimSpace(c.Content)
		if f == "" {
			return d.fatal(c, "<%s> names no field", c.Name)
		}
		if same {
			d.sameField = append(d.sameField, f)
		} else {
			d.diffField = append(d.diffField, f)
		}
		return nil
	}
	if _, ok := correlated[rest]; !ok {
		return d.fatal(c, "unknown element <%s> of a rule", c.Name)
	}
	if same {
		d.same = append(d.same, rest)
	} else {
		d.different = append(d.different, rest)
	}
	return nil
}

// ruleText adds one element to those of its name; k is the condition that it makes,
// nil if it places the rule.
func (l *loader) ruleText(d *ruleDraft, name string, k *condition.Kind, c *xmlfile.Element) *Problem {
	w := d.texts[name]
	if w == nil {
		w = &condition.Written{}
		d.texts[name] = w
	}
	if k != nil && k.Most > 0 && len(w.Elements) == k.Most {
		return d.fatal(c, "more than %d <%s>", k.Most, name)
	}
	w.Elements = append(w.Elements, c)
	if k != nil && k.Form == condition.Each {
		return nil
	}
	w.HasKind, w.Negate = false, false
	l.patternAttrs(d, c, w)
	if len(w.Value)+len(c.Content) > ruleTextMax {
		return d.fatal(c, "text of <%s> is longer than %d bytes", c.Name, ruleTextMax)
	}
	w.Value += c.Content
	return nil
}

// patternAttrs reads type and negate; attributes in also are known too.
func (l *loader) patternAttrs(d *ruleDraft, c *xmlfile.Element, t *condition.Written, also ...string) {
	for _, a := range c.Attrs {
		switch n := strings.ToLower(a.Name); n {
		case "type":
			if t.Kind, t.HasKind = regex.ParseKind(a.Value); !t.HasKind {
				l.warn(d.f, c, d.r.ID, codeAttributeDefault, "unknown type "+a.Value+" of <"+c.Name+">, the default is used", "")
			}
		case "negate":
			if t.Negate = strings.EqualFold(a.Value, "yes"); !t.Negate && !strings.EqualFold(a.Value, "no") {
				l.warn(d.f, c, d.r.ID, codeAttributeDefault, "negate of <"+c.Name+"> is neither yes nor no, no is used", "")
			}
		default:
			if !slices.Contains(also, n) {
				l.unknownAttr(d.f, c, d.r.ID, a.Name)
			}
		}
	}
}

func ruleOption(d *ruleDraft, c *xmlfile.Element) *Problem {
	o := &d.r.Options
	switch c.Content {
	case "alert_by_email":
		o.Mail, o.NoMail = true, false
	case "no_email_alert":
		o.Mail, o.NoMail = false, true
	case "log_alert":
		o.Log, o.NoLog = true, false
	case "no_log":
		o.Log, o.NoLog = false, true
	case "no_ar":
		o.NoAR = true
	case "no_full_log":
		o.NoFullLog = true
	case "no_counter":
		o.NoCounter = true
	default:
		return d.fatal(c, "unknown option %q", c.Content)
	}
	return nil
}

// infoOf fills the members that people and the API see.
func (d *ruleDraft) infoOf(groups []string, compliance []complianceList) program.RuleInfo {
	r := d.r
	det := details(d.e, map[string]bool{"description": true, "group": true, "mitre": true})
	for k, v := range d.attrs {
		if k != "id" && k != "level" {
			det[k] = v
		}
	}
	m := map[string][]string{}
	for _, c := range compliance {
		m[c.name] = c.values
	}
	return program.RuleInfo{
		ID: r.ID, Level: r.Level, Description: r.Description.Text, Groups: groups, Compliance: m,
		Mitre: d.mitre.shown(), File: d.f.Name, Dir: filepath.Dir(d.f.Path), Details: det,
	}
}
