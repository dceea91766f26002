package engine

import "strconv"

// treeDepthMax bounds the nesting of an agent's message. Messages of real agents
// are five levels deep at most.
const treeDepthMax = 16

// Kinds of jsonNode.
const (
	jsonNull = iota
	jsonText
	jsonNumber
	jsonBool
	jsonObject
	jsonArray
)

// jsonNode is a value of an agent's message. Its methods may be called on nil,
// which is an absent value. The size of the event bounds the size of a tree.
type jsonNode struct {
	name string
	kind int
	// text is the value of a node without kids; empty for null.
	text string
	kids []jsonNode
}

// tree parses the object that s starts with.
func (r *jsonReader) tree(s string) (*jsonNode, bool) {
	r.s, r.pos = s, 0
	r.blank()
	if r.pos >= len(r.s) || r.s[r.pos] != '{' {
		return nil, false
	}
	n := &jsonNode{}
	return n, r.node(n, 0)
}

// node parses the value at pos into n.
func (r *jsonReader) node(n *jsonNode, depth int) bool {
	if depth >= treeDepthMax || r.pos >= len(r.s) {
		return false
	}
	ok := true
	switch c := r.s[r.pos]; {
	case c == '{':
		n.kind = jsonObject
		return r.kids(n, '}', depth)
	case c == '[':
		n.kind = jsonArray
		return r.kids(n, ']', depth)
	case c == '"':
		n.kind = jsonText
		n.text, ok = r.str()
	case r.literal("null"):
		n.kind = jsonNull
	case r.literal("true"):
		n.kind, n.text = jsonBool, "true"
	case r.literal("false"):
		n.kind, n.text = jsonBool, "false"
	default:
		n.kind = jsonNumber
		from := r.pos
		var f float64
		if f, ok = r.number(); ok {
			n.text = numberText(r.s[from:r.pos], f)
		}
	}
	return ok
}

// kids parses the members of the object or array at pos, up to end.
func (r *jsonReader) kids(n *jsonNode, end byte, depth int) bool {
	r.pos++
	r.blank()
	if r.pos < len(r.s) && r.s[r.pos] == end {
		r.pos++
		return true
	}
	for {
		r.blank()
		var k jsonNode
		if n.kind == jsonObject {
			var ok bool
			if k.name, ok = r.str(); !ok {
				return false
			}
			r.blank()
			if !r.literal(":") {
				return false
			}
			r.blank()
		}
		if !r.node(&k, depth+1) {
			return false
		}
		n.kids = append(n.kids, k)
		r.blank()
		if r.pos >= len(r.s) {
			return false
		}
		c := r.s[r.pos]
		r.pos++
		if c == end {
			return true
		}
		if c != ',' {
			return false
		}
	}
}

// numberText is a number as text: integers as they were written, so that sizes
// and inodes above 2^53 stay whole, others as short as they can be.
func numberText(raw string, f float64) string {
	i := 0
	if raw[0] == '-' {
		i = 1
	}
	for ; i < len(raw) && digit(raw[i]); i++ {
	}
	if i == len(raw) {
		return raw
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// member finds a member of an object; the first of equal names counts.
func (n *jsonNode) member(name string) *jsonNode {
	if n == nil || n.kind != jsonObject {
		return nil
	}
	for i := range n.kids {
		if n.kids[i].name == name {
			return &n.kids[i]
		}
	}
	return nil
}

// str is the text of a member that is a text, a number or a boolean, else "".
func (n *jsonNode) str(name string) string {
	if m := n.member(name); m != nil {
		return m.text
	}
	return ""
}

// texts are the non-empty scalar elements of an array.
func (n *jsonNode) texts() []string {
	if n == nil || n.kind != jsonArray {
		return nil
	}
	var out []string
	for i := range n.kids {
		if t := n.kids[i].text; t != "" {
			out = append(out, t)
		}
	}
	return out
}
