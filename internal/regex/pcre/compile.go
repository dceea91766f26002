package pcre

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"vedette/internal/regex/around"
)

// programMax bounds the instructions of a pattern, so that nested {n,m} cannot
// make a huge program of a small text.
const programMax = 200_000

type opcode uint8

const (
	opMatch opcode = iota
	opFail
	opString   // str
	opFold     // str in lower case, subject folded (ASCII)
	opRuneFold // one character without case, UTF mode
	opSet
	opAny
	opAnyNoNL
	opSplit // try x, then y
	opJump  // to x
	opOpen  // note where group x begins
	opClose // group x ends: it has a value now
	opAssert
	opBackref
	opRepeat // one-character item at pc+1, then go on at pc+2
	opLook   // sub-program at pc+1 up to opSubEnd, then x
	opAtomic
	opSubEnd
	opLoopStart // register x := position
	opLoopCheck // position = register x: leave the loop, to y
	opBack      // x characters back
	opKeep
)

type inst struct {
	op       opcode
	mode     mode
	negate   bool
	fold     bool
	assert   assertKind
	x, y     int
	min, max int
	str      string
	c        rune
	set      *set
	// nextByte is the byte that must follow an opRepeat, if hasNext.
	nextByte byte
	hasNext  bool
	// sure says that an opRepeat never gives back bytes it took, since the node
	// after it matches none of them.
	sure bool
	// until is the only byte that an opSet does not have, if hasUntil.
	until    byte
	hasUntil bool
}

// Regex is a compiled pattern, safe for concurrent use.
type Regex struct {
	prog     []inst
	groups   int
	regs     int
	utf      bool
	anchored bool
	// need: every match holds at least one of these; compared without case.
	need []string
	// runs are texts that every match holds, in order; compared without case.
	runs []around.Text
	// musts are sets of texts; every match holds one of each. Compared without case.
	musts [][]string
	// prefix is the text that every match begins with, if that is known; with
	// foldPrefix in lower case.
	prefix     string
	foldPrefix bool
	// first are the bytes a match can begin with, if hasFirst.
	first    [256]bool
	hasFirst bool
	// second are the bytes that can follow the first one, if hasSecond.
	second    [256]bool
	hasSecond bool
	// short says that an attempt, of which there is but one, takes no longer than
	// looking for texts.
	short bool
	// plain is the comparison that Match uses, if not nil.
	plain plain
}

// Groups is the number of capture groups.
func (r *Regex) Groups() int { return r.groups }

type compiler struct {
	prog []inst
	regs int
	utf  bool
	err  error
}

// Compile compiles a pattern. Its error is a *SyntaxError or names the exceeded
// bound.
func Compile(text string) (*Regex, error) {
	if len(text) > MaxPattern {
		return nil, errSize
	}
	p := &parser{src: text, names: map[string]int{}}
	n, err := p.parse()
	if err != nil {
		return nil, err
	}
	c := &compiler{utf: p.utf}
	c.emitNode(n)
	c.emit(inst{op: opMatch})
	if c.err != nil {
		return nil, c.err
	}
	r := &Regex{prog: c.prog, groups: p.groups, regs: c.regs, utf: p.utf}
	r.anchored = anchored(n)
	r.need, _ = need(n)
	if !p.utf {
		r.runs = runs(n)
		if len(r.runs) == 1 && r.runs[0].Free() && len(r.need) > 0 {
			r.runs = nil // as need says
		}
		r.musts = musts(n)
		if len(r.musts) == 1 && slices.Equal(r.musts[0], r.need) {
			r.musts = nil
		}
		if text, fold, _ := prefix(n); len(text) > 1 {
			r.prefix, r.foldPrefix = text, fold == withoutCase
		}
	}
	if empty := firstBytes(n, p.utf, &r.first); !empty {
		r.hasFirst = true
		r.hasSecond = !p.utf && secondBytes(n, &r.second)
	}
	if !p.utf {
		if t, ok := plainTexts(n); ok {
			r.plain = t
		}
	}
	c.link(r.prog)
	r.short = r.anchored && !r.utf && !slices.ContainsFunc(r.prog, func(in inst) bool {
		return in.op == opRepeat && !in.sure || in.op == opLoopStart
	})
	return r, nil
}

