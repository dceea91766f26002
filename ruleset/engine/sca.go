package engine

import "strings"

// scaLists are the members of a check that hold comma lists; they become arrays.
var scaLists = [...]string{"file", "directory", "registry", "process", "command"}

// decodeSCA decodes the messages of the policy checks.
//
// Without the state data base a check is what agents send it for: a change. It
// has a previous result only if the message brings one. A summary counts unless
// it is marked as the first since the module started: 4.14 answers that one with
// a request for all checks, whose summary then carries force_alert. Lists of
// policies and ends of dumps only keep the states equal.
//
// Source: spec/ruleset-language.md §10, spec/agent-state-sync.md §5.
func (s *Keyed) decodeSCA() bool {
	msg, ok := s.json.tree(s.ev.fullLog)
	if !ok {
		return false
	}
	switch msg.str("type") {
	case "check":
		return s.scaCheck(msg)
	case "summary":
		return s.scaSummary(msg)
	}
	return false
}

func (s *Keyed) putSet(name, value string) {
	if value != "" {
		s.addDynamic(name, value)
	}
}

func (s *Keyed) scaCheck(msg *jsonNode) bool {
	c := msg.member("check")
	if c.str("id") == "" || msg.str("policy") == "" {
		return false
	}
	s.setInternal("sca")
	s.addDynamic("sca.type", "check")
	s.putSet("sca.scan_id", msg.str("id"))
	s.putSet("sca.policy", msg.str("policy"))
	for _, n := range [...]string{"id", "title", "description", "rationale", "remediation"} {
		s.putSet("sca.check."+n, c.str(n))
	}
	s.scaCompliance(c.member("compliance"))
	s.putSet("sca.check.references", c.str("references"))
	for _, n := range scaLists {
		s.putSet("sca.check."+n, s.arrayText(splitList(c.str(n), ",")))
	}
	result := c.str("result")
	if result == "" {
		result = "not applicable"
	}
	s.addDynamic("sca.check.result", result)
	s.putSet("sca.check.reason", c.str("reason"))
	s.putSet("sca.check.previous_result", c.str("previous_result"))
	return true
}

// scaCompliance takes the standards of a check, as fields and for the rule.
func (s *Keyed) scaCompliance(n *jsonNode) {
	if n == nil || n.kind != jsonObject {
		return
	}
	e := &s.ev
	for i := range n.kids {
		k := &n.kids[i]
		text := k.text
		if k.kind == jsonArray {
			text = strings.Join(k.texts(), ",")
		}
		if text == "" || k.name == "" || len(e.compliance) >= complianceMax {
			continue
		}
		s.addDynamic("sca.check.compliance."+k.name, text)
		e.compliance = append(e.compliance, complianceList{k.name, splitList(text, ",")})
	}
}

func (s *Keyed) scaSummary(msg *jsonNode) bool {
	if msg.str("name") == "" || msg.str("policy_id") == "" {
		return false
	}
	if msg.member("first_scan") != nil && msg.str("force_alert") == "" {
		return false
	}
	s.setInternal("sca")
	s.addDynamic("sca.type", "summary")
	s.putSet("sca.scan_id", msg.str("scan_id"))
	s.putSet("sca.policy", msg.str("name"))
	for _, n := range [...]string{"description", "policy_id", "passed", "failed", "invalid", "total_checks", "score", "file"} {
		s.putSet("sca."+n, msg.str(n))
	}
	return true
}
