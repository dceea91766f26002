package rulesettest

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vedette/schemas"
)

// Start is the time of a test's first event, a Monday at noon.
var Start = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// Test is one block of a text file or one entry of an .ini file. It runs on
// fresh state.
type Test struct {
	File string
	Line int
	Name string

	Steps []Step
}

// Step is one event and the expectations about it.
type Step struct {
	Line int
	// Fresh forgets all state before the event.
	Fresh bool
	Event schemas.Event
	Want  []Expectation
	// entry is set on the last step of an .ini entry, whose Holds then counts.
	entry *Entry
}

// Expectation is one `name=value` of an expect line.
type Expectation struct {
	Line        int
	Field, Want string
	Not         bool // name!=value
}

// ParseFile reads the tests of a file: the .ini form for that extension, else
// the text form. The error lists every line that cannot be read.
func ParseFile(name string, data []byte) ([]Test, error) {
	if strings.EqualFold(filepath.Ext(name), ".ini") {
		return parseINI(name, data)
	}
	return ParseText(name, data)
}

func parseINI(name string, data []byte) ([]Test, error) {
	entries, err := Parse(name, data)
	if err != nil {
		return nil, err
	}
	tests := make([]Test, len(entries))
	for i := range entries {
		e := &entries[i]
		t := Test{File: name, Line: e.Line, Name: e.Section + " / " + e.Key}
		for _, l := range e.Logs {
			t.Steps = append(t.Steps, Step{Line: e.Line, Event: schemas.Event{
				Time: Start, AgentID: schemas.ManagerID, Location: "stdin", Queue: '1', Log: []byte(l),
			}})
		}
		t.Steps[len(t.Steps)-1].entry = e
		tests[i] = t
	}
	return tests, nil
}

// block is a test while it is read.
type block struct {
	t       Test
	next    Step // of the coming log
	expects bool
}

func newBlock(name string) *block {
	return &block{t: Test{File: name}, next: Step{Event: schemas.Event{
		Time: Start, AgentID: schemas.ManagerID, Location: "stdin", Queue: '1',
	}}}
}

// ParseText reads the text form, see the package comment.
func ParseText(name string, data []byte) ([]Test, error) {
	var tests []Test
	var errs []error
	b := newBlock(name)
	finish := func() {
		switch {
		case b.t.Line == 0: // comments only
		case len(b.t.Steps) == 0:
			errs = append(errs, fmt.Errorf("%s:%d: the block has no log: line", name, b.t.Line))
		case !b.expects:
			errs = append(errs, fmt.Errorf("%s:%d: the block has no expect: line", name, b.t.Line))
		default:
			if b.t.Name == "" {
				b.t.Name = fmt.Sprintf("line %d", b.t.Line)
			}
			tests = append(tests, b.t)
		}
		b = newBlock(name)
	}
	n := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		n++
		line = strings.TrimSuffix(line, "\r")
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "":
			finish()
		case trimmed[0] == '#':
			if b.t.Name == "" {
				b.t.Name = strings.TrimSpace(trimmed[1:])
			}
		default:
			if b.t.Line == 0 {
				b.t.Line = n
			}
			if err := b.line(n, strings.TrimLeft(line, " \t")); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %w", name, n, err))
			}
		}
	}
	finish()
	return tests, errors.Join(errs...)
}

// line reads one line that is neither empty nor a comment.
func (b *block) line(n int, line string) error {
	key, value, ok := strings.Cut(line, ":")
	key = strings.TrimSpace(key)
	if !ok {
		if key != "fresh" {
			return fmt.Errorf("%q is neither `key: value` nor fresh", line)
		}
		b.next.Fresh = true
		return nil
	}
	// A log may end in blanks, and they count; one blank after the colon does not.
	log := strings.TrimPrefix(value, " ")
	value = strings.TrimSpace(value)
	switch key {
	case "log":
		s := b.next
		s.Line = n
		s.Event.Log = []byte(log)
		b.t.Steps = append(b.t.Steps, s)
		b.next.Fresh = false
	case "expect":
		if len(b.t.Steps) == 0 {
			return errors.New("expect: stands before any log: of its block")
		}
		want, err := parseExpect(n, value)
		if err != nil {
			return err
		}
		b.expects = true
		s := &b.t.Steps[len(b.t.Steps)-1]
		s.Want = append(s.Want, want...)
	default:
		return setEvent(&b.next.Event, key, value)
	}
	return nil
}

// setEvent sets a property of the events that follow.
func setEvent(ev *schemas.Event, key, value string) error {
	switch key {
	case "agent":
		return setAgent(ev, value)
	case "location":
		ev.Location = value
	case "queue":
		if len(value) != 1 {
			return errors.New("queue: takes exactly one character")
		}
		ev.Queue = value[0]
	case "time":
		t, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return fmt.Errorf("time: %q is not like 2026-01-05T12:00:00Z", value)
		}
		ev.Time = t.UTC()
	case "wait":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("wait: %q is not a time like 90s or 5m", value)
		}
		ev.Time = ev.Time.Add(d)
	default:
		return fmt.Errorf("unknown key %q; there are log, expect, agent, location, queue, time, wait, fresh", key)
	}
	return nil
}

func setAgent(ev *schemas.Event, value string) error {
	f := strings.Fields(value)
	if len(f) < 2 || len(f) > 3 {
		return errors.New("agent: takes an id, a name and perhaps an address")
	}
	if _, err := strconv.ParseUint(f[0], 10, 32); err != nil {
		return fmt.Errorf("agent: %q is no number", f[0])
	}
	ev.AgentID, ev.AgentName, ev.AgentAddress = f[0], f[1], schemas.AnyAddress
	if len(f) == 3 {
		ev.AgentAddress = f[2]
	}
	return nil
}

// parseExpect reads `name=value name!="a value"…`.
func parseExpect(n int, s string) ([]Expectation, error) {
	var all []Expectation
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimLeft(s, " \t") {
		name, rest, ok := strings.Cut(s, "=")
		if !ok || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("expect: %q is not name=value; a value with blanks stands in double quotes", s)
		}
		e := Expectation{Line: n}
		e.Field, e.Not = strings.CutSuffix(name, "!")
		if e.Field == "" {
			return nil, fmt.Errorf("expect: %q has no name", s)
		}
		var err error
		if e.Want, s, err = expectedValue(e.Field, rest); err != nil {
			return nil, err
		}
		switch e.Field {
		case "rule", "decoder":
			if e.Want == "none" {
				e.Want = ""
			}
		case "alert":
			if e.Want != "true" && e.Want != "false" {
				return nil, fmt.Errorf("expect: alert=%s; choose true or false", e.Want)
			}
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, errors.New("expect: says nothing")
	}
	return all, nil
}

// expectedValue cuts a value off s, which may be in double quotes.
func expectedValue(field, s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], nil
	}
	q, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", fmt.Errorf("expect: the value of %s has no closing quote, or a backslash that is not doubled", field)
	}
	if value, err = strconv.Unquote(q); err != nil {
		return "", "", fmt.Errorf("expect: the value of %s: %w", field, err)
	}
	rest = s[len(q):]
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", "", fmt.Errorf("expect: no blank after the value of %s", field)
	}
	return value, rest, nil
}
