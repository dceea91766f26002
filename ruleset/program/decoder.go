package program

import "vedette/internal/regex"

// Category is the kind of an event, given by its decoder; root rules are chosen by it.
type Category uint8

// The categories, in the order of the root templates 1 to 7.
const (
	Syslog Category = iota
	Firewall
	IDs
	WebLog
	Squid
	Windows
	Ossec
	HostInformation
)

var categoryNames = [...]string{"syslog", "firewall", "ids", "web-log", "squid", "windows", "ossec", "host-information"}

func (c Category) String() string { return categoryNames[c] }

// ParseCategory reads a category's name.
func ParseCategory(s string) (Category, bool) {
	for i, n := range categoryNames {
		if s == n {
			return Category(i), true
		}
	}
	return 0, false
}

// Static is one of the fields that every event has a slot for.
type Static uint8

// The static fields, in the order of the alert's data object.
const (
	Protocol Static = iota
	Action
	SrcIP
	SrcPort
	SrcUser
	DstIP
	DstPort
	DstUser
	ID
	Status
	URL
	Data
	ExtraData
	SystemName
	NumStatic
)

// StaticNames are the names of the static fields.
var StaticNames = [NumStatic]string{
	"protocol", "action", "srcip", "srcport", "srcuser", "dstip", "dstport",
	"dstuser", "id", "status", "url", "data", "extra_data", "system_name",
}

// ParseStatic finds a static field by its exact name. `user` is dstuser.
func ParseStatic(s string) (Static, bool) {
	if s == "user" {
		return DstUser, true
	}
	for i, n := range StaticNames {
		if s == n {
			return Static(i), true
		}
	}
	return 0, false
}

// Offset says where in the log a pattern or plugin starts.
type Offset uint8

// The offsets of decoder elements.
const (
	OffsetNone Offset = iota
	AfterParent
	AfterPrematch
	AfterRegex
)

// Plugin is a built-in decoder.
type Plugin uint8

// The plugins.
const (
	NoPlugin Plugin = iota
	PluginJSON
	PluginPF
	PluginSonicWall
	PluginSymantecWS
	PluginOSSECAlert
)

// OrderField is a name of an order: a static slot, or a dynamic field.
type OrderField struct {
	Name    string
	Static  Static
	Dynamic bool
}

// FTS lists the parts of the key of first-time-seen.
type FTS struct {
	Name, Location bool
	Statics        [NumStatic]bool
	Dynamic        []string
}

// Decoder is a compiled decoder.
type Decoder struct {
	// Name is the name events show; a child has its parent's unless use_own_name.
	Name string
	// NameID is Name's number in Program.DecoderIDs.
	NameID int
	// OwnName is the name attribute.
	OwnName string
	// Parent is the parent element's text.
	Parent string

	ProgramName    *regex.Pattern
	Prematch       *regex.Pattern
	PrematchOffset Offset
	Regex          *regex.Pattern
	RegexOffset    Offset
	Order          []OrderField
	Plugin         Plugin
	PluginOffset   Offset

	Category    Category
	FTS         *FTS
	FTSComment  string
	Accumulate  bool
	DiscardNull bool
	CSVArrays   bool

	// Children are in load order.
	Children []*Decoder
	// MoreSiblings says that a later child of the parent has the same own name.
	MoreSiblings bool
	// SkipTo is the index among the siblings that follows the run of directly
	// following siblings of the same own name.
	SkipTo int

	Info DecoderInfo
}
