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

// dynField is a dynamic field; lookups by its number go through fields.fieldAt.
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

	fullLog string
	log     value // as rules see it
	origin
	fields
	decodedBy
	verdict
}

// origin holds the source of an event, as the agent and the log's header name it.
type origin struct {
	agentID, agentName, agentIP string
	hasName                     bool
	hostname, program           value
	timestamp                   string
	location                    value  // as rules see it
	shownLocation               string // as the alert shows it
	hasLocation                 bool
	agentless                   bool
}

// fields are the values that decoders found in the log.
type fields struct {
	static [program.NumStatic]value
	dyn    []dynField
	// fieldAt[id] is 1 + the index of the first dynamic field that rules know
	// by this number, valid when stampAt[id] == stamp.
	fieldAt []int32
	stampAt []uint32
	stamp   uint32
}

// decodedBy tells how an event was decoded.
type decodedBy struct {
	decoder     *program.Decoder
	decoderName string
	decoderID   int
	parentName  string
	category    program.Category
	// Results of modules for the alert.
	fim        *fim.Change
	compliance []complianceList
}

// verdict holds results of the rules.
type verdict struct {
	// above is the parent through which the chosen rule was reached, nil for a root or
	// a forwarded alert.
	above     *program.Rule
	mark      int // level of the composite that fired, for later searches
	previous  []string
	diffText  string
	hasDiff   bool
	forwarded int // rule id of an alert forwarded as text, 0 for none
}

func (e *fields) setStatic(s program.Static, text string) {
	e.static[s] = value{text: text, set: true}
}

// add adds a dynamic field, unless there are too many.
func (e *fields) add(n *fieldName, text string) {
	if len(e.dyn) >= program.OrderMax {
		return
	}
	e.dyn = append(e.dyn, dynField{name: n, value: value{text: text, set: true}})
	if n.id >= 0 && e.stampAt[n.id] != e.stamp {
		e.stampAt[n.id], e.fieldAt[n.id] = e.stamp, int32(len(e.dyn)-1)
	}
}

// firstOfField returns the number of the dynamic field i if it is the first with
// that number, else -1.
func (e *fields) firstOfField(i int) int {
	id := e.dyn[i].name.id
	if id >= 0 && e.stampAt[id] == e.stamp && int(e.fieldAt[id]) == i {
		return id
	}
	return -1
}

// field finds a dynamic field by its number.
func (e *fields) field(id int) *value {
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
	case program.FromLog:
		v = &e.log
	case program.FromUser:
		if v = &e.static[program.DstUser]; !v.set {
			v = &e.static[program.SrcUser]
		}
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

// locations composes the locations that rules see for agents' events.
type locations struct {
	known map[locationKey]*location
	last  *location
}

func (l *locations) of(name, ip, loc string) string {
	k := locationKey{name, ip, loc}
	if l.last != nil && l.last.locationKey == k { // events come in bursts
		return l.last.text
	}
	found := l.known[k]
	if found == nil {
		if len(l.known) >= locationsMax {
			clear(l.known)
		}
		k = locationKey{strings.Clone(name), strings.Clone(ip), strings.Clone(loc)}
		found = &location{k, "(" + name + ") " + ip + "->" + loc}
		l.known[k] = found
	}
	l.last = found
	return found.text
}

// setLog replaces the text that rules see.
func (e *event) setLog(text string) {
	e.log = value{text: text, set: true}
}
