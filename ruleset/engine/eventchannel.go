package engine

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
	"unsafe"

	"vedette/ruleset/program"
)

// decodeEventChannel decodes Windows events: `{"Message":text,"Event":xml}`.
// Log and full log become `{"win":{…}}`, whose members are the fields.
//
// A message that is no such object is judged as it is, without fields. Of an
// event whose XML cannot be read only the message remains.
//
// Source: spec/windows-events.md; the numbers below are its steps.
func (s *modules) decodeEventChannel() bool {
	e := &s.ev
	s.setInternal("windows_eventchannel")
	e.program, e.timestamp = value{}, ""
	in, ok := s.json.windows(e.fullLog)
	if !ok {
		return true
	}
	w := winEvent{s: s, doc: &s.xml}
	for i := range s.sections {
		s.sections[i] = s.sections[i][:0]
	}
	if s.xml.scan(in.event) {
		w.read()
	}
	w.finish(in)
	s.winLog(w.names())
	return true
}

// winLog prints the sections as the log, and makes their members the fields (7).
func (s *modules) winLog(names [winSections]string) {
	e := &s.ev
	b := append(s.texts.Room(len(e.fullLog)+len(e.fullLog)/4), `{"win":{`...)
	win := s.names.child(s.names.root, "win")
	for i, fields := range s.sections {
		if len(fields) == 0 && i != winSystem {
			continue
		}
		if i != winSystem {
			b = append(b, ',')
		}
		place := s.names.child(win, names[i])
		place.next = 0
		b = append(append(b, place.member...), '{')
		for j := range fields {
			f := &fields[j]
			if j > 0 {
				b = append(b, ',')
			}
			f.place = s.names.child(place, f.name)
			b = append(b, f.place.member...)
			f.from = len(b)
			b = appendText(b, f.value)
			f.to = len(b)
		}
		b = append(b, '}')
	}
	b = append(b, "}}"...)
	e.fullLog = s.texts.Keep(b)
	e.setLog(e.fullLog)
	// The JSON plugin would find just these members in the log.
	for _, fields := range s.sections {
		for i := range fields {
			f := &fields[i]
			if n := len(e.dyn); n < program.OrderMax {
				e.add(s.names.at(f.place), f.value)
				e.dyn[n].json = e.fullLog[f.from:f.to]
			}
		}
	}
}

// windowsInput holds the parts of an event as an agent sends it.
type windowsInput struct {
	// event is the value of Event as JSON text, escaped once more and without its
	// quotes (1).
	event string
	// message is the value of Message as alerts show it (6), if it was there.
	message    string
	hasMessage bool
}

// windows reads the object that text begins with. It returns false if that is no
// object, is malformed, or has no Event. The first of equal names counts.
func (r *jsonReader) windows(text string) (in windowsInput, ok bool) {
	r.S, r.Pos = strings.TrimPrefix(text, "\ufeff"), 0
	r.Blank()
	if !r.Literal("{") {
		return in, false
	}
	r.Blank()
	hasEvent := false
	for !r.Literal("}") {
		key, ok := r.Str()
		if !ok {
			return in, false
		}
		r.Blank()
		if !r.Literal(":") {
			return in, false
		}
		r.Blank()
		v, ok := r.windowsValue(key)
		if !ok {
			return in, false
		}
		switch {
		case key == "Event" && !hasEvent:
			hasEvent = true
			in.event = strings.TrimSuffix(strings.TrimPrefix(v.printed, `"`), `"`)
		case key == "Message" && !in.hasMessage:
			in.hasMessage = true
			if t := r.texts; v.escapes == controlEscapes {
				in.message = t.Keep(appendWinMessage(t.Room(len(v.printed)), v.printed))
			} else {
				in.message = t.Keep(append(append(append(t.Room(len(v.text)+2), '"'), v.text...), '"'))
			}
		}
		r.Blank()
		if r.Literal(",") {
			r.Blank()
			if r.Pos < len(r.S) && r.S[r.Pos] == '}' {
				return in, false
			}
			continue
		}
		if r.Pos >= len(r.S) || r.S[r.Pos] != '}' {
			return in, false
		}
	}
	return in, hasEvent
}

// windowsValue is a member's value. Text is that of a string, and escapes its kind of
// escapes; printed is the value as JSON where it is needed.
type windowsValue struct {
	text, printed string
	escapes       int
}

