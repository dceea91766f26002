package laxjson

import (
	"strconv"
	"strings"
)

// DepthMax bounds the nesting of a tree. Messages of real agents are five levels
// deep at most.
const DepthMax = 16

// Kind tells the values of JSON apart.
type Kind uint8

// The kinds of a Node.
const (
	Null Kind = iota
	Text
	Number
	Bool
	Object
	Array
)

// Node is a value. Its methods may be called on nil, which is an absent value. The
// length of the text bounds the size of a tree.
type Node struct {
	Name string
	Kind Kind
	// Text is the value of a node without kids; empty for null. Integers are as
	// they were written, so that sizes and inodes above 2^53 stay whole.
	Text string
	Kids []Node
}

// Tree parses the object that s starts with. It returns false if s starts with
// another value, or the object is malformed or nested deeper than DepthMax.
func (r *Reader) Tree(s string) (*Node, bool) {
	r.S, r.Pos = s, 0
	r.Blank()
	if r.Pos >= len(r.S) || r.S[r.Pos] != '{' {
		return nil, false
	}
	n := &Node{}
	return n, r.node(n, 0)
}

// node parses the value at Pos into n.
func (r *Reader) node(n *Node, depth int) bool {
	if depth >= DepthMax || r.Pos >= len(r.S) {
		return false
	}
	ok := true
	switch c := r.S[r.Pos]; {
	case c == '{':
		n.Kind = Object
		return r.kids(n, '}', depth)
	case c == '[':
		n.Kind = Array
		return r.kids(n, ']', depth)
	case c == '"':
		n.Kind = Text
		n.Text, ok = r.Str()
	case r.Literal("null"):
		n.Kind = Null
	case r.Literal("true"):
		n.Kind, n.Text = Bool, "true"
	case r.Literal("false"):
		n.Kind, n.Text = Bool, "false"
	default:
		n.Kind = Number
		from := r.Pos
		var f float64
		if f, ok = r.Number(); ok {
			n.Text = numberText(r.S[from:r.Pos], f)
		}
	}
	return ok
}

// kids parses the members of the object or array at Pos, up to end.
func (r *Reader) kids(n *Node, end byte, depth int) bool {
	r.Pos++
	r.Blank()
	if r.Pos < len(r.S) && r.S[r.Pos] == end {
		r.Pos++
		return true
	}
	for {
		r.Blank()
		var k Node
		if n.Kind == Object && !r.key(&k) {
			return false
		}
		if !r.node(&k, depth+1) {
			return false
		}
		n.Kids = append(n.Kids, k)
		r.Blank()
		if r.Pos >= len(r.S) {
			return false
		}
		c := r.S[r.Pos]
		r.Pos++
		if c == end {
			return true
		}
		if c != ',' {
			return false
		}
	}
}

// key reads a member's name and the colon behind it.
func (r *Reader) key(n *Node) (ok bool) {
	if n.Name, ok = r.Str(); !ok {
		return false
	}
	r.Blank()
	if !r.Literal(":") {
		return false
	}
	r.Blank()
	return true
}

// numberText is a number as text: integers as they were written, others as short
// as they can be.
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

// Is reports whether n is there and of that kind.
func (n *Node) Is(k Kind) bool { return n != nil && n.Kind == k }

// Member finds a member of an object; the first of equal names counts.
func (n *Node) Member(name string) *Node {
	if !n.Is(Object) {
		return nil
	}
	for i := range n.Kids {
		if n.Kids[i].Name == name {
			return &n.Kids[i]
		}
	}
	return nil
}

// Fold finds a member without regard to case.
func (n *Node) Fold(name string) *Node {
	if !n.Is(Object) {
		return nil
	}
	for i := range n.Kids {
		if strings.EqualFold(n.Kids[i].Name, name) {
			return &n.Kids[i]
		}
	}
	return nil
}

// Value is the text of a member that is a text, a number or a boolean, else "".
func (n *Node) Value(name string) string {
	if m := n.Member(name); m != nil {
		return m.Text
	}
	return ""
}

// Values are the non-empty scalar elements of an array.
func (n *Node) Values() []string {
	if !n.Is(Array) {
		return nil
	}
	var out []string
	for i := range n.Kids {
		if t := n.Kids[i].Text; t != "" {
			out = append(out, t)
		}
	}
	return out
}
