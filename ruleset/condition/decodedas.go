package condition

import "vedette/ruleset/program"

// DecodedAs demands the name of the decoder by its number.
type DecodedAs int

var decodedAs = Kind{Name: "decoded_as", Compile: func(l Loader, w *Written) ([]program.Condition, *Fault) {
	id, ok := l.DecoderID(w.Value)
	if !ok || w.Value == "" {
		f := fault(w.Element(), "<decoded_as> names decoder %q, which is not loaded", w.Value)
		f.Hint = "decoders are loaded before all rules; check the name"
		return nil, f
	}
	return one(DecodedAs(id)), nil
}}

// Holds reports whether the event has that decoder.
func (d DecodedAs) Holds(e program.Event, _ *program.Rule) bool {
	id, _ := e.Decoder()
	return id == int(d)
}

// Explain shows the event's decoder.
func (d DecodedAs) Explain(e program.Event, r *program.Rule) program.Failure {
	_, name := e.Decoder()
	return program.Failure{Element: decodedAs.Name, Pattern: r.Written(decodedAs.Name), Value: name, Missing: name == ""}
}

// Demands are the decoder.
func (d DecodedAs) Demands() program.Demands {
	return program.Demands{Element: "decoded_as", Decoder: int(d)}
}
