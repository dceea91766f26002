// Package program holds the compiled form of a ruleset: decoders, the tree of
// rules, lists. Package ruleset makes it, package engine runs it. Nothing here
// is written after Compile, so a Program is safe for concurrent use.
package program

import "time"

// Limits of the language (spec/ruleset-language.md §13.3).
const (
	// OrderMax bounds the names of one order, the dynamic fields of one event
	// and the field conditions of one rule (decoder_order_size).
	OrderMax = 256
	// DefaultTimeframe is the window of a composite rule without timeframe.
	DefaultTimeframe = 360 * time.Second
	// DescriptionMax bounds an expanded description, in bytes.
	DescriptionMax = 1023
)

// Program is a compiled ruleset.
type Program struct {
	// Version is the Source's hash.
	Version string
	// Roots are the root rules in load order.
	Roots []*Node
	// WithProgram and WithoutProgram are the top-level decoders in load order.
	WithProgram, WithoutProgram []*Decoder
	// AllDecoders and AllRules are in load order.
	AllDecoders []*Decoder
	AllRules    []*Rule
	// RuleByID finds a rule by its id.
	RuleByID map[int]*Rule
	// DecoderIDs numbers the names a decoder of an event can have.
	DecoderIDs map[string]int
	// FieldIDs numbers the dynamic fields that rules name, lower-cased.
	FieldIDs map[string]int
	// GroupLists is the number of if_matched_group histories.
	GroupLists int
	// NeedGlobal says that some rule has if_matched_regex.
	NeedGlobal bool

	nodes int
}

// placesMax is how many places of rules get a Node each.
const placesMax = 50_000

// NewProgram seals the tree made by package ruleset, in which a rule is one
// Node below each of its parents. If the places are not too many, each then
// gets a Node of its own, which knows the rules above it. Beyond that the
// subtrees stay shared, so that a ruleset of twice the size does not take many
// times the memory; Parent is then the first of several.
func NewProgram(p Program) *Program {
	sizes := map[*Node]int{}
	var size func(n *Node) int
	size = func(n *Node) int {
		sum, ok := sizes[n]
		if !ok {
			sum = 1
			for _, c := range n.Children {
				sum += size(c)
			}
			sizes[n] = sum
		}
		return sum
	}
	for _, n := range p.Roots {
		p.nodes += size(n)
	}
	if p.nodes <= placesMax {
		nodes, links := make([]Node, 0, p.nodes), make([]*Node, 0, p.nodes)
		var expand func(n, parent *Node) *Node
		expand = func(n, parent *Node) *Node {
			nodes = append(nodes, Node{Rule: n.Rule, Parent: parent})
			to := &nodes[len(nodes)-1]
			from := len(links)
			links = append(links, n.Children...)
			to.Children = links[from:len(links):len(links)]
			for i, c := range n.Children {
				to.Children[i] = expand(c, to)
			}
			return to
		}
		roots := make([]*Node, len(p.Roots))
		for i, n := range p.Roots {
			roots[i] = expand(n, nil)
		}
		p.Roots = roots
	}
	return &p
}

// Nodes is the number of places in the rule tree; a rule with several parents
// has several places.
func (p *Program) Nodes() int { return p.nodes }

// LongestWindow is the longest time an event or a firing can matter to a later
// event: the maximum of the timeframes of composite rules and of ignore=.
func (p *Program) LongestWindow() time.Duration {
	var d time.Duration
	for _, r := range p.AllRules {
		if r.Composite != nil {
			d = max(d, r.Composite.Timeframe)
		}
		d = max(d, r.Ignore)
	}
	return d
}

// Windows returns by rule index how long the events of a rule can count for some
// composite rule: the longest timeframe of the composites that name it, its
// groups, or every rule.
func (p *Program) Windows() []time.Duration {
	bySid, byGroup := map[int]time.Duration{}, map[int]time.Duration{}
	var all time.Duration
	last := -1
	for _, r := range p.AllRules {
		last = max(last, r.Index)
		switch c := r.Composite; {
		case c == nil:
		case c.Regex != nil:
			all = max(all, c.Timeframe)
		case c.Sid != nil:
			bySid[c.Sid.Index] = max(bySid[c.Sid.Index], c.Timeframe)
		default:
			byGroup[c.GroupList] = max(byGroup[c.GroupList], c.Timeframe)
		}
	}
	windows := make([]time.Duration, last+1)
	for _, r := range p.AllRules {
		w := max(all, bySid[r.Index])
		for _, g := range r.GroupHistory {
			w = max(w, byGroup[g])
		}
		windows[r.Index] = w
	}
	return windows
}

// Remembers reports whether some composite rule can count the events of r.
func (p *Program) Remembers(r *Rule) bool {
	return r.SidHistory || len(r.GroupHistory) > 0 || p.NeedGlobal
}

// RuleInfo describes a rule to people and to the API.
type RuleInfo struct {
	ID          int
	Level       int
	Description string
	// Groups are the group names without compliance entries.
	Groups []string
	// Compliance maps pci_dss, gdpr, gpg13, hipaa, nist_800_53, tsc and cis.
	Compliance map[string][]string
	Mitre      []string
	File, Dir  string
	// Details are the texts of attributes and conditions by element name:
	// string, or []string or []map[string]string where an element repeats or
	// has attributes.
	Details map[string]any
	// Overwritten says that an overwrite="yes" rule replaced the first one.
	Overwritten bool
}

// DecoderInfo describes a decoder.
type DecoderInfo struct {
	Name, Parent string
	File, Dir    string
	// Position is the decoder's place in the whole ruleset, from 0.
	Position int
	Details  map[string]any
}

// Rules describes every rule in load order.
func (p *Program) Rules() []RuleInfo {
	out := make([]RuleInfo, len(p.AllRules))
	for i, r := range p.AllRules {
		out[i] = r.Info
	}
	return out
}

// Written is the number of rules from files: all but the roots that a ruleset
// lacks.
func (p *Program) Written() int {
	n := 0
	for _, r := range p.AllRules {
		if r.Info.File != "" {
			n++
		}
	}
	return n
}

// Decoders describes every decoder in load order.
func (p *Program) Decoders() []DecoderInfo {
	out := make([]DecoderInfo, 0, len(p.AllDecoders))
	for _, d := range p.AllDecoders {
		out = append(out, d.Info)
	}
	return out
}
