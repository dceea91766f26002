// Package around finds texts by the bytes next to them. A pattern such
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

// Has reports whether c is in the set.
func (b *Bytes) Has(c byte) bool { return b[c>>6]>>(c&63)&1 == 1 }

// Or is the set of bytes in one of both.
func (b Bytes) Or(a Bytes) Bytes {
	for i := range b {
		b[i] |= a[i]
	}
	return b
}

// And is the set of bytes in both.
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

// Text is a text and the bytes allowed before and behind it.
type Text struct {
	Text string
	// begins and ends say that the text may be at the subject's start and end.
	begins, ends bool
	free         bool // any byte may be there
	left, right  Bytes
}

// New makes a Text. left is Any if there need not be a byte before the text; the
// same holds for right. last says that the end may follow, whatever right is.
func New(text string, left, right Bytes, last bool) Text {
	t := Text{Text: text, left: left, right: right, begins: left == Any, ends: last || right == Any}
	t.free = t.begins && right == Any
	return t
}

// Free reports whether any byte may be around the text.
func (t *Text) Free() bool { return t.free }

// Rare reports whether the bytes allowed on one of the sides are less than half
// of all bytes.
func (t *Text) Rare() bool { return min(t.left.count(), t.right.count()) < 128 }

func (b *Bytes) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// Index is the first place of the text in s, from from on, or -1.
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

// fits reports whether the bytes around the text, which is at i, may be there.
func (t *Text) fits(s string, i int) bool {
	if i == 0 && !t.begins || i > 0 && !t.left.Has(s[i-1]) {
		return false
	}
	if end := i + len(t.Text); end < len(s) {
		return t.right.Has(s[end])
	}
	return t.ends
}

// InOrder reports whether texts occur in s one behind the other, from from on.
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
