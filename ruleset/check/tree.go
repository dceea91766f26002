package check

import (
	"fmt"
	"slices"
	"time"

	"vedette/internal/regex"
	"vedette/internal/regex/osmatch"
	"vedette/ruleset/program"
)

// context is the demand of a place in the tree on an event: the decoder's name
// (0 for any) and the category of the root.
type context struct {
	decoder  int
	category program.Category
}

// fate collects the outcome of a rule in all its places.
type fate struct {
	places, dead int
	reason, hint string // of the first place that is dead by itself
	always       int    // places where an event never ends at the rule, for a child takes each
	by           *program.Rule
}

type walker struct {
	c     *checker
	fates map[*program.Rule]*fate
	// chain counts the conditions of a place and of all above it.
	chain map[program.Condition]int
	// exact are the conditions of a place and of all above it that let only some
	// values through.
	exact map[program.Source][]exactly
	// categories are those that a decoder of that name can give an event.
	categories map[int]map[program.Category]bool
}

// tree finds rules that no event can reach in any of their places.
func (c *checker) tree() {
	w := &walker{c: c, fates: map[*program.Rule]*fate{}, chain: map[program.Condition]int{}, exact: map[program.Source][]exactly{}, categories: c.categories()}
	c.contexts = map[*program.Rule][]context{}
	c.dead = map[*program.Rule]bool{}
	for _, n := range c.p.Roots {
		w.walk(n, context{category: n.Rule.Category}, false)
	}
	for _, r := range c.p.AllRules {
		f := w.fates[r]
		if f == nil || f.dead < f.places {
			continue
		}
		c.dead[r] = true
		if f.reason != "" {
			c.warn(c.rules[r], r.ID, f.hint, "can never match: %s", f.reason)
		}
	}
	for _, r := range c.p.AllRules {
		if x := r.Composite; x != nil && x.Sid != nil && !c.dead[x.Sid] {
			if f := w.fates[x.Sid]; f != nil && f.by != nil && f.always == f.places {
				c.warn(c.rules[r].child(named("if_matched_sid")), r.ID,
					fmt.Sprintf("count rule %d, or give it a condition", f.by.ID),
					"never counts anything: every event of rule %d ends at its child %d", x.Sid.ID, f.by.ID)
			}
		}
	}
}

// categories tells which categories events of a decoder can have; a decoder
// that is not in the map may give any.
func (c *checker) categories() map[int]map[program.Category]bool {
	m := map[int]map[program.Category]bool{}
	for _, d := range c.p.AllDecoders {
		for _, id := range []int{d.NameID, c.p.DecoderIDs[d.OwnName]} {
			if m[id] == nil {
				// Internal decoders give ossec, and may share a name with one here.
				m[id] = map[program.Category]bool{program.Ossec: true}
			}
			m[id][d.Category] = true
		}
	}
	for _, id := range c.p.DecoderIDs {
		if m[id] == nil {
			m[id] = map[program.Category]bool{program.Ossec: true}
		}
	}
	for _, list := range [][]*program.Decoder{c.p.WithProgram, c.p.WithoutProgram} {
		for _, top := range list {
			family := append([]*program.Decoder{top}, top.Children...)
			if !slices.ContainsFunc(family, func(d *program.Decoder) bool { return d.Plugin == program.PluginSonicWall }) {
				continue
			}
			for _, d := range family {
				delete(m, d.NameID) // the plugin chooses by the log
			}
		}
	}
	return m
}

// pure reports whether testing the conditions of a rule changes nothing, so that
// equal conditions hold together.
func pure(r *program.Rule) bool {
	return !slices.ContainsFunc(r.Conds, func(c program.Condition) bool {
		return c.Demands().Changes
	})
}

// takes reports whether a rule ends every event that its conditions let in.
func takes(r *program.Rule) bool { return r.Composite == nil && !r.NoAlert && pure(r) }

