package condition

import "vedette/ruleset/program"

// CheckDiff demands that the log differs from the last one of its host.
type CheckDiff struct{}

var checkDiff = Kind{Name: "check_diff", Form: Each, Compile: func(Loader, *Written) ([]program.Condition, *Fault) {
	return one(CheckDiff{}), nil
}}

// Holds compares the log with the last one, and remembers it.
func (CheckDiff) Holds(e program.Event, r *program.Rule) bool { return e.Differs(r) }

// Explain tells both ways to fail.
func (CheckDiff) Explain(program.Event, *program.Rule) program.Failure {
	return program.Failure{Element: "check_diff", Note: "the log is the first of this host, or equal to the last"}
}

// Demands are none, but testing changes the state.
func (CheckDiff) Demands() program.Demands {
	return program.Demands{Element: "check_diff", Changes: true}
}
