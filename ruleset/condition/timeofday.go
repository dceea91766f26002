package condition

import (
	"strings"

	"vedette/internal/xmlfile"
	"vedette/ruleset/program"
)

// TimeOfDay demands a time between two minutes of the day, both included. The
// range goes over midnight if From is after To.
type TimeOfDay struct {
	From, To int
	Negate   bool
}

var timeOfDay = Kind{Name: "time", Compile: func(_ Loader, w *Written) ([]program.Condition, *Fault) {
	c, ok := parseTime(w.Value)
	if !ok {
		return nil, fault(w.Element(), "bad <time> %q; it reads like 6 pm - 8:30 am", w.Value)
	}
	return one(c), nil
}}

// Holds looks at the clock of the event's key.
func (c TimeOfDay) Holds(e program.Event, _ *program.Rule) bool {
	now := e.Now()
	m := now.Hour()*60 + now.Minute()
	in := c.From <= m && m <= c.To
	if c.From > c.To {
		in = m >= c.From || m <= c.To
	}
	return in != c.Negate
}

// Explain shows the time.
func (c TimeOfDay) Explain(e program.Event, r *program.Rule) program.Failure {
	return program.Failure{Element: "time", Negate: c.Negate, Pattern: r.Written("time"), Value: e.Now().Format("15:04")}
}

// Demands are none.
func (c TimeOfDay) Demands() program.Demands { return program.Demands{Element: "time"} }

// parseTime reads `hh[:mm][am|pm] - hh[:mm][am|pm]` with an optional leading `!`.
func parseTime(s string) (c TimeOfDay, ok bool) {
	s = strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(s, "!"); ok {
		c.Negate, s = true, strings.TrimSpace(rest)
	}
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return c, false
	}
	var ok1, ok2 bool
	c.From, ok1 = parseClock(from)
	c.To, ok2 = parseClock(to)
	return c, ok1 && ok2
}

// parseClock reads a time of day as minutes.
func parseClock(s string) (int, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	half := -1
	if rest, ok := strings.CutSuffix(s, "am"); ok {
		half, s = 0, rest
	} else if rest, ok := strings.CutSuffix(s, "pm"); ok {
		half, s = 12, rest
	}
	hh, mm, hasMinutes := strings.Cut(strings.TrimSpace(s), ":")
	h, ok := xmlfile.Number(strings.TrimSpace(hh), 2)
	if !ok {
		return 0, false
	}
	m := 0
	if hasMinutes {
		if m, ok = xmlfile.Number(strings.TrimSpace(mm), 2); !ok || m > 59 {
			return 0, false
		}
	}
	if half >= 0 {
		if h < 1 || h > 12 {
			return 0, false
		}
		h = h%12 + half
	}
	if h > 24 || h == 24 && m > 0 {
		return 0, false
	}
	return h*60 + m, true
}
