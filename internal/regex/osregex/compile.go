// Package osregex implements OS_Regex, the pattern language of most decoders.
//
// OS_Regex is no regular expression: its matcher saves at most four positions
// to return to, and where it stops decides where the next decoder goes on. So
// the procedure of spec/ruleset-language.md §4.3 is followed step by step; the
// vectors in spec/osregex-vectors.jsonl pin it.
package osregex

import (
	"errors"
	"strings"
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
// procedure counts it.
type item struct {
	kind itemKind
	b    byte     // the literal, `+` or `*`, `(` or `)`
	in   classBit // the class
	mark int      // number of the mark
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
	items          []item
	marks          int
	atStart, atEnd bool
	// need is a run of literals without which the alternative cannot match.
	need string
	// prefix are the literals that the alternative starts with.
	prefix string
}

// Regex is a compiled pattern, safe for concurrent use.
type Regex struct {
	alts   []alternative
	groups bool
}

// Groups tells whether the pattern has a capture group.
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
	return r, nil
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
	var prefix []byte
	for _, it := range a.items {
		if it.kind != literal {
			break
		}
		prefix = append(prefix, it.b)
	}
	a.prefix = string(prefix)
	a.need = need(a.items)
	return a
}

// need is the longest run of neighbouring literals. The last item does not
// count, because step 3.1 can succeed before it when a class stands before it.
func need(items []item) string {
	var best, run []byte
	for i, it := range items {
		lit := it.kind == literal
		if it.kind == class && it.in == 0 && (i+1 == len(items) || items[i+1].kind != quantifier) {
			// An escaped character that must stand there, but a step of the
			// procedure may leave a class unread at the end; not relied on.
			lit = false
		}
		if lit && (i < len(items)-1 || i > 0 && items[i-1].kind == literal || i == 0) {
			run = append(run, it.b)
		} else {
			run = run[:0]
		}
		if len(run) > len(best) {
			best = append(best[:0], run...)
		}
	}
	return string(best)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
