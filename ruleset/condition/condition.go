// Package condition holds the conditions of rules. Each has a file that reads it, tests
// it, explains its failure, and names its demands on events. Kinds lists them all.
//
// Source: spec/ruleset-language.md §6.2, §9.
package condition

import (
	"fmt"
	"slices"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/program"
)

// Kinds are the conditions of the rule language in order of evaluation. To add one,
// write a file with its type and add a line here.
var Kinds = []Kind{
	decodedAs,
	text("program_name", regex.OSMatch, program.Source{Kind: program.FromProgramName}),
	text("id", regex.OSMatch, program.Source{Static: program.ID}),
	text("system_name", regex.OSMatch, program.Source{Static: program.SystemName}),
	text("protocol", regex.OSMatch, program.Source{Static: program.Protocol}),
	text("match", regex.OSMatch, program.Source{Kind: program.FromLog}),
	text("regex", regex.OSRegex, program.Source{Kind: program.FromLog}),
	text("action", regex.String, program.Source{Static: program.Action}),
	text("url", regex.OSMatch, program.Source{Static: program.URL}),
	text("location", regex.OSMatch, program.Source{Kind: program.FromLocation}),
	field,
	ip("srcip", program.SrcIP),
	ip("dstip", program.DstIP),
	text("srcport", regex.OSMatch, program.Source{Static: program.SrcPort}),
	text("dstport", regex.OSMatch, program.Source{Static: program.DstPort}),
	compiledRule,
	text("user", regex.OSMatch, program.Source{Kind: program.FromUser}),
	geoIP("srcgeoip", program.SrcIP),
	geoIP("dstgeoip", program.DstIP),
	maxSize,
	timeOfDay,
	weekday,
	text("data", regex.OSMatch, program.Source{Static: program.Data}),
	text("extra_data", regex.OSMatch, program.Source{Static: program.ExtraData}),
	text("hostname", regex.OSMatch, program.Source{Kind: program.FromHostname}),
	text("status", regex.OSMatch, program.Source{Static: program.Status}),
	checkDiff,
	ifFTS,
	list,
}

// Kind is an element or attribute of a rule that makes conditions.
type Kind struct {
	Name string
	Form Form
	// Most bounds how often an element may occur; 0 is no bound.
	Most int
	// Compile makes the conditions of one rule.
	Compile func(l Loader, w *Written) ([]program.Condition, *Fault)
}

// Form says how a condition is written.
type Form uint8

// The forms.
const (
	// Joint elements of one name are one text, with the attributes of a pattern.
	Joint Form = iota
	// Each element is read by itself.
	Each
	// Attribute of the rule.
	Attribute
)

// Find returns the kind of that name, written as an attribute or as elements, and
// its place in Kinds. It returns nil if there is none.
func Find(name string, attribute bool) (*Kind, int) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name && (k.Form == Attribute) == attribute })
	if i < 0 {
		return nil, 0
	}
	return &Kinds[i], i
}

// Written holds the elements of one kind in a rule, or the attribute.
type Written struct {
	// Elements are in their order; the first is where faults are reported.
	Elements []*xmlfile.Element
	// Value is the text of joint elements or of the attribute.
	Value string
	// Kind is the kind of the pattern, if HasKind is set; Negate its attribute. They
	// are those of the last of joint elements.
	Kind    regex.Kind
	HasKind bool
	Negate  bool
}

// Element is where faults of the whole are reported; nil for an attribute.
func (w *Written) Element() *xmlfile.Element {
	if len(w.Elements) == 0 {
		return nil
	}
	return w.Elements[0]
}

// KindOr is the kind of the pattern, which may have a default.
func (w *Written) KindOr(d regex.Kind) regex.Kind {
	if w.HasKind {
		return w.Kind
	}
	return d
}

// Loader gives conditions access to the ruleset that is loaded.
type Loader interface {
	// Pattern compiles a pattern. Equal ones are one.
	Pattern(kind regex.Kind, text string) (*regex.Pattern, error)
	// PatternAttributes reads type and negate of an element into w. It warns of other
	// attributes but those in also.
	PatternAttributes(e *xmlfile.Element, w *Written, also ...string)
	// UnknownAttribute warns of an attribute.
	UnknownAttribute(e *xmlfile.Element, name string)
	// FieldID numbers a dynamic field, DecoderID finds a decoder's name.
	FieldID(name string) int
	DecoderID(name string) (id int, ok bool)
	// Source resolves a name as lists and descriptions use it.
	Source(name string) program.Source
	// List finds a list. If it is not loaded, the rule is skipped with a warning.
	List(e *xmlfile.Element, name string) program.List
}

// Fault is an error in a rule that stops the load.
type Fault struct {
	Element *xmlfile.Element
	Msg     string
	Hint    string // says how to mend it; may be empty
}

func fault(e *xmlfile.Element, format string, args ...any) *Fault {
	return &Fault{Element: e, Msg: fmt.Sprintf(format, args...)}
}

func one(c program.Condition) []program.Condition { return []program.Condition{c} }
