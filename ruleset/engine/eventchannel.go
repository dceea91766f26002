package engine

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"vedette/ruleset/program"
)

// decodeEventChannel decodes Windows events: `{"Message":text,"Event":xml}`.
// Log and full log become `{"win":{…}}`, whose members are the fields.
//
// A message that is no such object, or whose XML is cut or broken, is judged as
// it is, without fields.
//
// Source: spec/ruleset-language.md §10.
func (s *Keyed) decodeEventChannel() bool {
	e := &s.ev
	s.setInternal("windows_eventchannel")
	e.program, e.timestamp = value{}, ""
	if !s.flatten(e.fullLog) {
		return true
	}
	message, xml := "", ""
	for _, f := range s.json.fields {
		switch f.name.text {
		case "Message":
			message = f.value
		case "Event":
			xml = f.value
		}
	}
	if xml == "" {
		return true
	}
	doc := &s.xml
	if !doc.scan(xml) {
		return true
	}
	w := winEvent{s: s, doc: doc}
	s.sections = s.sections[:0]
	w.read()
	w.finish(message)
	b := append(s.texts.room(len(e.fullLog)+len(e.fullLog)/4), `{"win":{`...)
	for i := range s.sections {
		sec := &s.sections[i]
		if len(sec.fields) == 0 {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(b, sec.place.member...), '{')
		for j := range sec.fields {
			f := &sec.fields[j]
			if j > 0 {
				b = append(b, ',')
			}
			b = append(b, f.place.member...)
			f.from = len(b)
			b = appendText(b, f.value)
			f.to = len(b)
		}
		b = append(b, '}')
	}
	b = append(b, "}}"...)
	e.fullLog = s.texts.keep(b)
	e.setLog(e.fullLog)
	for i := range s.sections {
		for _, f := range s.sections[i].fields {
			if n := len(e.dyn); n < program.OrderMax {
				s.addNamed(f.place.name, f.value)
				e.dyn[n].json = e.fullLog[f.from:f.to]
			}
		}
	}
	return true
}

// winSection is one object below win, in order.
type winSection struct {
	name   string
	place  *path
	fields []winField
}

type winField struct {
	place *path // with its name
	value string
	// from and to are where the value's JSON stands in the log.
	from, to int
}

// winEvent reads one event into the sections of s.
type winEvent struct {
	s        *Keyed
	doc      *xmlDocument
	level    string
	keywords string
}

// winSectionsMax bounds the sections; Windows writes a handful.
const winSectionsMax = 64

// section finds or makes a section and returns its number, -1 beyond the bound.
func (w *winEvent) section(name string) int {
	s := w.s
	for i := range s.sections {
		if s.sections[i].name == name {
			return i
		}
	}
	n := len(s.sections)
	if n >= winSectionsMax {
		return -1
	}
	if n < cap(s.sections) {
		s.sections = s.sections[:n+1] // with the memory of an earlier event's fields
		s.sections[n].fields = s.sections[n].fields[:0]
	} else {
		s.sections = append(s.sections, winSection{})
	}
	p := s.child(s.child(s.root, "win"), name)
	p.next = 0
	s.sections[n].name, s.sections[n].place = name, p
	return n
}

// add adds a field to a section, unless it has one of that name.
func (w *winEvent) add(section int, name, value string) {
	value = trimEnd(value)
	if section < 0 || name == "" || value == "" {
		return
	}
	s := w.s
	sec := &s.sections[section]
	if len(sec.fields) >= program.OrderMax {
		return
	}
	p := s.child(sec.place, name)
	n := s.nameAt(p)
	if n.stamp == s.ev.stamp && sec.has(p) {
		return
	}
	n.stamp = s.ev.stamp
	sec.fields = append(sec.fields, winField{place: p, value: value})
}

func (c *winSection) has(p *path) bool {
	for i := range c.fields {
		if c.fields[i].place == p {
			return true
		}
	}
	return false
}

