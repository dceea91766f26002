// Package osregex implements OS_Regex, the pattern language of most decoders.
//
// OS_Regex is no regular expression: its matcher saves at most four positions
// to return to, and where it stops decides where the next decoder goes on. So
// the procedure of spec/ruleset-language.md §4.3 is followed step by step; the
// vectors in spec/osregex-vectors.jsonl pin it.
package osregex

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"vedette/internal/regex/around"
)

// MaxPattern bounds a pattern, in bytes.
const MaxPattern = 20480

// Errors of Compile.
var (
	ErrEscape = errors.New("unknown escape after \\")
	ErrParens = errors.New("unbalanced, nested or alternating parentheses")
	ErrSize   = errors.New("pattern longer than 20480 bytes")
)

type itemKind uint8

const (
	literal itemKind = iota
	class
	mark
	quantifier
)

// item is one element of a pattern. A quantifier is an item of its own, as the
// procedure counts it. Items are small, since a match meets the items of one
// pattern among thousands, mostly in memory that no cache holds any more.
type item struct {
	kind itemKind
	b    byte // the literal, `+` or `*`, `(` or `)`
	// quant is the quantifier of a class, 0 without one.
	quant byte
	in    classBit // the class
	mark  int16    // number of the mark
	// look is, for a class with a quantifier, the item behind it and behind the
	// one mark that may be there, and skipped that mark's number or -1. For a
	// literal, look is the place of the literals from this one on in the
	// alternative's text, and skipped is their number.
	look    int16
	skipped int16
}

type classBit uint16

const (
	classDigit classBit = 1 << iota
	classWord
	classSpace
	classPunct
	classNotDigit
	classNotWord
	classNotSpace
	classAny
	classTab
)

// inClass tells for each byte the classes it belongs to.
var inClass = func() (t [256]classBit) {
	for i := range t {
		b := byte(i)
		t[i] = classAny
		if '0' <= b && b <= '9' {
			t[i] |= classDigit
		} else {
			t[i] |= classNotDigit
		}
		if '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '-' || b == '_' || b == '@' {
			t[i] |= classWord
		} else {
			t[i] |= classNotWord
		}
		if b == ' ' {
			t[i] |= classSpace
		} else {
			t[i] |= classNotSpace
		}
		if 33 <= b && b <= 46 || 58 <= b && b <= 63 || b == 91 || b == 93 || 123 <= b && b <= 125 {
			t[i] |= classPunct
		}
		if b == '\t' {
			t[i] |= classTab
		}
	}
	return t
}()

var classOf = map[byte]classBit{
	'd': classDigit, 'w': classWord, 's': classSpace, 'p': classPunct,
	'D': classNotDigit, 'W': classNotWord, 'S': classNotSpace, '.': classAny, 't': classTab,
}

// escaped are the escapes that stand for one character. They are classes all
// the same: `+` and `*` quantify them.
const escaped = `()\$|<`

type alternative struct {
	atStart, atEnd bool
	// plain says that the alternative is nothing but text.
	plain bool
	// tail is how a field ends, if the alternative is one: see findField.
	tail     tail
	tailByte byte
	// anchor is the longest text among the items that the alternative starts
	// with and that each match one byte: its place in text, and its number of
	// bytes. anchorAt is the number of bytes before it in a subject.
	anchor, anchorLen, anchorAt int16
	// prefix is how many bytes of text are the literals that the alternative starts with.
	prefix int16
	marks  int16
	items  []item
	// text are the bytes of a plain alternative, of another one its literals.
	text string
	// need is a run of literals without which the alternative cannot match. runs
	// are such runs, need among them, in the order in which they must occur in
	// the subject.
	need string
	runs []around.Text
}

// anchorText is the text of the anchor, empty without one.
func (a *alternative) anchorText() string { return a.text[a.anchor : a.anchor+a.anchorLen] }

// Regex is a compiled pattern, safe for concurrent use.
type Regex struct {
	// one is the first of alts once more. Most patterns have no other, so that a
	// match need not look elsewhere.
	one    alternative
	alts   []alternative
	groups bool
	// need is a text without which no alternative can match.
	need string
}

// Groups reports whether the pattern has a capture group.
func (r *Regex) Groups() bool { return r.groups }