func (c *compiler) emit(i inst) int {
	if len(c.prog) >= programMax {
		if c.err == nil {
			c.err = &SyntaxError{Msg: "pattern too large when expanded"}
		}
		return len(c.prog) - 1
	}
	c.prog = append(c.prog, i)
	return len(c.prog) - 1
}

// single reports whether n matches exactly one character.
func single(n *node) bool {
	return n.kind == kChar || n.kind == kSet || n.kind == kAny
}

func (c *compiler) emitNode(n *node) {
	if c.err != nil {
		return
	}
	switch n.kind {
	case kEmpty:
	case kFail:
		c.emit(inst{op: opFail})
	case kChar:
		c.emitChar(n)
	case kSet:
		c.emit(inst{op: opSet, set: n.set})
	case kAny:
		op := opAnyNoNL
		if n.dotall {
			op = opAny
		}
		c.emit(inst{op: op})
	case kCat:
		c.emitCat(n.subs)
	case kAlt:
		var jumps []int
		for i, s := range n.subs {
			if i == len(n.subs)-1 {
				c.emitNode(s)
				break
			}
			split := c.emit(inst{op: opSplit})
			c.prog[split].x = split + 1
			c.emitNode(s)
			jumps = append(jumps, c.emit(inst{op: opJump}))
			c.prog[split].y = len(c.prog)
		}
		for _, j := range jumps {
			c.prog[j].x = len(c.prog)
		}
	case kGroup:
		if n.index > 0 {
			c.emit(inst{op: opOpen, x: n.index})
		}
		c.emitNode(n.subs[0])
		if n.index > 0 {
			c.emit(inst{op: opClose, x: n.index})
		}
	case kAtomic:
		at := c.emit(inst{op: opAtomic})
		c.emitNode(n.subs[0])
		c.emit(inst{op: opSubEnd})
		c.prog[at].x = len(c.prog)
	case kLook:
		c.emitLook(n)
	case kBackref:
		c.emit(inst{op: opBackref, x: n.index, fold: n.fold})
	case kAssert:
		c.emit(inst{op: opAssert, assert: n.assert})
	case kKeep:
		c.emit(inst{op: opKeep})
	case kRepeat:
		c.emitRepeat(n)
	}
}

// emitCat joins neighbouring characters into strings.
func (c *compiler) emitCat(subs []*node) {
	for i := 0; i < len(subs); {
		s := subs[i]
		if s.kind != kChar || s.fold && s.c >= 128 {
			c.emitNode(s)
			i++
			continue
		}
		var b []byte
		fold := s.fold
		for i < len(subs) && subs[i].kind == kChar && subs[i].fold == fold && (!fold || subs[i].c < 128) {
			b = c.encode(b, subs[i].c)
			i++
		}
		c.emitString(string(b), fold)
	}
}

func (c *compiler) encode(b []byte, r rune) []byte {
	if c.utf {
		return utf8.AppendRune(b, r)
	}
	return append(b, byte(r))
}

func (c *compiler) emitString(s string, fold bool) {
	if fold {
		if l := lower(s); strings.ContainsFunc(l, func(r rune) bool { return 'a' <= r && r <= 'z' }) {
			c.emit(inst{op: opFold, str: l})
			return
		}
	}
	c.emit(inst{op: opString, str: s})
}

func (c *compiler) emitChar(n *node) {
	if n.fold && n.c >= 128 && c.utf {
		c.emit(inst{op: opRuneFold, c: n.c})
		return
	}
	c.emitString(string(c.encode(nil, n.c)), n.fold)
}

func (c *compiler) emitLook(n *node) {
	at := c.emit(inst{op: opLook, negate: n.negate})
	body := n.subs[0]
	if !n.behind {
		c.emitNode(body)
	} else {
		alts := []*node{body}
		if body.kind == kAlt {
			alts = body.subs
		}
		var jumps []int
		for i, a := range alts {
			w, ok := width(a)
			if !ok {
				c.err = &SyntaxError{Msg: "look-behind is not of fixed length"}
				return
			}
			split := -1
			if i < len(alts)-1 {
				split = c.emit(inst{op: opSplit})
				c.prog[split].x = split + 1
			}
			c.emit(inst{op: opBack, x: w})
			c.emitNode(a)
			if split >= 0 {
				jumps = append(jumps, c.emit(inst{op: opJump}))
				c.prog[split].y = len(c.prog)
			}
		}
		for _, j := range jumps {
			c.prog[j].x = len(c.prog)
		}
	}
	c.emit(inst{op: opSubEnd})
	c.prog[at].x = len(c.prog)
}