// lowerFirst returns s with its first letter in lower case.
func (w *winEvent) lowerFirst(s string) string {
	if s != "" && 'A' <= s[0] && s[0] <= 'Z' {
		a := &w.s.texts
		return a.keep(append(append(a.room(len(s)), s[0]+'a'-'A'), s[1:]...))
	}
	return s
}

// systemName is the field of an element of System whose text is taken, or empty.
func systemName(element string) string {
	switch element {
	case "EventID":
		return "eventID"
	case "Version":
		return "version"
	case "Level":
		return "level"
	case "Task":
		return "task"
	case "Opcode":
		return "opcode"
	case "Keywords":
		return "keywords"
	case "EventRecordID":
		return "eventRecordID"
	case "Channel":
		return "channel"
	case "Computer":
		return "computer"
	}
	return ""
}

// Attributes of elements of System and their fields, in order.
var (
	providerAttrs  = [][2]string{{"Name", "providerName"}, {"Guid", "providerGuid"}, {"EventSourceName", "eventSourceName"}}
	createdAttrs   = [][2]string{{"SystemTime", "systemTime"}}
	executionAttrs = [][2]string{{"ProcessID", "processID"}, {"ThreadID", "threadID"}}
)

func systemAttrs(element string) [][2]string {
	switch element {
	case "Provider":
		return providerAttrs
	case "TimeCreated":
		return createdAttrs
	case "Execution":
		return executionAttrs
	}
	return nil
}

func (w *winEvent) read() {
	d := w.doc
	event := d.child(0, "Event") // else 0, the root itself
	sys := w.section("system")
	if n := d.child(event, "System"); n != 0 {
		for i := d.nodes[n].first; i != 0; i = d.nodes[i].next {
			c := &d.nodes[i]
			for _, a := range systemAttrs(c.name) {
				w.add(sys, a[1], d.attr(i, a[0]))
			}
			if to := systemName(c.name); to != "" {
				w.add(sys, to, c.text)
			}
			switch c.name {
			case "Level":
				w.level = strings.TrimSpace(c.text)
			case "Keywords":
				w.keywords = strings.TrimSpace(c.text)
			}
		}
	}
	for i := d.nodes[event].first; i != 0; i = d.nodes[i].next {
		switch d.nodes[i].name {
		case "System":
		case "EventData":
			w.eventData(i)
		default:
			w.other(i)
		}
	}
}

func (w *winEvent) eventData(n int32) {
	d := w.doc
	var unnamed []string
	var audit [][2]string
	data := -1
	put := func(name, value string) {
		if data < 0 {
			data = w.section("eventdata")
		}
		w.add(data, name, value)
	}
	for i := d.nodes[n].first; i != 0; i = d.nodes[i].next {
		c := &d.nodes[i]
		v := trimEnd(c.text)
		switch name := d.attr(i, "Name"); {
		case c.name != "Data":
			put(w.lowerFirst(c.name), v)
		case v == "" || v == "-" || v == "(NULL)":
		case name == "":
			unnamed = append(unnamed, v)
		case name == "CategoryId":
			put("categoryId", v)
			audit = append(audit, [2]string{"category", auditName(v)})
		case name == "SubcategoryId":
			put("subcategoryId", v)
			audit = append(audit, [2]string{"subcategory", auditName(v)})
		case name == "AuditPolicyChanges":
			put("auditPolicyChangesId", v)
			var names []string
			for id := range strings.SplitSeq(v, ",") {
				if t := auditName(strings.TrimSpace(id)); t != "" {
					names = append(names, t)
				}
			}
			audit = append(audit, [2]string{"auditPolicyChanges", strings.Join(names, ", ")})
		default:
			put(w.lowerFirst(name), v)
		}
	}
	for _, a := range audit {
		put(a[0], a[1])
	}
	if len(unnamed) > 0 {
		put("data", strings.Join(unnamed, ", "))
	}
}

