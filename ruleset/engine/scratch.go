package engine

import (
	"strings"

	"vedette/internal/regex"
	"vedette/internal/regex/literal"
	"vedette/schemas"
)

// scratch is the event at hand with the means to look at it: memory for texts,
// patterns, names, and caches of bounded size that later events use again.
type scratch struct {
	eng   *Engine
	key   *keyState // the state of the event's key
	ev    event
	trace *Trace // of Explain, else nil

	texts     arena
	rx        regex.Machine
	names     names
	locations locations
	geo       places
	// found are the hits of the index's scans, by source. An entry whose stamp differs
	// from the event's belongs to an earlier event.
	found []sourceHits
	hints regex.Hints // of the last pattern
	buf   []byte
}

func (s *scratch) init(e *Engine) {
	n := len(e.p.FieldIDs)
	*s = scratch{
		eng: e, ev: event{fields: fields{fieldAt: make([]int32, n), stampAt: make([]uint32, n)}},
		names: names{p: e.p}, locations: locations{known: map[locationKey]*location{}}, geo: places{find: e.c.Geo},
	}
	if x := e.index; x != nil {
		s.found = make([]sourceHits, len(x.scans))
		s.names.orders, s.names.orderTexts = make([]*fieldName, len(x.orderNames)), x.orderNames
	}
	s.names.forget()
}

// begin makes in the event at hand. It reports whether stamps begin anew.
func (s *scratch) begin(in *schemas.Event, k *keyState) (wrapped bool) {
	e := &s.ev
	stamp := e.stamp + 1
	if stamp == 0 { // wrapped: old stamps could look current
		wrapped, stamp = true, 1
		clear(e.stampAt)
		for i := range s.found {
			s.found[i].stamp = 0
		}
	}
	s.names.bound()
	s.key = k
	// The kept slices are put aside, so that the rest is cleared in place.
	dyn, previous, fieldAt, stampAt := e.dyn[:0], e.previous[:0], e.fieldAt, e.stampAt
	*e = event{}
	e.in, e.now, e.stamp = in, k.now, stamp
	e.dyn, e.previous, e.fieldAt, e.stampAt = dyn, previous, fieldAt, stampAt
	s.texts.reset()
	s.texts.given = s.trace != nil
	e.fullLog = s.texts.copy(in.Log)
	return wrapped
}

// plain reports whether the event is judged without the index. A trace shows the
// decoders and rules that the index would leave out.
func (s *scratch) plain() bool { return s.eng.index == nil || s.trace != nil }

// place works out agent, host name and location (§1.3). It returns false for a
// location that 4.14 rejects.
func (s *scratch) place() bool {
	e := &s.ev
	in := e.in
	loc := in.Location
	if in.AgentID != "" && in.AgentID != schemas.ManagerID {
		e.agentID, e.agentName, e.agentIP, e.hasName = in.AgentID, in.AgentName, in.AgentIP, true
		if e.agentIP == "" {
			e.agentIP = in.AgentAddress
		}
		// The registered address, not the current one: the state of a location must
		// not begin anew because an agent moves.
		address := in.AgentAddress
		if address == "" {
			address = schemas.AnyAddress
		}
		e.hostname = value{text: in.AgentName, set: true}
		e.location = value{text: s.locations.of(in.AgentName, address, loc), set: true}
		e.shownLocation, e.hasLocation = loc, true
		return true
	}
	e.agentID = schemas.ManagerID
	if strings.HasPrefix(loc, "[") {
		id, rest, ok := strings.Cut(loc[1:], "]")
		if !ok {
			return false
		}
		e.agentID = id
		e.hostname = value{set: true}
		loc = ""
		if len(rest) >= 2 {
			loc = rest[1:]
			if strings.HasPrefix(loc, "(") {
				name, _, _ := strings.Cut(loc[1:], ")")
				e.agentName, e.hasName = name, true
				e.hostname.text = name
				if _, after, ok := strings.Cut(loc, ") "); ok {
					e.agentIP, _, _ = strings.Cut(after, "-")
				}
			}
		}
	}
	e.location = value{text: loc, set: true}
	e.shownLocation, e.hasLocation = loc, true
	if strings.HasPrefix(loc, "(") {
		_, e.shownLocation, e.hasLocation = strings.Cut(loc, ">")
	}
	if e.agentID == schemas.ManagerID {
		e.agentName, e.hasName = s.eng.c.ManagerName, true
		_, _, e.agentless = agentless(loc)
	}
	return true
}

// predecode cuts off the log's header (§4).
func (s *scratch) predecode() {
	e := &s.ev
	h := predecode(e.fullLog)
	e.setLog(h.log)
	e.timestamp = h.timestamp
	if h.hasProgram {
		e.program = value{text: h.program, set: true}
	}
	if !e.hostname.set {
		if h.hasHost {
			e.hostname = value{text: h.hostname, set: true}
		} else {
			e.hostname = value{text: s.eng.shortName, set: true}
		}
	}
}

// add adds a dynamic field by its name.
func (s *scratch) add(name, text string) { s.ev.add(s.names.of(name), text) }

// addSet adds a dynamic field unless it is empty.
func (s *scratch) addSet(name, text string) {
	if text != "" {
		s.add(name, text)
	}
}

// lower is v's text in lower case, made when first needed.
func (s *scratch) lower(v *value) string {
	if !v.lowered {
		v.low, v.lowered = s.texts.lower(v.text), true
	}
	return v.low
}

// sourceHits are the hits of one source, of the event with that stamp.
type sourceHits struct {
	stamp uint32
	literal.Hits
}

// hits are the texts of guards that a source holds, found at the first need.
func (s *scratch) hits(src source) *literal.Hits {
	h := &s.found[src]
	if h.stamp != s.ev.stamp {
		s.scan(src, h)
	}
	return &h.Hits
}

func (s *scratch) scan(src source, h *sourceHits) {
	s.eng.index.scans[src].Scan(s.lower(s.ev.at(src)), &h.Hits)
	h.stamp = s.ev.stamp
}

// may tells whether a pattern over the log could match.
func (s *scratch) may(g *guard, low string) bool {
	if g.any || g.begins(low) {
		return true
	}
	return len(g.texts) > 0 && g.found(s.hits(fromLog).Found)
}

// hinted returns the texts among a pattern's needs that the scan found in the log
// at or behind from. It returns nil if the scan looked for none of them. The hints
// are valid until the next call.
func (s *scratch) hinted(needs []int32, from int) *regex.Hints {
	if len(needs) == 0 {
		return nil
	}
	h := s.hits(fromLog)
	s.hints = regex.Hints{Texts: needs, Found: h.Found, At: h.At, From: from}
	return &s.hints
}
