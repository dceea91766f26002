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
func (s *Keyed) decodeSCA() bool {
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

// putSet adds a dynamic field unless it is empty.
func (s *Keyed) putSet(name, value string) {
	if value != "" {
		s.addDynamic(name, value)
	}
}

func (s *Keyed) scaCheck(c *sca.Check) {
	s.addDynamic("sca.type", "check")
	s.putSet("sca.scan_id", c.ScanID)
	s.putSet("sca.policy", c.Policy)
	s.putSet("sca.check.id", c.ID)
	s.putSet("sca.check.title", c.Title)
	s.putSet("sca.check.description", c.Description)
	s.putSet("sca.check.rationale", c.Rationale)
	s.putSet("sca.check.remediation", c.Remediation)
	s.scaCompliance(c.Compliance)
	s.putSet("sca.check.references", c.References)
	s.putSet("sca.check.file", s.arrayText(commaList(c.File)))
	s.putSet("sca.check.directory", s.arrayText(commaList(c.Directory)))
	s.putSet("sca.check.registry", s.arrayText(commaList(c.Registry)))
	s.putSet("sca.check.process", s.arrayText(commaList(c.Process)))
	s.putSet("sca.check.command", s.arrayText(commaList(c.Command)))
	s.addDynamic("sca.check.result", c.Result)
	s.putSet("sca.check.reason", c.Reason)
	s.putSet("sca.check.previous_result", c.PreviousResult)
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
func (s *Keyed) scaCompliance(list []sca.Standard) {
	e := &s.ev
	for _, l := range list {
		s.addDynamic("sca.check.compliance."+l.Name, l.Sections)
		if len(e.compliance) < complianceMax && !strings.Contains(l.Name, ".") {
			e.compliance = append(e.compliance, complianceList{l.Name, agentmsg.SplitList(l.Sections, ",")})
		}
	}
}

func (s *Keyed) scaSummary(m *sca.Summary) {
	s.addDynamic("sca.type", "summary")
	s.putSet("sca.scan_id", m.ScanID)
	s.putSet("sca.policy", m.Name)
	s.putSet("sca.description", m.Description)
	s.putSet("sca.policy_id", m.PolicyID)
	s.putSet("sca.passed", m.Passed)
	s.putSet("sca.failed", m.Failed)
	s.putSet("sca.invalid", m.Invalid)
	s.putSet("sca.total_checks", m.TotalChecks)
	s.putSet("sca.score", m.Score)
	s.putSet("sca.file", m.File)
}
