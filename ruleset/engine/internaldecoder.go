package engine

import "vedette/ruleset/program"

// internalDecoder decodes the events of one queue character in place of the
// XML decoders (spec/ruleset-language.md §10).
type internalDecoder func(s *Keyed)

// internalDecoders is the one place to add such a decoder. Those that only set
// a name wait for their fields: syscheck, rootcheck, inventory, SCA, CIS-CAT
// and host information.
var internalDecoders = map[byte]internalDecoder{
	'8': (*Keyed).decodeSyscheck,
	'9': named("rootcheck"),
	'd': named("syscollector"),
	'e': (*Keyed).decodeCISCAT,
	'f': (*Keyed).decodeEventChannel,
	'p': named("sca"),
	'3': named("hostinfo_new"),
}

// decodeInternal runs the decoder of the event's queue, if it has one.
func (s *Keyed) decodeInternal() bool {
	d := internalDecoders[s.ev.in.Queue]
	if d == nil {
		return false
	}
	d(s)
	return true
}

// named makes a decoder that sets its name and nothing else.
func named(name string) internalDecoder {
	return func(s *Keyed) { s.setInternal(name) }
}

func (s *Keyed) setInternal(name string) {
	e := &s.ev
	e.decoder, e.decoderName, e.decoderID = nil, name, s.eng.p.DecoderIDs[name]
	e.parentName, e.category = "", program.Ossec
}

// decodeSyscheck sets the decoder's name by the kind of change; the fields are
// a later step.
func (s *Keyed) decodeSyscheck() {
	name := "syscheck_integrity_changed"
	if s.json.flatten(s.ev.fullLog) {
		kind, change := "", ""
		for _, f := range s.json.fields {
			switch f.name {
			case "data.type":
				change = f.value
			case "data.attributes.type":
				kind = f.value
			}
		}
		switch {
		case (kind == "registry_key" || kind == "registry_value") && (change == "added" || change == "modified" || change == "deleted"):
			name = "syscheck_" + kind + "_" + change
		case change == "added":
			name = "syscheck_new_entry"
		case change == "deleted":
			name = "syscheck_deleted"
		}
	}
	s.setInternal(name)
}

// decodeCISCAT takes the members as they are.
func (s *Keyed) decodeCISCAT() {
	s.setInternal("ciscat")
	s.runJSON(s.ev.fullLog)
}
