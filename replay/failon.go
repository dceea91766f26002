package replay

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Condition makes a replay fail when it holds, such as `added level>=10 >
// 100/day`, `removed rule=5710 > 0` or `alerts group=web > 5/day`.
type Condition struct {
	Text string
	What string // alerts, added, removed, changed, differs
	// Level bounds the level from below; Rule and Group choose, if set.
	Level int
	Rule  int
	Group string
	Limit float64
	Daily bool
}

var conditionForm = regexp.MustCompile(`^(alerts|added|removed|changed|differs)((?:\s+(?:level>=\d+|rule=\d+|group=\S+))*)\s*>\s*(\d+(?:\.\d+)?)(/day)?$`)

// ParseCondition reads a condition.
func ParseCondition(text string) (Condition, error) {
	m := conditionForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return Condition{}, fmt.Errorf("condition %q: write alerts, added, removed, changed or differs, then level>=N, rule=ID or group=NAME, then > N or > N/day", text)
	}
	c := Condition{Text: text, What: m[1], Daily: m[4] != ""}
	for _, f := range strings.Fields(m[2]) {
		var err error
		switch {
		case strings.HasPrefix(f, "level>="):
			c.Level, err = strconv.Atoi(f[len("level>="):])
		case strings.HasPrefix(f, "rule="):
			c.Rule, err = strconv.Atoi(f[len("rule="):])
		default:
			c.Group = f[len("group="):]
		}
		if err != nil {
			return c, fmt.Errorf("condition %q: %w", text, err)
		}
	}
	limit, err := strconv.ParseFloat(m[3], 64)
	if err != nil {
		return c, fmt.Errorf("condition %q: %w", text, err)
	}
	c.Limit = limit
	return c, nil
}

// Met reports whether the report is to be failed, and the figure that decides.
func (c *Condition) Met(r *Report) (figure float64, met bool) {
	var n int64
	if c.What == "alerts" {
		for i := range r.Rules {
			x := &r.Rules[i]
			if x.Level >= c.Level && (c.Rule == 0 || x.ID == c.Rule) && (c.Group == "" || slices.Contains(x.Groups, c.Group)) {
				n += x.Alerts
			}
		}
	}
	for d, count := range r.tally.Differing {
		if c.What != "differs" && c.What != string(d.Kind) {
			continue
		}
		// A changed alert counts by its new form.
		v := d.Now
		if d.Kind == Removed {
			v = d.Was
		}
		if v.Level >= c.Level && (c.Rule == 0 || v.Rule == c.Rule || d.Was.Rule == c.Rule) && (c.Group == "" || slices.Contains(strings.Split(v.Groups, ","), c.Group)) {
			n += count
		}
	}
	figure = float64(n)
	if c.Daily {
		figure /= r.Days
	}
	return figure, figure > c.Limit
}
