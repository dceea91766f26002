// Package check looks for faults of a ruleset that Compile does not refuse:
// rules that load and can never match, never count or never get a field. It only
// reports certain faults; a rule it does not name may still be wrong.
//
// Source: spec/ruleset-language.md §4, §6, §7; the examples named at each test.
package check

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vedette/internal/xmlfile"
	"vedette/ruleset"
	"vedette/ruleset/program"
)

// Report holds the findings about a ruleset.
type Report struct {
	// Problems are in order of file and place. Fatal ones are errors: the load
	// is refused, or a rule is left out of it. The others are warnings.
	Problems []ruleset.Problem
	// Program is nil when the load is refused. Then nothing but Compile's own
	// problems is known.
	Program *program.Program
}

// Errors and warnings are counted apart.
func (r *Report) Errors() int { return r.count(true) }

// Warnings is the number of problems that refuse nothing.
func (r *Report) Warnings() int { return r.count(false) }

func (r *Report) count(fatal bool) int {
	n := 0
	for i := range r.Problems {
		if r.Problems[i].Fatal == fatal {
			n++
		}
	}
	return n
}

// Write prints each problem as `file:line:col: error: [rule N:] cause`, or with
// `warning:`, and, on a line of its own, `hint: …`.
func (r *Report) Write(w io.Writer) error {
	for _, p := range r.Problems {
		hint := p.Hint
		p.Hint, p.Severity = "", "warning"
		if p.Fatal {
			p.Severity = "error"
		}
		text := p.String() + "\n"
		if hint != "" {
			text += "hint: " + hint + "\n"
		}
		if _, err := io.WriteString(w, text); err != nil {
			return fmt.Errorf("write problems: %w", err)
		}
	}
	return nil
}

// leftOut are the codes of problems by which a rule is not loaded at all
// (spec/ruleset-language.md §13.2). 4.14 warns and goes on without the rule;
// for its author that is an error.
var leftOut = map[int]bool{
	7608: true, 7609: true, 7610: true, 7611: true, 7612: true, 7615: true,
	7616: true, 7618: true, 7619: true, 7620: true,
}

const (
	codeIfSidUnknown   = 7617
	codeIfSidNone      = 7619
	codeMatchedUnknown = 7620
)

// Run compiles a ruleset and looks at the result.
func Run(src ruleset.Source) *Report {
	p, problems, _ := ruleset.Compile(src)
	rep := &Report{Program: p, Problems: parents(src, fold(problems))}
	if p != nil {
		c := &checker{p: p}
		c.index(src)
		c.patterns()
		c.traps()
		c.tree()
		c.composites()
		c.fields()
		c.texts(src)
		rep.Problems = append(rep.Problems, c.found...)
	}
	slices.SortStableFunc(rep.Problems, func(a, b ruleset.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Col-b.Col)
	})
	rep.Problems = slices.CompactFunc(rep.Problems, func(a, b ruleset.Problem) bool { return a == b })
	return rep
}

// fold merges the two reports of Compile on a rule without parents, and makes
// errors of problems that leave a rule out.
func fold(problems []ruleset.Problem) []ruleset.Problem {
	type of struct {
		file     string
		rule     int
		line     int
		colStart int
	}
	orphans := map[of]bool{}
	for _, p := range problems {
		if p.Code == codeIfSidNone {
			orphans[of{p.File, p.RuleID, p.Line, p.Col}] = true
		}
	}
	var out []ruleset.Problem
	for _, p := range problems {
		orphan := orphans[of{p.File, p.RuleID, p.Line, p.Col}]
		switch {
		case p.Code == codeIfSidUnknown && orphan:
			p.Fatal = true
			p.Msg += "; the rule is skipped"
		case p.Code == codeIfSidNone && slices.ContainsFunc(problems, func(q ruleset.Problem) bool {
			return q.Code == codeIfSidUnknown && q.RuleID == p.RuleID && q.File == p.File && q.Line == p.Line && q.Col == p.Col
		}):
			continue
		case leftOut[p.Code]:
			p.Fatal = true
			if p.Hint == "" {
				p.Hint = hints[p.Code]
			}
		case p.Fatal && p.Hint == "":
			p.Hint = "the whole ruleset is refused until this is mended"
		}
		out = append(out, p)
	}
	return out
}

var hints = map[int]string{
	7608: "load the rules of that level before this one",
	7609: "write one number",
	7610: "load the file with the rules of that group before this one; group names are compared as text",
	7611: "choose one of syslog, firewall, ids, web-log, squid, windows, ossec",
	7615: "write one rule id",
	7618: "write rule ids, separated by commas",
	7619: "load the file that defines them before this one",
}

