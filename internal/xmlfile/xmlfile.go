// Package xmlfile reads the XML dialect of ruleset files: no entities, `\<` as
// text, several roots, `<!` comments, `$variables`. Standard XML libraries
// either refuse such files or change their meaning.
//
// Source: spec/ruleset-language.md §3.
package xmlfile

import (
	"fmt"
	"strings"
)

// Bounds of a file.
const (
	TextMax    = 20480 // a content, a name, a value
	NestingMax = 1024
	AttrsMax   = 48
)

// Attr is an attribute.
type Attr struct {
	Name, Value string
}

// Element is an element with its place in the file.
type Element struct {
	Name     string
	Attrs    []Attr
	Content  string
	Children []*Element
	Line     int
	Col      int
}

// Attr returns the value of the named attribute, whose case does not count.
func (e *Element) Attr(name string) (string, bool) {
	for _, a := range e.Attrs {
		if strings.EqualFold(a.Name, name) {
			return a.Value, true
		}
	}
	return "", false
}

// Is reports whether the element has this name, whose case does not count.
func (e *Element) Is(name string) bool { return strings.EqualFold(e.Name, name) }

// Error describes a fault and its place.
type Error struct {
	Line, Col int
	Msg       string
}

func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Msg) }

type reader struct {
	s         string
	pos       int
	line      int
	lineStart int
}

// Parse returns the root elements, with variables replaced and their
// definitions removed. Its error is an *Error.
func Parse(data []byte) ([]*Element, error) {
	r := &reader{s: strings.TrimPrefix(string(data), "\ufeff"), line: 1}
	top := &Element{}
	if err := r.content(top, 0); err != nil {
		return nil, err
	}
	v := &vars{}
	if err := v.replace(top); err != nil {
		return nil, err
	}
	return top.Children, nil
}

func (r *reader) fail(format string, args ...any) error {
	return &Error{Line: r.line, Col: r.pos - r.lineStart + 1, Msg: fmt.Sprintf(format, args...)}
}

// advance moves to pos and counts lines.
func (r *reader) advance(pos int) {
	pos = min(pos, len(r.s))
	for {
		i := strings.IndexByte(r.s[r.pos:pos], '\n')
		if i < 0 {
			break
		}
		r.pos += i + 1
		r.line++
		r.lineStart = r.pos
	}
	r.pos = pos
}

// content reads text and children of e up to its end tag.
func (r *reader) content(e *Element, depth int) error {
	if depth > NestingMax {
		return r.fail("elements nested deeper than %d", NestingMax)
	}
	var text strings.Builder
	for {
		if r.pos >= len(r.s) {
			if depth == 0 {
				return nil
			}
			return r.fail("<%s> of line %d is not closed", e.Name, e.Line)
		}
		switch c := r.s[r.pos]; {
		case c == '\\' && r.pos+1 < len(r.s) && (r.s[r.pos+1] == '<' || r.s[r.pos+1] == '\\'):
			text.WriteString(r.s[r.pos : r.pos+2])
			r.advance(r.pos + 2)
		case c != '<':
			end := r.textEnd()
			text.WriteString(r.s[r.pos:end])
			r.advance(end)
		case strings.HasPrefix(r.s[r.pos:], "<!"):
			if err := r.comment(); err != nil {
				return err
			}
		case strings.HasPrefix(r.s[r.pos:], "</"):
			if depth == 0 {
				return r.fail("end tag without its element")
			}
			if err := r.endTag(e); err != nil {
				return err
			}
			e.Content = text.String()
			if len(e.Content) > TextMax {
				return r.fail("content of <%s> is longer than %d bytes", e.Name, TextMax)
			}
			return nil
		default:
			child, closed, err := r.startTag()
			if err != nil {
				return err
			}
			if !closed {
				if err := r.content(child, depth+1); err != nil {
					return err
				}
			}
			e.Children = append(e.Children, child)
			text.Reset()
		}
	}
}

// textEnd is where the text at pos ends, at the next tag or escape.
func (r *reader) textEnd() int {
	end := r.pos + 1
	for end < len(r.s) && r.s[end] != '<' && r.s[end] != '\\' {
		end++
	}
	return end
}

