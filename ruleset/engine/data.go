package engine

import (
	"strings"

	"vedette/ruleset/program"
)

// dataTree is the data object of an alert while its dotted names are nested.
type dataTree struct {
	nodes []dataNode
	array jsonReader
	// prefix is the last name's up to its last dot, which is where object at stands.
	prefix string
	at     int32
}

// dataNode is a member; links are indexes into nodes, 0 meaning none, since
// the root is nobody's child.
type dataNode struct {
	name              string
	value             string
	json              string // see dynField
	object            bool
	first, last, next int32
}

// child finds a member of an object without regard to case.
func (t *dataTree) child(parent int32, name string) int32 {
	for i := t.nodes[parent].first; i != 0; i = t.nodes[i].next {
		n := t.nodes[i].name
		if len(n) == len(name) && (n == name || mayFold(n, name) && strings.EqualFold(n, name)) {
			return i
		}
	}
	return 0
}

// mayFold tells apart most names of one length that are not equal without case.
func mayFold(a, b string) bool {
	return a != "" && (a[0]|b[0] >= 0x80 || a[0]|0x20 == b[0]|0x20)
}

func (t *dataTree) add(parent int32, n dataNode) int32 {
	t.nodes = append(t.nodes, n)
	i := int32(len(t.nodes) - 1)
	p := &t.nodes[parent]
	if p.last == 0 {
		p.first = i
	} else {
		t.nodes[p.last].next = i
	}
	p.last = i
	return i
}

// put nests one field: a name taken by something that is no object drops it,
// and the first of equal names stays.
func (t *dataTree) put(name, value, json string) {
	at, whole := int32(0), name
	if t.prefix != "" && strings.HasPrefix(name, t.prefix) {
		at, name = t.at, name[len(t.prefix):]
	}
	for {
		head, rest, dotted := strings.Cut(name, ".")
		c := t.child(at, head)
		if !dotted {
			if c == 0 {
				t.add(at, dataNode{name: head, value: value, json: json})
			}
			t.prefix, t.at = whole[:len(whole)-len(name)], at
			return
		}
		if c == 0 {
			c = t.add(at, dataNode{name: head, object: true})
		} else if !t.nodes[c].object {
			return
		}
		at, name = c, rest
	}
}

// data writes the data member (spec/alert-format.md §1.4).
func (w *writer) data() {
	e, t := &w.r.s.ev, &w.r.s.tree
	t.nodes, t.prefix = append(t.nodes[:0], dataNode{object: true}), ""
	for i := range e.static {
		if e.static[i].set {
			t.add(0, dataNode{name: program.StaticNames[i], value: e.static[i].text})
		}
	}
	for i := range e.dyn {
		if e.dyn[i].text != "" {
			t.put(e.dyn[i].name, e.dyn[i].text, e.dyn[i].json)
		}
	}
	if t.nodes[0].first == 0 {
		return
	}
	w.member("data")
	w.object(t, 0)
}

func (w *writer) object(t *dataTree, at int32) {
	w.raw(`{`)
	for i := t.nodes[at].first; i != 0; i = t.nodes[i].next {
		if i != t.nodes[at].first {
			w.raw(`,`)
		}
		n := &t.nodes[i]
		w.str(n.name)
		w.raw(`:`)
		if n.object {
			w.object(t, i)
			continue
		}
		if strings.HasPrefix(n.value, "[") {
			if b, ok := t.array.compactArray(n.value); ok && (w.valueMax == 0 || len(b) <= w.valueMax) {
				w.b = append(w.b, b...)
				continue
			}
		}
		if n.json != "" && w.valueMax == 0 {
			w.raw(n.json)
			continue
		}
		w.value(n.value)
	}
	w.raw(`}`)
}
