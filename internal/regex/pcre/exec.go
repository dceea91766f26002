package pcre

import (
	"strings"
	"unicode/utf8"

	"vedette/internal/regex/around"
)

// DefaultSteps is the budget of one match when the Machine sets none.
const DefaultSteps = 500_000

// stackMax bounds the positions a match can return to.
const stackMax = 1 << 18

// Machine holds the scratch space of matches. It is not safe for concurrent
// use; one per goroutine is enough for all patterns. The zero value is ready.
type Machine struct {
	// Steps is the budget of one match; 0 means DefaultSteps.
	Steps int
	// Exceeded counts matches that ran out of steps and were taken as none.
	Exceeded uint64

	prog  []inst
	sub   string
	utf   bool
	steps int
	out   bool
	stack []frame
	caps  []int
	regs  []int
	keep  int
	// inner counts the assertions and atomic groups around the position. stale says
	// that an attempt left captures behind.
	inner int
	stale bool
}

type frameKind uint8

const (
	fJump    frameKind = iota // go on at pc, pos
	fCap                      // restore capture slot pc to pos
	fReg                      // restore register pc to pos
	fKeep                     // restore keep to pos
	fGreedy                   // give one character back: pos down to aux
	fLazy                     // take one more: aux are left, -1 without bound
	fBarrier                  // bottom of a sub-match
)

type frame struct {
	kind frameKind
	pc   int
	pos  int
	aux  int
}

// Match reports whether r matches s; low is s with its ASCII letters in lower case.
func (m *Machine) Match(r *Regex, s, low string) bool {
	if r.plain != nil {
		return r.plain.match(s, low)
	}
	_, ok := m.find(r, s, low)
	return ok
}

// Find matches s; low is s with its ASCII letters in lower case. It returns
// where the match ends and appends start and end of each group, up to the last
// that took part; a group that did not is an empty one.
func (m *Machine) Find(r *Regex, s, low string, groups []int) (end int, _ []int, ok bool) {
	end, ok = m.find(r, s, low)
	if !ok {
		return 0, groups, false
	}
	last := 0
	for g := 1; g <= r.groups; g++ {
		if m.caps[2*g+1] >= 0 && m.caps[2*g] >= 0 {
			last = g
		}
	}
	for g := 1; g <= last; g++ {
		from, to := m.caps[2*g], m.caps[2*g+1]
		if from < 0 || to < from {
			from, to = 0, 0
		}
		groups = append(groups, from, to)
	}
	return end, groups, true
}

func (m *Machine) find(r *Regex, s, low string) (int, bool) {
	if !r.short && !r.utf && !r.possible(low) {
		return 0, false
	}
	if r.utf && !utf8.ValidString(s) {
		return 0, false
	}
	m.prog, m.sub, m.utf, m.out = r.prog, s, r.utf, false
	m.steps = m.Steps
	if m.steps == 0 {
		m.steps = DefaultSteps
	}
	// Two slots per group, then one for where an open group began.
	if n := 3 * (r.groups + 1); cap(m.caps) < n {
		m.caps = make([]int, n)
	} else {
		m.caps = m.caps[:n]
	}
	if cap(m.regs) < r.regs {
		m.regs = make([]int, r.regs)
	} else {
		m.regs = m.regs[:r.regs]
	}
	for i := range m.regs {
		m.regs[i] = -1
	}
	// An attempt that fails leaves registers as it found them, and captures unless
	// it says so.
	m.stale, m.inner = true, 0
	for start := 0; start <= len(s); start++ {
		switch {
		case r.prefix != "":
			sub := s
			if r.foldPrefix {
				sub = low
			}
			i := strings.Index(sub[start:], r.prefix)
			if i < 0 || r.anchored && start+i > 0 {
				return 0, false
			}
			start += i
		case r.hasFirst:
			for start < len(s) && !(r.first[s[start]] && (!r.hasSecond || start+1 < len(s) && r.second[s[start+1]])) {
				start++
			}
			if start == len(s) {
				return 0, false
			}
			if r.anchored && start > 0 {
				return 0, false
			}
		}
		if r.utf && start > 0 && start < len(s) && !utf8.RuneStart(s[start]) {
			continue
		}
		if m.stale {
			for i := range m.caps {
				m.caps[i] = -1
			}
			m.stale = false
		}
		m.keep = start
		m.stack = m.stack[:0]
		if end, ok := m.run(0, start); ok {
			return end, true
		}
		if m.out {
			m.Exceeded++
			return 0, false
		}
		if r.anchored {
			return 0, false
		}
	}
	return 0, false
}

