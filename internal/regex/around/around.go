// Package around finds texts by the bytes that stand next to them. A pattern such
// as \d+:\d+ has no text but a colon, which most subjects have; a colon between
// digits is rarer.
package around

import (
	"math/bits"
	"strings"
)

// Bytes is a set of bytes.
type Bytes [4]uint64

// Any is the set of all bytes.
var Any = Bytes{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// Of is the set of the bytes of which in says yes.
func Of(in func(c byte) bool) (b Bytes) {
	for c := range 256 {
		if in(byte(c)) {
			b.Add(byte(c))
		}
	}
	return b
}

// Add adds c.
func (b *Bytes) Add(c byte) { b[c>>6] |= 1 << (c & 63) }

// Has tells whether c is in the set.
func (b *Bytes) Has(c byte) bool { return b[c>>6]>>(c&63)&1 == 1 }

// Or is the set of what is in one of both.
func (b Bytes) Or(a Bytes) Bytes {
	for i := range b {
		b[i] |= a[i]
	}
	return b
}

// And is the set of what is in both.
func (b Bytes) And(a Bytes) Bytes {
	for i := range b {
		b[i] &= a[i]
	}
	return b
}

// Not is the set of all other bytes.
func (b Bytes) Not() Bytes {
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

// Text is a text and the bytes that may stand before and behind it.
type Text struct {
	Text string
	// begins and ends say that the text may stand at the subject's start and end.
	begins, ends bool
	free         bool // anything may stand there
	left, right  Bytes
}

// New makes a Text. That left is Any says that there need not be a byte, and so
// does right; last says that about right whatever it is.
func New(text string, left, right Bytes, last bool) Text {
	t := Text{Text: text, left: left, right: right, begins: left == Any, ends: last || right == Any}
	t.free = t.begins && right == Any
	return t
}

// Free tells whether anything may stand around the text.
func (t *Text) Free() bool { return t.free }

// Rare tells whether what may stand on one of the sides are less than half of all
// bytes.
func (t *Text) Rare() bool { return min(t.left.count(), t.right.count()) < 128 }

func (b *Bytes) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// Index is where the text stands in s first, from from on, or -1.
func (t *Text) Index(s string, from int) int {
	for {
		i := strings.Index(s[from:], t.Text)
		if i < 0 {
			return -1
		}
		i += from
		if t.free || t.fits(s, i) {
			return i
		}
		from = i + 1
	}
}

// fits tells whether the bytes around the text, which stands at i, may be there.
func (t *Text) fits(s string, i int) bool {
	if i == 0 && !t.begins || i > 0 && !t.left.Has(s[i-1]) {
		return false
	}
	if end := i + len(t.Text); end < len(s) {
		return t.right.Has(s[end])
	}
	return t.ends
}

// InOrder tells whether texts stand in s one behind the other, from from on.
func InOrder(texts []Text, s string, from int) bool {
	for i := range texts {
		at := texts[i].Index(s, from)
		if at < 0 {
			return false
		}
		from = at + len(texts[i].Text)
	}
	return true
}
