package engine

import (
	"strings"
	"time"

	"vedette/agentmsg/fim"
	"vedette/internal/regex"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// value is a field's text; low is made when a pattern first needs it.
type value struct {
	text    string
	low     string
	set     bool
	lowered bool
}

func (v *value) lower() string {
	if !v.lowered {
		v.low, v.lowered = regex.Lower(v.text), true
	}
	return v.low
}

// dynField is a dynamic field; lookups by its number go through event.fieldAt.
type dynField struct {
	name *fieldName
	value
	// json is the value as a JSON string, where that is known.
	json string
}

// event is one event while it is judged. It is reused from event to event.
type event struct {
	in  *schemas.Event
	now time.Time // the key's now

	agentID, agentName, agentIP string
	hasName                     bool
	fullLog                     string
	log                         value
	hostname, program           value
	timestamp                   string
	location                    value  // as rules see it
	shownLocation               string // as the alert shows it
	hasLocation                 bool
	agentless                   bool

	static [program.NumStatic]value
	dyn    []dynField
	// fieldAt[id] is 1 + the index of the first dynamic field that rules know
	// by this number, valid when stampAt[id] == stamp.
	fieldAt []int32
	stampAt []uint32
	stamp   uint32

	decoder     *program.Decoder
	decoderName string
	decoderID   int
	parentName  string
	category    program.Category
	// Results of internal decoders for the alert.
	fim        *fim.Change
	compliance []complianceList

	// Results of the rules. above is the parent through which the chosen rule was
	// reached, nil for a root or a forwarded alert.
	above     *program.Rule
	mark      int // level of the composite that fired, for later searches
	previous  []string
	diffText  string
	hasDiff   bool
	forwarded int // rule id of an alert forwarded as text, 0 for none
}

// reset makes ev the event at hand.
func (s *Keyed) reset(in *schemas.Event, now time.Time) {
	e := &s.ev
	stamp := e.stamp + 1
	if stamp == 0 { // wrapped: old stamps could look current
		s.clearStamps()
		stamp = 1
	}
	if len(s.names) >= namesMax || s.paths >= pathsMax {
		s.forgetNames()
	}
	*e = event{in: in, now: now, dyn: e.dyn[:0], previous: e.previous[:0], fieldAt: e.fieldAt, stampAt: e.stampAt, stamp: stamp}
}

func (e *event) setStatic(s program.Static, text string) {
	e.static[s] = value{text: text, set: true}
}

func (s *Keyed) addDynamic(name, text string) { s.addNamed(s.name(name), text) }

func (s *Keyed) addNamed(n *fieldName, text string) {
	e := &s.ev
	if len(e.dyn) >= program.OrderMax {
		return
	}
	e.dyn = append(e.dyn, dynField{name: n, value: value{text: text, set: true}})
	if n.id >= 0 && e.stampAt[n.id] != e.stamp {
		e.stampAt[n.id], e.fieldAt[n.id] = e.stamp, int32(len(e.dyn)-1)
	}
}

// field finds a dynamic field by its number.
func (e *event) field(id int) *value {
	if e.stampAt[id] != e.stamp {
		return nil
	}
	return &e.dyn[e.fieldAt[id]].value
}

// source finds a value; nil when it is missing.
func (e *event) source(src program.Source) *value {
	var v *value
	switch src.Kind {
	case program.FromStatic:
		v = &e.static[src.Static]
	case program.FromDynamic:
		return e.field(src.Field)
	case program.FromProgramName:
		v = &e.program
	case program.FromHostname:
		v = &e.hostname
	case program.FromLocation:
		v = &e.location
	case program.FromListUser:
		if v = &e.static[program.SrcUser]; !v.set {
			v = &e.static[program.DstUser]
		}
	default:
		return nil
	}
	if !v.set {
		return nil
	}
	return v
}

// place works out agent, host name and location (§1.3). It returns false for a
// location that 4.14 rejects.
func (s *Keyed) place() bool {
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
		e.location = value{text: s.agentLocation(in.AgentName, address, loc), set: true}
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

// agentless reads the location `(script) user@host->…`.
func agentless(loc string) (script string, userHost [2]string, ok bool) {
	if !strings.HasPrefix(loc, "(") {
		return "", userHost, false
	}
	script, rest, ok := strings.Cut(loc[1:], ") ")
	if !ok {
		return "", userHost, false
	}
	uh, _, ok := strings.Cut(rest, "->")
	if !ok {
		return "", userHost, false
	}
	user, host, ok := strings.Cut(uh, "@")
	if !ok {
		return "", userHost, false
	}
	return script, [2]string{user, host}, true
}

// locationsMax bounds the cache of composed locations.
const locationsMax = 1024

type locationKey struct{ name, ip, loc string }

type location struct {
	locationKey
	text string
}

// agentLocation composes the location that rules see for an agent's event.
func (s *Keyed) agentLocation(name, ip, loc string) string {
	k := locationKey{name, ip, loc}
	if l := s.lastLocation; l != nil && l.locationKey == k { // events come in bursts
		return l.text
	}
	l := s.locations[k]
	if l == nil {
		if len(s.locations) >= locationsMax {
			clear(s.locations)
		}
		k = locationKey{strings.Clone(name), strings.Clone(ip), strings.Clone(loc)}
		l = &location{k, "(" + name + ") " + ip + "->" + loc}
		s.locations[k] = l
	}
	s.lastLocation = l
	return l.text
}
