// Package sca reads the messages of the policy checks.
//
// Source: spec/agent-state-sync.md §5, spec/state-gaps.md §5.
package sca

import (
	"strings"

	"vedette/agentmsg/laxjson"
)

// NotApplicable is the result of a check that could not be made.
const NotApplicable = "not applicable"

// Message is one message. Check and Summary are nil in other kinds of messages, and
// in malformed ones.
type Message struct {
	// Type is check, summary, policies, dump_end, or a word of a later agent.
	Type    string
	Check   *Check
	Summary *Summary
}

// Check is the result of one check. Numbers are whole ones in decimal.
type Check struct {
	ScanID   string
	Policy   string // the policy's name
	PolicyID string

	ID, Title, Description, Rationale, Remediation, References string
	// Compliance are the standards that the check belongs to, in their order.
	Compliance []Standard
	// The objects that the check looks at, each a list with commas.
	File, Directory, Registry, Process, Command string
	// Rules are the check's own rules, Condition is all, any or none of them.
	Rules     []string
	Condition string
	// Result is passed, failed or NotApplicable; Reason says why it is the latter.
	Result, Reason string
	// PreviousResult is empty unless the agent tells it.
	PreviousResult string
}

// Standard is a standard with the sections that a check belongs to, a list with
// commas.
type Standard struct{ Name, Sections string }

// Summary is the result of one scan of a policy. Numbers are whole ones in decimal.
type Summary struct {
	ScanID, Name, PolicyID, Description, References, File string
	Passed, Failed, Invalid, TotalChecks, Score           string
	StartTime, EndTime                                    string
	// Hash is over the results in order of their ids, HashFile over the policy.
	Hash, HashFile string
	// FirstScan marks the first scan since the module started, ForceAlert the answer
	// to a request for all checks.
	FirstScan, ForceAlert bool
}

// Parse reads a message; ok is false if it does not tell its type.
func Parse(msg *laxjson.Node) (m Message, ok bool) {
	if !msg.Member("type").Is(laxjson.Text) {
		return m, false
	}
	m.Type = msg.Value("type")
	switch m.Type {
	case "check":
		m.Check = parseCheck(msg)
	case "summary":
		m.Summary = parseSummary(msg)
	}
	return m, true
}

// checkTexts are the members of a check that must be texts where they are present.
var checkTexts = [...]string{
	"description", "rationale", "remediation", "references", "file", "directory", "process", "registry", "command", "condition", "reason", "result",
}

func parseCheck(msg *laxjson.Node) *Check {
	n := msg.Member("check")
	if !msg.Member("id").Is(laxjson.Number) || !msg.Member("policy").Is(laxjson.Text) || !msg.Member("policy_id").Is(laxjson.Text) ||
		!n.Member("id").Is(laxjson.Number) || !n.Member("title").Is(laxjson.Text) {
		return nil
	}
	for _, name := range checkTexts {
		if m := n.Member(name); m != nil && !m.Is(laxjson.Text) {
			return nil
		}
	}
	c := &Check{
		ScanID: whole(msg, "id"), Policy: msg.Value("policy"), PolicyID: msg.Value("policy_id"),
		ID: whole(n, "id"), Title: n.Value("title"), Description: n.Value("description"), Rationale: n.Value("rationale"),
		Remediation: n.Value("remediation"), References: n.Value("references"), Compliance: standards(n.Member("compliance")),
		File: n.Value("file"), Directory: n.Value("directory"), Registry: n.Value("registry"), Process: n.Value("process"), Command: n.Value("command"),
		Rules: n.Member("rules").Values(), Condition: n.Value("condition"),
		Result: n.Value("result"), Reason: n.Value("reason"), PreviousResult: n.Value("previous_result"),
	}
	if c.Result == "" {
		c.Result = NotApplicable
	}
	return c
}

// standards reads an object whose members are lists; others are left out.
func standards(n *laxjson.Node) []Standard {
	if !n.Is(laxjson.Object) {
		return nil
	}
	var out []Standard
	for i := range n.Kids {
		k := &n.Kids[i]
		if k.Text != "" && k.Name != "" && (k.Is(laxjson.Text) || k.Is(laxjson.Number)) {
			out = append(out, Standard{k.Name, k.Text})
		}
	}
	return out
}

func parseSummary(msg *laxjson.Node) *Summary {
	s := &Summary{
		ScanID: whole(msg, "scan_id"), Name: msg.Value("name"), PolicyID: number(msg, "policy_id"), Description: number(msg, "description"),
		References: msg.Value("references"), File: number(msg, "file"),
		Passed: number(msg, "passed"), Failed: number(msg, "failed"), Invalid: number(msg, "invalid"), TotalChecks: number(msg, "total_checks"),
		Score: number(msg, "score"), StartTime: number(msg, "start_time"), EndTime: number(msg, "end_time"),
		Hash: msg.Value("hash"), HashFile: msg.Value("hash_file"),
		FirstScan: msg.Member("first_scan") != nil, ForceAlert: msg.Member("force_alert") != nil,
	}
	if s.Name == "" || s.PolicyID == "" {
		return nil
	}
	return s
}

// number is a member's text. A number loses its fraction.
func number(n *laxjson.Node, name string) string {
	if n.Member(name).Is(laxjson.Number) {
		return whole(n, name)
	}
	return n.Value(name)
}

// whole is a member's text up to its first dot.
func whole(n *laxjson.Node, name string) string {
	text, _, _ := strings.Cut(n.Value(name), ".")
	return text
}
