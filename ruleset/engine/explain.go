package engine

import (
	"fmt"
	"strings"
	"time"

	"vedette/internal/regex"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// Bounds of a Trace.
const (
	// TraceMax is the most entries of decoders and rules together; the rest is counted.
	TraceMax = 20_000
	// TraceValueMax cuts values and patterns, in bytes.
	TraceValueMax = 120
	// traceFieldsMax bounds the fields shown of one decoder.
	traceFieldsMax = 256
)

// Trace tells which decoders and rules were tried on an event, in order, and
// why each failed.
type Trace struct {
	Decoders []DecoderTry `json:"decoders"`
	Rules    []RuleTry    `json:"rules"`
	// Dropped is how many more were tried than TraceMax.
	Dropped int `json:"dropped,omitempty"`
	// Outcome describes in words the result for the chosen rule.
	Outcome string `json:"outcome"`

	last *program.Decoder // the last of Decoders
	path []*program.Rule  // the rules that matched, down to the one whose children are tried
}

// DecoderTry is a decoder that was tried. A top-level one matched if its
// program_name and prematch did; a child without prematch always does.
type DecoderTry struct {
	Name    string   `json:"name"` // as written, also of a child
	Parent  string   `json:"parent,omitempty"`
	File    string   `json:"file,omitempty"`
	Depth   int      `json:"depth"`
	Matched bool     `json:"matched"`
	Failed  *Failure `json:"failed,omitempty"`
	// Regex is set when the decoder's regex did not match.
	Regex  *Failure     `json:"regex,omitempty"`
	Fields []TraceField `json:"fields,omitempty"`
}

// TraceField is a field that a decoder set.
type TraceField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// RuleTry is a place of the rule tree that was tried, which happens only where
// the parent matched.
type RuleTry struct {
	ID          int      `json:"id"`
	Level       int      `json:"level"`
	Description string   `json:"description,omitempty"`
	Parent      int      `json:"parent,omitempty"`
	File        string   `json:"file,omitempty"`
	Depth       int      `json:"depth"`
	Children    int      `json:"children,omitempty"`
	Matched     bool     `json:"matched"`
	NoAlert     bool     `json:"noalert,omitempty"`
	Chosen      bool     `json:"chosen,omitempty"`
	Failed      *Failure `json:"failed,omitempty"`
}

// Failure is the first element that did not hold.
type Failure struct {
	// Held is how many held before it.
	Held    int    `json:"held"`
	Element string `json:"element"`
	Type    string `json:"type,omitempty"`
	Pattern string `json:"pattern,omitempty"`
	Negate  bool   `json:"negate,omitempty"`
	// Missing says that the event has no such value.
	Missing bool   `json:"missing,omitempty"`
	Value   string `json:"value,omitempty"`
	Note    string `json:"note,omitempty"`
}

// Explain judges one event as Process does, by the reference procedure, and
// tells how it came to that. The trace stays valid.
func (e *Engine) Explain(s *Keyed, ev *schemas.Event) (*Result, *Trace) {
	t := &Trace{}
	s.scratch.trace = t
	res := e.Process(s, ev)
	s.scratch.trace = nil
	t.finish(e, s.scratch.ev.forwarded, res)
	return res, t
}

func (t *Trace) full() bool {
	if len(t.Decoders)+len(t.Rules) < TraceMax {
		return false
	}
	t.Dropped++
	return true
}

// finish describes the result for the chosen rule.
func (t *Trace) finish(e *Engine, forwarded int, res *Result) {
	var chosen *RuleTry
	for i := range t.Rules {
		if t.Rules[i].Chosen {
			chosen = &t.Rules[i]
		}
	}
	r := res.rule
	switch {
	case res.Rejected:
		t.Outcome = "the location is malformed"
	case !res.Judged:
		t.Outcome = "events of this kind are not judged"
	case r == nil && forwarded > 0:
		t.Outcome = fmt.Sprintf("a forwarded alert of rule %d, which is not loaded", forwarded)
	case r == nil:
		t.Outcome = "no rule matches"
	case forwarded > 0:
		t.Outcome = "the rule that the forwarded alert names, without evaluation"
	case chosen != nil && chosen.ID != r.ID:
		t.Outcome = fmt.Sprintf("rule %d is silenced by its ignore=, its parent counts instead", chosen.ID)
	case r.Level == 0:
		t.Outcome = "level 0 ends the search without an alert"
	case res.Alert:
		t.Outcome = "alert"
	case r.Level < e.c.AlertLevel:
		t.Outcome = fmt.Sprintf("level %d is below %d, from which rules alert", r.Level, e.c.AlertLevel)
	case r.Ignore > 0:
		t.Outcome = fmt.Sprintf("silenced by ignore=%d", int(r.Ignore/time.Second))
	case r.Options.NoLog:
		t.Outcome = "no alert because of the option no_log"
	default:
		t.Outcome = "no alert"
	}
}

// cut bounds a text for a trace.
func cut(s string) string {
	if len(s) <= TraceValueMax {
		return strings.Clone(s)
	}
	return strings.ToValidUTF8(s[:TraceValueMax], "") + "…"
}

// decoder notes a decoder that was tried; element is empty when it matched.
func (t *Trace) decoder(e *event, d *program.Decoder, element string, p *regex.Pattern, subject string) {
	t.last = nil
	if t.full() {
		return
	}
	t.last = d
	try := DecoderTry{Name: d.OwnName, Parent: d.Parent, File: d.Info.File, Matched: element == ""}
	if d.Parent != "" {
		try.Depth = 1
	}
	if element != "" {
		try.Failed = &Failure{Element: element, Type: p.Kind().String(), Pattern: cut(p.String()), Value: cut(subject)}
		if element == "prematch" && d.ProgramName != nil && e.program.set {
			try.Failed.Held = 1
		}
	}
	t.Decoders = append(t.Decoders, try)
}

// ran notes the result of d's plugin or regex, which began at subject. Dynamics and
// statics are the fields that the event had before.
func (t *Trace) ran(e *event, d *program.Decoder, matched bool, subject string, dynamics int, statics *[program.NumStatic]value) {
	if t.last != d { // it had no prematch to be tried by
		t.decoder(e, d, "", nil, "")
	}
	if t.last != d {
		return
	}
	try := &t.Decoders[len(t.Decoders)-1]
	if d.Plugin == program.NoPlugin && d.Regex != nil && !matched {
		try.Regex = &Failure{Element: "regex", Type: d.Regex.Kind().String(), Pattern: cut(d.Regex.String()), Value: cut(subject)}
	}
	add := func(name, value string) {
		if len(try.Fields) < traceFieldsMax {
			try.Fields = append(try.Fields, TraceField{name, cut(value)})
		}
	}
	for i := range e.static {
		if v := &e.static[i]; v.set && (!statics[i].set || statics[i].text != v.text) {
			add(program.StaticNames[i], v.text)
		}
	}
	for i := dynamics; i < len(e.dyn); i++ {
		add(strings.Clone(e.dyn[i].name.text), e.dyn[i].text)
	}
}

// enter notes a place that is tried and returns its number, -1 beyond the bound.
func (t *Trace) enter(n *program.Node) int {
	if t.full() {
		return -1
	}
	r := n.Rule
	try := RuleTry{ID: r.ID, Level: r.Level, Description: r.Description.Text, File: r.Info.File, Children: len(n.Children)}
	// Not by n.Parent: a rule with several parents is one node.
	if try.Depth = len(t.path); try.Depth > 0 {
		try.Parent = t.path[try.Depth-1].ID
	}
	t.Rules = append(t.Rules, try)
	return len(t.Rules) - 1
}

// matched notes that a rule matched, and that its children are tried next.
func (t *Trace) matched(at int, r *program.Rule) {
	if at >= 0 {
		t.Rules[at].Matched, t.Rules[at].NoAlert = true, r.NoAlert
	}
	t.path = append(t.path, r)
}

// leave notes that none of a rule's children was chosen.
func (t *Trace) leave(at int, r *program.Rule) {
	if at >= 0 {
		t.Rules[at].Chosen = !r.NoAlert
	}
	t.path = t.path[:len(t.path)-1]
}

// failure tells why a condition of a rule failed; those before it held.
func (s *matching) failure(r *program.Rule, cond int) *Failure {
	f := s.conditionFailure(r, &r.Conds[cond])
	f.Held = cond
	return f
}

func (s *matching) conditionFailure(r *program.Rule, c *program.Condition) *Failure {
	e := &s.ev
	f := &Failure{Negate: c.Negate}
	tested := func(v *value) *Failure {
		if v == nil || !v.set {
			f.Missing = true
		} else {
			f.Value = cut(v.text)
		}
		if c.Pattern != nil {
			f.Type, f.Pattern = c.Pattern.Kind().String(), cut(c.Pattern.String())
		}
		return f
	}
	switch c.Op {
	case program.OpDecodedAs:
		f.Element, f.Value = "decoded_as", e.decoderName
		f.Pattern = written(r, f.Element)
		f.Missing = f.Value == ""
	case program.OpProgramName:
		f.Element = "program_name"
		return tested(&e.program)
	case program.OpStatic:
		f.Element = program.StaticNames[c.Static]
		return tested(&e.static[c.Static])
	case program.OpLog:
		// The two differ by their default language only.
		text := cut(c.Pattern.String())
		if f.Element = "regex"; written(r, "match") == text || written(r, "regex") != text && c.Pattern.Kind() == regex.OSMatch {
			f.Element = "match"
		}
		return tested(&e.log)
	case program.OpLocation:
		f.Element = "location"
		return tested(&e.location)
	case program.OpHostname:
		f.Element = "hostname"
		return tested(&e.hostname)
	case program.OpDynamic:
		f.Element = "field " + s.eng.fieldName(c.Field)
		return tested(e.field(c.Field))
	case program.OpUser:
		f.Element = "user"
		v := &e.static[program.DstUser]
		if !v.set {
			v = &e.static[program.SrcUser]
		}
		return tested(v)
	case program.OpSrcIP, program.OpDstIP:
		st := program.SrcIP
		if c.Op == program.OpDstIP {
			st = program.DstIP
		}
		f.Element = program.StaticNames[st]
		f.Pattern = written(r, f.Element)
		return tested(&e.static[st])
	case program.OpCompiled:
		f.Element, f.Pattern = "compiled_rule", written(r, "compiled_rule")
	case program.OpMaxSize:
		f.Element, f.Pattern = "maxsize", fmt.Sprint(c.Number)
		f.Value = fmt.Sprintf("%d bytes", len(e.log.text))
	case program.OpTime:
		f.Element, f.Pattern = "time", written(r, "time")
		f.Value = e.now.In(s.eng.c.Timezone).Format("15:04")
	case program.OpWeekday:
		f.Element, f.Pattern = "weekday", written(r, "weekday")
		f.Value = strings.ToLower(e.now.In(s.eng.c.Timezone).Weekday().String())
	case program.OpCheckDiff:
		f.Element, f.Note = "check_diff", "the log is the first of this host, or equal to the last"
	case program.OpFTS:
		f.Element, f.Note = "if_fts", "seen before"
		if e.decoder == nil || e.decoder.FTS == nil {
			f.Note = "the decoder has no <fts>"
		}
	case program.OpList:
		f.Element, f.Pattern = "list", c.List.Name
		f.Note = lookupNames[c.List.Lookup]
		if v := c.List.Value; v != nil && v.String() != "" {
			f.Note += " " + cut(v.String())
		}
		return tested(e.source(c.List.From))
	case program.OpGeoIP:
		f.Element = strings.TrimSuffix(program.StaticNames[c.Static], "ip") + "geoip"
		if s.eng.c.Geo == nil {
			f.Note = "there is no GeoIP database"
		}
		return tested(s.geo.of(&e.static[c.Static]))
	}
	return f
}

var lookupNames = [...]string{
	program.MatchKey: "match_key", program.NotMatchKey: "not_match_key", program.MatchKeyValue: "match_key_value",
	program.AddressMatchKey: "address_match_key", program.NotAddressMatchKey: "not_address_match_key",
	program.AddressMatchKeyValue: "address_match_key_value",
}

// written is the text of a rule's element as its author wrote it.
func written(r *program.Rule, element string) string {
	var texts []string
	var add func(v any)
	add = func(v any) {
		switch x := v.(type) {
		case string:
			texts = append(texts, x)
		case map[string]string:
			texts = append(texts, x["pattern"])
		case []any:
			for _, y := range x {
				add(y)
			}
		}
	}
	add(r.Info.Details[element])
	return cut(strings.Join(texts, ", "))
}

// fieldName finds the name of a dynamic field by its number; only traces need it.
func (e *Engine) fieldName(id int) string {
	for name, n := range e.p.FieldIDs {
		if n == id {
			return name
		}
	}
	return ""
}

// explain tells how far the search of a composite rule came. A search that
// failed changed nothing, so that it can be done again, counting.
func (s *searching) explain(r *program.Rule) *Failure {
	c, e := r.Composite, &s.ev
	f := &Failure{Held: len(r.Conds)}
	h := s.key.history(c)
	switch {
	case c.Regex != nil:
		f.Element, f.Type, f.Pattern = "if_matched_regex", c.Regex.Kind().String(), cut(c.Regex.String())
	case c.Sid != nil:
		f.Element, f.Pattern = "if_matched_sid", fmt.Sprint(c.Sid.ID)
	default:
		f.Element, f.Pattern = "if_matched_group", written(r, "if_matched_group")
	}
	count, foreign, other, stopped := 1, 0, 0, "" // the event itself counts
	why := ""
	if h != nil {
		now, timeframe := e.now.UnixMilli(), c.Timeframe.Milliseconds()
	search:
		for i := len(h.items) - 1; i >= h.head; i-- {
			old := h.items[i]
			switch {
			case old.dropped || now-old.at > timeframe:
				break search
			case old.agentID != e.agentID && !c.Global:
				foreign++
			case c.Regex != nil && (old.category != e.category || !s.rx.Match(c.Regex, old.log.text, old.log.lower())):
			case !s.correlates(c, old):
				if other++; why == "" {
					why = s.uncorrelated(c, old)
				}
			case old.mark > 0 && old.mark >= r.Level:
				stopped = fmt.Sprintf("; the search stops at an event that counted for a rule of level %d", old.mark)
				break search
			default:
				count++
			}
		}
	}
	f.Note = fmt.Sprintf("%d of %d within %d s", count, c.Frequency, int(c.Timeframe/time.Second))
	if other > 0 {
		f.Note += fmt.Sprintf("; %d more fail %s", other, why)
	}
	if foreign > 0 {
		f.Note += fmt.Sprintf("; %d more are of other agents", foreign)
	}
	f.Note += stopped
	return f
}

// uncorrelated names the first same_… or different_… that an old event fails.
func (s *searching) uncorrelated(c *program.Composite, old *remembered) string {
	name := func(src program.Source) string {
		switch src.Kind {
		case program.FromLocation:
			return "location"
		case program.FromGeoIP:
			return strings.TrimSuffix(program.StaticNames[src.Static], "ip") + "geoip"
		}
		return program.StaticNames[src.Static]
	}
	for i := range c.Same {
		if !s.correlates(&program.Composite{Same: c.Same[i : i+1]}, old) {
			return "same_" + name(c.Same[i])
		}
	}
	for i := range c.SameFields {
		if !s.correlates(&program.Composite{SameFields: c.SameFields[i : i+1]}, old) {
			return "same_field " + s.eng.fieldName(c.SameFields[i])
		}
	}
	for i := range c.Different {
		if !s.correlates(&program.Composite{Different: c.Different[i : i+1]}, old) {
			return "different_" + name(c.Different[i])
		}
	}
	for i := range c.DifferentFields {
		if !s.correlates(&program.Composite{DifferentFields: c.DifferentFields[i : i+1]}, old) {
			return "different_field " + s.eng.fieldName(c.DifferentFields[i])
		}
	}
	return "same_… or different_…"
}
