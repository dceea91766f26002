package engine

import (
	"strings"

	"vedette/agentmsg"
	"vedette/agentmsg/sca"
)

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
func (s *modules) decodeSCA() bool {
	// A text that is no JSON is an event without fields.
	if msg, ok := s.json.Tree(s.ev.fullLog); ok {
		m, ok := sca.Parse(msg)
		if !ok {
			return false
		}
		if m.Check != nil {
			s.scaCheck(m.Check)
		}
		if m.Summary != nil && (!m.Summary.FirstScan || m.Summary.ForceAlert) {
			s.scaSummary(m.Summary)
		}
	}
	s.setInternal("sca")
	return true
}

func (s *modules) scaCheck(c *sca.Check) {
	s.add("sca.type", "check")
	s.addSet("sca.scan_id", c.ScanID)
	s.addSet("sca.policy", c.Policy)
	s.addSet("sca.check.id", c.ID)
	s.addSet("sca.check.title", c.Title)
	s.addSet("sca.check.description", c.Description)
	s.addSet("sca.check.rationale", c.Rationale)
	s.addSet("sca.check.remediation", c.Remediation)
	s.scaCompliance(c.Compliance)
	s.addSet("sca.check.references", c.References)
	s.addSet("sca.check.file", s.arrayText(commaList(c.File)))
	s.addSet("sca.check.directory", s.arrayText(commaList(c.Directory)))
	s.addSet("sca.check.registry", s.arrayText(commaList(c.Registry)))
	s.addSet("sca.check.process", s.arrayText(commaList(c.Process)))
	s.addSet("sca.check.command", s.arrayText(commaList(c.Command)))
	s.add("sca.check.result", c.Result)
	s.addSet("sca.check.reason", c.Reason)
	s.addSet("sca.check.previous_result", c.PreviousResult)
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

// scaCompliance takes the standards of a check, as fields and for the rule. In
// the alert a name with a dot is an object of its own, so the rule does not get it.
func (s *modules) scaCompliance(list []sca.Standard) {
	e := &s.ev
	for _, l := range list {
		s.add("sca.check.compliance."+l.Name, l.Sections)
		if len(e.compliance) < complianceMax && !strings.Contains(l.Name, ".") {
			e.compliance = append(e.compliance, complianceList{l.Name, agentmsg.SplitList(l.Sections, ",")})
		}
	}
}

func (s *modules) scaSummary(m *sca.Summary) {
	s.add("sca.type", "summary")
	s.addSet("sca.scan_id", m.ScanID)
	s.addSet("sca.policy", m.Name)
	s.addSet("sca.description", m.Description)
	s.addSet("sca.policy_id", m.PolicyID)
	s.addSet("sca.passed", m.Passed)
	s.addSet("sca.failed", m.Failed)
	s.addSet("sca.invalid", m.Invalid)
	s.addSet("sca.total_checks", m.TotalChecks)
	s.addSet("sca.score", m.Score)
	s.addSet("sca.file", m.File)
}