// width is the number of characters n matches, if that is fixed.
func width(n *node) (int, bool) {
	switch n.kind {
	case kChar, kSet, kAny:
		return 1, true
	case kEmpty, kAssert, kLook, kKeep, kFail:
		return 0, true
	case kCat:
		sum := 0
		for _, s := range n.subs {
			w, ok := width(s)
			if !ok || sum+w > 65535 {
				return 0, false
			}
			sum += w
		}
		return sum, true
	case kAlt:
		first, ok := width(n.subs[0])
		if !ok {
			return 0, false
		}
		for _, s := range n.subs[1:] {
			if w, ok := width(s); !ok || w != first {
				return 0, false
			}
		}
		return first, true
	case kGroup, kAtomic:
		return width(n.subs[0])
	case kRepeat:
		w, ok := width(n.subs[0])
		if !ok || n.min != n.max || w*n.min > 65535 {
			return 0, false
		}
		return w * n.min, true
	}
	return 0, false
}

func (c *compiler) emitRepeat(n *node) {
	sub := n.subs[0]
	if n.max == 0 {
		return
	}
	if single(sub) {
		c.emit(inst{op: opRepeat, min: n.min, max: n.max, mode: n.mode})
		c.emitNode(sub)
		return
	}
	if n.mode == possessive {
		at := c.emit(inst{op: opAtomic})
		g := *n
		g.mode = greedy
		c.emitRepeat(&g)
		c.emit(inst{op: opSubEnd})
		c.prog[at].x = len(c.prog)
		return
	}
	for range n.min {
		c.emitNode(sub)
		if c.err != nil {
			return
		}
	}
	split := func() int {
		return c.emit(inst{op: opSplit})
	}
	// aim sets where a split enters the item and where it leaves.
	aim := func(at, in, out int) {
		if n.mode == lazy {
			c.prog[at].x, c.prog[at].y = out, in
		} else {
			c.prog[at].x, c.prog[at].y = in, out
		}
	}
	if n.max < 0 {
		reg := c.regs
		c.regs++
		at := split()
		c.emit(inst{op: opLoopStart, x: reg})
		c.emitNode(sub)
		check := c.emit(inst{op: opLoopCheck, x: reg})
		c.emit(inst{op: opJump, x: at})
		c.prog[check].y = len(c.prog)
		aim(at, at+1, len(c.prog))
		return
	}
	var splits []int
	for range n.max - n.min {
		splits = append(splits, split())
		c.emitNode(sub)
		if c.err != nil {
			return
		}
	}
	for _, at := range splits {
		aim(at, at+1, len(c.prog))
	}
}

// link notes the byte that must follow each repeat, to skip hopeless retreats.
func (c *compiler) link(prog []inst) {
	for i := range prog {
		if prog[i].op != opRepeat {
			continue
		}
		j := i + 2
		for j < len(prog) && (prog[j].op == opOpen || prog[j].op == opClose || prog[j].op == opJump) {
			if prog[j].op == opJump {
				if prog[j].x <= j {
					break
				}
				j = prog[j].x
				continue
			}
			j++
		}
		if j == len(prog) {
			continue
		}
		next := &prog[j]
		if next.op == opString && next.str != "" {
			prog[i].nextByte, prog[i].hasNext = next.str[0], true
		}
		if next.op == opMatch {
			prog[i].sure = true
			continue
		}
		if c.utf || prog[i+1].op != opSet {
			continue
		}
		own := prog[i+1].set
		prog[i+1].until, prog[i+1].hasUntil = own.allBut()
		switch {
		case next.op == opString && next.str != "":
			prog[i].sure = !own.hasByte(next.str[0])
		case next.op == opFold && next.str != "":
			b := next.str[0]
			prog[i].sure = !own.hasByte(b) && !(isLower(b) && own.hasByte(b-'a'+'A'))
		case next.op == opSet:
			prog[i].sure = own.apart(next.set)
		}
	}
}

