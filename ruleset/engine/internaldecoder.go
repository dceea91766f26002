package engine

import (
	"strings"

	"vedette/ruleset/program"
)

// internalDecoder decodes the events of one queue character in place of the
// XML decoders (spec/ruleset-language.md §10). It reports whether rules should see
// the event. Rules see neither state synchronization nor malformed messages.
//
// Where 4.14 asks its state database, each decoder documents its substitute. Most
// judge a message by itself.
type internalDecoder func(s *modules) bool

// internalDecoders is the one place to add such a decoder.
var internalDecoders = [256]internalDecoder{
	'3': (*modules).decodeHostinfo,
	'8': (*modules).decodeFIM,
	'9': (*modules).decodeRootcheck,
	'd': (*modules).decodeSyscollector,
	'e': (*modules).decodeCISCAT,
	'f': (*modules).decodeEventChannel,
	'p': (*modules).decodeSCA,
}

// modules is the part that decodes the messages of agents' modules.
type modules struct {
	*decoding
	xml      xmlDocument
	sections [winSections][]winField
}

// decode runs the decoder of the event's queue, if it has one, and
// tells whether the event is to be judged.
func (s *modules) decode() (decoded, judge bool) {
	d := internalDecoders[s.ev.in.Queue]
	if d == nil {
		return false, true
	}
	return true, d(s)
}

func (s *modules) setInternal(name string) {
	e := &s.ev
	e.decoder, e.decoderName, e.decoderID = nil, name, s.eng.p.DecoderIDs[name]
	e.parentName, e.category = "", program.Ossec
}

// decodeCISCAT takes the members as they are, from the module's location only.
func (s *modules) decodeCISCAT() bool {
	if !strings.HasSuffix(s.ev.in.Location, "wodle_cis-cat") {
		return false
	}
	s.setInternal("ciscat")
	s.runJSON(s.ev.fullLog)
	return true
}

// hostinfoDiff is the rule of a diffKey that stands for results of port scans;
// rules have no number below 0.
const hostinfoDiff = -1

// decodeHostinfo names the result of a port scan, `Host: <ip>, open ports: …`.
// It has no fields. A result equal to the last one of its host says nothing new
// and is not judged.
//
// Source: spec/agent-state-sync.md §7.
func (s *modules) decodeHostinfo() bool {
	rest, ok := strings.CutPrefix(s.ev.fullLog, "Host: ")
	if !ok || len(rest) > hostinfoMax {
		return false
	}
	host, ports, _ := strings.Cut(rest, ",")
	last, known := s.key.lastText(diffKey{hostinfoDiff, host}, ports, s.eng.c.Limits.Diffs)
	switch {
	case !known:
		s.setInternal("hostinfo_new")
	case last == ports:
		return false
	default:
		s.setInternal("hostinfo_modified")
	}
	return true
}

// hostinfoMax bounds a result, as it is remembered.
const hostinfoMax = 65536
