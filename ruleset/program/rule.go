package program

import (
	"time"

	"vedette/internal/ipset"
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

// Op is the kind of test that a condition makes.
type Op uint8

// The operations, in order of evaluation.
const (
	OpDecodedAs Op = iota
	OpProgramName
	OpStatic // id, system_name, protocol, action, url, srcport, dstport, data, extra_data, status
	OpLog    // match and regex
	OpLocation
	OpDynamic // field
	OpSrcIP
	OpDstIP
	OpCompiled
	OpUser
	OpGeoIP // of Static, srcip or dstip
	OpMaxSize
	OpTime
	OpWeekday
	OpHostname
	OpCheckDiff
	OpFTS
	OpList
)

// Compiled names a built-in condition.
type Compiled uint8

// The built-in conditions of compiled_rule.
const (
	CheckIDSize Compiled = iota
	TargetUserCallerUserDiff
	SrcUserDstUser
	SimpleHTTPRequest
	ValidCrawler
)

// Condition must hold for a rule to match. Op decides which members count.
type Condition struct {
	Op      Op
	Negate  bool
	Static  Static
	Field   int // number of the dynamic field in Program.FieldIDs
	Number  int // decoder name id, size, set of weekdays, Compiled
	Pattern *regex.Pattern
	IPs     *ipset.Set
	// From and To are minutes of the day, for OpTime.
	From, To int
	List     *ListLookup
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
)

// LookupKind is a list condition's lookup attribute.
type LookupKind uint8

// The look-ups.
const (
	MatchKey LookupKind = iota
	NotMatchKey
	MatchKeyValue
	AddressMatchKey
	NotAddressMatchKey
	AddressMatchKeyValue
)

// ListLookup is a compiled list condition.
type ListLookup struct {
	Name   string
	From   Source
	Lookup LookupKind
	Value  *regex.Pattern
	List   List
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
