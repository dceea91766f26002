package engine

import (
	"strings"

	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// matching is the part that finds the event's rule.
type matching struct {
	*scratch
	history *searching

	// Of the index. Entries whose stamp differs from the event's belong to an earlier
	// event.
	outcomes   []outcome // by test
	failed     []uint32  // stamps, by rule entry
	candidates []uint64  // stack of sets of children
}

// choose finds the event's rule, nil for none.
func (s *matching) choose() *program.Rule {
	if id := s.ev.forwarded; id > 0 {
		return s.eng.p.RuleByID[id]
	}
	if !s.plain() {
		return s.evaluateIndexed()
	}
	if n := s.evaluate(); n != nil {
		return n.Rule
	}
	return nil
}

// evaluate walks the rule tree and returns the place of the rule chosen, or nil
// (§6.4).
func (s *matching) evaluate() *program.Node {
	for _, n := range s.eng.p.Roots {
		if n.Rule.Category != s.ev.category {
			continue
		}
		if r := s.try(n); r != nil {
			return r
		}
	}
	return nil
}

func (s *matching) try(n *program.Node) *program.Node {
	r := n.Rule
	traced := -1
	if s.trace != nil {
		traced = s.trace.enter(n)
	}
	for i := range r.Conds {
		if !s.holds(r, &r.Conds[i]) {
			if traced >= 0 {
				s.trace.Rules[traced].Failed = s.failure(r, i)
			}
			return nil
		}
	}
	if r.Composite != nil && !s.history.search(r) {
		if traced >= 0 {
			s.trace.Rules[traced].Failed = s.history.explain(r)
		}
		return nil
	}
	if s.trace != nil {
		s.trace.matched(traced, r)
	}
	for _, c := range n.Children {
		if m := s.try(c); m != nil {
			if m == c {
				s.ev.above = r
			}
			return m
		}
	}
	if s.trace != nil {
		s.trace.leave(traced, r)
	}
	if r.NoAlert {
		return nil
	}
	return n
}

// holds tests one condition. A value the event lacks fails it, negated or not.
func (s *matching) holds(r *program.Rule, c *program.Condition) bool {
	e := &s.ev
	var v *value
	switch c.Op {
	case program.OpDecodedAs:
		return e.decoderID == c.Number
	case program.OpProgramName:
		v = &e.program
	case program.OpStatic:
		v = &e.static[c.Static]
	case program.OpLog:
		v = &e.log
	case program.OpLocation:
		v = &e.location
	case program.OpHostname:
		v = &e.hostname
	case program.OpDynamic:
		if v = e.field(c.Field); v == nil {
			return false
		}
	case program.OpUser:
		if v = &e.static[program.DstUser]; !v.set {
			v = &e.static[program.SrcUser]
		}
	case program.OpGeoIP:
		if v = s.geo.of(&e.static[c.Static]); v == nil {
			return false
		}
	default:
		return s.holdsOther(r, c)
	}
	if !v.set {
		return false
	}
	low := ""
	if c.Pattern.Kind() != regex.String {
		low = s.lower(v)
	}
	return s.rx.Match(c.Pattern, v.text, low) != c.Negate
}

func (s *matching) holdsOther(r *program.Rule, c *program.Condition) bool {
	e := &s.ev
	switch c.Op {
	case program.OpSrcIP, program.OpDstIP:
		v := &e.static[program.SrcIP]
		if c.Op == program.OpDstIP {
			v = &e.static[program.DstIP]
		}
		return v.set && c.IPs.Contains(v.text) != c.Negate
	case program.OpCompiled:
		return e.compiled(program.Compiled(c.Number))
	case program.OpMaxSize:
		return len(e.log.text) >= c.Number
	case program.OpTime:
		t := e.now.In(s.eng.c.Timezone)
		m := t.Hour()*60 + t.Minute()
		in := c.From <= m && m <= c.To
		if c.From > c.To {
			in = m >= c.From || m <= c.To
		}
		return in != c.Negate
	case program.OpWeekday:
		return c.Number>>int(e.now.In(s.eng.c.Timezone).Weekday())&1 == 1
	case program.OpCheckDiff:
		return s.checkDiff(r)
	case program.OpFTS:
		return s.firstSeen()
	case program.OpList:
		return s.lookup(c.List)
	}
	return false
}

// crawlers are the network prefixes of is_valid_crawler.
var crawlers = []string{"66.249.", "72.14.", "209.85.", "65.55.", "207.46.", "74.6.", "72.30.", "67.195."}

// compiled tests a built-in condition.
func (e *event) compiled(c program.Compiled) bool {
	switch c {
	case program.CheckIDSize:
		return len(e.static[program.ID].text) >= 10
	case program.TargetUserCallerUserDiff:
		target, ok1 := nameAfter(e.log.text, "Target User Name: ")
		caller, ok2 := nameAfter(e.log.text, "Caller User Name: ")
		return ok1 && ok2 && target != caller
	case program.SrcUserDstUser:
		a, b := &e.static[program.SrcUser], &e.static[program.DstUser]
		return !a.set || !b.set || a.text == b.text
	case program.SimpleHTTPRequest:
		u := &e.static[program.URL]
		return u.set && (u.text == "/" || !strings.Contains(u.text, "?"))
	case program.ValidCrawler:
		for _, p := range crawlers {
			if strings.HasPrefix(e.log.text, p) {
				return true
			}
		}
	}
	return false
}

func nameAfter(s, label string) (string, bool) {
	_, rest, ok := strings.Cut(s, label)
	if !ok {
		return "", false
	}
	rest = strings.TrimLeft(rest, " \t")
	if i := strings.IndexAny(rest, " \t"); i >= 0 {
		rest = rest[:i]
	}
	return rest, rest != ""
}

// lookup tests a list condition (§9).
func (s *matching) lookup(l *program.ListLookup) bool {
	v := s.ev.source(l.From)
	if v == nil {
		return false
	}
	switch l.Lookup {
	case program.MatchKey:
		_, ok := l.List[v.text]
		return ok
	case program.NotMatchKey:
		_, ok := l.List[v.text]
		return !ok
	case program.MatchKeyValue:
		value, ok := l.List[v.text]
		return ok && s.rx.Match(l.Value, value, regex.Lower(value))
	case program.AddressMatchKey:
		_, ok := addressKey(l.List, v.text)
		return ok
	case program.NotAddressMatchKey:
		_, ok := addressKey(l.List, v.text)
		return !ok
	case program.AddressMatchKeyValue:
		// Inverted, as 4.14 has it (example E53).
		if value, ok := l.List[v.text]; ok && s.rx.Match(l.Value, value, regex.Lower(value)) {
			return false
		}
		for i := range len(v.text) {
			if v.text[i] != '.' {
				continue
			}
			if value, ok := l.List[v.text[:i+1]]; ok && s.rx.Match(l.Value, value, regex.Lower(value)) {
				return false
			}
		}
		return true
	}
	return false
}

// addressKey finds the whole key, or a prefix of it that ends in a dot.
func addressKey(list program.List, key string) (string, bool) {
	if v, ok := list[key]; ok {
		return v, true
	}
	for i := range len(key) {
		if key[i] == '.' {
			if v, ok := list[key[:i+1]]; ok {
				return v, true
			}
		}
	}
	return "", false
}

// ftsMax bounds a first-time-seen key; the rest is how keys of category ids are
// compared (§8.1).
const (
	ftsMax     = 255
	ftsRecent  = 32
	ftsMinSize = 14
	ftsSimilar = 3
)

// firstSeen tells whether the event's key is new, and records it.
func (s *matching) firstSeen() bool {
	e, k := &s.ev, s.key
	if e.in.Queue == '9' {
		// A data base knows rootcheck's earlier findings; see decodeRootcheck.
		return true
	}
	if e.decoder == nil || e.decoder.FTS == nil {
		return false
	}
	f := e.decoder.FTS
	b := s.buf[:0]
	add := func(want bool, text string) {
		if want {
			b = append(b, text...)
		}
		b = append(b, ' ')
	}
	add(f.Name, e.decoderName)
	for _, st := range [...]program.Static{
		program.ID, program.DstUser, program.SrcUser, program.SrcIP, program.DstIP, program.Data, program.SystemName,
	} {
		add(f.Statics[st], e.static[st].text)
	}
	add(f.Location, e.location.text)
	for _, name := range f.Dynamic {
		for i := range e.dyn {
			if strings.EqualFold(e.dyn[i].name.text, name) {
				b = append(append(b, e.dyn[i].text...), ' ')
				break
			}
		}
	}
	b = b[:min(len(b), ftsMax)]
	s.buf = b
	if _, ok := k.firstSeen[string(b)]; ok {
		return false
	}
	if e.category == program.IDs {
		similar := 0
		for _, old := range k.lastKeys {
			n := 0
			for n < len(old) && n < len(b) && old[n] == b[n] {
				n++
			}
			if n > ftsMinSize {
				similar++
			}
		}
		if similar >= ftsSimilar {
			b = b[:ftsMinSize]
		}
	}
	if _, ok := k.firstSeen[string(b)]; ok {
		return false
	}
	key := string(b)
	if k.firstSeen == nil {
		k.firstSeen = map[string]struct{}{}
	}
	if len(k.firstOrder) >= s.eng.c.Limits.FirstSeen {
		delete(k.firstSeen, k.firstOrder[0])
		k.firstOrder = k.firstOrder[1:]
	}
	k.firstSeen[key] = struct{}{}
	k.firstOrder = append(k.firstOrder, key)
	if e.category == program.IDs {
		if len(k.lastKeys) == ftsRecent {
			k.lastKeys = k.lastKeys[1:]
		}
		k.lastKeys = append(k.lastKeys, key)
	}
	return true
}

// checkDiff holds if the log differs from the last one of this host and rule.
func (s *matching) checkDiff(r *program.Rule) bool {
	e := &s.ev
	if len(e.log.text) >= 65536 {
		return false
	}
	old, known := s.key.lastText(diffKey{r.ID, e.hostname.text}, e.log.text, s.eng.c.Limits.Diffs)
	if !known || old == e.log.text {
		return false
	}
	e.hasDiff, e.diffText = true, old
	e.previous = append(e.previous[:0], "Previous output:", old)
	return true
}

// lastText stores a text and returns the previous one. The oldest of more than limit
// goes.
func (k *keyState) lastText(key diffKey, text string, limit int) (old string, known bool) {
	old, known = k.diffs[key]
	if known && old == text {
		return old, true
	}
	if k.diffs == nil {
		k.diffs = map[diffKey]string{}
	}
	key.host = strings.Clone(key.host)
	if !known {
		if len(k.diffOrder) >= limit {
			delete(k.diffs, k.diffOrder[0])
			k.diffOrder = k.diffOrder[1:]
		}
		k.diffOrder = append(k.diffOrder, key)
	}
	k.diffs[key] = strings.Clone(text)
	return old, known
}
