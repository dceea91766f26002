package engine

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"vedette/ruleset/program"
	"vedette/schemas"
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
	if !s.json.flatten(e.fullLog) {
		return true
	}
	message, xml := "", ""
	for _, f := range s.json.fields {
		switch f.name {
		case "Message":
			message = f.value
		case "Event":
			xml = f.value
		}
	}
	if xml == "" {
		return true
	}
	root, ok := scanXML(xml)
	if !ok {
		return true
	}
	var w winEvent
	w.read(root)
	w.finish(message)
	b := append(s.buf[:0], `{"win":{`...)
	for i := range w.sections {
		sec := &w.sections[i]
		if len(sec.names) == 0 {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(schemas.AppendJSONString(b, sec.name), ":{"...)
		for j, n := range sec.names {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(schemas.AppendJSONString(b, n), ':')
			b = schemas.AppendJSONString(b, sec.values[j])
			s.addDynamic("win."+sec.name+"."+n, sec.values[j])
		}
		b = append(b, '}')
	}
	b = append(b, "}}"...)
	s.buf = b
	e.fullLog = string(b)
	e.setLog(e.fullLog)
	return true
}

// winSection is one object below win, in order.
type winSection struct {
	name          string
	names, values []string
}

func (c *winSection) add(name, value string) {
	value = strings.TrimRight(value, " \t\r\n")
	if name == "" || value == "" || len(c.names) >= program.OrderMax {
		return
	}
	for _, n := range c.names {
		if n == name {
			return
		}
	}
	c.names, c.values = append(c.names, name), append(c.values, value)
}

type winEvent struct {
	sections []winSection
	level    string
	keywords string
}

// winSectionsMax bounds the sections; Windows writes a handful.
const winSectionsMax = 64

// section finds or makes a section; system is made first. Beyond the bound it
// is one that is thrown away.
func (w *winEvent) section(name string) *winSection {
	for i := range w.sections {
		if w.sections[i].name == name {
			return &w.sections[i]
		}
	}
	if len(w.sections) >= winSectionsMax {
		return &winSection{}
	}
	w.sections = append(w.sections, winSection{name: name})
	return &w.sections[len(w.sections)-1]
}

func lowerFirst(s string) string {
	if s != "" && 'A' <= s[0] && s[0] <= 'Z' {
		return string(s[0]+'a'-'A') + s[1:]
	}
	return s
}

// systemText maps elements of System whose text is taken.
var systemText = map[string]string{
	"EventID": "eventID", "Version": "version", "Level": "level", "Task": "task", "Opcode": "opcode",
	"Keywords": "keywords", "EventRecordID": "eventRecordID", "Channel": "channel", "Computer": "computer",
}

// systemAttrs maps attributes of elements of System, in order.
var systemAttrs = map[string][][2]string{
	"Provider":    {{"Name", "providerName"}, {"Guid", "providerGuid"}, {"EventSourceName", "eventSourceName"}},
	"TimeCreated": {{"SystemTime", "systemTime"}},
	"Execution":   {{"ProcessID", "processID"}, {"ThreadID", "threadID"}},
}

func (w *winEvent) read(root *xmlNode) {
	event := root.child("Event")
	if event == nil {
		event = root
	}
	sys := w.section("system")
	if n := event.child("System"); n != nil {
		for _, c := range n.children {
			for _, a := range systemAttrs[c.name] {
				sys.add(a[1], c.attr(a[0]))
			}
			if to := systemText[c.name]; to != "" {
				sys.add(to, c.text)
			}
			switch c.name {
			case "Level":
				w.level = strings.TrimSpace(c.text)
			case "Keywords":
				w.keywords = strings.TrimSpace(c.text)
			}
		}
	}
	for _, c := range event.children {
		switch c.name {
		case "System":
		case "EventData":
			w.eventData(c)
		default:
			w.other(c)
		}
	}
}

func (w *winEvent) eventData(n *xmlNode) {
	var unnamed []string
	var audit [][2]string
	for _, c := range n.children {
		v := strings.TrimRight(c.text, " \t\r\n")
		switch name := c.attr("Name"); {
		case c.name != "Data":
			w.section("eventdata").add(lowerFirst(c.name), v)
		case v == "" || v == "-" || v == "(NULL)":
		case name == "":
			unnamed = append(unnamed, v)
		case name == "CategoryId":
			w.section("eventdata").add("categoryId", v)
			audit = append(audit, [2]string{"category", auditName(v)})
		case name == "SubcategoryId":
			w.section("eventdata").add("subcategoryId", v)
			audit = append(audit, [2]string{"subcategory", auditName(v)})
		case name == "AuditPolicyChanges":
			w.section("eventdata").add("auditPolicyChangesId", v)
			var names []string
			for id := range strings.SplitSeq(v, ",") {
				if t := auditName(strings.TrimSpace(id)); t != "" {
					names = append(names, t)
				}
			}
			audit = append(audit, [2]string{"auditPolicyChanges", strings.Join(names, ", ")})
		default:
			w.section("eventdata").add(lowerFirst(name), v)
		}
	}
	for _, a := range audit {
		w.section("eventdata").add(a[0], a[1])
	}
	if len(unnamed) > 0 {
		w.section("eventdata").add("data", strings.Join(unnamed, ", "))
	}
}

