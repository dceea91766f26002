package ruleset

import (
	"errors"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/program"
)

// textMax bounds texts after concatenation: decoders, rules.
const (
	decoderTextMax = 1023
	ruleTextMax    = 2047
)

// internalDecoders are the names of decoders that are not written in XML.
var internalDecoders = []string{
	"rootcheck", "syscheck_new_entry", "syscheck_integrity_changed", "syscheck_deleted",
	"syscheck_registry_key_added", "syscheck_registry_key_modified", "syscheck_registry_key_deleted",
	"syscheck_registry_value_added", "syscheck_registry_value_modified", "syscheck_registry_value_deleted",
	"hostinfo_new", "hostinfo_modified", "syscollector", "ciscat", "windows_eventchannel", "sca",
}

// loader holds the knowledge of Compile so far.
type loader struct {
	p        program.Program
	problems []Problem
	fatals   []error

	lists map[string]program.List
	// topLevel are the top-level decoders by name, childNames the own names of children.
	topLevel   map[string][]*program.Decoder
	childNames map[string]bool

	// nodes is each rule's node, places the number of its places in the tree.
	nodes      map[*program.Rule]*program.Node
	places     map[*program.Rule]int
	placeCount int
	meta       map[*program.Rule]*ruleMeta
	// hasStock says that some file has rules with ids of the stock ruleset.
	hasStock  bool
	patterns  map[patternKey]*regex.Pattern
	lowGroups map[string]string // texts of groups in lower case
}

type patternKey struct {
	kind regex.Kind
	text string
}

// Compile makes a Program of a ruleset. Problems that only skip something are
// returned as they are; fatal ones are returned too and joined in the error.
func Compile(s Source) (*program.Program, []Problem, error) {
	l := &loader{
		p: program.Program{
			Version:    s.Version(),
			RuleByID:   map[int]*program.Rule{},
			DecoderIDs: map[string]int{"": 0},
			FieldIDs:   map[string]int{},
		},
		lists:      map[string]program.List{},
		topLevel:   map[string][]*program.Decoder{},
		childNames: map[string]bool{},
		nodes:      map[*program.Rule]*program.Node{},
		places:     map[*program.Rule]int{},
		meta:       map[*program.Rule]*ruleMeta{},
		patterns:   map[patternKey]*regex.Pattern{},
		lowGroups:  map[string]string{},
	}
	for i := range s.Decoders {
		l.report(l.decoderFile(&s.Decoders[i]))
	}
	l.report(l.finishDecoders(s))
	for i := range s.Lists {
		l.lists[s.Lists[i].Name] = parseList(s.Lists[i].Data)
	}
	l.ruleFiles(s.Rules)
	if len(l.fatals) > 0 {
		return nil, l.problems, errors.Join(l.fatals...)
	}
	return program.NewProgram(l.finishRules()), l.problems, nil
}

// report keeps the problem that ended a file, if any.
func (l *loader) report(p *Problem) {
	if p == nil {
		return
	}
	l.problems = append(l.problems, *p)
	l.fatals = append(l.fatals, *p)
}

func (l *loader) warn(f *File, e *xmlfile.Element, rule, code int, msg, hint string) {
	p := Problem{File: f.Path, RuleID: rule, Code: code, Msg: msg, Hint: hint}
	if e != nil {
		p.Line, p.Col = e.Line, e.Col
	}
	l.problems = append(l.problems, p)
}

// unknownAttr tells that an attribute of an element is ignored, as 4.14 does: a
// typing error in one rule must not refuse the whole ruleset.
func (l *loader) unknownAttr(f *File, e *xmlfile.Element, rule int, name string) {
	l.warn(f, e, rule, codeNone, "unknown attribute "+name+" of <"+e.Name+"> is ignored", "check its name; it has no effect as it is")
}

// pattern compiles a pattern once for all its uses.
func (l *loader) pattern(kind regex.Kind, text string) (*regex.Pattern, error) {
	k := patternKey{kind, text}
	if p := l.patterns[k]; p != nil {
		return p, nil
	}
	p, err := regex.Compile(kind, text)
	if err == nil {
		l.patterns[k] = p
	}
	return p, err
}

func (l *loader) decoderID(name string) int {
	id, ok := l.p.DecoderIDs[name]
	if !ok {
		id = len(l.p.DecoderIDs)
		l.p.DecoderIDs[name] = id
	}
	return id
}
