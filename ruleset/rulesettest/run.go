package rulesettest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"vedette/ruleset/engine"
)

// Failure is one event that gave something else than expected.
type Failure struct {
	Line  int
	Log   string
	Diffs []string
}

// Result is the outcome of one test; it passed if there are no failures.
type Result struct {
	Test     *Test
	Failures []Failure
}

// RunTest runs a test on fresh state. cov, when not nil, notes the hits.
func RunTest(eng *engine.Engine, t *Test, cov *Coverage) Result {
	res := Result{Test: t}
	state := eng.NewState()
	for i := range t.Steps {
		s := &t.Steps[i]
		if s.Fresh {
			state.Reset()
		}
		r := eng.Process(state, &s.Event)
		if cov != nil {
			cov.hit(r)
		}
		if diffs := s.diffs(r); len(diffs) > 0 {
			res.Failures = append(res.Failures, Failure{Line: s.Line, Log: string(s.Event.Log), Diffs: diffs})
		}
	}
	return res
}

func (s *Step) diffs(r *engine.Result) []string {
	if s.entry != nil {
		return s.entry.diffs(r)
	}
	if len(s.Want) == 0 {
		return nil
	}
	if r.Rejected {
		return []string{"the location is malformed, the event was not judged"}
	}
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(r.AppendAlert(nil, "0.0", nil)))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return []string{"the alert is no JSON: " + err.Error()}
	}
	var diffs []string
	for _, w := range s.Want {
		got := field(r, doc, w.Field)
		switch {
		case (got == w.Want) != w.Not:
		case w.Not:
			diffs = append(diffs, fmt.Sprintf("%-12s must not be %s", w.Field, show(got)))
		default:
			diffs = append(diffs, fmt.Sprintf("%-12s want %s, got %s", w.Field, show(w.Want), show(got)))
		}
	}
	return diffs
}

func (e *Entry) diffs(r *engine.Result) []string {
	o := Outcome{Decoder: r.Decoder}
	if r.RuleID > 0 {
		o.Rule, o.Level = strconv.Itoa(r.RuleID), strconv.Itoa(r.Level)
	}
	switch {
	case e.Holds(o):
		return nil
	case !e.Pass:
		return []string{fmt.Sprintf("must not give rule %s, level %s, decoder %s", show(o.Rule), show(o.Level), show(o.Decoder))}
	}
	var diffs []string
	for _, x := range [][3]string{{"rule", e.Want.Rule, o.Rule}, {"level", e.Want.Level, o.Level}, {"decoder", e.Want.Decoder, o.Decoder}} {
		if x[1] != x[2] {
			diffs = append(diffs, fmt.Sprintf("%-12s want %s, got %s", x[0], show(x[1]), show(x[2])))
		}
	}
	return diffs
}

func show(s string) string {
	switch {
	case s == "":
		return "none"
	case strings.ContainsAny(s, " \t\n\""):
		return strconv.Quote(s)
	}
	return s
}

// field returns the value of a name in an expectation; empty if there is none.
func field(r *engine.Result, doc map[string]any, name string) string {
	switch name {
	case "rule":
		if r.RuleID == 0 {
			return ""
		}
		return strconv.Itoa(r.RuleID)
	case "level":
		if r.RuleID == 0 {
			return ""
		}
		return strconv.Itoa(r.Level)
	case "decoder":
		return r.Decoder
	case "parent":
		return r.ParentDecoder()
	case "alert":
		return strconv.FormatBool(r.Alert)
	}
	for _, in := range []string{"data.", "predecoder.", "rule.", ""} {
		if v, ok := lookup(doc, in+name); ok {
			return text(v)
		}
	}
	return ""
}

// lookup follows a dotted path; the case of names does not count.
func lookup(v any, path string) (any, bool) {
	for part := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[part]; ok {
			continue
		}
		for k, x := range m {
			if strings.EqualFold(k, part) {
				v, ok = x, true
			}
		}
		if !ok {
			return nil, false
		}
	}
	return v, true
}

// text shows a value: a list of texts with commas, anything else nested as JSON.
func text(v any) string {
	switch x := v.(type) {
	case string:
		return x
	case json.Number:
		return x.String()
	case bool:
		return strconv.FormatBool(x)
	case []any:
		parts := make([]string, len(x))
		for i, e := range x {
			s, ok := e.(string)
			if !ok {
				break
			}
			if parts[i] = s; i == len(x)-1 {
				return strings.Join(parts, ",")
			}
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Write prints a failed test for people; nothing for a test that passed.
func (r *Result) Write(w io.Writer) error {
	if len(r.Failures) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "FAIL %s:%d: %s\n%s", r.Test.File, r.Test.Line, r.Test.Name, r.detail())
	return err
}

func (r *Result) detail() string {
	var b strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "  %s:%d: %s\n", r.Test.File, f.Line, f.Log)
		for _, d := range f.Diffs {
			fmt.Fprintf(&b, "    %s\n", d)
		}
	}
	return b.String()
}
