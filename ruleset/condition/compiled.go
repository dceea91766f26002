package condition

import (
	"slices"
	"strings"

	"vedette/ruleset/program"
)

// Compiled is one of the built-in conditions by its number.
type Compiled int

// compiled are the built-in conditions.
var compiled = []struct {
	name  string
	holds func(e program.Event) bool
}{
	{"check_id_size", func(e program.Event) bool { return len(static(e, program.ID)) >= 10 }},
	{"comp_mswin_targetuser_calleruser_diff", func(e program.Event) bool {
		log, _ := e.Value(program.Source{Kind: program.FromLog})
		target, ok1 := nameAfter(log, "Target User Name: ")
		caller, ok2 := nameAfter(log, "Caller User Name: ")
		return ok1 && ok2 && target != caller
	}},
	{"comp_srcuser_dstuser", func(e program.Event) bool {
		a, hasA := e.Value(program.Source{Static: program.SrcUser})
		b, hasB := e.Value(program.Source{Static: program.DstUser})
		return !hasA || !hasB || a == b
	}},
	{"is_simple_http_request", func(e program.Event) bool {
		url, ok := e.Value(program.Source{Static: program.URL})
		return ok && !strings.Contains(url, "?")
	}},
	{"is_valid_crawler", func(e program.Event) bool {
		log, _ := e.Value(program.Source{Kind: program.FromLog})
		return slices.ContainsFunc(crawlers, func(p string) bool { return strings.HasPrefix(log, p) })
	}},
}

var compiledRule = Kind{Name: "compiled_rule", Compile: func(_ Loader, w *Written) ([]program.Condition, *Fault) {
	for i := range compiled {
		if compiled[i].name == w.Value {
			return one(Compiled(i)), nil
		}
	}
	return nil, fault(w.Element(), "unknown <compiled_rule> %q", w.Value)
}}

// Holds runs the built-in condition.
func (c Compiled) Holds(e program.Event, _ *program.Rule) bool { return compiled[c].holds(e) }

// Explain shows its name.
func (c Compiled) Explain(_ program.Event, r *program.Rule) program.Failure {
	return program.Failure{Element: "compiled_rule", Pattern: r.Written("compiled_rule")}
}

// Demands are none.
func (c Compiled) Demands() program.Demands { return program.Demands{Element: "compiled_rule"} }

// crawlers are the network prefixes of is_valid_crawler.
var crawlers = []string{"66.249.", "72.14.", "209.85.", "65.55.", "207.46.", "74.6.", "72.30.", "67.195."}

func static(e program.Event, f program.Static) string {
	text, _ := e.Value(program.Source{Static: f})
	return text
}

// nameAfter is the word that follows a label.
func nameAfter(s, label string) (string, bool) {
	_, rest, ok := strings.Cut(s, label)
	if !ok {
		return "", false
	}
	rest = strings.TrimLeft(rest, " \t")
	if i := strings.IndexAny(rest, " \t"); i >= 0 {
		rest = rest[:i]
	}
	return rest, rest != ""
}