func (r *jsonReader) windowsValue(key string) (v windowsValue, ok bool) {
	from, isString := r.Pos, false
	v.escapes = controlEscapes
	if v.text, isString = r.Str(); isString {
		v.escapes = escapesOf(r.S[from+1 : r.Pos-1])
	}
	switch v.escapes {
	case shortEscapes:
		v.printed = r.S[from:r.Pos]
	case otherEscapes:
		if key == "Event" {
			v.printed = r.texts.Keep(appendText(r.texts.Room(r.Pos-from), v.text))
		}
	default: // or no string at all
		r.Pos, r.buf = from, r.buf[:0]
		if !r.print(1, 0, false) {
			return v, false
		}
		v.printed = r.texts.copy(r.buf)
	}
	return v, true
}

// Kinds of escapes in a JSON string.
const (
	// shortEscapes are those that we print: the text is as we would print it.
	shortEscapes = iota
	// otherEscapes stand for characters that we print as they are.
	otherEscapes
	// controlEscapes stand for control characters without a short escape. Control
	// characters that are not escaped count here too.
	controlEscapes
)

// escapesOf returns the kind of escapes in the inner text of a JSON string. For
// most events nothing needs to be printed anew.
func escapesOf(text string) int {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
	)
	src := unsafe.Slice(unsafe.StringData(text), len(text)) // only read
	found := shortEscapes
	for i := 0; i < len(src); {
		if i+8 <= len(src) {
			w := binary.LittleEndian.Uint64(src[i:])
			slash := w ^ ('\\' * ones)
			// The lowest high bit set is at a control character or a backslash.
			special := ((w-0x20*ones)&^w | (slash-ones)&^slash) & high
			if special == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(special) >> 3
		}
		switch {
		case src[i] < ' ':
			return controlEscapes
		case src[i] != '\\':
			i++
			continue
		case i+1 == len(src):
			return controlEscapes
		}
		switch src[i+1] {
		case '"', '\\', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if strings.HasPrefix(text[i+2:], "000") || strings.HasPrefix(text[i+2:], "001") {
				return controlEscapes
			}
			// A quotation mark or a backslash may be written so; it is printed short.
			found = otherEscapes
		default:
			found = otherEscapes
		}
		i += 2
	}
	return found
}

