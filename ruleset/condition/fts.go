package condition

import "vedette/ruleset/program"

// FirstSeen demands an event whose key of <fts> was never seen.
type FirstSeen struct{}

var ifFTS = Kind{Name: "if_fts", Form: Each, Compile: func(Loader, *Written) ([]program.Condition, *Fault) {
	return one(FirstSeen{}), nil
}}

// Holds looks the key up, and remembers it.
func (FirstSeen) Holds(e program.Event, _ *program.Rule) bool { return e.FirstSeen() }

// Explain tells whether there is a key at all.
func (FirstSeen) Explain(e program.Event, _ *program.Rule) program.Failure {
	f := program.Failure{Element: "if_fts", Note: "seen before"}
	if !e.HasFTS() {
		f.Note = "the decoder has no <fts>"
	}
	return f
}

// Demands are none, but testing changes the state.
func (FirstSeen) Demands() program.Demands {
	return program.Demands{Element: "if_fts", Changes: true}
}
