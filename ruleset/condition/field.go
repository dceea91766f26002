package condition

import (
	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/program"
)

// field is an element that tests a dynamic field, which its attribute names.
var field = Kind{Name: "field", Form: Each, Most: program.OrderMax, Compile: func(l Loader, w *Written) (list []program.Condition, f *Fault) {
	for _, e := range w.Elements {
		t, f := readField(l, e)
		if f != nil {
			return nil, f
		}
		list = append(list, t)
	}
	return list, nil
}}

func readField(l Loader, e *xmlfile.Element) (Text, *Fault) {
	name, ok := e.Attr("name")
	if !ok || name == "" {
		return Text{}, fault(e, "<field> has no name")
	}
	if _, static := program.ParseStatic(name); static {
		f := fault(e, "<field> names %q, which is a static field", name)
		f.Hint = "use <" + name + "> instead"
		return Text{}, f
	}
	w := &Written{Elements: []*xmlfile.Element{e}, Value: e.Content}
	l.PatternAttributes(e, w, "name")
	t, f := readText(l, w, regex.OSRegex, program.Source{Kind: program.FromDynamic})
	if f == nil {
		t.From.Field = l.FieldID(name)
	}
	return t, f
}
