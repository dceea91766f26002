package program

import (
	"strings"
	"time"

	"vedette/internal/regex"
)

// Condition must hold for a rule to match. Package condition has one type for each
// kind of condition. Conditions are comparable, and equal ones hold for the same
// events.
type Condition interface {
	// Holds tests the condition, which r has. A value that the event lacks fails it,
	// negated or not.
	Holds(e Event, r *Rule) bool
	// Explain tells why the condition does not hold. Texts need not be cut.
	Explain(e Event, r *Rule) Failure
	// Demands lists demands on events that the condition always makes.
	Demands() Demands
}

// Demands are facts about the events for which a condition holds. They let the
// engine leave rules out, and find rules that no event can meet.
type Demands struct {
	// Element is the element that the condition is written as; empty if that depends
	// on the rule.
	Element string
	// Value is a value that the event must have, if HasValue is set.
	Value    Source
	HasValue bool
	// Pattern says all that the condition tests: it must match Value, or must not if
	// Negate is set. Nil if the condition is of another kind.
	Pattern *regex.Pattern
	Negate  bool
	// Decoder is the number of the decoder's name that the condition demands, and all
	// that it tests; 0 if it is of another kind.
	Decoder int
	// Changes says that testing changes the state. So the condition must be tested
	// when its turn comes, and only then.
	Changes bool
}

// Event is the event at hand as conditions see it. Texts are valid until the next one.
type Event interface {
	// Value returns a value; ok is false if the event lacks it.
	Value(src Source) (text string, ok bool)
	// Match reports whether a value matches; ok is false if the event lacks it.
	Match(p *regex.Pattern, src Source) (matched, ok bool)
	// MatchText reports whether a text that the event does not hold matches.
	MatchText(p *regex.Pattern, text string) bool
	// Now is the time of the event's key, in the configured zone.
	Now() time.Time
	// Decoder is the number and the name of the event's decoder.
	Decoder() (id int, name string)
	// FirstSeen reports whether the event's key of <fts> is new, and remembers it.
	// HasFTS reports whether the decoder has such keys.
	FirstSeen() bool
	HasFTS() bool
	// Differs reports whether the log differs from the last one that r saw of this
	// host, and remembers it. The first one differs from nothing.
	Differs(r *Rule) bool
	// FieldName is the name of a dynamic field, HasPlaces reports whether places of
	// addresses are known. Both serve explanations.
	FieldName(id int) string
	HasPlaces() bool
}

// Failure is the first element of a rule or decoder that did not hold.
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

// Tested fills in a pattern and the value that it was tested on. Both may be absent.
func (f *Failure) Tested(p *regex.Pattern, value string, ok bool) {
	f.Missing, f.Value = !ok, value
	if p != nil {
		f.Type, f.Pattern = p.Kind().String(), p.String()
	}
}

// FailureTextMax cuts the texts of a Failure, in bytes.
const FailureTextMax = 120

// Cut returns a copy of s that is cut to FailureTextMax.
func Cut(s string) string {
	if len(s) <= FailureTextMax {
		return strings.Clone(s)
	}
	return strings.ToValidUTF8(s[:FailureTextMax], "") + "…"
}

// Written is the text of a rule's element as its author wrote it, cut. Several
// elements are joined.
func (r *Rule) Written(element string) string {
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
	return Cut(strings.Join(texts, ", "))
}
