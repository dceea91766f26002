package engine

import (
	"strings"

	"vedette/ruleset/program"
)

// internalDecoder decodes the events of one queue character in place of the
// XML decoders (spec/ruleset-language.md §10). It tells whether the event is one
// for rules: what agents send to keep states equal, and what is malformed, is not.
//
// A message is judged by itself. Where 4.14 asks its state data base, each
// decoder says what it takes instead.
type internalDecoder func(s *Keyed) bool

// internalDecoders is the one place to add such a decoder.
var internalDecoders = map[byte]internalDecoder{
	'3': (*Keyed).decodeHostinfo,
	'8': (*Keyed).decodeFIM,
	'9': (*Keyed).decodeRootcheck,
	'd': (*Keyed).decodeSyscollector,
	'e': (*Keyed).decodeCISCAT,
	'f': (*Keyed).decodeEventChannel,
	'p': (*Keyed).decodeSCA,
}

// decodeInternal runs the decoder of the event's queue, if it has one, and
// tells whether the event is to be judged.
func (s *Keyed) decodeInternal() (decoded, judge bool) {
	d := internalDecoders[s.ev.in.Queue]
	if d == nil {
		return false, true
	}
	return true, d(s)
}

func (s *Keyed) setInternal(name string) {
	e := &s.ev
	e.decoder, e.decoderName, e.decoderID = nil, name, s.eng.p.DecoderIDs[name]
	e.parentName, e.category = "", program.Ossec
}

// decodeCISCAT takes the members as they are, from the module's location only.
func (s *Keyed) decodeCISCAT() bool {
	if !strings.HasSuffix(s.ev.in.Location, "wodle_cis-cat") {
		return false
	}
	s.setInternal("ciscat")
	s.runJSON(s.ev.fullLog)
	return true
}

// decodeHostinfo names the result of a port scan, `Host: <ip>, open ports: …`.
// It has no fields. Without the state of earlier scans every host is new, so
// hostinfo_modified is never set.
//
// Source: spec/agent-state-sync.md §7.
func (s *Keyed) decodeHostinfo() bool {
	if !strings.HasPrefix(s.ev.fullLog, "Host: ") {
		return false
	}
	s.setInternal("hostinfo_new")
	return true
}