func (w *walker) walk(n *program.Node, ctx context, dead bool) {
	for i := range n.Rule.Conds {
		w.chain[n.Rule.Conds[i]]++
		if at, values := exactValues(n.Rule.Conds[i]); values != nil {
			w.exact[at] = append(w.exact[at], exactly{n.Rule, values})
		}
	}
	defer func() {
		for i := range n.Rule.Conds {
			c := n.Rule.Conds[i]
			if at, values := exactValues(c); values != nil {
				w.exact[at] = w.exact[at][:len(w.exact[at])-1]
			}
			if w.chain[c]--; w.chain[c] == 0 {
				delete(w.chain, c)
			}
		}
	}()
	f := w.fates[n.Rule]
	if f == nil {
		f = &fate{}
		w.fates[n.Rule] = f
	}
	f.places++
	if dead {
		f.dead++
	}
	var all *program.Node
	byCond := map[program.Condition][]*program.Node{}
	for _, c := range n.Children {
		own := w.own(c.Rule)
		cctx := ctx
		reason, hint := w.contradiction(c.Rule, &cctx)
		if reason == "" {
			switch by := shadower(c, all, byCond, own, w.chain); {
			case by == nil:
			case by == all:
				reason = fmt.Sprintf("rule %d stands before it and takes every event", by.Rule.ID)
			default:
				reason = fmt.Sprintf("rule %d stands before it and takes every event that it could match", by.Rule.ID)
			}
			hint = "siblings are tried level 0 first, then the highest level, then in load order; give the first more conditions, or make this its child"
		}
		if reason != "" {
			cf := w.fates[c.Rule]
			if cf == nil {
				cf = &fate{}
				w.fates[c.Rule] = cf
			}
			if cf.reason == "" {
				cf.reason, cf.hint = reason, hint
			}
		} else if !dead {
			w.c.remember(c.Rule, cctx)
		}
		w.walk(c, cctx, dead || reason != "")
		if reason == "" && takes(c.Rule) {
			switch {
			case len(own) > 0:
				byCond[own[0]] = append(byCond[own[0]], c)
			case all == nil:
				all = c
			}
		}
	}
	if all != nil {
		f.always++
		f.by = all.Rule
	}
}

func (c *checker) remember(r *program.Rule, ctx context) {
	if !slices.Contains(c.contexts[r], ctx) {
		c.contexts[r] = append(c.contexts[r], ctx)
	}
}

// own are the conditions of a rule that the place above it does not make sure of.
func (w *walker) own(r *program.Rule) []program.Condition {
	var own []program.Condition
	for _, c := range r.Conds {
		if w.chain[c] == 0 {
			own = append(own, c)
		}
	}
	return own
}

// shadower finds an earlier sibling that matches whenever c would.
func shadower(c, all *program.Node, byCond map[program.Condition][]*program.Node, own []program.Condition, chain map[program.Condition]int) *program.Node {
	if all != nil && all.Rule != c.Rule {
		return all
	}
	for _, x := range own {
		for _, s := range byCond[x] {
			if s.Rule == c.Rule {
				continue
			}
			implied := true
			for _, y := range s.Rule.Conds {
				implied = implied && (chain[y] > 0 || slices.Contains(own, y))
			}
			if implied {
				return s
			}
		}
	}
	return nil
}

// contradiction explains why no event can meet the demands of a rule and its
// ancestors on decoder and category. It narrows ctx.
func (w *walker) contradiction(r *program.Rule, ctx *context) (reason, hint string) {
	for _, x := range r.Conds {
		decoder := x.Demands().Decoder
		if decoder == 0 {
			continue
		}
		name := w.c.decoderName(decoder)
		if ctx.decoder != 0 && ctx.decoder != decoder {
			return fmt.Sprintf("it demands decoder %s, and a rule above it demands %s", name, w.c.decoderName(ctx.decoder)),
				"an event has one decoder name; choose another parent"
		}
		ctx.decoder = decoder
		if w.c.neverShown(decoder) {
			return fmt.Sprintf("events of decoder %s show its parent's name", name),
				"use the parent's name in <decoded_as>, or <use_own_name>true</use_own_name> in the decoder"
		}
		if m := w.categories[decoder]; len(m) > 0 && !m[ctx.category] {
			return fmt.Sprintf("it hangs under category %s, and events of decoder %s have another one", ctx.category, name),
				"give the rule the <category> that is the decoder's <type>, or another parent"
		}
	}
	own := map[program.Source][]exactly{}
	for i := range r.Conds {
		at, values := exactValues(r.Conds[i])
		if values == nil {
			continue
		}
		for _, x := range slices.Concat(w.exact[at], own[at]) {
			if disjoint(x.values, values) {
				return fmt.Sprintf("no %s is both %s and, as rule %d demands, %s", w.c.testedName(at), oneOf(values), x.rule.ID, oneOf(x.values)),
					"all conditions of a rule and of those above it must hold; join values by | in one condition"
			}
		}
		own[at] = append(own[at], exactly{r, values})
	}
	return "", ""
}

