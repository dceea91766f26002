package condition

import (
	"slices"
	"strings"

	"vedette/ruleset/program"
)

// Weekday demands a day of a set, in which Sunday is bit 0.
type Weekday int

var weekday = Kind{Name: "weekday", Compile: func(_ Loader, w *Written) ([]program.Condition, *Fault) {
	days, ok := parseWeekdays(w.Value)
	if !ok {
		return nil, fault(w.Element(), "bad <weekday> %q", w.Value)
	}
	return one(days), nil
}}

// Holds looks at the clock of the event's key.
func (d Weekday) Holds(e program.Event, _ *program.Rule) bool {
	return int(d)>>int(e.Now().Weekday())&1 == 1
}

// Explain shows the day.
func (d Weekday) Explain(e program.Event, r *program.Rule) program.Failure {
	return program.Failure{Element: "weekday", Pattern: r.Written("weekday"), Value: strings.ToLower(e.Now().Weekday().String())}
}

// Demands are none.
func (d Weekday) Demands() program.Demands { return program.Demands{Element: "weekday"} }

var days = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// parseWeekdays reads names of days, whole or by their first three letters.
func parseWeekdays(s string) (Weekday, bool) {
	set := 0
	for _, w := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
		switch w {
		case "weekdays":
			set |= 0b0111110
			continue
		case "weekends":
			set |= 0b1000001
			continue
		}
		day := slices.IndexFunc(days, func(d string) bool { return w == d || w == d[:3] })
		if day < 0 {
			return 0, false
		}
		set |= 1 << day
	}
	return Weekday(set), set != 0
}
