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
	TraceValueMax = program.FailureTextMax
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
type Failure = program.Failure

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
		try.Failed = &Failure{Element: element, Type: p.Kind().String(), Pattern: program.Cut(p.String()), Value: program.Cut(subject)}
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
		try.Regex = &Failure{Element: "regex", Type: d.Regex.Kind().String(), Pattern: program.Cut(d.Regex.String()), Value: program.Cut(subject)}
	}
	add := func(name, value string) {
		if len(try.Fields) < traceFieldsMax {
			try.Fields = append(try.Fields, TraceField{name, program.Cut(value)})
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
	f := r.Conds[cond].Explain(s.view, r)
	f.Held, f.Pattern, f.Value = cond, program.Cut(f.Pattern), program.Cut(f.Value)
	return &f
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
	c := r.Composite
	f := &Failure{Held: len(r.Conds)}
	h := s.key.history(c)
	switch {
	case c.Regex != nil:
		f.Element, f.Type, f.Pattern = "if_matched_regex", c.Regex.Kind().String(), program.Cut(c.Regex.String())
	case c.Sid != nil:
		f.Element, f.Pattern = "if_matched_sid", fmt.Sprint(c.Sid.ID)
	default:
		f.Element, f.Pattern = "if_matched_group", r.Written("if_matched_group")
	}
	n := s.census(r, h)
	f.Note = fmt.Sprintf("%d of %d within %d s", n.count, c.Frequency, int(c.Timeframe/time.Second))
	if n.other > 0 {
		f.Note += fmt.Sprintf("; %d more fail %s", n.other, n.why)
	}
	if n.foreign > 0 {
		f.Note += fmt.Sprintf("; %d more are of other agents", n.foreign)
	}
	if n.stopped > 0 {
		f.Note += fmt.Sprintf("; the search stops at an event that counted for a rule of level %d", n.stopped)
	}
	return f
}

// census counts the old events that a search meets.
type census struct {
	count   int // with the event itself
	foreign int // events of other agents
	other   int // events that do not correlate, the first of them for the reason why
	why     string
	stopped int // the level of the rule at whose event the search stops
}

func (s *searching) census(r *program.Rule, h *history) census {
	n := census{count: 1}
	if h == nil {
		return n
	}
	c, e := r.Composite, &s.ev
	t := tally{now: e.now.UnixMilli()}
	for i := len(h.items) - 1; i >= h.head; i-- {
		old := h.items[i]
		switch {
		case t.over(c, old):
			return n
		case old.agentID != e.agentID && !c.Global:
			n.foreign++
		case c.Regex != nil && !s.matchesOld(c, old):
		case !s.correlates(c, old):
			if n.other++; n.why == "" {
				n.why = s.uncorrelated(c, old)
			}
		case old.mark > 0 && old.mark >= r.Level:
			n.stopped = old.mark
			return n
		default:
			n.count++
		}
	}
	return n
}

// uncorrelated names the first same_… or different_… that an old event fails.
func (s *searching) uncorrelated(c *program.Composite, old *remembered) string {
	name := func(src program.Source) string { return src.Name(s.eng.fieldName) }
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