func (c *checker) decoderName(id int) string {
	for name, n := range c.p.DecoderIDs {
		if n == id {
			return name
		}
	}
	return ""
}

// neverShown reports whether a name belongs only to children that show their
// parent's (§5.4).
func (c *checker) neverShown(id int) bool {
	child := false
	for _, d := range c.p.AllDecoders {
		if d.NameID == id {
			return false
		}
		child = child || c.p.DecoderIDs[d.OwnName] == id
	}
	return child
}

// composites finds composite rules whose history stays empty.
func (c *checker) composites() {
	places := c.nodes()
	for _, r := range c.p.AllRules {
		x := r.Composite
		if x == nil {
			continue
		}
		if x.Global {
			c.warn(c.rules[r].child(named("global_frequency")), r.ID,
				"the rule counts the events of each agent by itself until then",
				"<global_frequency> is not counted over all agents yet")
		}
		switch {
		case c.dead[r] || x.Regex != nil:
		case x.Sid != nil:
			c.matchedSid(r)
		default:
			c.matchedGroup(r)
		}
		if x.Sid != nil && !c.dead[r] {
			c.starved(r, places)
		}
	}
}

func (c *checker) matchedSid(r *program.Rule) {
	at, base := c.rules[r].child(named("if_matched_sid")), r.Composite.Sid
	switch {
	case base.Level == 0:
		// Example E37.
		c.warn(at, r.ID, "give the counted rule a level of 1 or more, or count its children",
			"never counts anything: events of rule %d are not remembered, since its level is 0", base.ID)
	case base.NoAlert:
		c.warn(at, r.ID, "count the children of that rule",
			"never counts anything: no event ends at rule %d, since it is noalert", base.ID)
	}
}

func (c *checker) matchedGroup(r *program.Rule) {
	info, ok := r.Info.Details["if_matched_group"].(string)
	at := c.rules[r].child(named("if_matched_group"))
	known, counted, bySid := false, false, 0
	for _, x := range c.p.AllRules {
		if !slices.Contains(x.GroupHistory, r.Composite.GroupList) {
			continue
		}
		known = true
		switch {
		case x.Level == 0 || x.NoAlert:
		case x.SidHistory:
			bySid = x.ID
		default:
			counted = true
		}
	}
	switch {
	case counted:
	case bySid > 0:
		// Example E42.
		c.warn(at, r.ID, "an event is kept for <if_matched_sid> or for <if_matched_group>, never for both",
			"never counts anything: rule %d is in the group, but another rule names it by <if_matched_sid>", bySid)
	case known:
		c.warn(at, r.ID, "give a rule of the group a level of 1 or more",
			"never counts anything: the rules of the group have level 0 or are noalert")
	default:
		// Example E41.
		if ok && slices.ContainsFunc(c.p.AllRules, func(x *program.Rule) bool {
			return x != r && osmatch.Compile(info).Match(regex.Lower(x.GroupText))
		}) {
			c.warn(at, r.ID, "move this rule behind them; files are read in order of their names",
				"never counts anything: the rules of the group are loaded after it")
			return
		}
		c.warn(at, r.ID, "group names are compared as text; check the name",
			"never counts anything: no rule is in the group")
	}
}

// nodes returns the places of each rule. It also notes the ancestors of each
// node.
func (c *checker) nodes() map[*program.Rule][]*program.Node {
	m := map[*program.Rule][]*program.Node{}
	c.above = map[*program.Node][]*program.Node{}
	var walk func(above *program.Node, ns []*program.Node)
	walk = func(above *program.Node, ns []*program.Node) {
		for _, n := range ns {
			m[n.Rule] = append(m[n.Rule], n)
			if above != nil && !slices.Contains(c.above[n], above) {
				c.above[n] = append(c.above[n], above)
			}
			walk(n, n.Children)
		}
	}
	walk(nil, c.p.Roots)
	return m
}

