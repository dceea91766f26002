package ruleset

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"vedette/internal/regex"
	"vedette/internal/regex/osmatch"
	"vedette/internal/xmlfile"
	"vedette/ruleset/condition"
	"vedette/ruleset/program"
)

// placesMax bounds the places in the rule tree, since rules with several parents
// multiply. They are only counted: a rule is one node, however many parents it has.
const placesMax = 1_000_000

// finishRule compiles a rule whose elements are read, and places it.
func (l *loader) finishRule(d *ruleDraft, group string) *Problem {
	r := d.r
	old := l.p.RuleByID[r.ID]
	if old != nil && !d.overwrite {
		l.warn(d.f, d.e, r.ID, codeDuplicateID, "id is used before, the rule is skipped", `use overwrite="yes" to replace the first one`)
		return nil
	}
	if old == nil && d.overwrite {
		l.warn(d.f, d.e, r.ID, codeOverwriteUnknown, "overwrite of an id that is not loaded, the rule is loaded as a new one", "")
	}
	if p := l.conditions(d); p != nil {
		return p
	}
	r.Description = l.template(d.desc.String())
	r.GroupText = group + d.group.String()
	if p := l.checkComposite(d); p != nil {
		return p
	}
	groups, compliance := splitGroups(r.GroupText)
	r.JSONGroups = groupsJSON(groups, compliance)
	l.category(d)
	r.Info = d.infoOf(groups, compliance)
	if old != nil {
		return l.overwrite(d, old)
	}
	if d.skip {
		return nil
	}
	parents, ok := l.parents(d)
	if !ok {
		return nil
	}
	if !l.composite(d) {
		return nil
	}
	d.head()
	d.meta.orderLevel = r.Level
	l.meta[r] = d.meta
	if r.ID >= 1 && r.ID <= rootMax {
		l.addRule(r)
		l.placeRoot(r)
	} else {
		return l.place(d, parents)
	}
	return nil
}

func (l *loader) addRule(r *program.Rule) {
	r.Index = len(l.p.AllRules)
	l.p.AllRules = append(l.p.AllRules, r)
	l.p.RuleByID[r.ID] = r
}

func (l *loader) placeRoot(r *program.Rule) {
	n := &program.Node{Rule: r}
	l.p.Roots = append(l.p.Roots, n)
	l.nodes[r] = n
	l.places[r] = 1
	l.placeCount++
}

// place hangs a rule below its parents. A parent named twice has it twice.
func (l *loader) place(d *ruleDraft, parents []*program.Rule) *Problem {
	l.addRule(d.r)
	n := &program.Node{Rule: d.r}
	places := 0
	for _, p := range parents {
		above := l.nodes[p]
		above.Children = append(above.Children, n)
		if n.Parent == nil {
			n.Parent = above
		}
		places += l.places[p]
	}
	l.nodes[d.r], l.places[d.r] = n, places
	if l.placeCount += places; l.placeCount > placesMax {
		// Reading goes on to find other faults; the numbers must not grow with
		// it.
		l.places[d.r], l.placeCount = 0, placesMax
		return d.fatal(d.e, "the rule tree has more than %d places", placesMax)
	}
	return nil
}

func (l *loader) category(d *ruleDraft) {
	d.r.Category = program.Syslog
	if t := d.texts["category"]; t != nil {
		if c, ok := program.ParseCategory(t.Value); ok {
			d.r.Category = c
		}
	}
}

// stockMax is the highest id of the stock ruleset; rules of users begin behind it.
const stockMax = 99_999

// missingRule returns the hint for a rule that another rule names in vain.
func (l *loader) missingRule(id int) string {
	if id > rootMax && id <= stockMax && !l.hasStock {
		return fmt.Sprintf("rule %d has an id of the stock ruleset, which is not part of this one: load the directory of the stock ruleset instead of builtin, or name a builtin rule", id)
	}
	return "load the file that defines it before this one"
}

// parents finds where a rule hangs; ok is false when it is skipped, with a warning.
func (l *loader) parents(d *ruleDraft) (parents []*program.Rule, ok bool) {
	r := d.r
	if r.ID >= 1 && r.ID <= rootMax {
		return nil, true
	}
	for _, x := range []struct {
		element string
		find    func(*ruleDraft, *condition.Written) []*program.Rule
	}{
		{"if_sid", l.parentsBySid},
		{"if_level", l.parentsByLevel},
		{"if_group", l.parentsByGroup},
		{"if_matched_group", l.parentsByGroup},
		{"if_matched_sid", l.parentsByMatchedSid},
	} {
		t := d.texts[x.element]
		if t == nil {
			continue
		}
		if parents = x.find(d, t); len(parents) == 0 {
			return nil, false
		}
		r.Category = parents[0].Category
		return parents, true
	}
	for _, n := range l.p.Roots {
		if n.Rule.Category == r.Category {
			return []*program.Rule{n.Rule}, true
		}
	}
	l.warn(d.f, d.e, r.ID, codeCategoryNoRoot, "no root rule has category "+r.Category.String()+", the rule is skipped", "")
	return nil, false
}

