package engine

import "strings"

// scaLists are the members of a check that hold comma lists; they become arrays.
var scaLists = [...]string{"file", "directory", "registry", "process", "command"}

// decodeSCA decodes the messages of the policy checks.
//
// Agents send a check only when it changed. Without a state database, each check
// counts as a change. It has a previous result only if the message brings one. A
// summary counts unless it is marked as the first since the module started. 4.14
// answers the first summary with a request for all checks, whose summary then
// carries force_alert. Messages with
// nothing to tell, such as lists of policies, are judged without fields.
//
// Source: spec/ruleset-language.md §10, spec/agent-state-sync.md §5,
// spec/state-gaps.md §5.
func (s *Keyed) decodeSCA() bool {
	msg, ok := s.json.tree(s.ev.fullLog)
	if ok && msg.member("type").isText() {
		switch msg.str("type") {
		case "check":
			s.scaCheck(msg)
		case "summary":
			s.scaSummary(msg)
		}
	} else if ok {
		return false
	}
	s.setInternal("sca")
	return true
}

func (s *Keyed) putSet(name, value string) {
	if value != "" {
		s.addDynamic(name, value)
	}
}

// scaTexts are the members of a check that must be texts where they are there.
var scaTexts = [...]string{
	"description", "rationale", "remediation", "references", "file", "directory", "process", "registry", "command", "condition", "reason", "result",
}

func (n *jsonNode) isText() bool   { return n != nil && n.kind == jsonText }
func (n *jsonNode) isNumber() bool { return n != nil && n.kind == jsonNumber }

func (s *Keyed) scaCheck(msg *jsonNode) {
	c := msg.member("check")
	if !msg.member("id").isNumber() || !msg.member("policy").isText() || !msg.member("policy_id").isText() ||
		!c.member("id").isNumber() || !c.member("title").isText() {
		return
	}
	for _, n := range scaTexts {
		if m := c.member(n); m != nil && m.kind != jsonText {
			return
		}
	}
	s.addDynamic("sca.type", "check")
	s.putSet("sca.scan_id", wholeNumber(msg.str("id")))
	s.putSet("sca.policy", msg.str("policy"))
	s.putSet("sca.check.id", wholeNumber(c.str("id")))
	for _, n := range [...]string{"title", "description", "rationale", "remediation"} {
		s.putSet("sca.check."+n, c.str(n))
	}
	s.scaCompliance(c.member("compliance"))
	s.putSet("sca.check.references", c.str("references"))
	for _, n := range scaLists {
		s.putSet("sca.check."+n, s.arrayText(commaList(c.str(n))))
	}
	result := c.str("result")
	if result == "" {
		result = "not applicable"
	}
	s.addDynamic("sca.check.result", result)
	s.putSet("sca.check.reason", c.str("reason"))
	s.putSet("sca.check.previous_result", c.str("previous_result"))
}

// commaList cuts a list at its commas. Empty elements are dropped, blanks stay.
func commaList(list string) []string {
	var out []string
	for t := range strings.SplitSeq(list, ",") {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

// wholeNumber cuts the fraction off a number's text.
func wholeNumber(text string) string {
	whole, _, _ := strings.Cut(text, ".")
	return whole
}

// scaCompliance takes the standards of a check, as fields and for the rule. In
// the alert a name with a dot is an object of its own, so the rule does not get it.
func (s *Keyed) scaCompliance(n *jsonNode) {
	if n == nil || n.kind != jsonObject {
		return
	}
	e := &s.ev
	for i := range n.kids {
		k := &n.kids[i]
		if k.text == "" || k.name == "" || !k.isText() && !k.isNumber() {
			continue
		}
		s.addDynamic("sca.check.compliance."+k.name, k.text)
		if len(e.compliance) < complianceMax && !strings.Contains(k.name, ".") {
			e.compliance = append(e.compliance, complianceList{k.name, splitList(k.text, ",")})
		}
	}
}

func (s *Keyed) scaSummary(msg *jsonNode) {
	if msg.str("name") == "" || msg.str("policy_id") == "" {
		return
	}
	if msg.member("first_scan") != nil && msg.member("force_alert") == nil {
		return
	}
	s.addDynamic("sca.type", "summary")
	s.putSet("sca.scan_id", wholeNumber(msg.str("scan_id")))
	s.putSet("sca.policy", msg.str("name"))
	for _, n := range [...]string{"description", "policy_id", "passed", "failed", "invalid", "total_checks", "score", "file"} {
		v := msg.str(n)
		if msg.member(n).isNumber() {
			v = wholeNumber(v)
		}
		s.putSet("sca."+n, v)
	}
}