// anchored reports whether every match begins at the subject's start.
func anchored(n *node) bool {
	switch n.kind {
	case kAssert:
		return n.assert == aStart
	case kCat:
		for _, s := range n.subs {
			if s.kind == kEmpty {
				continue
			}
			return anchored(s)
		}
	case kAlt:
		for _, s := range n.subs {
			if !anchored(s) {
				return false
			}
		}
		return true
	case kGroup, kAtomic:
		return anchored(n.subs[0])
	}
	return false
}

// needMax bounds the alternatives of a required literal.
const needMax = 16

// need finds literals (lower case) of which every match holds at least one; nil
// when there is none worth testing. exact says that the node matches nothing but
// the literals themselves.
func need(n *node) (lits []string, exact bool) {
	switch n.kind {
	case kChar:
		if n.c < 128 {
			return []string{lower(string(n.c))}, true
		}
	case kGroup, kAtomic:
		return need(n.subs[0])
	case kRepeat:
		if n.min > 0 {
			l, exact := need(n.subs[0])
			return l, exact && n.min == 1 && n.max == 1
		}
	case kAlt:
		exact = true
		for _, s := range n.subs {
			l, e := need(s)
			if l == nil || len(lits)+len(l) > needMax {
				return nil, false
			}
			exact = exact && e
			lits = append(lits, l...)
		}
		return lits, exact
	case kCat:
		var best []string
		run := []string{""}
		flush := func() {
			if score(run) > score(best) {
				best = run
			}
			run = []string{""}
		}
		all := true
		for _, s := range n.subs {
			if s.kind == kEmpty || s.kind == kAssert || s.kind == kKeep {
				all = false
				continue
			}
			l, e := need(s)
			if e && len(l)*len(run) <= needMax {
				joined := make([]string, 0, len(l)*len(run))
				for _, a := range run {
					for _, b := range l {
						joined = append(joined, a+b)
					}
				}
				run = joined
				continue
			}
			all = false
			flush()
			if score(l) > score(best) {
				best = l
			}
		}
		if all && len(n.subs) > 0 {
			return run, true
		}
		flush()
		if score(best) == 0 {
			return nil, false
		}
		return best, false
	}
	return nil, false
}

// runs are texts (lower case) that every match holds, one after the other, with
// the bytes around them.
func runs(n *node) []around.Text {
	type stretch struct {
		text        string
		left, right around.Bytes
	}
	var out []stretch
	// before is the last matched byte, where that is known; run the run that is
	// not at its end yet.
	before, run := around.Any, stretch{}
	end := func(after around.Bytes) {
		if run.text != "" {
			run.right = after
			out = append(out, run)
		}
		run = stretch{}
	}
	gap := func() {
		end(around.Any)
		before = around.Any
	}
	var walk func(n *node)
	walk = func(n *node) {
		switch n.kind {
		case kChar, kSet, kAny:
			own := n.bytes()
			if n.kind == kChar && n.c < 128 {
				if run.text == "" {
					run.left = before
				}
				run.text += lower(string(n.c))
			} else {
				end(own)
			}
			before = own
		case kEmpty, kAssert, kKeep:
		case kCat:
			for _, s := range n.subs {
				walk(s)
			}
		case kGroup, kAtomic:
			walk(n.subs[0])
		case kRepeat:
			sub := n.subs[0]
			switch {
			case n.min > 0 && single(sub):
				own := sub.bytes()
				end(own)
				if sub.kind == kChar && sub.c < 128 {
					run = stretch{text: lower(string(sub.c)), left: before}
					end(around.Any)
				}
				before = own
			case n.min > 0:
				gap()
				walk(sub)
				gap()
			default:
				gap()
			}
		default:
			gap()
		}
	}
	walk(n)
	end(around.Any)
	texts := make([]around.Text, 0, len(out))
	for _, r := range out {
		// A common byte is in every subject.
		t := around.New(r.text, r.left, r.right, false)
		if len(r.text) > 1 || t.Rare() || !isAlnum(r.text[0]) && strings.IndexByte(" :.-=/,\"", r.text[0]) < 0 {
			texts = append(texts, t)
		}
	}
	return texts
}

