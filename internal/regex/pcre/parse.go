package pcre

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of Compile.
const (
	// MaxPattern is the longest pattern, in bytes.
	MaxPattern = 20480
	nestingMax = 200
	repeatMax  = 65535
)

type kind uint8

const (
	kEmpty kind = iota
	kChar
	kSet
	kAny // any character but, without dotall, a newline
	kCat
	kAlt
	kRepeat
	kGroup // capture when index > 0
	kAtomic
	kLook
	kBackref
	kAssert
	kKeep
	kFail
)

type mode uint8

const (
	greedy mode = iota
	lazy
	possessive
)

type assertKind uint8

const (
	aStart     assertKind = iota // \A, ^
	aStartLine                   // ^ with (?m)
	aEnd                         // \z
	aEndNL                       // \Z, $
	aEndLine                     // $ with (?m)
	aWord                        // \b
	aNotWord                     // \B
)

type node struct {
	kind     kind
	c        rune
	set      *set
	fold     bool
	dotall   bool
	subs     []*node
	min, max int // max -1 is no bound
	mode     mode
	index    int // capture, backreference
	behind   bool
	negate   bool
	assert   assertKind
}

type flags struct {
	i, s, m, x, xx, u, n, j bool
}

type parser struct {
	src    string
	pos    int
	utf    bool
	groups int
	names  map[string]int
	total  int // capture groups of the whole pattern, for \10 and up
	depth  int
	looks  int // assertions around pos
	nodes  int
	refs   []*node // named backreferences to resolve
	refTo  []string
}

// SyntaxError says what is wrong with a pattern, and where.
type SyntaxError struct {
	Offset int
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at offset %d of the pattern", e.Msg, e.Offset)
}

func (p *parser) fail(format string, args ...any) error {
	return &SyntaxError{Offset: p.pos, Msg: fmt.Sprintf(format, args...)}
}

var errSize = errors.New("pattern longer than 20480 bytes")

func (p *parser) more() bool { return p.pos < len(p.src) }

func (p *parser) peek() byte { return p.src[p.pos] }

func (p *parser) has(s string) bool { return strings.HasPrefix(p.src[p.pos:], s) }

func (p *parser) skip(s string) bool {
	if p.has(s) {
		p.pos += len(s)
		return true
	}
	return false
}

// next reads one character of the pattern.
func (p *parser) next() rune {
	if p.utf {
		r, n := utf8.DecodeRuneInString(p.src[p.pos:])
		p.pos += n
		return r
	}
	p.pos++
	return rune(p.src[p.pos-1])
}

func (p *parser) parse() (*node, error) {
verbs:
	for p.has("(*") {
		end := strings.IndexByte(p.src[p.pos:], ')')
		if end < 0 {
			break
		}
		switch verb := p.src[p.pos+2 : p.pos+end]; verb {
		case "UTF", "UTF8":
			p.utf = true
		case "LF", "BSR_UNICODE", "NO_START_OPT", "NO_AUTO_POSSESS", "NO_JIT", "NO_DOTSTAR_ANCHOR":
		default:
			if strings.HasPrefix(verb, "LIMIT_") {
				break
			}
			break verbs
		}
		p.pos += end + 1
	}
	if p.utf && !utf8.ValidString(p.src) {
		return nil, p.fail("pattern is not valid UTF-8")
	}
	p.total = countGroups(p.src)
	f := flags{}
	n, err := p.alternatives(&f)
	if err != nil {
		return nil, err
	}
	if p.more() {
		return nil, p.fail("unmatched )")
	}
	for i, ref := range p.refs {
		g, ok := p.names[p.refTo[i]]
		if !ok {
			return nil, p.fail("reference to unknown group %q", p.refTo[i])
		}
		ref.index = g
	}
	return n, p.checkRefs(n)
}

