package pcre

import (
	"strconv"
	"strings"
	"unicode"
)

// escape reads a backslash sequence outside a class.
func (p *parser) escape(f *flags) (*node, error) {
	start := p.pos
	p.pos++
	if !p.more() {
		return nil, p.fail("\\ at end of pattern")
	}
	c := p.peek()
	n := &node{kind: kChar, fold: f.i}
	assert := func(a assertKind) (*node, error) {
		p.pos++
		return &node{kind: kAssert, assert: a}, nil
	}
	switch c {
	case 'A', 'G':
		return assert(aStart)
	case 'z':
		return assert(aEnd)
	case 'Z':
		return assert(aEndNL)
	case 'b':
		return assert(aWord)
	case 'B':
		return assert(aNotWord)
	case 'K':
		p.pos++
		if p.looks > 0 {
			return nil, p.fail("\\K inside an assertion")
		}
		return &node{kind: kKeep}, nil
	case 'R':
		p.pos++
		return p.newlineSequence(), nil
	case 'N':
		if !strings.HasPrefix(p.src[p.pos+1:], "{U+") {
			p.pos++
			return &node{kind: kAny}, nil
		}
	case 'k':
		p.pos++
		if !p.more() {
			return nil, p.fail("\\k lacks a name")
		}
		end := map[byte]byte{'<': '>', '{': '}', '\'': '\''}[p.peek()]
		if end == 0 {
			return nil, p.fail("\\k lacks a name")
		}
		p.pos++
		name, err := p.name(end)
		if err != nil {
			return nil, err
		}
		return p.namedRef(name, f), nil
	case 'g':
		return p.gRef(f)
	}
	if isDigit(c) && c != '0' {
		end := p.pos
		for end < len(p.src) && isDigit(p.src[end]) && end-p.pos < 5 {
			end++
		}
		num, _ := strconv.Atoi(p.src[p.pos:end])
		if num < 10 || num <= p.total {
			p.pos = end
			return &node{kind: kBackref, index: num, fold: f.i}, nil
		}
	}
	p.pos = start
	r, s, err := p.escapedChar(f, false)
	if err != nil {
		return nil, err
	}
	if s != nil {
		n.kind, n.set, n.fold = kSet, s, false
		return n, nil
	}
	n.c = r
	return n, nil
}

// newlineSequence is \R: atomic, CRLF or one vertical space.
func (p *parser) newlineSequence() *node {
	s := &set{}
	s.addBytes(isVSpace, false)
	s.ranges = append(s.ranges, wideMembers('v')...)
	crlf := &node{kind: kCat, subs: []*node{{kind: kChar, c: '\r'}, {kind: kChar, c: '\n'}}}
	return &node{kind: kAtomic, subs: []*node{{kind: kAlt, subs: []*node{crlf, {kind: kSet, set: s}}}}}
}

func (p *parser) gRef(f *flags) (*node, error) {
	p.pos++
	braced := p.skip("{")
	end := p.pos
	for end < len(p.src) && (isWord(p.src[end]) || end == p.pos && (p.src[end] == '-' || p.src[end] == '+')) {
		end++
	}
	text := p.src[p.pos:end]
	p.pos = end
	if braced && !p.skip("}") || text == "" {
		return nil, p.fail("bad \\g reference")
	}
	num, err := strconv.Atoi(text)
	if err != nil {
		if !braced {
			return nil, p.fail("bad \\g reference")
		}
		return p.namedRef(text, f), nil
	}
	if text[0] == '-' {
		num += p.groups + 1
	} else if text[0] == '+' {
		num += p.groups
	}
	if num <= 0 {
		return nil, p.fail("reference to group %d, which does not exist", num)
	}
	return &node{kind: kBackref, index: num, fold: f.i}, nil
}