// musts are sets of texts (lower case): each match holds one of each.
func musts(n *node) (sets [][]string) {
	switch n.kind {
	case kGroup, kAtomic:
		return musts(n.subs[0])
	case kRepeat:
		if n.min > 0 {
			return musts(n.subs[0])
		}
	case kCat:
		for _, s := range n.subs {
			sets = append(sets, musts(s)...)
		}
	case kAlt:
		if l, _ := need(n); score(l) > 2 {
			sets = append(sets, l)
		}
	}
	return sets
}

// prefix is the text that every match begins with, in lower case if it compares
// without case; whole says that n matches nothing but that.
func prefix(n *node) (text string, fold folding, whole bool) {
	switch n.kind {
	case kEmpty:
		return "", noLetters, true
	case kChar:
		switch {
		case n.c >= 128:
			return "", noLetters, false
		case !isAlpha(byte(n.c)):
			return string(n.c), noLetters, true
		case n.fold:
			return lower(string(n.c)), withoutCase, true
		}
		return string(n.c), withCase, true
	case kGroup:
		return prefix(n.subs[0])
	case kCat:
		for _, s := range n.subs {
			t, f, whole := prefix(s)
			if f != noLetters && fold != noLetters && f != fold {
				return text, fold, false
			}
			text, fold = text+t, max(fold, f)
			if !whole {
				return text, fold, false
			}
		}
		return text, fold, true
	}
	return "", noLetters, false
}

// bytes are the bytes that a node of one character matches in a subject in lower
// case.
func (n *node) bytes() (b around.Bytes) {
	var first [256]bool
	firstBytes(n, false, &first)
	for c := range first {
		if first[c] {
			if isUpper(byte(c)) {
				c += 'a' - 'A'
			}
			b.Add(byte(c))
		}
	}
	return b
}

// score is the length of the shortest literal.
func score(l []string) int {
	if len(l) == 0 {
		return 0
	}
	m := len(l[0])
	for _, s := range l {
		m = min(m, len(s))
	}
	return m
}

// firstBytes adds the bytes n can begin with; empty says that it may match nothing.
func firstBytes(n *node, utf bool, f *[256]bool) (empty bool) {
	above := func() {
		for i := 128; i < 256; i++ {
			f[i] = true
		}
	}
	switch n.kind {
	case kChar:
		switch {
		case n.c < 128:
			f[n.c] = true
			if n.fold && isAlpha(byte(n.c)) {
				f[n.c^0x20] = true
			}
		case utf:
			above()
		default:
			f[n.c] = true
		}
		// U+017F and U+212A fold to ASCII letters.
		if utf && n.fold {
			above()
		}
		return false
	case kSet:
		for i := range 256 {
			if n.set.hasByte(byte(i)) && (i < 128 || !utf) {
				f[i] = true
			}
		}
		if utf {
			above()
		}
		return false
	case kAny, kBackref:
		for i := range f {
			f[i] = true
		}
		return n.kind == kBackref
	case kCat:
		for _, s := range n.subs {
			if !firstBytes(s, utf, f) {
				return false
			}
		}
		return true
	case kAlt:
		for _, s := range n.subs {
			if firstBytes(s, utf, f) {
				empty = true
			}
		}
		return empty
	case kGroup, kAtomic:
		return firstBytes(n.subs[0], utf, f)
	case kRepeat:
		if n.max == 0 {
			return true
		}
		return firstBytes(n.subs[0], utf, f) || n.min == 0
	case kFail:
		return false
	}
	return true
}

// secondBytes adds the bytes that follow the first byte of a match; ok is false
// if there may be none, or nothing is known.
func secondBytes(n *node, f *[256]bool) (ok bool) {
	for n.kind == kGroup {
		n = n.subs[0]
	}
	if n.kind != kCat || len(n.subs) < 2 {
		return false
	}
	first := n.subs[0]
	for first.kind == kGroup {
		first = first.subs[0]
	}
	return single(first) && !firstBytes(&node{kind: kCat, subs: n.subs[1:]}, false, f)
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if isUpper(c) {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func equalFold(a, b rune) bool {
	if a == b {
		return true
	}
	for f := unicode.SimpleFold(a); f != a; f = unicode.SimpleFold(f) {
		if f == b {
			return true
		}
	}
	return false
}