// parents says more of a parent that is not loaded: that it comes further on, or
// that the rules name each other in a circle.
func parents(src ruleset.Source, problems []ruleset.Problem) []ruleset.Problem {
	names := map[int][]int{} // the parents that each rule in the files names
	for i := range src.Rules {
		roots, err := xmlfile.Parse(src.Rules[i].Data)
		if err != nil {
			continue
		}
		for _, g := range roots {
			for _, r := range g.Children {
				v, _ := r.Attr("id")
				id, err := strconv.Atoi(v)
				if err != nil {
					continue
				}
				names[id] = append(names[id], 0) // it is there
				for _, e := range r.Children {
					if e.Is("if_sid") || e.Is("if_matched_sid") {
						for _, w := range strings.FieldsFunc(e.Content, func(r rune) bool { return r < '0' || r > '9' }) {
							if n, err := strconv.Atoi(w); err == nil {
								names[id] = append(names[id], n)
							}
						}
					}
				}
			}
		}
	}
	for i := range problems {
		p := &problems[i]
		if p.Code != codeIfSidUnknown && p.Code != codeIfSidNone && p.Code != codeMatchedUnknown {
			continue
		}
		if way := circle(names, p.RuleID); way != nil {
			p.Hint = "the rules name each other in a circle (" + strings.Join(way, ", ") + "); give one of them another parent"
			continue
		}
		for _, n := range names[p.RuleID] {
			if len(names[n]) > 0 && strings.Contains(p.Msg, fmt.Sprintf("names rule %d,", n)) {
				p.Hint = fmt.Sprintf("rule %d is left out itself, or stands after this one; files are read in order of their names", n)
			}
		}
	}
	return problems
}

// circle finds a way from a rule over its parents back to it.
func circle(names map[int][]int, id int) []string {
	from := map[int]int{}
	queue := []int{id}
	for len(queue) > 0 {
		x := queue[0]
		queue = queue[1:]
		for _, n := range names[x] {
			if n == id {
				way := []string{strconv.Itoa(id)}
				for ; x != id; x = from[x] {
					way = slices.Insert(way, 1, strconv.Itoa(x))
				}
				return append(way, strconv.Itoa(id))
			}
			if _, seen := from[n]; !seen && len(names[n]) > 0 {
				from[n] = x
				queue = append(queue, n)
			}
		}
	}
	return nil
}

// texts finds files that hold text and nothing else: it is passed over.
func (c *checker) texts(src ruleset.Source) {
	for _, files := range [][]ruleset.File{src.Decoders, src.Rules} {
		for i := range files {
			roots, err := xmlfile.Parse(files[i].Data)
			if text := strings.TrimSpace(string(files[i].Data)); err == nil && len(roots) == 0 && text != "" && !strings.HasPrefix(text, "<!") {
				c.warn(place{f: &files[i]}, 0, "is it the right file?", "holds text and no element; it is passed over")
			}
		}
	}
}

// place is a position in the files.
type place struct {
	f *ruleset.File
	e *xmlfile.Element
}

// child finds the first element of that name; the place itself if there is none.
func (p place) child(match func(*xmlfile.Element) bool) place {
	if p.e != nil {
		for _, c := range p.e.Children {
			if match(c) {
				return place{p.f, c}
			}
		}
	}
	return p
}

func named(name string) func(*xmlfile.Element) bool {
	return func(e *xmlfile.Element) bool { return e.Is(name) }
}

type checker struct {
	p        *program.Program
	rules    map[*program.Rule]place
	decoders []place // by position
	// contexts are the demands on an event by the places of a rule, see tree.go.
	contexts map[*program.Rule][]context
	// above are the nodes that have a node as a child, see nodes.
	above map[*program.Node][]*program.Node
	// dead rules are reported once, for the nearest reason.
	dead map[*program.Rule]bool

	found []ruleset.Problem
}

func (c *checker) warn(at place, rule int, hint, format string, args ...any) {
	p := ruleset.Problem{RuleID: rule, Msg: fmt.Sprintf(format, args...), Hint: hint}
	if at.f != nil {
		p.File = at.f.Path
	}
	if at.e != nil {
		p.Line, p.Col = at.e.Line, at.e.Col
	}
	c.found = append(c.found, p)
}

// index finds the elements behind the compiled rules and decoders.
func (c *checker) index(src ruleset.Source) {
	for i := range src.Decoders {
		f := &src.Decoders[i]
		roots, err := xmlfile.Parse(f.Data)
		if err != nil {
			continue
		}
		for _, e := range roots {
			c.decoders = append(c.decoders, place{f, e})
		}
	}
	defs := map[int][]place{}
	for i := range src.Rules {
		f := &src.Rules[i]
		roots, err := xmlfile.Parse(f.Data)
		if err != nil {
			continue
		}
		for _, g := range roots {
			for _, e := range g.Children {
				v, _ := e.Attr("id")
				if id, err := strconv.Atoi(v); err == nil {
					defs[id] = append(defs[id], place{f, e})
				}
			}
		}
	}
	c.rules = map[*program.Rule]place{}
	for _, r := range c.p.AllRules {
		for _, d := range defs[r.ID] {
			if d.f.Name != r.Info.File || filepath.Dir(d.f.Path) != r.Info.Dir {
				continue
			}
			v, _ := d.e.Attr("overwrite")
			if _, known := c.rules[r]; !known || r.Info.Overwritten && strings.EqualFold(v, "yes") {
				c.rules[r] = d
			}
		}
	}
}

// decoder is the place of a decoder; Compile has kept every one of them.
func (c *checker) decoder(d *program.Decoder) place {
	if i := d.Info.Position; i < len(c.decoders) {
		return c.decoders[i]
	}
	return place{}
}
