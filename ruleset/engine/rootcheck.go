package engine

import "vedette/agentmsg/rootcheck"

// decodeRootcheck decodes a finding of the rootkit detector. Whether it was
// seen before is known to the state data base only: without it, every finding
// counts as seen for the first time (view.FirstSeen).
//
// Source: spec/state-gaps.md §6.
func (s *modules) decodeRootcheck() bool {
	s.setInternal("rootcheck")
	f := rootcheck.Parse(s.ev.fullLog)
	s.addSet("title", f.Title)
	s.addSet("file", f.File)
	return true
}