// escapedChar reads an escape that is a character or a set, inside or outside a class.
func (p *parser) escapedChar(f *flags, inClass bool) (rune, *set, error) {
	p.pos++ // backslash
	if !p.more() {
		return 0, nil, p.fail("\\ at end of pattern")
	}
	c := p.peek()
	if in, negate, ok := escapeClass(c); ok {
		p.pos++
		s := &set{}
		s.addBytes(in, negate)
		if w := wideMembers(c); w != nil {
			s.ranges = append(s.ranges, w...)
		}
		if negate {
			if w := wideMembers(c | 0x20); w != nil {
				s.ranges = complement(w)
			}
		}
		return 0, s, nil
	}
	p.pos++
	switch c {
	case 'a':
		return 7, nil, nil
	case 'e':
		return 27, nil, nil
	case 'f':
		return 12, nil, nil
	case 'n':
		return 10, nil, nil
	case 'r':
		return 13, nil, nil
	case 't':
		return 9, nil, nil
	case 'b':
		if inClass {
			return 8, nil, nil
		}
	case 'c':
		if !p.more() || p.peek() < 32 || p.peek() > 126 {
			return 0, nil, p.fail("\\c lacks a printable character")
		}
		u := p.peek()
		if isLower(u) {
			u -= 32
		}
		p.pos++
		return rune(u ^ 0x40), nil, nil
	case 'x':
		return p.hex()
	case 'o':
		if !p.skip("{") {
			return 0, nil, p.fail("\\o lacks its {")
		}
		return p.number(8)
	case 'N':
		if !inClass && p.skip("{U+") {
			if !p.utf {
				return 0, nil, p.fail("\\N{U+…} needs (*UTF)")
			}
			return p.number(16)
		}
	case 'p', 'P':
		s, err := p.property(c == 'P')
		return 0, s, err
	}
	if isDigit(c) {
		if c >= '8' {
			return rune(c), nil, nil
		}
		end := p.pos
		for end < len(p.src) && end < p.pos+2 && '0' <= p.src[end] && p.src[end] <= '7' {
			end++
		}
		v, _ := strconv.ParseUint(p.src[p.pos-1:end], 8, 16)
		p.pos = end
		if v > 255 && !p.utf {
			return 0, nil, p.fail("octal value above \\377")
		}
		return rune(v), nil, nil
	}
	if isAlpha(c) {
		return 0, nil, p.fail("unrecognized character %q follows \\", c)
	}
	p.pos--
	return p.next(), nil, nil
}

func complement(w []runeRange) []runeRange {
	var out []runeRange
	lo := rune(256)
	for _, r := range w {
		out = append(out, runeRange{lo, r.lo - 1})
		lo = r.hi + 1
	}
	return append(out, runeRange{lo, unicode.MaxRune})
}

func (p *parser) hex() (rune, *set, error) {
	if p.skip("{") {
		return p.number(16)
	}
	end := p.pos
	for end < len(p.src) && end < p.pos+2 && isXDigit(p.src[end]) {
		end++
	}
	v, _ := strconv.ParseUint("0"+p.src[p.pos:end], 16, 16)
	p.pos = end
	return rune(v), nil, nil
}

// number reads digits up to a closing brace.
func (p *parser) number(base int) (rune, *set, error) {
	i := strings.IndexByte(p.src[p.pos:], '}')
	if i <= 0 {
		return 0, nil, p.fail("number lacks its }")
	}
	v, err := strconv.ParseUint(p.src[p.pos:p.pos+i], base, 32)
	if err != nil || v > unicode.MaxRune || p.utf && 0xd800 <= v && v < 0xe000 || !p.utf && v > 255 {
		return 0, nil, p.fail("character value out of range")
	}
	p.pos += i + 1
	return rune(v), nil, nil
}

func (p *parser) property(negate bool) (*set, error) {
	var name string
	if p.skip("{") {
		i := strings.IndexByte(p.src[p.pos:], '}')
		if i < 0 {
			return nil, p.fail("\\p lacks its }")
		}
		name = p.src[p.pos : p.pos+i]
		p.pos += i + 1
	} else if p.more() {
		name = p.src[p.pos : p.pos+1]
		p.pos++
	}
	if rest, ok := strings.CutPrefix(name, "^"); ok {
		name, negate = rest, !negate
	}
	s := &set{}
	if name == "Any" {
		s.addRange(0, unicode.MaxRune)
		if negate {
			s.invert()
		}
		return s, nil
	}
	t := unicode.Categories[name]
	if t == nil {
		t = unicode.Scripts[name]
	}
	if t == nil {
		return nil, p.fail("unknown property %q", name)
	}
	s.addTable(t, negate)
	return s, nil
}