// other reads sections such as UserData: their elements, or the elements of
// those that have children.
func (w *winEvent) other(n *xmlNode) {
	for _, c := range n.children {
		if len(c.children) == 0 {
			w.section(lowerFirst(n.name)).add(lowerFirst(c.name), c.text)
			continue
		}
		for _, g := range c.children {
			name := g.attr("Name")
			if g.name != "Data" || name == "" {
				name = g.name
			}
			w.section(lowerFirst(c.name)).add(lowerFirst(name), g.text)
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
		sys.add("severityValue", severity)
	}
	// Alerts of 4.14 show the message in quotation marks: 127 of the 128 Windows
	// events recorded in its tests have them, the agent's text has not.
	if message = strings.TrimRight(message, " \t\r\n"); message != "" {
		sys.add("message", `"`+message+`"`)
	}
}

// Bounds of scanXML.
const (
	xmlDepthMax = 32
	xmlNodesMax = 4096
)

// xmlNode is an element of an event.
type xmlNode struct {
	name     string
	attrs    []string // names and values
	text     string
	children []*xmlNode
}

func (n *xmlNode) child(name string) *xmlNode {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (n *xmlNode) attr(name string) string {
	for i := 0; i+1 < len(n.attrs); i += 2 {
		if n.attrs[i] == name {
			return n.attrs[i+1]
		}
	}
	return ""
}

// scanXML reads the small part of XML that Windows writes. Its root holds the
// document's elements.
func scanXML(s string) (*xmlNode, bool) {
	root := &xmlNode{}
	stack := []*xmlNode{root}
	nodes := 0
	for s != "" {
		top := stack[len(stack)-1]
		i := strings.IndexByte(s, '<')
		if i < 0 {
			break
		}
		if i > 0 && len(stack) > 1 {
			top.text += unescapeXML(s[:i])
		}
		s = s[i:]
		switch {
		case strings.HasPrefix(s, "<!--"):
			_, s, _ = strings.Cut(s, "-->")
			continue
		case strings.HasPrefix(s, "<![CDATA["):
			text, rest, ok := strings.Cut(s[9:], "]]>")
			if !ok {
				return nil, false
			}
			top.text += text
			s = rest
			continue
		case strings.HasPrefix(s, "<?"), strings.HasPrefix(s, "<!"):
			_, s, _ = strings.Cut(s, ">")
			continue
		case strings.HasPrefix(s, "</"):
			name, rest, ok := strings.Cut(s[2:], ">")
			if !ok || len(stack) == 1 || strings.TrimSpace(name) != top.name {
				return nil, false
			}
			stack = stack[:len(stack)-1]
			s = rest
			continue
		}
		n, rest, closed, ok := startTag(s[1:])
		if nodes++; !ok || nodes > xmlNodesMax {
			return nil, false
		}
		top.children = append(top.children, n)
		if !closed {
			if len(stack) > xmlDepthMax {
				return nil, false
			}
			stack = append(stack, n)
		}
		s = rest
	}
	return root, len(stack) == 1
}

// startTag reads a start tag behind its `<`.
func startTag(s string) (n *xmlNode, rest string, closed, ok bool) {
	i := strings.IndexAny(s, " \t\r\n/>")
	if i <= 0 {
		return nil, "", false, false
	}
	n = &xmlNode{name: s[:i]}
	s = s[i:]
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		switch {
		case strings.HasPrefix(s, ">"):
			return n, s[1:], false, true
		case strings.HasPrefix(s, "/>"):
			return n, s[2:], true, true
		}
		i := strings.IndexAny(s, "=>")
		if i <= 0 || s[i] != '=' {
			return nil, "", false, false
		}
		name := strings.TrimSpace(s[:i])
		s = strings.TrimLeft(s[i+1:], " \t\r\n")
		if s == "" || s[0] != '"' && s[0] != '\'' {
			return nil, "", false, false
		}
		end := strings.IndexByte(s[1:], s[0])
		if end < 0 {
			return nil, "", false, false
		}
		n.attrs = append(n.attrs, name, unescapeXML(s[1:end+1]))
		s = s[end+2:]
	}
}

// entityMax bounds a reference, `&` and `;` included.
const entityMax = 13

// unescapeXML replaces the predefined entities and character references.
func unescapeXML(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return s
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		end := strings.IndexByte(s[:min(len(s), entityMax)], ';')
		if end < 0 {
			b.WriteByte('&')
			s = s[1:]
			continue
		}
		switch name := s[1:end]; name {
		case "lt":
			b.WriteByte('<')
		case "gt":
			b.WriteByte('>')
		case "amp":
			b.WriteByte('&')
		case "quot":
			b.WriteByte('"')
		case "apos":
			b.WriteByte('\'')
		default:
			if r, ok := charRef(name); ok {
				b.WriteRune(r)
			} else {
				b.WriteString(s[:end+1])
			}
		}
		s = s[end+1:]
	}
	return b.String()
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
