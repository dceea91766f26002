package pcre

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// SyntaxError describes a fault of a pattern, and its place.
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

// skipBlank skips the characters that (?x) ignores.
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

// skipNothing skips the characters allowed between an item, its quantifier and
// the quantifier's mode.
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
