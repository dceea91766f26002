package qlang

import (
	"fmt"
	"strconv"
	"time"
)

// Moment is the value of a clause on a date field.
type Moment struct {
	Time time.Time
	// Period is set when the value was an age such as `2h`. Then `>` asks for
	// what is older, and `<` and `=` for what is newer.
	Period bool
}

// Holds compares a time with the moment.
func (m Moment) Holds(t time.Time, op Op) bool {
	if m.Period {
		switch op {
		case Greater:
			return t.Before(m.Time)
		case Less, Equal:
			return t.After(m.Time)
		}
		return false
	}
	switch op {
	case Equal:
		return t.Equal(m.Time)
	case Less:
		return t.Before(m.Time)
	case Greater:
		return t.After(m.Time)
	}
	return false
}

// Date reads the clause's value as an absolute date or as a period before now.
// The error is an *Error with CodeDate.
func (c *Clause) Date(now time.Time) (Moment, error) {
	if t, ok := ParseTime(c.Value); ok {
		return Moment{Time: t}, nil
	}
	if d, ok := ParsePeriod(c.Value); ok {
		return Moment{Time: now.Add(-d), Period: true}, nil
	}
	return Moment{}, &Error{CodeDate, fmt.Sprintf(
		"%q is neither a date (YYYY-MM-DD, YYYY-MM-DD HH:MM:SS, YYYY-MM-DDTHH:MM:SSZ) nor a period (7d, 3h, 20m, 90s, 90)", c.Value)}
}

var dateLayouts = []string{
	"2006-01-02", "2006-01-02 15:04:05", time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05-0700",
}

// ParseTime reads an absolute date; without a zone it is UTC. A fraction of a
// second may follow the seconds.
func ParseTime(s string) (time.Time, bool) {
	if len(s) < len("2006-01-02") || len(s) > 40 {
		return time.Time{}, false
	}
	for _, l := range dateLayouts {
		if t, err := time.Parse(l, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// maxPeriod keeps a duration from overflowing.
const maxPeriod = 200 * 365 * 24 * time.Hour

// ParsePeriod reads `7d`, `3h`, `20m`, `90s` or `90` (seconds).
func ParsePeriod(s string) (time.Duration, bool) {
	unit := time.Second
	if s == "" {
		return 0, false
	}
	switch s[len(s)-1] {
	case 'd':
		unit, s = 24*time.Hour, s[:len(s)-1]
	case 'h':
		unit, s = time.Hour, s[:len(s)-1]
	case 'm':
		unit, s = time.Minute, s[:len(s)-1]
	case 's':
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > uint64(maxPeriod/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}