func (p *parser) checkRefs(n *node) error {
	if n.kind == kBackref && n.index > p.groups {
		return p.fail("reference to group %d, which does not exist", n.index)
	}
	for _, s := range n.subs {
		if err := p.checkRefs(s); err != nil {
			return err
		}
	}
	return nil
}

// countGroups counts capture groups roughly, to tell \10 the reference from \10 the octal.
func countGroups(s string) int {
	n := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			rest := s[i+1:]
			switch {
			case strings.HasPrefix(rest, "?P<"), strings.HasPrefix(rest, "?'"):
				n++
			case strings.HasPrefix(rest, "?<") && !strings.HasPrefix(rest, "?<=") && !strings.HasPrefix(rest, "?<!"):
				n++
			case strings.HasPrefix(rest, "?"), strings.HasPrefix(rest, "*"):
			default:
				n++
			}
		}
	}
	return n
}

func (p *parser) node(k kind) (*node, error) {
	p.nodes++
	if p.nodes > 100_000 {
		return nil, p.fail("pattern too large")
	}
	return &node{kind: k}, nil
}

// alternatives reads up to a `)` or the end. Options set inside carry over from
// one alternative to the next and end with the group.
func (p *parser) alternatives(f *flags) (*node, error) {
	return p.branches(f, false)
}

func (p *parser) branches(f *flags, reset bool) (*node, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > nestingMax {
		return nil, p.fail("groups nested deeper than %d", nestingMax)
	}
	local := *f
	var alts []*node
	first, highest := p.groups, p.groups
	for {
		n, err := p.sequence(&local)
		if err != nil {
			return nil, err
		}
		alts = append(alts, n)
		highest = max(highest, p.groups)
		if !p.more() || p.peek() != '|' {
			break
		}
		p.pos++
		if reset {
			p.groups = first
		}
	}
	p.groups = highest
	if len(alts) == 1 {
		return alts[0], nil
	}
	return &node{kind: kAlt, subs: alts}, nil
}

func (p *parser) sequence(f *flags) (*node, error) {
	cat := &node{kind: kCat}
	for p.more() && p.peek() != '|' && p.peek() != ')' {
		if f.x && p.skipBlank() {
			continue
		}
		if p.skip(`\E`) {
			continue
		}
		if p.skip(`\Q`) {
			lit, _, closed := strings.Cut(p.src[p.pos:], `\E`)
			end := p.pos + len(lit)
			for p.pos < end {
				n, err := p.node(kChar)
				if err != nil {
					return nil, err
				}
				n.c, n.fold = p.next(), f.i
				cat.subs = append(cat.subs, n)
			}
			if closed {
				p.pos += 2
			}
			// A quantifier after \E applies to the last character.
			if len(lit) > 0 {
				last := len(cat.subs) - 1
				n, err := p.quantified(cat.subs[last], f)
				if err != nil {
					return nil, err
				}
				cat.subs[last] = n
			}
			continue
		}
		n, err := p.atom(f)
		if err != nil {
			return nil, err
		}
		if n == nil {
			continue
		}
		if n, err = p.quantified(n, f); err != nil {
			return nil, err
		}
		cat.subs = append(cat.subs, n)
	}
	if len(cat.subs) == 1 {
		return cat.subs[0], nil
	}
	return cat, nil
}

// skipBlank skips what (?x) ignores.
func (p *parser) skipBlank() bool {
	switch c := p.peek(); {
	case isSpace(c):
		p.pos++
		return true
	case c == '#':
		if i := strings.IndexByte(p.src[p.pos:], '\n'); i >= 0 {
			p.pos += i + 1
		} else {
			p.pos = len(p.src)
		}
		return true
	}
	return false
}