// Compile compiles a pattern.
func Compile(text string) (*Regex, error) {
	if len(text) > MaxPattern {
		return nil, ErrSize
	}
	r := &Regex{}
	start, open := 0, false
	for i := 0; i <= len(text); i++ {
		if i < len(text) && text[i] == '\\' {
			i++
			if i == len(text) {
				return nil, ErrEscape
			}
			if classOf[text[i]] == 0 && !strings.ContainsRune(escaped, rune(text[i])) {
				return nil, ErrEscape
			}
			continue
		}
		if i < len(text) {
			switch text[i] {
			case '(':
				if open {
					return nil, ErrParens
				}
				open, r.groups = true, true
			case ')':
				if !open {
					return nil, ErrParens
				}
				open = false
			case '|':
				if open {
					return nil, ErrParens
				}
			}
		}
		if i == len(text) || text[i] == '|' {
			r.alts = append(r.alts, compileAlternative(text[start:i]))
			start = i + 1
		}
	}
	if open {
		return nil, ErrParens
	}
	if len(r.alts) > 1 {
		r.need = r.alts[0].needed()
		for i := range r.alts {
			for !strings.HasPrefix(r.alts[i].needed(), r.need) {
				r.need = r.need[:len(r.need)-1]
			}
		}
	}
	r.pack()
	return r, nil
}

// pack brings the data of a match together.
func (r *Regex) pack() {
	var texts []*string
	items, runs := 0, 0
	for i := range r.alts {
		a := &r.alts[i]
		items, runs = items+len(a.items), runs+len(a.runs)
		texts = append(texts, &a.text, &a.need)
		for k := range a.runs {
			texts = append(texts, &a.runs[k].Text)
		}
	}
	share(append(texts, &r.need)...)
	r.alts = slices.Clip(slices.Clone(r.alts))
	allItems, allRuns := make([]item, 0, items), make([]around.Text, 0, runs)
	for i := range r.alts {
		a := &r.alts[i]
		from := len(allItems)
		allItems = append(allItems, a.items...)
		a.items = allItems[from:len(allItems):len(allItems)]
		from = len(allRuns)
		allRuns = append(allRuns, a.runs...)
		a.runs = allRuns[from:len(allRuns):len(allRuns)]
	}
	r.one = r.alts[0]
}

// share makes texts pieces of one.
func share(texts ...*string) {
	slices.SortStableFunc(texts, func(a, b *string) int { return len(*b) - len(*a) })
	var all []byte
	at := make([]int, len(texts))
	for i, t := range texts {
		if at[i] = bytes.Index(all, []byte(*t)); at[i] < 0 {
			at[i] = len(all)
			all = append(all, *t...)
		}
	}
	one := string(all)
	for i, t := range texts {
		*t = one[at[i] : at[i]+len(*t)]
	}
}

func compileAlternative(text string) alternative {
	var a alternative
	if strings.HasPrefix(text, "^") {
		a.atStart, text = true, text[1:]
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\':
			i++
			it := item{kind: class, b: text[i], in: classOf[text[i]]}
			a.items = append(a.items, it)
			if i+1 < len(text) && (text[i+1] == '+' || text[i+1] == '*') {
				i++
				a.items = append(a.items, item{kind: quantifier, b: text[i]})
			}
		case c == '(' || c == ')':
			a.items = append(a.items, item{kind: mark, b: c, mark: a.marks})
			a.marks++
		case c == '$' && i == len(text)-1:
			a.atEnd = true
		default:
			a.items = append(a.items, item{kind: literal, b: lowerByte(c)})
		}
	}
	for int(a.prefix) < len(a.items) && a.items[a.prefix].kind == literal {
		a.prefix++
	}
	a.link()
	a.runs = a.surround(runs(a.items))
	best := 0
	for i := range a.runs {
		// Of several rare ones the first, as it is where an attempt begins.
		if n := min(rarity(a.runs[i].Text), rare); n > best {
			a.need, best = a.runs[i].Text, n
		}
	}
	// Every subject has a common byte somewhere. The first run stays, as where it
	// stands bounds where an attempt begins.
	if len(a.runs) > 0 {
		rest := slices.DeleteFunc(a.runs[1:], func(t around.Text) bool {
			return t.Text != a.need && rarity(t.Text) < 3 && !t.Rare()
		})
		a.runs = a.runs[:1+len(rest)]
	}
	a.findAnchor()
	a.findField()
	if text, plain := a.asText(); plain {
		a.text, a.plain = text, true
		a.anchor, a.anchorLen, a.prefix = 0, 0, 0 // a plain text is only searched for
	}
	return a
}

// tail is how a field ends.
type tail uint8