// The functions below find the parents that one element names. They give none, and
// a warning, if the rule is to be skipped.

func (l *loader) parentsBySid(d *ruleDraft, t *condition.Written) (parents []*program.Rule) {
	r := d.r
	ids, ok := parseIDs(t.Value)
	if !ok {
		l.warn(d.f, t.Element(), r.ID, codeIfSidMalformed, fmt.Sprintf("<if_sid> %q is no list of numbers, the rule is skipped", t.Value), "")
		return nil
	}
	for _, id := range ids {
		if p := l.p.RuleByID[id]; p != nil {
			parents = append(parents, p)
		} else if id != r.ID {
			l.warn(d.f, t.Element(), r.ID, codeIfSidUnknown, fmt.Sprintf("<if_sid> names rule %d, which is not loaded", id), l.missingRule(id))
		}
	}
	if len(parents) == 0 {
		l.warn(d.f, t.Element(), r.ID, codeIfSidNone, "none of the rules of <if_sid> is loaded, the rule is skipped", "")
	}
	return parents
}

func (l *loader) parentsByLevel(d *ruleDraft, t *condition.Written) (parents []*program.Rule) {
	n, ok := xmlfile.Number(strings.TrimSpace(t.Value), 4)
	if !ok {
		l.warn(d.f, t.Element(), d.r.ID, codeIfLevelMalformed, fmt.Sprintf("<if_level> %q is no number, the rule is skipped", t.Value), "")
		return nil
	}
	for _, p := range l.p.AllRules {
		if lv := l.meta[p].orderLevel; lv >= n || lv == 0 {
			parents = append(parents, p)
		}
	}
	if len(parents) == 0 {
		l.warn(d.f, t.Element(), d.r.ID, codeIfLevelNoMatch, "no loaded rule has the level, the rule is skipped", "")
	}
	return parents
}

func (l *loader) parentsByGroup(d *ruleDraft, t *condition.Written) []*program.Rule {
	parents := l.rulesInGroup(t.Value)
	if len(parents) == 0 {
		l.warn(d.f, t.Element(), d.r.ID, codeIfGroupNoMatch, "no loaded rule is in group "+t.Value+", the rule is skipped", "")
	}
	return parents
}

func (l *loader) parentsByMatchedSid(d *ruleDraft, t *condition.Written) []*program.Rule {
	if p := l.matchedRule(d, t); p != nil {
		return []*program.Rule{p}
	}
	return nil
}

// matchedRule is the rule that <if_matched_sid> names; nil, with a warning, if the
// rule is to be skipped.
func (l *loader) matchedRule(d *ruleDraft, t *condition.Written) *program.Rule {
	id, ok := xmlfile.Number(strings.TrimSpace(t.Value), 6)
	if !ok {
		l.warn(d.f, t.Element(), d.r.ID, codeMatchedNotNumber, fmt.Sprintf("<if_matched_sid> %q is no number, the rule is skipped", t.Value), "")
		return nil
	}
	p := l.p.RuleByID[id]
	if p == nil {
		l.warn(d.f, t.Element(), d.r.ID, codeMatchedUnknown, fmt.Sprintf("<if_matched_sid> names rule %d, which is not loaded; the rule is skipped", id), l.missingRule(id))
	}
	return p
}

// rulesInGroup finds the loaded rules whose group string matches.
func (l *loader) rulesInGroup(pattern string) []*program.Rule {
	m := osmatch.Compile(pattern)
	var rules []*program.Rule
	for _, p := range l.p.AllRules {
		low, ok := l.lowGroups[p.GroupText]
		if !ok {
			low = regex.Lower(p.GroupText)
			l.lowGroups[p.GroupText] = low
		}
		if m.Match(low) {
			rules = append(rules, p)
		}
	}
	return rules
}

func (d *ruleDraft) matched() (name string, t *condition.Written) {
	for _, n := range []string{"if_matched_sid", "if_matched_group", "if_matched_regex"} {
		if t := d.texts[n]; t != nil {
			return n, t
		}
	}
	return "", nil
}

