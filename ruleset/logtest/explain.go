package logtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vedette/ruleset/engine"
)

// Explain says how much of an engine.Trace an answer shows.
type Explain uint8

// Amounts of detail that an answer shows of a trace.
const (
	// ExplainNothing leaves it out.
	ExplainNothing Explain = iota
	// ExplainNear shows matches and near matches, and counts the rest.
	ExplainNear
	// ExplainAll shows every decoder and rule that was tried.
	ExplainAll
)

// nearMax bounds the near misses directly below a root.
const nearMax = 20

// explanation is the part of a trace that an answer shows.
type explanation struct {
	Outcome       string              `json:"outcome"`
	Decoders      []engine.DecoderTry `json:"decoders"`
	OtherDecoders *others             `json:"other_decoders,omitempty"`
	Rules         []engine.RuleTry    `json:"rules"`
	OtherRules    *others             `json:"other_rules,omitempty"`
	Dropped       int                 `json:"dropped,omitempty"`
}

// others counts the hidden attempts, by the element that failed.
type others struct {
	Count  int            `json:"count"`
	Failed map[string]int `json:"failed"`
}

func (o *others) add(f *engine.Failure) *others {
	if o == nil {
		o = &others{Failed: map[string]int{}}
	}
	o.Count++
	element, _, _ := strings.Cut(f.Element, " ") // fields by any name together
	o.Failed[element]++
	return o
}

// explain chooses the attempts to show: matches, children of a matched rule or
// of a decoder, and failures at the second condition or later.
func explain(t *engine.Trace, all bool) explanation {
	x := explanation{Outcome: t.Outcome, Decoders: []engine.DecoderTry{}, Rules: []engine.RuleTry{}, Dropped: t.Dropped}
	near := 0
	shown := func(matched bool, depth, deep int, f *engine.Failure) bool {
		if all || matched || depth >= deep || f == nil {
			return true
		}
		if f.Held > 0 {
			near++
			return near <= nearMax
		}
		return false
	}
	for _, d := range t.Decoders {
		if shown(d.Matched, d.Depth, 1, d.Failed) {
			x.Decoders = append(x.Decoders, d)
		} else {
			x.OtherDecoders = x.OtherDecoders.add(d.Failed)
		}
	}
	near = 0
	for _, r := range t.Rules {
		if shown(r.Matched, r.Depth, 2, r.Failed) {
			x.Rules = append(x.Rules, r)
		} else {
			x.OtherRules = x.OtherRules.add(r.Failed)
		}
	}
	return x
}

func (x explanation) appendJSON(b []byte) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(x); err != nil { // plain data: cannot happen
		return append(b, "null"...)
	}
	return append(b, bytes.TrimSpace(buf.Bytes())...)
}

func (x explanation) appendText(b []byte) []byte {
	line := func(depth int, format string, args ...any) {
		b = fmt.Appendf(append(b, strings.Repeat("  ", depth+1)...), "%s\n", printable(fmt.Sprintf(format, args...)))
	}
	b = append(b, "\nDecoders tried\n"...)
	for _, d := range x.Decoders {
		place := inFile(d.File)
		if !d.Matched {
			line(d.Depth, "- %s%s: %s", d.Name, place, failureText(d.Failed))
			continue
		}
		line(d.Depth, "+ %s%s", d.Name, place)
		if d.Regex != nil {
			line(d.Depth+1, "%s", failureText(d.Regex))
		}
		for _, f := range d.Fields {
			line(d.Depth+1, "%s = %s", f.Name, f.Value)
		}
	}
	if len(x.Decoders) == 0 && x.OtherDecoders == nil {
		line(0, "none; the server decodes events of this kind itself, or leaves them as they are")
	}
	x.OtherDecoders.append(line, "decoder")

	b = append(b, "\nRules tried\n"...)
	for _, r := range x.Rules {
		head := fmt.Sprintf("rule %d, level %d%s", r.ID, r.Level, inFile(r.File))
		switch {
		case r.Chosen:
			line(r.Depth, "+ %s: chosen", head)
		case r.NoAlert:
			line(r.Depth, "+ %s: matches, but is noalert and never chosen", head)
		case r.Matched:
			line(r.Depth, "+ %s: matches", head)
		default:
			line(r.Depth, "- %s: %s", head, failureText(r.Failed))
		}
	}
	if len(x.Rules) == 0 && x.OtherRules == nil {
		line(0, "none")
	}
	x.OtherRules.append(line, "rule")
	if x.Dropped > 0 {
		line(0, "%d more were tried and not recorded", x.Dropped)
	}
	b = append(b, "\nOutcome: "...)
	return append(append(b, printable(x.Outcome)...), '\n')
}

func inFile(name string) string {
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}

func (o *others) append(line func(depth int, format string, args ...any), what string) {
	if o == nil {
		return
	}
	if o.Count > 1 {
		what += "s"
	}
	names := slices.SortedFunc(maps.Keys(o.Failed), func(a, b string) int {
		return cmp.Or(cmp.Compare(o.Failed[b], o.Failed[a]), cmp.Compare(a, b))
	})
	for i, n := range names {
		names[i] = fmt.Sprintf("%d at %s", o.Failed[n], n)
	}
	line(0, "and %d other %s failed: %s (--explain=all shows them)", o.Count, what, strings.Join(names, ", "))
}

func failureText(f *engine.Failure) string {
	var b strings.Builder
	b.WriteString(f.Element)
	if f.Pattern != "" {
		fmt.Fprintf(&b, " %q", f.Pattern)
	}
	if f.Type == "pcre2" || f.Type == "string" {
		fmt.Fprintf(&b, " (%s)", f.Type)
	}
	if f.Note != "" {
		b.WriteString(", " + f.Note)
	}
	switch {
	case f.Missing && f.Negate:
		b.WriteString(", negated: the event has none, which fails negated conditions too")
	case f.Missing:
		b.WriteString(": the event has none")
	case f.Negate:
		fmt.Fprintf(&b, ", negated: holds for %q", f.Value)
	case f.Value != "":
		fmt.Fprintf(&b, ": not %q", f.Value)
	}
	return b.String()
}