// appendWinMessage appends JSON text with its short escapes replaced; others stay
// as they are (6). The text ends in a quote, so no white space has to be trimmed.
func appendWinMessage(dst []byte, printed string) []byte {
	for i := 0; i < len(printed); i++ {
		c := printed[i]
		if c == '\\' && i+1 < len(printed) {
			if at := strings.IndexByte(`btnfr"\`, printed[i+1]); at >= 0 {
				dst = append(dst, "\b\t\n\f\r\"\\"[at])
				i++
				continue
			}
			dst = append(dst, c, printed[i+1])
			i++
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// The objects below win, in the order in which they are printed.
const (
	winSystem = iota
	winEventData
	winOther // all other sections share one
	winSections
)

type winField struct {
	name, value string
	place       *path
	// from and to are the bounds of the value's JSON in the log.
	from, to int
}

// winEvent reads one event into the sections of s.
type winEvent struct {
	s   *modules
	doc *xmlDocument
	// level and keywords are their last contents, if they were there.
	level, keywords       string
	hasLevel, hasKeywords bool
	// other is the name of the shared section.
	other string
	// bytes is the length of all values so far.
	bytes int
}

// winValuesMax bounds the values of an event in bytes. An agent's event stays far
// below; one made for it could repeat a content for each attribute.
const winValuesMax = 256 << 10

func (w *winEvent) names() [winSections]string {
	return [...]string{"system", "eventdata", w.other}
}

func (w *winEvent) add(section int, name, value string) {
	if w.bytes += len(name) + len(value); w.bytes > winValuesMax {
		return
	}
	w.s.sections[section] = append(w.s.sections[section], winField{name: name, value: value})
}

// lowerFirst returns s with its first letter in lower case.
func (w *winEvent) lowerFirst(s string) string {
	if s != "" && 'A' <= s[0] && s[0] <= 'Z' {
		a := &w.s.texts
		return a.Keep(append(append(a.Room(len(s)), s[0]+'a'-'A'), s[1:]...))
	}
	return s
}

// read reads the children of the root element (4).
func (w *winEvent) read() {
	d := w.doc
	root := d.nodes[0].first
	for i := d.nodes[root].first; root != 0 && i != 0; i = d.nodes[i].next {
		switch d.nodes[i].name {
		case "System":
			w.system(i)
		case "EventData":
			w.eventData(i)
		default:
			w.section(i)
		}
	}
}

// Attributes of elements of System and their fields.
var (
	providerAttrs  = [][2]string{{"Name", "providerName"}, {"Guid", "providerGuid"}, {"EventSourceName", "eventSourceName"}}
	createdAttrs   = [][2]string{{"SystemTime", "systemTime"}}
	executionAttrs = [][2]string{{"ProcessID", "processID"}, {"ThreadID", "threadID"}}
)

func (w *winEvent) system(n int32) {
	d := w.doc
	attrs := func(node *xmlNode, most int, fields [][2]string) {
		for _, a := range d.attrs[node.attrs:min(node.attrsEnd, node.attrs+int32(most))] {
			for _, f := range fields {
				if a.name == f[0] {
					w.add(winSystem, f[1], a.value)
				}
			}
		}
	}
	for i := d.nodes[n].first; i != 0; i = d.nodes[i].next {
		c := &d.nodes[i]
		switch c.name {
		case "Provider":
			attrs(c, xmlAttrsMax, providerAttrs)
		case "TimeCreated":
			attrs(c, 1, createdAttrs)
		case "Execution":
			attrs(c, xmlAttrsMax, executionAttrs)
		case "Security", "Correlation":
		case "Channel":
			w.add(winSystem, "channel", c.text)
		case "Level":
			w.level, w.hasLevel = c.text, true
			w.add(winSystem, "level", c.text)
		case "Keywords":
			w.keywords, w.hasKeywords = c.text, true
			w.add(winSystem, "keywords", c.text)
		default:
			if c.text != "" {
				w.add(winSystem, w.lowerFirst(c.name), c.text)
			}
		}
	}
}

// winNone reports whether a content says that there is no value.
func winNone(content string) bool { return content == "" || content == "-" || content == "(NULL)" }

func (w *winEvent) eventData(n int32) {
	d := w.doc
	var unnamed []string
	var audit [][2]string
	for i := d.nodes[n].first; i != 0; i = d.nodes[i].next {
		c := &d.nodes[i]
		v := trimEnd(c.text)
		switch {
		case c.name != "Data":
			if c.text != "" {
				w.add(winEventData, w.lowerFirst(c.name), v)
			}
			continue
		case winNone(c.text):
			continue
		case c.attrs == c.attrsEnd:
			unnamed = append(unnamed, v)
			continue
		}
		for _, a := range d.attrs[c.attrs:c.attrsEnd] {
			name := w.lowerFirst(a.value)
			if a.name != "Name" {
				w.add(winEventData, name, v)
				continue
			}
			switch name {
			case "categoryId":
				audit = append(audit, [2]string{"category", auditName(v)})
			case "subcategoryId":
				audit = append(audit, [2]string{"subcategory", auditName(v)})
			case "auditPolicyChanges":
				name = "auditPolicyChangesId"
				var names []string
				for id := range strings.SplitSeq(v, ",") {
					if t := auditName(strings.TrimSpace(id)); t != "" {
						names = append(names, t)
					}
				}
				audit = append(audit, [2]string{"auditPolicyChanges", strings.Join(names, ", ")})
			}
			w.add(winEventData, name, v)
			break
		}
	}
	for _, a := range audit {
		if a[1] != "" {
			w.add(winEventData, a[0], a[1])
		}
	}
	if len(unnamed) > 0 {
		w.add(winEventData, "data", strings.Join(unnamed, ", "))
	}
}

// section reads a section such as UserData: the elements two levels down. All such
// sections share one object, which has the name of the last one's last child.
func (w *winEvent) section(n int32) {
	d := w.doc
	for i := d.nodes[n].first; i != 0; i = d.nodes[i].next {
		w.other = w.lowerFirst(d.nodes[i].name)
		for j := d.nodes[i].first; j != 0; j = d.nodes[j].next {
			if c := &d.nodes[j]; !winNone(c.text) {
				w.add(winOther, w.lowerFirst(c.name), trimEnd(c.text))
			}
		}
	}
}

// severities are the names of levels 1 to 5.
var severities = [...]string{"CRITICAL", "ERROR", "WARNING", "INFORMATION", "VERBOSE"}

// Keyword bits of audit events.
const (
	auditFailure = 0x10000000000000
	auditSuccess = 0x20000000000000
)

// finish adds the severity (5) and the message (6) to the system section.
func (w *winEvent) finish(in windowsInput) {
	if w.hasLevel && w.hasKeywords {
		severity := "UNKNOWN"
		switch n := leadingNumber(w.level); {
		case n >= 1 && n <= int64(len(severities)):
			severity = severities[n-1]
		case n == 0:
			switch k := leadingHex(w.keywords); {
			case k&auditFailure != 0:
				severity = "AUDIT_FAILURE"
			case k&auditSuccess != 0:
				severity = "AUDIT_SUCCESS"
			}
		}
		w.add(winSystem, "severityValue", severity)
	}
	if in.hasMessage {
		w.add(winSystem, "message", in.message)
	}
}

// leadingNumber is the decimal number that s begins with, as C reads one: 0 if it
// begins with none.
func leadingNumber(s string) int64 {
	s = strings.TrimLeft(s, " ")
	end := 0
	for end < len(s) && (digit(s[end]) || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	n, _ := strconv.ParseInt(s[:end], 10, 64) // out of range gives the bound
	return n
}

// leadingHex is the hexadecimal number that s begins with, `0x` or not.
func leadingHex(s string) uint64 {
	s = strings.TrimLeft(s, " ")
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		s = s[2:]
	}
	end := 0
	for end < len(s) && (digit(s[end]) || 'a' <= s[end]|0x20 && s[end]|0x20 <= 'f') {
		end++
	}
	n, _ := strconv.ParseUint(s[:end], 16, 64)
	return n
}

// Bounds of xmlDocument. The number of elements follows from the event's size.
const (
	xmlDepthMax = 1024
	xmlTextMax  = 20479 // of a name, a value, a content
	xmlAttrsMax = 48    // of one element
)

// xmlDocument is the XML of an event after step 1, read as configuration files
// are (3): no entities, no processing instructions, `<!` comments. Its memory serves
// one event after the other.
type xmlDocument struct {
	// nodes are the elements. The first holds the document's roots; as it is
	// nobody's child, 0 means none in links.
	nodes []xmlNode
	attrs []xmlAttr
	stack []int32
	texts *arena
}

// xmlNode is an element of an event. Its text is that behind its last child.
type xmlNode struct {
	name, text        string
	first, last, next int32
	attrs, attrsEnd   int32
}

type xmlAttr struct{ name, value string }

// addText adds to an element's text, which comments may cut in pieces. It returns
// false when the text is too long.
func (d *xmlDocument) addText(n int32, text string) bool {
	c := &d.nodes[n]
	if len(c.text)+len(text) > xmlTextMax {
		return false
	}
	if c.text == "" {
		c.text = text
		return true
	}
	c.text = d.texts.Keep(append(append(d.texts.Room(len(c.text)+len(text)), c.text...), text...))
	return true
}

// scan reads s; false means that it cannot be read as a whole.
func (d *xmlDocument) scan(s string) bool {
	d.nodes, d.attrs, d.stack = append(d.nodes[:0], xmlNode{}), d.attrs[:0], append(d.stack[:0], 0)
	for {
		top := d.stack[len(d.stack)-1]
		i := strings.IndexByte(s, '<')
		if i < 0 {
			return len(d.stack) == 1
		}
		if i > 0 && len(d.stack) > 1 && !d.addText(top, s[:i]) {
			return false
		}
		s = s[i+1:]
		if s == "" {
			return false
		}
		var ok bool
		switch s[0] {
		case '!':
			if s, ok = xmlComment(s); !ok {
				return false
			}
			continue
		case '/':
			if s, ok = d.endTag(s, top); !ok {
				return false
			}
			continue
		}
		rest, closed, ok := d.startTag(s)
		if !ok {
			return false
		}
		n := d.link(top)
		if !closed {
			if len(d.stack) > xmlDepthMax {
				return false
			}
			d.stack = append(d.stack, n)
		}
		s = rest
	}
}

// xmlComment skips a comment behind its `<`, which `-->` or `!>` ends.
func xmlComment(s string) (rest string, ok bool) {
	end, size := strings.Index(s, "-->"), len("-->")
	if other := strings.Index(s[1:], "!>"); other >= 0 && (end < 0 || other+1 < end) {
		end, size = other+1, len("!>")
	}
	if end < 0 {
		return "", false
	}
	return s[end+size:], true
}

// endTag reads an end tag behind its `<`, which must be that of top.
func (d *xmlDocument) endTag(s string, top int32) (rest string, ok bool) {
	// Most end tags are written as their start tag.
	name := d.nodes[top].name
	if len(d.stack) > 1 && len(s) > len(name)+1 && s[len(name)+1] == '>' && s[1:len(name)+1] == name {
		rest = s[len(name)+2:]
	} else {
		var closed string
		closed, rest, ok = strings.Cut(s[1:], ">")
		if !ok || len(d.stack) == 1 || !strings.EqualFold(strings.Trim(closed, " "), name) {
			return "", false
		}
	}
	d.stack = d.stack[:len(d.stack)-1]
	return rest, true
}

// link makes the last node a child of top, and returns it.
func (d *xmlDocument) link(top int32) int32 {
	n := int32(len(d.nodes) - 1)
	p := &d.nodes[top]
	p.text = ""
	if p.last == 0 {
		p.first = n
	} else {
		d.nodes[p.last].next = n
	}
	p.last = n
	return n
}

// startTag reads a start tag behind its `<` and appends its element to nodes.
func (d *xmlDocument) startTag(s string) (rest string, closed, ok bool) {
	name, s := xmlWord(s, &xmlEndsName)
	if name == "" || len(name) > xmlTextMax {
		return "", false, false
	}
	n := xmlNode{name: name, attrs: int32(len(d.attrs))}
	for {
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return "", false, false
		}
		if s[0] == '>' || strings.HasPrefix(s, "/>") {
			n.attrsEnd = int32(len(d.attrs))
			d.nodes = append(d.nodes, n)
			if s[0] == '>' {
				return s[1:], false, true
			}
			return s[2:], true, true
		}
		if s, ok = d.attribute(s, d.attrs[n.attrs:]); !ok {
			return "", false, false
		}
	}
}

// attribute reads an attribute and appends it; seen are those before it.
func (d *xmlDocument) attribute(s string, seen []xmlAttr) (rest string, ok bool) {
	name, s := xmlWord(s, &xmlEndsAttr)
	if name == "" || len(name) > xmlTextMax {
		return "", false
	}
	if s = strings.TrimLeft(s, " "); s == "" || s[0] != '=' {
		return "", false
	}
	if s = strings.TrimLeft(s[1:], " "); s == "" || s[0] != '"' && s[0] != '\'' {
		return "", false
	}
	end := strings.IndexByte(s[1:], s[0])
	if end < 0 || end > xmlTextMax || len(seen) == xmlAttrsMax {
		return "", false
	}
	for i := range seen {
		if strings.EqualFold(seen[i].name, name) {
			return "", false
		}
	}
	d.attrs = append(d.attrs, xmlAttr{name, s[1 : end+1]})
	return s[end+2:], true
}

// xmlWord cuts a name off s; it is empty if s begins with none.
func xmlWord(s string, ends *[256]byte) (name, rest string) {
	i := 0
	for i < len(s) && ends[s[i]] == 0 {
		i++
	}
	if i == len(s) || ends[s[i]] == xmlBad {
		return "", s
	}
	return s[:i], s[i:]
}

// xmlBad marks bytes that no name has.
const xmlBad = 2

// Bytes that end names of elements and of attributes. White space other than
// blanks is escaped by step 1.
var (
	xmlEndsName = [256]byte{'>': 1, '/': 1, ' ': 1, '<': xmlBad, '?': xmlBad, '"': xmlBad, '\'': xmlBad}
	xmlEndsAttr = [256]byte{'=': 1, '>': 1, '/': 1, ' ': 1, '<': xmlBad, '?': xmlBad, '"': xmlBad, '\'': xmlBad}
)

// trimEnd cuts blanks off the end, down to one character.
func trimEnd(s string) string {
	for len(s) > 1 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return s
}
