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
	if !w.nest() {
		w.gather()
	}
}

// gather writes the data member whatever its fields are.
func (w *writer) gather() {
	e, t := &w.r.s.ev, &w.r.doc.tree
	t.nodes, t.prefix = append(t.nodes[:0], dataNode{object: true}), ""
	for i := range e.static {
		if e.static[i].set {
			t.add(0, dataNode{name: program.StaticNames[i], value: e.static[i].text})
		}
	}
	for i := range e.dyn {
		if e.dyn[i].text != "" {
			t.put(e.dyn[i].name.text, e.dyn[i].text, e.dyn[i].json)
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
		w.leaf(n.value, n.json)
	}
	w.raw(`}`)
}

// leaf writes the value of a field; json is its form as a JSON string, if known.
func (w *writer) leaf(value, json string) {
	if strings.HasPrefix(value, "[") {
		if b, ok := w.r.doc.tree.array.compactArray(value); ok && (w.valueMax == 0 || len(b) <= w.valueMax) {
			w.b = append(w.b, b...)
			return
		}
	}
	if json != "" && w.valueMax == 0 {
		w.raw(json)
		return
	}
	w.value(value)
}

// staticMembers are the static fields as members, by their number.
var staticMembers = func() (m [program.NumStatic]string) {
	for i := range m {
		m[i] = string(appendText(nil, program.StaticNames[i])) + ":"
	}
	return m
}()

// comma separates a member from the one before it, if any.
func (w *writer) comma() {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
}

// moveTo closes and opens objects so that the last of open is place. It returns false
// if that opens an object again.
func (w *writer) moveTo(place *path, open []*path) ([]*path, bool) {
	written := w.r.doc.written
	base := place // the common parent
	for base.depth >= len(open) || open[base.depth] != base {
		if base = base.parent; base == nil {
			return open, false // a place of before forget
		}
	}
	for len(open)-1 > base.depth {
		open = open[:len(open)-1]
		w.b = append(w.b, '}')
	}
	for range place.depth - base.depth {
		open = append(open, nil)
	}
	for q := place; q != base; q = q.parent {
		open[q.depth] = q
	}
	for _, q := range open[base.depth+1:] {
		if q.lower.written == written {
			return open, false
		}
		q.lower.written = written
		w.comma()
		w.raw(q.member)
		w.b = append(w.b, '{')
	}
	return open, true
}

// nest writes the data member of a usual event: its fields come object by object,
// as decoders of JSON leave them, so that nothing has to be gathered first. It
// writes nothing and returns false when an object is met again after its end, or a
// name a second time, or a name that is not known well.
func (w *writer) nest() bool {
	d, names := w.r.doc, &w.r.s.names
	e := &w.r.s.ev
	from := len(w.b)
	d.written++
	w.member("data")
	w.raw(`{`)
	start := len(w.b)
	// open are the objects that are not closed yet, the root first.
	open := append(d.open[:0], names.root)
	done := func(ok bool) bool {
		d.open = open
		if !ok || len(w.b) == start {
			w.b = w.b[:from]
		}
		return ok
	}
	for i := range e.static {
		if !e.static[i].set {
			continue
		}
		p := names.child(names.root, program.StaticNames[i])
		p.lower.written = d.written
		w.comma()
		w.raw(staticMembers[i])
		w.leaf(e.static[i].text, "")
	}
	for i := range e.dyn {
		f := &e.dyn[i]
		if f.text == "" {
			continue
		}
		p := f.name.path
		if p == nil || p.lower.written == d.written {
			return done(false)
		}
		if p.parent != open[len(open)-1] {
			var ok bool
			if open, ok = w.moveTo(p.parent, open); !ok {
				return done(false)
			}
		}
		p.lower.written = d.written
		w.comma()
		w.raw(p.member)
		w.leaf(f.text, f.json)
	}
	for len(open) > 1 {
		open = open[:len(open)-1]
		w.b = append(w.b, '}')
	}
	if len(w.b) > start {
		w.b = append(w.b, '}')
	}
	return done(true)
}
