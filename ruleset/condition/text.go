package condition

import (
	"vedette/internal/regex"
	"vedette/ruleset/program"
)

// Text tests a text of the event with a pattern.
type Text struct {
	From    program.Source
	Pattern *regex.Pattern
	Negate  bool
}

// text is an element that tests one text; kind is the default of its pattern.
func text(name string, kind regex.Kind, from program.Source) Kind {
	return Kind{Name: name, Compile: func(l Loader, w *Written) ([]program.Condition, *Fault) {
		t, f := readText(l, w, kind, from)
		return one(t), f
	}}
}

func readText(l Loader, w *Written, kind regex.Kind, from program.Source) (Text, *Fault) {
	p, err := l.Pattern(w.KindOr(kind), w.Value)
	if err != nil {
		return Text{}, fault(w.Element(), "%v", err)
	}
	return Text{From: from, Pattern: p, Negate: w.Negate}, nil
}

// Holds reports whether the text is there and matches.
func (t Text) Holds(e program.Event, _ *program.Rule) bool {
	matched, ok := e.Match(t.Pattern, t.From)
	return ok && matched != t.Negate
}

// Explain shows the pattern and the text.
func (t Text) Explain(e program.Event, r *program.Rule) program.Failure {
	f := program.Failure{Element: t.From.Name(e.FieldName), Negate: t.Negate}
	switch t.From.Kind {
	case program.FromLog:
		f.Element = t.logElement(r)
	case program.FromDynamic:
		f.Element = "field " + f.Element
	}
	value, ok := e.Value(t.From)
	f.Tested(t.Pattern, value, ok)
	return f
}

// logElement is match or regex, which differ by their default language only.
func (t Text) logElement(r *program.Rule) string {
	shown := program.Cut(t.Pattern.String())
	if r.Written("match") == shown || r.Written("regex") != shown && t.Pattern.Kind() == regex.OSMatch {
		return "match"
	}
	return "regex"
}

// Demands are the text and the pattern.
func (t Text) Demands() program.Demands {
	d := program.Demands{Value: t.From, HasValue: true, Pattern: t.Pattern, Negate: t.Negate}
	switch t.From.Kind {
	case program.FromLog:
	case program.FromDynamic:
		d.Element = "field"
	default:
		d.Element = t.From.Name(nil)
	}
	return d
}