// other reads sections such as UserData: their elements, or the elements of
// those that have children.
func (w *winEvent) other(n int32) {
	d := w.doc
	for i := d.nodes[n].first; i != 0; i = d.nodes[i].next {
		c := &d.nodes[i]
		if c.first == 0 {
			w.add(w.section(w.lowerFirst(d.nodes[n].name)), w.lowerFirst(c.name), c.text)
			continue
		}
		for j := c.first; j != 0; j = d.nodes[j].next {
			g := &d.nodes[j]
			name := d.attr(j, "Name")
			if g.name != "Data" || name == "" {
				name = g.name
			}
			w.add(w.section(w.lowerFirst(c.name)), w.lowerFirst(name), g.text)
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

func (w *winEvent) finish(message string) {
	sys := w.section("system")
	severity := "UNKNOWN"
	if n, err := strconv.Atoi(w.level); err == nil && n >= 1 && n <= len(severities) {
		severity = severities[n-1]
	} else if err == nil && n == 0 {
		k, _ := strconv.ParseUint(strings.TrimPrefix(w.keywords, "0x"), 16, 64)
		switch {
		case k&auditFailure != 0:
			severity = "AUDIT_FAILURE"
		case k&auditSuccess != 0:
			severity = "AUDIT_SUCCESS"
		}
	}
	if w.level != "" {
		w.add(sys, "severityValue", severity)
	}
	// Alerts of 4.14 show the message in quotation marks: 127 of the 128 Windows
	// events recorded in its tests have them, the agent's text has not.
	if message = trimEnd(message); message != "" {
		t := &w.s.texts
		w.add(sys, "message", t.keep(append(append(append(t.room(len(message)+2), '"'), message...), '"')))
	}
}

// Bounds of xmlDocument.
const (
	xmlDepthMax = 32
	xmlNodesMax = 4096
)

// xmlDocument is the small part of XML that Windows writes. Its memory serves
// one event after the other.
type xmlDocument struct {
	// nodes are the elements. The first is the root, which holds the document's
	// elements; as it is nobody's child, 0 means none in links.
	nodes []xmlNode
	attrs []xmlAttr
	stack []int32
	texts *arena
}

// xmlNode is an element of an event.
type xmlNode struct {
	name, text        string
	first, last, next int32
	attrs, attrsEnd   int32
}

type xmlAttr struct{ name, value string }

// child finds the first child of that name.
func (d *xmlDocument) child(n int32, name string) int32 {
	for i := d.nodes[n].first; i != 0; i = d.nodes[i].next {
		if d.nodes[i].name == name {
			return i
		}
	}
	return 0
}

func (d *xmlDocument) attr(n int32, name string) string {
	for _, a := range d.attrs[d.nodes[n].attrs:d.nodes[n].attrsEnd] {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

// addText adds to an element's text.
func (d *xmlDocument) addText(n int32, text string) {
	c := &d.nodes[n]
	if c.text == "" {
		c.text = text
		return
	}
	c.text = d.texts.keep(append(append(d.texts.room(len(c.text)+len(text)), c.text...), text...))
}

// scan reads s; false means that it is no whole document.
func (d *xmlDocument) scan(s string) bool {
	d.nodes, d.attrs, d.stack = append(d.nodes[:0], xmlNode{}), d.attrs[:0], append(d.stack[:0], 0)
	for s != "" {
		top := d.stack[len(d.stack)-1]
		i := strings.IndexByte(s, '<')
		if i < 0 {
			break
		}
		if i > 0 && len(d.stack) > 1 {
			d.addText(top, d.unescape(s[:i]))
		}
		s = s[i:]
		switch {
		case len(s) > 1 && s[1] != '!' && s[1] != '?' && s[1] != '/':
		case strings.HasPrefix(s, "<!--"):
			_, s, _ = strings.Cut(s, "-->")
			continue
		case strings.HasPrefix(s, "<![CDATA["):
			text, rest, ok := strings.Cut(s[9:], "]]>")
			if !ok {
				return false
			}
			d.addText(top, text)
			s = rest
			continue
		case strings.HasPrefix(s, "<?"), strings.HasPrefix(s, "<!"):
			_, s, _ = strings.Cut(s, ">")
			continue
		case strings.HasPrefix(s, "</"):
			if name := d.nodes[top].name; len(d.stack) > 1 && len(s) > len(name)+2 && s[len(name)+2] == '>' && s[2:len(name)+2] == name {
				d.stack = d.stack[:len(d.stack)-1]
				s = s[len(name)+3:]
				continue
			}
			name, rest, ok := strings.Cut(s[2:], ">")
			if !ok || len(d.stack) == 1 || strings.TrimSpace(name) != d.nodes[top].name {
				return false
			}
			d.stack = d.stack[:len(d.stack)-1]
			s = rest
			continue
		}
		rest, closed, ok := d.startTag(s[1:])
		if !ok || len(d.nodes)-1 > xmlNodesMax {
			return false
		}
		n := int32(len(d.nodes) - 1)
		p := &d.nodes[top]
		if p.last == 0 {
			p.first = n
		} else {
			d.nodes[p.last].next = n
		}
		p.last = n
		if !closed {
			if len(d.stack) > xmlDepthMax {
				return false
			}
			d.stack = append(d.stack, n)
		}
		s = rest
	}
	return len(d.stack) == 1
}

// startTag reads a start tag behind its `<` and appends its element to nodes.
func (d *xmlDocument) startTag(s string) (rest string, closed, ok bool) {
	i := 0
	for i < len(s) && !xmlEndsName[s[i]] {
		i++
	}
	if i == 0 || i == len(s) {
		return "", false, false
	}
	n := xmlNode{name: s[:i], attrs: int32(len(d.attrs))}
	s = s[i:]
	for {
		for s != "" && xmlBlank(s[0]) {
			s = s[1:]
		}
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
		i := 0
		for i < len(s) && s[i] != '=' && s[i] != '>' {
			i++
		}
		if i == 0 || i == len(s) || s[i] != '=' {
			return "", false, false
		}
		name := s[:i]
		if name[0] <= ' ' || name[0] >= 0x80 || name[i-1] <= ' ' || name[i-1] >= 0x80 {
			name = strings.TrimSpace(name)
		}
		for s = s[i+1:]; s != "" && xmlBlank(s[0]); {
			s = s[1:]
		}
		if s == "" || s[0] != '"' && s[0] != '\'' {
			return "", false, false
		}
		end := strings.IndexByte(s[1:], s[0])
		if end < 0 {
			return "", false, false
		}
		d.attrs = append(d.attrs, xmlAttr{name, d.unescape(s[1 : end+1])})
		s = s[end+2:]
	}
}

// trimEnd cuts blanks off the end.
func trimEnd(s string) string {
	for s != "" && xmlBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// xmlEndsName tells what stands behind an element's name.
var xmlEndsName = [256]bool{'>': true, '/': true, ' ': true, '\t': true, '\r': true, '\n': true}

func xmlBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// entityMax bounds a reference, `&` and `;` included.
const entityMax = 13

// unescape replaces the predefined entities and character references.
func (d *xmlDocument) unescape(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return s
	}
	b := d.texts.room(len(s))
	for s != "" {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			b = append(b, s...)
			break
		}
		b = append(b, s[:i]...)
		s = s[i:]
		end := strings.IndexByte(s[:min(len(s), entityMax)], ';')
		if end < 0 {
			b = append(b, '&')
			s = s[1:]
			continue
		}
		switch name := s[1:end]; name {
		case "lt":
			b = append(b, '<')
		case "gt":
			b = append(b, '>')
		case "amp":
			b = append(b, '&')
		case "quot":
			b = append(b, '"')
		case "apos":
			b = append(b, '\'')
		default:
			if r, ok := charRef(name); ok {
				b = utf8.AppendRune(b, r)
			} else {
				b = append(b, s[:end+1]...)
			}
		}
		s = s[end+1:]
	}
	return d.texts.keep(b)
}

func charRef(name string) (rune, bool) {
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, false
	}
	base := 10
	if h, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = h, 16
	}
	v, err := strconv.ParseUint(digits, base, 32)
	if err != nil || v == 0 || !utf8.ValidRune(rune(v)) || v > utf8.MaxRune {
		return 0, false
	}
	return rune(v), true
}