const (
	noField    tail = iota
	tailByte        // before the first tailByte
	tailBlanks      // before the first blank; `\s+` matches there
	tailEnd         // at the end of the subject
)

// findField reports whether the alternative is a text, a group of `\.*` and an
// end of the group, as decoders of firewalls have by the dozen: `name=(\.*)\s`.
// See field.
func (a *alternative) findField() {
	k := int(a.prefix)
	if k == 0 || a.atStart || len(a.items) < k+4 || a.need != a.text[:k] || a.runs[0].Text != a.need || !a.runs[0].Free() {
		return
	}
	group, rest := a.items[k:k+4], a.items[k+4:]
	if group[0].kind != mark || group[1].in != classAny || group[1].quant != '*' || group[3].kind != mark {
		return
	}
	switch {
	case len(rest) == 0 && a.atEnd:
		a.tail = tailEnd
	case a.atEnd || len(rest) == 0 || len(rest) > 2:
	case len(rest) == 1 && rest[0].kind == literal:
		a.tail, a.tailByte = tailByte, rest[0].b
	case len(rest) == 1 && rest[0].in == classSpace:
		a.tail, a.tailByte = tailByte, ' '
	case len(rest) == 2 && rest[0].in == classSpace && rest[0].quant == '+':
		a.tail, a.tailByte = tailBlanks, ' '
	}
}

func (a *alternative) findAnchor() {
	texts, n := int16(0), int16(0) // literals so far, and literals of the current run
	for i, it := range a.items {
		if it.kind == literal {
			texts++
			if n++; n > a.anchorLen {
				a.anchor, a.anchorLen, a.anchorAt = texts-n, n, int16(i)+1-n
			}
			continue
		}
		if it.kind != class || it.quant != 0 {
			break
		}
		n = 0
	}
}

// link notes for each quantified class the items after it, and for each literal
// the literals behind it.
func (a *alternative) link() {
	var text []byte
	for from := 0; from < len(a.items); from++ {
		to := from
		for to < len(a.items) && a.items[to].kind == literal {
			to++
		}
		for ; from < to; from++ {
			a.items[from].look, a.items[from].skipped = int16(len(text)), int16(to-from)
			text = append(text, a.items[from].b)
		}
	}
	a.text = string(text)
	for p := range a.items {
		it := &a.items[p]
		if it.kind != class || p+1 == len(a.items) || a.items[p+1].kind != quantifier {
			continue
		}
		it.quant, it.look, it.skipped = a.items[p+1].b, int16(p+2), -1
		if int(it.look) < len(a.items) && a.items[it.look].kind == mark {
			it.skipped = a.items[it.look].mark
			it.look++
		}
	}
}

// needed is the text that the alternative needs, plain or not.
func (a *alternative) needed() string {
	if a.plain {
		return a.text
	}
	return a.need
}

// rare is the grade of a run that hardly any other subject has.
const rare = 16

// rarity grades runs by how few logs have them: long ones, and short ones of
// bytes that are neither letters, digits, blanks nor common marks.
func rarity(run string) int {
	n := 0
	for _, c := range []byte(run) {
		n += 2
		if 33 <= c && c <= 126 && !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || strings.IndexByte(":.-=/,\"", c) >= 0) {
			n++
		}
	}
	return n
}

// leftUnread is how many items at the end of an alternative, if they are
// classes, the procedure may leave unread (steps 3.1 and 7).
const leftUnread = 5

// runs are the runs of neighbouring bytes that every match has, in order. The
// procedure reached each saved position through them too.
//
// A last literal right behind a class does not count, because step 3.1 can
// succeed at the class; classes at the end do not count either.
func runs(items []item) []stretch {
	var out []stretch
	var text []byte
	from := 0
	flush := func(to int) {
		if len(text) > 0 {
			out = append(out, stretch{string(text), from, to})
		}
		text = nil
	}
	for i, it := range items {
		b, fixed := it.b, false
		switch {
		case it.kind == literal:
			fixed = i < len(items)-1 || i == 0 || items[i-1].kind != class
		case it.kind == class && it.quant == 0 && i < len(items)-leftUnread:
			switch it.in {
			case 0:
				fixed = true
			case classSpace:
				b, fixed = ' ', true
			case classTab:
				b, fixed = '\t', true
			}
		}
		if !fixed {
			flush(i)
			continue
		}
		if text == nil {
			from = i
		}
		text = append(text, b)
	}
	flush(len(items))
	return out
}

// stretch is a run of bytes, of the items from from to to.
type stretch struct {
	text     string
	from, to int
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
