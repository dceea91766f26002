package pcre

import (
	"math/bits"
	"unicode"
)

// set is a set of characters. Below 256 the bitmap decides; above, which only
// UTF mode meets, the ranges and tables.
type set struct {
	bits   [4]uint64
	ranges []runeRange
	tables []tableRef
	// notAbove inverts membership above 255.
	notAbove bool
}

type runeRange struct{ lo, hi rune }

type tableRef struct {
	table  *unicode.RangeTable
	negate bool
}

func (s *set) add(c rune) { s.addRange(c, c) }

func (s *set) addRange(lo, hi rune) {
	for c := lo; c <= hi && c < 256; c++ {
		s.bits[c>>6] |= 1 << (c & 63)
	}
	if hi >= 256 {
		s.ranges = append(s.ranges, runeRange{max(lo, 256), hi})
	}
}

func (s *set) addBytes(in func(c byte) bool, negate bool) {
	for i := range 256 {
		if in(byte(i)) != negate {
			s.add(rune(i))
		}
	}
	if negate {
		s.ranges = append(s.ranges, runeRange{256, unicode.MaxRune})
	}
}

func (s *set) addTable(t *unicode.RangeTable, negate bool) {
	for i := rune(0); i < 256; i++ {
		if unicode.Is(t, i) != negate {
			s.add(i)
		}
	}
	s.tables = append(s.tables, tableRef{t, negate})
}

// fold adds the other case of every member; above ASCII only in UTF mode.
func (s *set) fold(utf bool) {
	for c := rune('a'); c <= 'z'; c++ {
		u := c - 'a' + 'A'
		if s.hasByte(byte(c)) || s.hasByte(byte(u)) {
			s.add(c)
			s.add(u)
		}
	}
	if !utf {
		return
	}
	for c := rune(128); c < 256; c++ {
		if s.hasByte(byte(c)) {
			for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
				s.add(f)
			}
		}
	}
	for _, r := range s.ranges {
		if r.hi-r.lo > 1024 {
			continue
		}
		for c := r.lo; c <= r.hi; c++ {
			for f := unicode.SimpleFold(c); f != c; f = unicode.SimpleFold(f) {
				s.add(f)
			}
		}
	}
}

func (s *set) invert() {
	for i := range s.bits {
		s.bits[i] = ^s.bits[i]
	}
	s.notAbove = !s.notAbove
}

func (s *set) hasByte(c byte) bool { return s.bits[c>>6]&(1<<(c&63)) != 0 }

// apart reports whether no byte is in both sets.
func (s *set) apart(t *set) bool {
	for i := range s.bits {
		if s.bits[i]&t.bits[i] != 0 {
			return false
		}
	}
	return true
}

// allBut finds the only byte that is not in the set; ok is false if there are
// none or more.
func (s *set) allBut() (c byte, ok bool) {
	for i, w := range s.bits {
		for w = ^w; w != 0; w &= w - 1 {
			if ok {
				return 0, false
			}
			c, ok = byte(i<<6+bits.TrailingZeros64(w)), true
		}
	}
	return c, ok
}

func (s *set) has(c rune) bool {
	if c < 256 {
		return s.hasByte(byte(c))
	}
	in := false
	for _, r := range s.ranges {
		if r.lo <= c && c <= r.hi {
			in = true
			break
		}
	}
	for _, t := range s.tables {
		if in {
			break
		}
		in = unicode.Is(t.table, c) != t.negate
	}
	return in != s.notAbove
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isAlpha(c byte) bool { return isLower(c) || isUpper(c) }
func isAlnum(c byte) bool { return isAlpha(c) || isDigit(c) }
func isWord(c byte) bool  { return isAlnum(c) || c == '_' }
func isSpace(c byte) bool { return c == ' ' || 9 <= c && c <= 13 }
func isHSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == 0xA0
}
func isVSpace(c byte) bool { return 10 <= c && c <= 13 || c == 0x85 }
func isGraph(c byte) bool  { return 33 <= c && c <= 126 }
func isPrint(c byte) bool  { return 32 <= c && c <= 126 }
func isPunct(c byte) bool  { return isGraph(c) && !isAlnum(c) }
func isCntrl(c byte) bool  { return c < 32 || c == 127 }
func isXDigit(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
func isBlank(c byte) bool  { return c == ' ' || c == '\t' }
func isASCII(c byte) bool  { return c < 128 }

var posixClasses = map[string]func(byte) bool{
	"alpha": isAlpha, "lower": isLower, "upper": isUpper, "alnum": isAlnum, "ascii": isASCII, "blank": isBlank,
	"cntrl": isCntrl, "digit": isDigit, "graph": isGraph, "print": isPrint, "punct": isPunct, "space": isSpace,
	"word": isWord, "xdigit": isXDigit,
}

// escapeClass finds the class of a letter escape, and whether it is the negated one.
func escapeClass(c byte) (in func(byte) bool, negate, ok bool) {
	switch c {
	case 'd', 'D':
		return isDigit, c == 'D', true
	case 'w', 'W':
		return isWord, c == 'W', true
	case 's', 'S':
		return isSpace, c == 'S', true
	case 'h', 'H':
		return isHSpace, c == 'H', true
	case 'v', 'V':
		return isVSpace, c == 'V', true
	}
	return nil, false, false
}

// wideMembers are the members above 255 of \h and \v.
func wideMembers(c byte) []runeRange {
	switch c {
	case 'h':
		return []runeRange{{0x1680, 0x1680}, {0x180e, 0x180e}, {0x2000, 0x200a}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}}
	case 'v':
		return []runeRange{{0x2028, 0x2029}}
	}
	return nil
}
