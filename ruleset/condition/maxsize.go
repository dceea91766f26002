package condition

import (
	"fmt"

	"vedette/internal/xmlfile"
	"vedette/ruleset/program"
)

// MaxSize demands a log of at least that many bytes.
type MaxSize int

var maxSize = Kind{Name: "maxsize", Form: Attribute, Compile: func(_ Loader, w *Written) ([]program.Condition, *Fault) {
	n, ok := xmlfile.LeadingNumber(w.Value, 4)
	if !ok {
		return nil, fault(nil, "bad value %q of attribute maxsize", w.Value)
	}
	return one(MaxSize(n)), nil
}}

func logSize(e program.Event) int {
	log, _ := e.Value(program.Source{Kind: program.FromLog})
	return len(log)
}

// Holds reports whether the log is as long.
func (m MaxSize) Holds(e program.Event, _ *program.Rule) bool { return logSize(e) >= int(m) }

// Explain shows both sizes.
func (m MaxSize) Explain(e program.Event, _ *program.Rule) program.Failure {
	return program.Failure{Element: "maxsize", Pattern: fmt.Sprint(int(m)), Value: fmt.Sprintf("%d bytes", logSize(e))}
}

// Demands are none.
func (m MaxSize) Demands() program.Demands { return program.Demands{Element: "maxsize"} }
