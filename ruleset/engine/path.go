package engine

import (
	"strings"

	"vedette/internal/regex"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// fieldName is a name of dynamic fields.
type fieldName struct {
	text string
	id   int // by which rules know the field, or -1
	// static is the slot that a JSON member of this name fills, if it fills one.
	static   program.Static
	isStatic bool
	// path is where the field stands in an alert, nil if that takes a closer look.
	path *path
}

// path is a place in nested objects. Paths are recorded as events show them. So a
// member is found by comparing its key with the key seen there last time. A path
// also holds the form in which alerts write the member.
type path struct {
	parent *path // nil for the root
	key    string
	text   string // the keys from the root on, dotted
	depth  int
	// member is `"key":`.
	member string
	// lower is the place of the key in lower case, which is this one for most.
	lower *path
	kids  []*path
	at    int // among its parent's kids
	// byKey finds kids where they are many.
	byKey map[string]*path
	// next is which kid is expected.
	next int
	name *fieldName // of text, once a field had it
	// written is the number of the last alert's data that had this place.
	written uint64
}

// names are the names and places of fields that events showed, which are kept from
// event to event.
type names struct {
	p      *program.Program
	byText map[string]*fieldName
	root   *path // of places, of which there are paths
	paths  int
	// orders are the names in the index's orderNames, by their number.
	orders     []*fieldName
	orderTexts []string
}

// Bounds of the places and names that are kept from event to event.
const (
	pathsMax = 16384
	namesMax = 8192
	// fewKids are looked through one by one.
	fewKids = 8
)

// bound begins anew when there are too many names.
func (n *names) bound() {
	if len(n.byText) >= namesMax || n.paths >= pathsMax {
		n.forget()
	}
}

func (n *names) forget() {
	n.byText = map[string]*fieldName{}
	clear(n.orders)
	n.root = &path{}
	n.paths = 0
}

// ordered is the name of a dynamic field by its number in the index.
func (n *names) ordered(i int32) *fieldName {
	if n.orders[i] == nil {
		n.orders[i] = n.of(n.orderTexts[i])
	}
	return n.orders[i]
}

// child finds or notes the place of key below p.
func (n *names) child(p *path, key string) *path {
	if p.next < len(p.kids) {
		if k := p.kids[p.next]; k.key == key {
			p.next++
			return k
		}
	}
	if p.byKey != nil {
		if k := p.byKey[key]; k != nil {
			p.next = k.at + 1
			return k
		}
	} else {
		for _, k := range p.kids {
			if k.key == key {
				p.next = k.at + 1
				return k
			}
		}
	}
	return n.newPath(p, strings.Clone(key))
}

func (n *names) newPath(p *path, key string) *path {
	n.paths++
	k := &path{parent: p, key: key, text: key, depth: p.depth + 1, at: len(p.kids)}
	if p.text != "" {
		k.text = p.text + "." + key
	}
	k.member = string(append(schemas.AppendJSONString(nil, key), ':'))
	p.kids = append(p.kids, k)
	if len(p.kids) > fewKids {
		if p.byKey == nil {
			p.byKey = map[string]*path{}
			for _, old := range p.kids {
				p.byKey[old.key] = old
			}
		}
		p.byKey[key] = k
	}
	k.lower = k
	if low := regex.Lower(key); low != key {
		k.lower = n.child(p, low)
	}
	return k
}

// at is the name of the field at p.
func (n *names) at(p *path) *fieldName {
	if p.name == nil {
		p.name = n.of(p.text)
	}
	return p.name
}

// of finds or notes a name.
func (n *names) of(name string) *fieldName {
	if f := n.byText[name]; f != nil {
		return f
	}
	name = strings.Clone(name)
	f := &fieldName{text: name, id: -1, path: n.dotted(name)}
	if id, ok := n.p.FieldIDs[regex.Lower(name)]; ok {
		f.id = id
	}
	f.static, f.isStatic = jsonStatics[name]
	n.byText[name] = f
	return f
}

// dotted is the place of a name: its dots nest. Names with other than ASCII
// compare without case in more ways than lower tells.
func (n *names) dotted(name string) *path {
	for i := range len(name) {
		if name[i] >= 0x80 {
			return nil
		}
	}
	p := n.root
	for key := range strings.SplitSeq(name, ".") {
		p = n.child(p, key)
	}
	return p
}