// checkComposite refuses options that only make sense with a history.
func (l *loader) checkComposite(d *ruleDraft) *Problem {
	if _, t := d.matched(); t != nil {
		return nil
	}
	if d.hasFrequency && d.frequency != 2 && d.texts["check_diff"] == nil {
		return d.fatal(d.e, "frequency needs if_matched_sid, if_matched_group or if_matched_regex")
	}
	if len(d.same)+len(d.different)+len(d.sameField)+len(d.diffField) > 0 || d.global {
		return d.fatal(d.e, "same_…, different_… and global_frequency need if_matched_sid, if_matched_group or if_matched_regex")
	}
	return nil
}

// newComposite makes the parts that overwriting replaces too: everything but the
// history.
func (l *loader) newComposite(d *ruleDraft) *program.Composite {
	c := &program.Composite{GroupList: -1, Frequency: 2, Timeframe: d.timeframe, Global: d.global}
	if d.hasFrequency {
		c.Frequency = d.frequency
	}
	for _, n := range d.same {
		c.Same = append(c.Same, correlated[n])
	}
	for _, n := range d.different {
		c.Different = append(c.Different, correlated[n])
	}
	for _, n := range d.sameField {
		c.SameFields = append(c.SameFields, l.fieldID(n))
	}
	for _, n := range d.diffField {
		c.DifferentFields = append(c.DifferentFields, l.fieldID(n))
	}
	return c
}

// composite compiles the history search; false when the rule is skipped.
func (l *loader) composite(d *ruleDraft) bool {
	name, t := d.matched()
	if t == nil {
		return true
	}
	r := d.r
	c := l.newComposite(d)
	switch name {
	case "if_matched_sid":
		if c.Sid = l.matchedRule(d, t); c.Sid == nil {
			return false
		}
		c.Sid.SidHistory = true
	case "if_matched_group":
		c.GroupList = l.p.GroupLists
		l.p.GroupLists++
		for _, x := range l.rulesInGroup(t.Value) {
			// Once per place in the tree, as 4.14 counts (§7.1, example E42j).
			for range l.places[x] {
				x.GroupHistory = append(x.GroupHistory, c.GroupList)
			}
		}
	case "if_matched_regex":
		p, err := l.pattern(t.KindOr(regex.OSRegex), t.Value)
		if err != nil {
			l.report(d.fatal(t.Element(), "%v", err))
			return false
		}
		c.Regex = p
		l.p.NeedGlobal = true
	}
	r.Composite = c
	return true
}

// notReplaced are the conditions that overwriting cannot change.
var notReplaced = []string{"if_sid", "if_group", "if_level", "if_matched_group", "if_matched_sid"}

// overwrite replaces the content of old in every place of the tree (§6.5).
func (l *loader) overwrite(d *ruleDraft, old *program.Rule) *Problem {
	if d.skip {
		return nil
	}
	om := l.meta[old]
	for _, n := range notReplaced {
		t := d.texts[n]
		if t == nil {
			continue
		}
		if was := om.texts[n]; was == nil || was.Value != t.Value {
			l.warn(d.f, t.Element(), old.ID, codeOverwriteParent, "overwriting cannot change <"+n+">, the old one is kept", "")
		}
	}
	r := d.r
	if old.Composite != nil {
		c := l.newComposite(d)
		c.Sid, c.GroupList = old.Composite.Sid, old.Composite.GroupList
		if c.Sid == nil && c.GroupList < 0 {
			c.Regex = old.Composite.Regex
		}
		if t := d.texts["if_matched_regex"]; t != nil && c.Regex != nil {
			p, err := l.pattern(regex.OSRegex, t.Value)
			if err != nil {
				return d.fatal(t.Element(), "%v", err)
			}
			c.Regex = p
		}
		r.Composite = c
	}
	d.head()
	r.Index, r.Category = old.Index, old.Category
	r.SidHistory, r.GroupHistory = old.SidHistory, old.GroupHistory
	r.Info.Overwritten = true
	for _, n := range notReplaced {
		if was := om.texts[n]; was != nil {
			r.Info.Details[n] = was.Value
		} else {
			delete(r.Info.Details, n)
		}
	}
	*old = *r
	return nil
}

// finishRules sorts all siblings.
func (l *loader) finishRules() program.Program {
	for _, n := range l.nodes {
		slices.SortStableFunc(n.Children, func(a, b *program.Node) int {
			am, bm := l.meta[a.Rule], l.meta[b.Rule]
			return cmp.Or(
				boolCompare(am.last, bm.last),
				boolCompare(am.orderLevel != 0, bm.orderLevel != 0),
				cmp.Compare(bm.orderLevel, am.orderLevel),
			)
		})
	}
	return l.p
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