// endTag reads the end tag of e.
func (r *reader) endTag(e *Element) error {
	end := strings.IndexByte(r.s[r.pos:], '>')
	if end < 0 {
		return r.fail("end tag lacks its >")
	}
	name := strings.TrimSpace(r.s[r.pos+2 : r.pos+end])
	if !strings.EqualFold(name, e.Name) {
		return r.fail("</%s> closes <%s> of line %d", clip(name), e.Name, e.Line)
	}
	r.advance(r.pos + end + 1)
	return nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func (r *reader) comment() error {
	rest := r.s[r.pos+2:]
	a, b := strings.Index(rest, "-->"), strings.Index(rest, "!>")
	switch {
	case a < 0 && b < 0:
		return r.fail("comment is not closed")
	case a >= 0 && (b < 0 || a < b):
		r.advance(r.pos + 2 + a + 3)
	default:
		r.advance(r.pos + 2 + b + 2)
	}
	return nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (r *reader) blanks() {
	end := r.pos
	for end < len(r.s) && isBlank(r.s[end]) {
		end++
	}
	r.advance(end)
}

func (r *reader) word(what, stop string) (string, error) {
	end := r.pos
	for end < len(r.s) && !isBlank(r.s[end]) && strings.IndexByte(stop, r.s[end]) < 0 {
		end++
	}
	w := r.s[r.pos:end]
	if w == "" || strings.ContainsAny(w, `<?"'`) {
		return "", r.fail("bad %s %q", what, clip(w))
	}
	if len(w) > TextMax {
		return "", r.fail("%s longer than %d bytes", what, TextMax)
	}
	r.advance(end)
	return w, nil
}

// startTag reads a start tag; closed says that it was <x/>.
func (r *reader) startTag() (e *Element, closed bool, err error) {
	e = &Element{Line: r.line, Col: r.pos - r.lineStart + 1}
	r.advance(r.pos + 1)
	if e.Name, err = r.word("element name", "/>"); err != nil {
		return nil, false, err
	}
	for {
		r.blanks()
		if r.pos >= len(r.s) {
			return nil, false, r.fail("<%s> lacks its >", e.Name)
		}
		switch r.s[r.pos] {
		case '>':
			r.advance(r.pos + 1)
			return e, false, nil
		case '/':
			if !strings.HasPrefix(r.s[r.pos:], "/>") {
				return nil, false, r.fail("/ inside <%s>", e.Name)
			}
			r.advance(r.pos + 2)
			return e, true, nil
		}
		if err := r.attr(e); err != nil {
			return nil, false, err
		}
	}
}

func (r *reader) attr(e *Element) error {
	name, err := r.word("attribute name", "=>/")
	if err != nil {
		return err
	}
	r.blanks()
	if r.pos >= len(r.s) || r.s[r.pos] != '=' {
		return r.fail("attribute %s has no value", name)
	}
	r.advance(r.pos + 1)
	r.blanks()
	if r.pos >= len(r.s) || r.s[r.pos] != '"' && r.s[r.pos] != '\'' {
		return r.fail("value of attribute %s is not quoted", name)
	}
	end := strings.IndexByte(r.s[r.pos+1:], r.s[r.pos])
	if end < 0 {
		return r.fail("value of attribute %s is not closed", name)
	}
	value := r.s[r.pos+1 : r.pos+1+end]
	if len(value) > TextMax {
		return r.fail("value of attribute %s is longer than %d bytes", name, TextMax)
	}
	if _, twice := e.Attr(name); twice {
		return r.fail("attribute %s given twice", name)
	}
	if len(e.Attrs) == AttrsMax {
		return r.fail("more than %d attributes", AttrsMax)
	}
	r.advance(r.pos + end + 2)
	e.Attrs = append(e.Attrs, Attr{name, value})
	return nil
}

// vars are the variables defined so far.
type vars struct {
	names, values []string
}

// nameMax bounds a variable's name.
const nameMax = 255

// replace walks e in document order, defines variables and replaces them.
func (v *vars) replace(e *Element) error {
	kept := e.Children[:0]
	for _, c := range e.Children {
		for i := range c.Attrs {
			var err error
			if c.Attrs[i].Value, err = v.expand(c, c.Attrs[i].Value); err != nil {
				return err
			}
		}
		if c.Is("var") {
			name, ok := c.Attr("name")
			if !ok || len(c.Attrs) != 1 || name == "" || len(name) > nameMax {
				return &Error{c.Line, c.Col, "<var> needs exactly the attribute name, of at most 255 bytes"}
			}
			// The newest definition is looked at first.
			v.names = append(v.names, name)
			v.values = append(v.values, c.Content)
			continue
		}
		if err := v.replace(c); err != nil {
			return err
		}
		var err error
		if c.Content, err = v.expand(c, c.Content); err != nil {
			return err
		}
		kept = append(kept, c)
	}
	e.Children = kept
	return nil
}

func (v *vars) expand(e *Element, s string) (string, error) {
	if len(v.names) == 0 || len(s) <= 2 || strings.IndexByte(s, '$') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '$' {
			b.WriteByte(s[i])
			i++
			continue
		}
		rest := s[i+1:]
		n := strings.IndexAny(rest, "$.|, ")
		if n < 0 {
			n = len(rest)
		}
		if n == 0 || rest[0] == '(' {
			b.WriteByte('$')
			i++
			continue
		}
		value, ok := v.lookup(rest[:n])
		if !ok {
			return "", &Error{e.Line, e.Col, fmt.Sprintf("unknown variable $%s in <%s>", clip(rest[:n]), e.Name)}
		}
		b.WriteString(value)
		if b.Len() > TextMax {
			return "", &Error{e.Line, e.Col, fmt.Sprintf("content of <%s> is longer than %d bytes with its variables", e.Name, TextMax)}
		}
		i += 1 + n
	}
	return b.String(), nil
}

func (v *vars) lookup(name string) (string, bool) {
	for i := len(v.names) - 1; i >= 0; i-- {
		if strings.EqualFold(v.names[i], name) {
			return v.values[i], true
		}
	}
	return "", false
}