// starved finds another composite over the same rule that leaves h nothing. Such
// a composite takes every event h would (with it, or before it). Or it has
// frequency 2 and takes each event after the first, so that none is remembered
// for h (example E40).
func (c *checker) starved(h *program.Rule, places map[*program.Rule][]*program.Node) {
	hx := h.Composite
	for _, l := range c.p.AllRules {
		lx := l.Composite
		if l == h || lx == nil || lx.Sid != hx.Sid || l.NoAlert || c.dead[l] || !pure(l) ||
			hx.Global && !lx.Global || !wider(lx, hx) {
			continue
		}
		switch {
		case c.takesEachAfterFirst(l, h, places):
			c.warn(c.rules[h], h.ID, fmt.Sprintf("make rule %d a composite over this one, or raise its frequency", l.ID),
				"never fires: composite %d counts the same rule %d and takes each event after the first", l.ID, hx.Sid.ID)
			return
		case c.firesBefore(l, h, places):
			c.warn(c.rules[h], h.ID, fmt.Sprintf("give rule %d a lower level or a higher frequency", l.ID),
				"never fires: composite %d is tried before it and fires whenever it would", l.ID)
			return
		}
	}
}

// takesEachAfterFirst reports whether l takes each event that h would count, but for
// the first.
func (c *checker) takesEachAfterFirst(l, h *program.Rule, places map[*program.Rule][]*program.Node) bool {
	lx, hx := l.Composite, h.Composite
	// The first event starts the other's window. The other takes the events
	// within it, so that h sees one event a window.
	apart := time.Duration(hx.Frequency-2)*(lx.Timeframe+time.Second) > hx.Timeframe
	return lx.Frequency == 2 && hx.Frequency > 2 && apart && len(lx.Different)+len(lx.DifferentFields) == 0 &&
		every(places[hx.Sid], func(b *program.Node) bool { return child(b, l) >= 0 && c.given(b, l, nil) })
}

// firesBefore reports whether l is tried before h, and fires whenever h would.
func (c *checker) firesBefore(l, h *program.Rule, places map[*program.Rule][]*program.Node) bool {
	lx, hx := l.Composite, h.Composite
	return lx.Frequency <= hx.Frequency && lx.Timeframe >= hx.Timeframe && l.Level >= h.Level &&
		len(places[h]) == len(places[hx.Sid]) &&
		every(places[hx.Sid], func(b *program.Node) bool {
			i, j := child(b, l), child(b, h)
			return i >= 0 && j > i && c.given(b, l, h)
		})
}

// every reports whether there are places and all of them hold.
func every(places []*program.Node, holds func(*program.Node) bool) bool {
	return len(places) > 0 && !slices.ContainsFunc(places, func(b *program.Node) bool { return !holds(b) })
}

// wider reports whether the demands of h on an older event imply the demands of l.
func wider(l, h *program.Composite) bool {
	return subset(l.Same, h.Same) && subset(l.Different, h.Different) &&
		subset(l.SameFields, h.SameFields) && subset(l.DifferentFields, h.DifferentFields)
}

func subset[T comparable](a, b []T) bool {
	return !slices.ContainsFunc(a, func(x T) bool { return !slices.Contains(b, x) })
}

// child is the place of a rule among the children of n, or -1.
func child(n *program.Node, r *program.Rule) int {
	return slices.IndexFunc(n.Children, func(c *program.Node) bool { return c.Rule == r })
}

// given reports whether all conditions of l hold for an event that came to base
// on any way and met the conditions of also.
func (c *checker) given(base *program.Node, l, also *program.Rule) bool {
	for _, x := range l.Conds {
		if (also == nil || !slices.Contains(also.Conds, x)) && !c.held(base, x) {
			return false
		}
	}
	return true
}

// held reports whether a condition holds for every event that came to n.
func (c *checker) held(n *program.Node, x program.Condition) bool {
	if slices.Contains(n.Rule.Conds, x) {
		return true
	}
	above := c.above[n]
	return len(above) > 0 && !slices.ContainsFunc(above, func(p *program.Node) bool { return !c.held(p, x) })
}