// quantifier reads {n}, {n,} or {n,m} at pos; ok is false when it is none.
func (p *parser) braces() (lo, hi int, ok bool, err error) {
	end := strings.IndexByte(p.src[p.pos:], '}')
	if end < 2 {
		return 0, 0, false, nil
	}
	from, to, comma := strings.Cut(p.src[p.pos+1:p.pos+end], ",")
	if !digits(from) || comma && to != "" && !digits(to) {
		return 0, 0, false, nil
	}
	lo, e1 := strconv.Atoi(from)
	hi = lo
	var e2 error
	if comma {
		hi = -1
		if to != "" {
			hi, e2 = strconv.Atoi(to)
		}
	}
	if e1 != nil || e2 != nil || lo > repeatMax || hi > repeatMax {
		return 0, 0, false, p.fail("number too big in {} quantifier")
	}
	if hi >= 0 && lo > hi {
		return 0, 0, false, p.fail("numbers out of order in {} quantifier")
	}
	p.pos += end + 1
	return lo, hi, true, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// skipNothing skips what may stand between an item, its quantifier and the
// quantifier's mode.
func (p *parser) skipNothing(f *flags) {
	for p.more() {
		if i := strings.IndexByte(p.src[p.pos:], ')'); i > 0 && p.has("(?#") {
			p.pos += i + 1
		} else if !p.skip(`\E`) && (!f.x || !p.skipBlank()) {
			return
		}
	}
}

// quantified reads the quantifier that may follow n. A second one is no
// repeatable item's and fails as the next atom.
func (p *parser) quantified(n *node, f *flags) (*node, error) {
	p.skipNothing(f)
	if !p.more() {
		return n, nil
	}
	var lo, hi int
	switch p.peek() {
	case '*':
		lo, hi = 0, -1
		p.pos++
	case '+':
		lo, hi = 1, -1
		p.pos++
	case '?':
		lo, hi = 0, 1
		p.pos++
	case '{':
		l, h, ok, err := p.braces()
		if err != nil {
			return nil, err
		}
		if !ok {
			return n, nil
		}
		lo, hi = l, h
	default:
		return n, nil
	}
	p.skipNothing(f)
	m := greedy
	if f.u {
		m = lazy
	}
	switch {
	case p.skip("?"):
		if f.u {
			m = greedy
		} else {
			m = lazy
		}
	case p.skip("+"):
		m = possessive
	}
	switch {
	case n.kind == kAssert || n.kind == kKeep:
		return nil, p.fail("quantifier does not follow a repeatable item")
	case n.kind == kLook && hi != 0:
		// A repeated assertion needs to hold at most once.
		lo, hi = min(lo, 1), 1
	}
	r, err := p.node(kRepeat)
	if err != nil {
		return nil, err
	}
	r.subs, r.min, r.max, r.mode = []*node{n}, lo, hi, m
	return r, nil
}

// atom reads one item; nil is an item that matches nothing by itself, such as an option.
func (p *parser) atom(f *flags) (*node, error) {
	n, err := p.node(kChar)
	if err != nil {
		return nil, err
	}
	switch p.peek() {
	case '(':
		return p.group(f)
	case '[':
		return p.class(f)
	case '\\':
		return p.escape(f)
	case '.':
		p.pos++
		n.kind, n.dotall = kAny, f.s
		return n, nil
	case '^':
		p.pos++
		n.kind, n.assert = kAssert, aStart
		if f.m {
			n.assert = aStartLine
		}
		return n, nil
	case '$':
		p.pos++
		n.kind, n.assert = kAssert, aEndNL
		if f.m {
			n.assert = aEndLine
		}
		return n, nil
	case '*', '+', '?':
		return nil, p.fail("quantifier does not follow a repeatable item")
	case '{':
		save := p.pos
		if _, _, ok, err := p.braces(); err != nil || ok {
			p.pos = save
			return nil, p.fail("quantifier does not follow a repeatable item")
		}
	}
	n.c, n.fold = p.next(), f.i
	return n, nil
}

func (p *parser) name(end byte) (string, error) {
	i := strings.IndexByte(p.src[p.pos:], end)
	if i < 0 {
		return "", p.fail("group name lacks its %q", end)
	}
	name := p.src[p.pos : p.pos+i]
	for j := range len(name) {
		if !isWord(name[j]) || j == 0 && isDigit(name[j]) {
			return "", p.fail("bad group name %q", name)
		}
	}
	if name == "" || len(name) > 128 {
		return "", p.fail("bad group name %q", name)
	}
	p.pos += i + 1
	return name, nil
}

func (p *parser) group(f *flags) (*node, error) {
	p.pos++ // (
	if p.has("*") {
		if p.skip("*FAIL)") || p.skip("*F)") {
			return &node{kind: kFail}, nil
		}
		return nil, p.fail("verb not supported")
	}
	if !p.skip("?") {
		if f.n {
			return p.close(f, &node{kind: kGroup}, false)
		}
		p.groups++
		return p.close(f, &node{kind: kGroup, index: p.groups}, false)
	}
	switch {
	case p.skip("#"):
		i := strings.IndexByte(p.src[p.pos:], ')')
		if i < 0 {
			return nil, p.fail("comment lacks its )")
		}
		p.pos += i + 1
		return nil, nil
	case p.skip(":"):
		return p.close(f, &node{kind: kGroup}, false)
	case p.skip("|"):
		return p.close(f, &node{kind: kGroup}, true)
	case p.skip(">"):
		return p.close(f, &node{kind: kAtomic}, false)
	case p.skip("="):
		return p.close(f, &node{kind: kLook}, false)
	case p.skip("!"):
		return p.close(f, &node{kind: kLook, negate: true}, false)
	case p.skip("<="):
		return p.close(f, &node{kind: kLook, behind: true}, false)
	case p.skip("<!"):
		return p.close(f, &node{kind: kLook, behind: true, negate: true}, false)
	case p.skip("P="):
		name, err := p.name(')')
		if err != nil {
			return nil, err
		}
		return p.namedRef(name, f), nil
	case p.has("P<"), p.has("<"), p.has("'"):
		p.skip("P")
		end := byte('>')
		if p.peek() == '\'' {
			end = '\''
		}
		p.pos++
		name, err := p.name(end)
		if err != nil {
			return nil, err
		}
		p.groups++
		if old, ok := p.names[name]; ok && old != p.groups && !f.j {
			return nil, p.fail("two groups named %q", name)
		}
		p.names[name] = p.groups
		return p.close(f, &node{kind: kGroup, index: p.groups}, false)
	}
	return p.options(f)
}

func (p *parser) close(f *flags, g *node, reset bool) (*node, error) {
	if g.kind == kLook {
		p.looks++
		defer func() { p.looks-- }()
	}
	n, err := p.branches(f, reset)
	if err != nil {
		return nil, err
	}
	if !p.skip(")") {
		return nil, p.fail("missing )")
	}
	g.subs = []*node{n}
	return g, nil
}

// options reads (?i-s) and (?i-s:…).
func (p *parser) options(f *flags) (*node, error) {
	local, on := *f, true
	if p.skip("^") {
		local.i, local.m, local.s, local.x, local.xx, local.n = false, false, false, false, false, false
	}
	for p.more() {
		c := p.peek()
		p.pos++
		switch c {
		case 'i':
			local.i = on
		case 's':
			local.s = on
		case 'm':
			local.m = on
		case 'x':
			local.x = on
			local.xx = on && p.skip("x")
		case 'U':
			local.u = on
		case 'J':
			local.j = on
		case 'n':
			local.n = on
		case '-':
			on = false
		case ')':
			*f = local
			return nil, nil
		case ':':
			return p.close(&local, &node{kind: kGroup}, false)
		default:
			p.pos--
			return nil, p.fail("unknown or unsupported group (?%c", c)
		}
	}
	return nil, p.fail("missing )")
}

func (p *parser) namedRef(name string, f *flags) *node {
	n := &node{kind: kBackref, fold: f.i}
	p.refs, p.refTo = append(p.refs, n), append(p.refTo, name)
	return n
}

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

// class reads a bracketed class.
func (p *parser) class(f *flags) (*node, error) {
	if _, end := p.posixName(); end > 0 {
		return nil, p.fail("POSIX class outside a class")
	}
	p.pos++ // [
	s := &set{}
	negate := p.skip("^")
	first, quoted := true, false
	// prev is a character that a following `-` can make a range of.
	prev, havePrev := rune(0), false
	afterSet := false // what went before is a class, which can begin no range
	for {
		if !p.more() {
			return nil, p.fail("missing ] of a class")
		}
		if quoted {
			if p.skip(`\E`) {
				quoted = false
				continue
			}
		} else {
			if p.skip(`\E`) {
				continue
			}
			if p.skip(`\Q`) {
				quoted = true
				continue
			}
			if p.peek() == ']' && !first {
				p.pos++
				break
			}
			if f.xx && isBlank(p.peek()) {
				p.pos++
				continue
			}
			{
				ok, err := p.posix(s)
				if err != nil {
					return nil, err
				}
				if ok {
					first, havePrev, afterSet = false, false, true
					continue
				}
			}
			if p.peek() == '-' && afterSet && p.pos+1 < len(p.src) && p.src[p.pos+1] != ']' {
				return nil, p.fail("invalid range in class")
			}
			afterSet = false
			if p.peek() == '-' && havePrev && p.pos+1 < len(p.src) && p.src[p.pos+1] != ']' {
				p.pos++
				if _, end := p.posixName(); end > 0 {
					return nil, p.fail("invalid range in class")
				}
				hi, sub, err := p.classChar(f)
				if err != nil {
					return nil, err
				}
				if sub != nil {
					return nil, p.fail("invalid range in class")
				}
				if hi < prev {
					return nil, p.fail("range out of order in class")
				}
				s.addRange(prev, hi)
				havePrev = false
				continue
			}
		}
		first = false
		var c rune
		var sub *set
		var err error
		if quoted {
			c = p.next()
		} else if c, sub, err = p.classChar(f); err != nil {
			return nil, err
		}
		if sub != nil {
			s.union(sub)
			havePrev, afterSet = false, true
			continue
		}
		s.add(c)
		prev, havePrev = c, true
	}
	if f.i {
		s.fold(p.utf)
	}
	if negate {
		s.invert()
	}
	return &node{kind: kSet, set: s}, nil
}

func (p *parser) classChar(f *flags) (rune, *set, error) {
	if p.peek() == '\\' {
		return p.escapedChar(f, true)
	}
	return p.next(), nil, nil
}

// posixName finds `[:name:]` and its like at pos; end is how long it is, 0 for none.
func (p *parser) posixName() (name string, end int) {
	if !p.has("[:") && !p.has("[.") && !p.has("[=") {
		return "", 0
	}
	term := p.src[p.pos+1]
	for i := p.pos + 2; i+1 < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == '\\' && (p.src[i+1] == ']' || p.src[i+1] == '\\'):
			i++
		case c == term && p.src[i+1] == ']':
			return p.src[p.pos+2 : i], i + 2 - p.pos
		case c == ']', c == '[' && p.src[i+1] == term:
			return "", 0
		}
	}
	return "", 0
}

func (p *parser) posix(s *set) (bool, error) {
	name, end := p.posixName()
	if end == 0 {
		return false, nil
	}
	if p.src[p.pos+1] != ':' {
		return false, p.fail("collating elements are not supported")
	}
	name, negate := strings.CutPrefix(name, "^")
	in := posixClasses[name]
	if in == nil {
		return false, p.fail("unknown POSIX class %q", name)
	}
	s.addBytes(in, negate)
	p.pos += end
	return true, nil
}

// union adds the members of t.
func (s *set) union(t *set) {
	for i := range s.bits {
		s.bits[i] |= t.bits[i]
	}
	s.ranges = append(s.ranges, t.ranges...)
	s.tables = append(s.tables, t.tables...)
}
