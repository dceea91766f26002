package program

import (
	"strings"
	"time"

	"vedette/internal/regex"
)

// Node is one place of a rule in the tree, or several that have the same
// children (NewProgram).
type Node struct {
	Rule *Rule
	// Parent is nil for a root rule. Of several it is the first.
	Parent   *Node
	Children []*Node
}

// Rule is a compiled rule.
type Rule struct {
	// Index is the rule's place in Program.AllRules.
	Index int
	ID    int
	Level int
	// Category counts for root rules, and for placing children.
	Category Category
	NoAlert  bool
	// Ignore is how long the rule stays silent after firing; 0 is not at all.
	Ignore time.Duration
	// Conds are in order of evaluation.
	Conds []Condition
	// Composite is nil for a rule that needs no history.
	Composite *Composite

	Description Template
	// GroupText is the raw group string.
	GroupText string
	// JSONHead and JSONGroups are parts of the alert's rule object:
	// from description's end to frequency, and groups with compliance.
	JSONHead, JSONGroups []byte
	Options              Options

	// SidHistory says that a composite names this rule by if_matched_sid.
	SidHistory bool
	// GroupHistory are the if_matched_group histories its events enter, one
	// entry per place of the rule in the tree.
	GroupHistory []int

	Info RuleInfo
}

// Options are a rule's options, before the configured levels are applied.
type Options struct {
	// Mail and Log override the level when set.
	Mail, NoMail, Log, NoLog   bool
	NoFullLog, NoCounter, NoAR bool
}

// Source says where a value is taken from.
type Source struct {
	Kind   SourceKind
	Static Static
	Field  int
}

// SourceKind tells the sources apart.
type SourceKind uint8

// Sources of values for lists, descriptions and same/different.
const (
	FromStatic SourceKind = iota
	FromDynamic
	FromProgramName
	FromHostname
	FromListUser // srcuser, else dstuser
	FromLocation
	FromGeoIP // of Static, srcip or dstip
	FromLog
	FromUser // dstuser, else srcuser
)

// Name is the name of a source in messages; field names a dynamic field.
func (s Source) Name(field func(id int) string) string {
	switch s.Kind {
	case FromStatic:
		return StaticNames[s.Static]
	case FromDynamic:
		return field(s.Field)
	case FromProgramName:
		return "program_name"
	case FromHostname:
		return "hostname"
	case FromLocation:
		return "location"
	case FromGeoIP:
		return strings.TrimSuffix(StaticNames[s.Static], "ip") + "geoip"
	case FromLog:
		return "log"
	}
	return "user"
}

// List is a CDB list.
type List map[string]string

// Composite is the history search of a composite rule.
type Composite struct {
	// Sid is the rule whose events count, Regex a pattern over the global
	// history, else GroupList numbers a group history.
	Sid       *Rule
	Regex     *regex.Pattern
	GroupList int

	Frequency int
	Timeframe time.Duration
	Global    bool
	Same      []Source
	Different []Source
	// SameFields and DifferentFields are dynamic.
	SameFields, DifferentFields []int
}

// Template is a description with $(names).
type Template struct {
	Text  string
	Parts []TemplatePart
}

// Constant reports whether the text refers to nothing.
func (t *Template) Constant() bool {
	return len(t.Parts) == 0 || len(t.Parts) == 1 && !t.Parts[0].Ref
}

// TemplatePart is literal text, or a reference when Ref is set.
type TemplatePart struct {
	Text string
	Ref  bool
	From Source
}