// possible tests the common properties of all matches.
func (r *Regex) possible(low string) bool {
	if len(r.need) > 0 && !holdsOne(low, r.need) || !around.InOrder(r.runs, low, 0) {
		return false
	}
	for _, texts := range r.musts {
		if !holdsOne(low, texts) {
			return false
		}
	}
	return true
}

// holdsOne reports whether one of the texts is in s.
func holdsOne(s string, texts []string) bool {
	for _, t := range texts {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

func (m *Machine) push(f frame) {
	if len(m.stack) >= stackMax {
		m.out = true
		return
	}
	m.stack = append(m.stack, f)
}

func (m *Machine) setCap(slot, pos int) {
	if len(m.stack) == 0 && m.inner == 0 {
		// There is nothing to return to: the attempt succeeds, or fails as a whole.
		m.caps[slot], m.stale = pos, true
		return
	}
	m.push(frame{kind: fCap, pc: slot, pos: m.caps[slot]})
	m.caps[slot] = pos
}

// one matches the one-character instruction in at pos and returns its width, or -1.
func (m *Machine) one(in *inst, pos int) int {
	if pos >= len(m.sub) {
		return -1
	}
	c := m.sub[pos]
	switch in.op {
	case opSet:
		if !m.utf || c < 128 {
			if in.set.hasByte(c) {
				return 1
			}
			return -1
		}
		r, n := utf8.DecodeRuneInString(m.sub[pos:])
		if in.set.has(r) {
			return n
		}
		return -1
	case opAnyNoNL:
		if c == '\n' {
			return -1
		}
		fallthrough
	case opAny:
		if !m.utf || c < 128 {
			return 1
		}
		_, n := utf8.DecodeRuneInString(m.sub[pos:])
		return n
	case opString:
		if strings.HasPrefix(m.sub[pos:], in.str) {
			return len(in.str)
		}
	case opFold:
		if hasFoldPrefix(m.sub[pos:], in.str) {
			return len(in.str)
		}
	case opRuneFold:
		r, n := utf8.DecodeRuneInString(m.sub[pos:])
		if equalFold(r, in.c) {
			return n
		}
	}
	return -1
}

func hasFoldPrefix(s, low string) bool {
	if len(s) < len(low) {
		return false
	}
	for i := range len(low) {
		c := s[i]
		if isUpper(c) {
			c += 'a' - 'A'
		}
		if c != low[i] {
			return false
		}
	}
	return true
}

// run executes from pc at pos until opMatch or opSubEnd, or until it has used up
// the choices pushed since the call. It recurses once per nested assertion or
// atomic group of the pattern, which Compile bounds.
func (m *Machine) run(pc, pos int) (int, bool) {
	base := len(m.stack)
	for {
		m.steps--
		if m.steps < 0 || m.out {
			m.out = true
			return 0, false
		}
		in := &m.prog[pc]
		ok := true
		switch in.op {
		case opMatch:
			return pos, true
		case opSubEnd:
			return pos, true
		case opFail:
			ok = false
		case opString:
			if ok = strings.HasPrefix(m.sub[pos:], in.str); ok {
				pos += len(in.str)
				pc++
			}
		case opFold:
			if ok = hasFoldPrefix(m.sub[pos:], in.str); ok {
				pos += len(in.str)
				pc++
			}
		case opSet, opAny, opAnyNoNL, opRuneFold:
			w := m.one(in, pos)
			if ok = w >= 0; ok {
				pos += w
				pc++
			}
		case opSplit:
			m.push(frame{kind: fJump, pc: in.y, pos: pos})
			pc = in.x
		case opJump:
			pc = in.x
		case opOpen:
			m.setCap(len(m.caps)*2/3+in.x, pos)
			pc++
		case opClose:
			// A group has its old value until it is closed.
			m.setCap(2*in.x, m.caps[len(m.caps)*2/3+in.x])
			m.setCap(2*in.x+1, pos)
			pc++
		case opAssert:
			ok = m.assert(in.assert, pos)
			pc++
		case opBackref:
			var w int
			if w, ok = m.backref(in, pos); ok {
				pos += w
				pc++
			}
		case opRepeat:
			pos, ok = m.repeat(pc, pos)
			pc += 2
		case opLook:
			mark := len(m.stack)
			m.inner++
			_, hit := m.run(pc+1, pos)
			m.inner--
			if m.out {
				return 0, false
			}
			switch {
			case hit && in.negate:
				m.unwind(mark)
				ok = false
			case hit:
				m.commit(mark)
				pc = in.x
			case in.negate:
				pc = in.x
			default:
				ok = false
			}
		case opAtomic:
			mark := len(m.stack)
			m.inner++
			end, hit := m.run(pc+1, pos)
			m.inner--
			if m.out {
				return 0, false
			}
			if ok = hit; ok {
				m.commit(mark)
				pos, pc = end, in.x
			}
		case opLoopStart:
			m.push(frame{kind: fReg, pc: in.x, pos: m.regs[in.x]})
			m.regs[in.x] = pos
			pc++
		case opLoopCheck:
			if m.regs[in.x] == pos {
				pc = in.y
			} else {
				pc++
			}
		case opBack:
			pos, ok = m.back(pos, in.x)
			pc++
		case opKeep:
			m.push(frame{kind: fKeep, pos: m.keep})
			m.keep = pos
			pc++
		}
		if ok {
			continue
		}
		if pc, pos, ok = m.backtrack(base); !ok {
			return 0, false
		}
	}
}

// backtrack pops down to the last choice above base and takes its next way.
func (m *Machine) backtrack(base int) (pc, pos int, ok bool) {
	for len(m.stack) > base {
		top := len(m.stack) - 1
		f := &m.stack[top]
		switch f.kind {
		case fCap:
			m.caps[f.pc] = f.pos
		case fReg:
			m.regs[f.pc] = f.pos
		case fKeep:
			m.keep = f.pos
		case fJump:
			pc, pos = f.pc, f.pos
			m.stack = m.stack[:top]
			return pc, pos, true
		case fGreedy:
			in := &m.prog[f.pc]
			found := false
			for f.pos > f.aux {
				m.steps--
				f.pos--
				if m.utf {
					for f.pos > f.aux && !utf8.RuneStart(m.sub[f.pos]) {
						f.pos--
					}
				}
				if !in.hasNext || f.pos < len(m.sub) && m.sub[f.pos] == in.nextByte {
					found = true
					break
				}
			}
			if found {
				pc, pos = f.pc+2, f.pos
				if f.pos <= f.aux {
					m.stack = m.stack[:top]
				}
				return pc, pos, true
			}
		case fLazy:
			w := -1
			if f.aux != 0 {
				w = m.one(&m.prog[f.pc+1], f.pos)
			}
			if w >= 0 {
				f.pos += w
				if f.aux > 0 {
					f.aux--
				}
				return f.pc + 2, f.pos, true
			}
		}
		m.stack = m.stack[:top]
	}
	return 0, 0, false
}

// unwind undoes everything above mark.
func (m *Machine) unwind(mark int) {
	for len(m.stack) > mark {
		top := len(m.stack) - 1
		f := &m.stack[top]
		switch f.kind {
		case fCap:
			m.caps[f.pc] = f.pos
		case fReg:
			m.regs[f.pc] = f.pos
		case fKeep:
			m.keep = f.pos
		}
		m.stack = m.stack[:top]
	}
}

// commit drops the choices above mark, but keeps the entries that undo captures.
func (m *Machine) commit(mark int) {
	kept := mark
	for i := mark; i < len(m.stack); i++ {
		switch m.stack[i].kind {
		case fCap, fReg, fKeep:
			m.stack[kept] = m.stack[i]
			kept++
		}
	}
	m.stack = m.stack[:kept]
}

// repeat runs the opRepeat at pc.
func (m *Machine) repeat(pc, pos int) (int, bool) {
	in, item := &m.prog[pc], &m.prog[pc+1]
	start := pos
	for range in.min {
		w := m.one(item, pos)
		if w < 0 {
			return pos, false
		}
		pos += w
	}
	if in.mode == lazy {
		left := -1
		if in.max >= 0 {
			left = in.max - in.min
		}
		if left != 0 {
			m.push(frame{kind: fLazy, pc: pc, pos: pos, aux: left})
		}
		return pos, true
	}
	low := pos
	n := in.min
	if !m.utf && in.max < 0 {
		pos = m.spanBytes(item, pos)
	} else {
		for in.max < 0 || n < in.max {
			w := m.one(item, pos)
			if w < 0 {
				break
			}
			pos += w
			n++
		}
	}
	m.steps -= (pos - start) / 8
	if in.mode == greedy && pos > low && !in.sure {
		m.push(frame{kind: fGreedy, pc: pc, pos: pos, aux: low})
	}
	return pos, true
}

// spanBytes is how far item repeats from pos, bytewise.
func (m *Machine) spanBytes(item *inst, pos int) int {
	switch item.op {
	case opAny:
		return len(m.sub)
	case opAnyNoNL:
		if i := strings.IndexByte(m.sub[pos:], '\n'); i >= 0 {
			return pos + i
		}
		return len(m.sub)
	case opSet:
		if item.hasUntil {
			if i := strings.IndexByte(m.sub[pos:], item.until); i >= 0 {
				return pos + i
			}
			return len(m.sub)
		}
		for pos < len(m.sub) && item.set.hasByte(m.sub[pos]) {
			pos++
		}
		return pos
	}
	for {
		w := m.one(item, pos)
		if w < 0 {
			return pos
		}
		pos += w
	}
}

func (m *Machine) back(pos, n int) (int, bool) {
	if !m.utf {
		return pos - n, pos >= n
	}
	for range n {
		if pos == 0 {
			return 0, false
		}
		_, w := utf8.DecodeLastRuneInString(m.sub[:pos])
		pos -= w
	}
	return pos, true
}

func (m *Machine) backref(in *inst, pos int) (int, bool) {
	from, to := m.caps[2*in.x], m.caps[2*in.x+1]
	if from < 0 || to < from {
		return 0, false
	}
	text := m.sub[from:to]
	m.steps -= len(text) / 8
	rest := m.sub[pos:]
	if strings.HasPrefix(rest, text) {
		return len(text), true
	}
	if !in.fold {
		return 0, false
	}
	if m.utf {
		w := 0
		for _, r := range text {
			if w >= len(rest) {
				return 0, false
			}
			c, n := utf8.DecodeRuneInString(rest[w:])
			if !equalFold(r, c) {
				return 0, false
			}
			w += n
		}
		return w, true
	}
	if hasFoldPrefix(rest, lower(text)) {
		return len(text), true
	}
	return 0, false
}

func (m *Machine) assert(a assertKind, pos int) bool {
	n := len(m.sub)
	switch a {
	case aStart:
		return pos == 0
	case aStartLine:
		return pos == 0 || m.sub[pos-1] == '\n' && pos < n
	case aEnd:
		return pos == n
	case aEndNL:
		return pos == n || pos == n-1 && m.sub[pos] == '\n'
	case aEndLine:
		return pos == n || m.sub[pos] == '\n'
	}
	before := pos > 0 && isWord(m.sub[pos-1])
	after := pos < n && isWord(m.sub[pos])
	return (before != after) == (a == aWord)
}
