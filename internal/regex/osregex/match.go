package osregex

import (
	"strings"

	"vedette/internal/regex/around"
)

// savedMax is how many positions the procedure can return to.
const savedMax = 4

// none is the result position of a match that has no hit yet.
const none = -1

// DefaultSteps is the budget of one match when the Machine sets none. Most
// matches take fewer steps than the subject has bytes; several quantified
// classes that overlap can take many times that.
const DefaultSteps = 1_000_000

// Machine holds the scratch space of matches. It is not safe for concurrent
// use. The zero value is ready.
type Machine struct {
	// Steps is the budget of one match, in bytes looked at; 0 means DefaultSteps.
	Steps int
	// Exceeded counts matches that ran out of steps and were taken as none.
	Exceeded uint64

	steps int
	end   int
	marks [marksInline]int
	more  []int
}

// Match reports whether r matches low, the subject with its ASCII letters in
// lower case.
func (m *Machine) Match(r *Regex, low string) bool {
	return m.first(r, low, false, nil) != nil
}

// Hints say where the texts that Regex.Needs names are, as a scan found them.
type Hints struct {
	// Texts are the scan's numbers of the first alternatives' texts, -1 for one
	// that was not looked for.
	Texts []int32
	// Found is the set of the numbers of texts that the scan met, and At where each
	// of them is first, or the position before.
	Found []uint64
	At    []int32
	// From is the begin of the subject in the scanned text.
	From int
}

// absent is for an alternative whose text the subject does not hold.
const absent = -1

// at is where the text of alternative i is at the earliest, or absent.
func (h *Hints) at(i int) (at int, known bool) {
	if h == nil || i >= len(h.Texts) || h.Texts[i] < 0 {
		return 0, false
	}
	t := h.Texts[i]
	if h.Found[t>>6]>>(t&63)&1 == 0 {
		return absent, true
	}
	return max(int(h.At[t])-h.From, 0), true
}

// first returns the first alternative that matches.
func (m *Machine) first(r *Regex, low string, captures bool, hints *Hints) *alternative {
	m.steps = m.Steps
	if m.steps == 0 {
		m.steps = DefaultSteps
	}
	common := -1 // first place of r.need, -1 before it was looked for
	for i := range r.alts {
		a := &r.one
		if i > 0 {
			a = &r.alts[i]
		}
		at, known := hints.at(i)
		switch {
		case at == absent:
			continue
		case known:
			at = min(at, len(low))
		case r.need != "":
			// Every alternative's need begins with it.
			if common < 0 {
				if common = strings.Index(low, r.need); common < 0 {
					return nil
				}
			}
			at = common
		}
		if a.plain {
			var ok bool
			if m.end, ok = a.findText(low, at); ok {
				return a
			}
			continue
		}
		if a.tail != noField {
			if m.field(a, low, captures, at) {
				return a
			}
		} else if m.run(a, low, captures, at) {
			return a
		}
		if m.steps < 0 {
			m.Exceeded++
			return nil
		}
	}
	return nil
}

// Find matches low, the subject with its ASCII letters in lower case. It
// returns the result position, the position at which the next pattern resumes,
// and appends start and end of each group to groups. hints may be nil.
func (m *Machine) Find(r *Regex, low string, groups []int, hints *Hints) (end, next int, _ []int, ok bool) {
	a := m.first(r, low, r.groups, hints)
	if a == nil {
		return 0, 0, groups, false
	}
	for k := 0; k+1 < int(a.marks); k += 2 {
		from, to := m.mark(k), m.mark(k+1)
		if from < 0 || to < 0 {
			break
		}
		if to < from {
			return 0, 0, groups, false
		}
		groups = append(groups, from, to)
	}
	end = m.end
	next = end + 1
	if end >= len(low) {
		next = end
	}
	return end, max(next, 0), groups, true
}

// marksInline is how many marks need no allocation.
const marksInline = 64

func (m *Machine) mark(k int) int {
	if k < marksInline {
		return m.marks[k]
	}
	return m.more[k-marksInline]
}

func (m *Machine) setMark(k int16, pos int) {
	if k < marksInline {
		m.marks[k] = pos
	} else {
		m.more[k-marksInline] = pos
	}
}

func (m *Machine) reset(marks int) {
	for i := range min(marks, marksInline) {
		m.marks[i] = -1
	}
	m.more = m.more[:0]
	for range marks - marksInline {
		m.more = append(m.more, -1)
	}
}

// possible runs the quick test: the subject must hold the runs of bytes that
// every match has, in order. The needed run is at at or later. The result is a
// place of a first run from which there may be a match, -1 if there can be none.
func (a *alternative) possible(sub string, at int) int {
	if a.need == "" {
		return at
	}
	runs := a.runs
	if rest := sub[at:]; !strings.HasPrefix(rest, a.need) {
		// A hint may be the position before.
		var i int
		if len(rest) > 0 && strings.HasPrefix(rest[1:], a.need) {
			i = 1
		} else {
			i = strings.Index(rest, a.need)
		}
		if i < 0 {
			return -1
		}
		at += i
	}
	if runs[0].Text == a.need {
		if at = runs[0].Index(sub, at); at < 0 {
			return -1
		}
		if !around.InOrder(runs[1:], sub, at+len(a.need)) {
			return -1
		}
		return at
	}
	first := runs[0].Index(sub, 0)
	if first < 0 || !around.InOrder(runs[1:], sub, first+len(runs[0].Text)) {
		return -1
	}
	return first
}

// field gives the procedure's result for a field, whose text is at at or later
// if it occurs: the group begins behind the text's first place and ends at the
// tail's first. It takes the same steps.
func (m *Machine) field(a *alternative, sub string, captures bool, at int) bool {
	i := strings.Index(sub[at:], a.need)
	if i < 0 {
		return false
	}
	from := at + i + len(a.need)
	to := len(sub)
	if a.tail != tailEnd {
		if i := strings.IndexByte(sub[from:], a.tailByte); i >= 0 {
			to = from + i
		} else {
			if len(a.runs) == 1 { // else it is known before the first step
				m.steps -= len(sub) - from + len(a.need)
			}
			// Step 7 leaves `\s+` unread, but only behind the mark that step 6 has set.
			m.marks[0], m.marks[1], m.end = from, to, to-1
			return a.tail == tailBlanks && captures && from < to && m.steps >= 0
		}
	}
	m.marks[0], m.marks[1] = from, to
	taken := to - from + len(a.need)
	switch a.tail {
	case tailEnd:
		m.end = from - 1
		if from == to {
			m.marks[1] = -1 // nothing was there to open the group
		}
	case tailByte:
		m.end = to
		taken++
		if to+1 < len(sub) {
			taken++
		}
	case tailBlanks:
		m.end = to
		behind := to + 1
		for behind < len(sub) && sub[behind] == ' ' {
			behind++
		}
		taken += behind - to
		if behind < len(sub) {
			m.end = behind
			taken++
		}
	}
	m.steps -= taken
	return m.steps >= 0
}

// run is the procedure of §4.3 for one alternative. Its numbers are the steps
// there. Bytes that would go through the same steps to no other effect than on S
// and E are taken at once.
func (m *Machine) run(a *alternative, sub string, captures bool, at int) bool {
	if a.atStart && !strings.HasPrefix(sub, a.text[:a.prefix]) {
		return false
	}
	// An attempt at the subject's start mostly fails sooner than runs are found,
	// unless it takes bytes of any kind.
	tested := !a.atStart
	if tested {
		if at = a.possible(sub, at); at < 0 {
			return false
		}
	}
	m.reset(int(a.marks))
	items := a.items
	n := len(items)
	var (
		p, s, e int
		r       = -1
		hit     bool
		saved   [savedMax][2]int
		nsaved  int
	)
	if a.anchorLen > 0 && !a.atStart {
		if s = at - int(a.anchorAt); len(a.runs) == 0 || a.runs[0].Text != a.anchorText() || s < 0 {
			if s = a.nextStart(sub, 0); s == len(sub) {
				return false
			}
		}
	}
	for s < len(sub) {
		if m.steps--; m.steps < 0 {
			return false
		}
		c := sub[s]
		if p >= n && !a.atEnd { // 1
			m.end = e
			return e != none
		}
		if p < n && items[p].kind == mark {
			m.setMark(items[p].mark, s)
			p++
			if p >= n && !a.atEnd {
				m.end = e
				return e != none
			}
		}
		if p < n {
			it := &items[p]
			if it.kind != class {
				if it.b == c { // 4
					if r < 0 {
						r = s
					}
					k := 1
					if n := int(it.skipped); n > 1 && len(sub)-s >= n && sub[s:s+n] == a.text[it.look:int(it.look)+n] {
						k = n
						m.steps -= k - 1
					}
					p += k
					s += k
					e = s - 1
					continue
				}
			} else if it.has(c) { // 2
				if it.quant == 0 { // 2.1
					p++
					if r < 0 {
						r = s
					}
					e = s
					s++
					continue
				}
				if it.quant == '*' { // 2.2
					hit = true
				}
				if !hit { // 2.4
					if p+2 < n && items[p+2].kind == mark {
						pos := s
						if s == len(sub)-1 {
							pos = s + 1
						}
						m.setMark(items[p+2].mark, pos)
					}
					hit = true
					e = s // 2.5
					s++
					continue
				}
				if !tested && it.in == classAny {
					if tested = true; a.possible(sub, at) < 0 {
						return false
					}
				}
				// 2.3
				if int(it.look) >= n { // end
					from := s
					s = it.span(sub, s+1)
					m.steps -= s - from - 1
					if it.skipped >= 0 {
						m.setMark(it.skipped, s)
					}
					continue
				}
				next := &items[it.look]
				took := false
				if next.kind == class {
					took = next.has(c)
				} else {
					took = next.b == c
				}
				if !took {
					from := s
					s = it.spanUntil(sub, s+1, next)
					m.steps -= s - from - 1
					e = s - 1 // 2.5
					continue
				}
				if it.skipped >= 0 {
					m.setMark(it.skipped, s)
				}
				if nsaved < savedMax {
					saved[nsaved] = [2]int{p, s}
					nsaved++
				}
				switch {
				case next.kind != class: // take
					p = int(it.look) + 1
					hit = false
				case next.quant != 0: // open
					p = int(it.look)
				default: // take
					p = int(it.look) + 1
				}
				e = s // 2.5
				s++
				continue
			} else { // 3
				rest := n - p - 1
				if hit && e != none && (rest == 0 || rest == 1 && items[p+1].kind != class) { // 3.1
					e = s
					if !a.atEnd {
						m.end = e
						return true
					}
					hit = false
				} else if it.quant == '+' && hit { // 3.2
					p += 2
					hit = false
					continue
				} else if it.quant == '*' { // 3.3
					p += 2
					hit = false
					e = s - 1
					continue
				} else { // 3.4
					hit = false
				}
			}
		}
		// 5
		if nsaved > 0 {
			nsaved--
			p, s = saved[nsaved][0], saved[nsaved][1]+1
			continue
		}
		if a.atStart {
			return false
		}
		if r >= 0 {
			s, r = r, -1
		}
		p, e = 0, none
		s++
		switch {
		case a.prefix > 0 && hit:
			// Nothing but the first literal can change the state here.
			if i := strings.IndexByte(sub[s:], a.text[0]); i >= 0 {
				s += i
			} else {
				s = len(sub)
			}
		case a.anchorLen > 0 && !hit:
			s = a.nextStart(sub, s)
		case !hit && n > 0 && items[0].kind == class && items[0].quant != '*':
			from := s
			for s < len(sub) && !items[0].has(sub[s]) {
				s++
			}
			m.steps -= s - from
		}
	}
	// The subject is exhausted.
	if m.steps < 0 {
		return false
	}
	if captures { // 6
		for p < n && items[p].kind == class && items[p].quant == '*' {
			p += 2
		}
		if p < n && items[p].kind == mark {
			m.setMark(items[p].mark, len(sub))
		}
	}
	m.end = e
	return e != none && m.finished(items, p, hit)
}

// nextStart is where the alternative's first bytes, up to the anchor, can match
// next from s on, or the length of sub. While M is no, an attempt that comes not
// so far leaves nothing behind, since its items change neither M nor K.
func (a *alternative) nextStart(sub string, s int) int {
	if s+int(a.anchorAt) > len(sub) {
		return len(sub)
	}
	if i := strings.Index(sub[s+int(a.anchorAt):], a.anchorText()); i >= 0 {
		return s + i
	}
	return len(sub)
}

// span is the end of the bytes from s on that belong to the class.
func (it *item) span(sub string, s int) int {
	switch it.in {
	case classAny:
		return len(sub)
	case classNotSpace:
		if i := strings.IndexByte(sub[s:], ' '); i >= 0 {
			return s + i
		}
		return len(sub)
	case 0:
		for s < len(sub) && sub[s] == it.b {
			s++
		}
		return s
	}
	for s < len(sub) && inClass[sub[s]]&it.in != 0 {
		s++
	}
	return s
}

// spanUntil is the end of those that next does not match.
func (it *item) spanUntil(sub string, s int, next *item) int {
	if next.kind == class && next.in != 0 {
		if it.in == 0 {
			for s < len(sub) && sub[s] == it.b && inClass[sub[s]]&next.in == 0 {
				s++
			}
			return s
		}
		for s < len(sub) {
			if in := inClass[sub[s]]; in&it.in == 0 || in&next.in != 0 {
				break
			}
			s++
		}
		return s
	}
	switch it.in {
	case classAny:
		if i := strings.IndexByte(sub[s:], next.b); i >= 0 {
			return s + i
		}
		return len(sub)
	case 0:
		for s < len(sub) && sub[s] == it.b && sub[s] != next.b {
			s++
		}
		return s
	}
	for s < len(sub) && sub[s] != next.b && inClass[sub[s]]&it.in != 0 {
		s++
	}
	return s
}

// finished is step 7.
func (m *Machine) finished(items []item, p int, hit bool) bool {
	n := len(items)
	kind := func(k itemKind) bool {
		if p < n && items[p].kind == k {
			p++
			return true
		}
		return false
	}
	star := func() bool {
		if p < n && items[p].kind == quantifier && items[p].b == '*' {
			p++
			return true
		}
		return false
	}
	kind(mark)
	if p >= n {
		return true
	}
	if hit && kind(class) && kind(quantifier) {
		kind(mark)
		if p >= n {
			return true
		}
		if kind(class) && star() {
			kind(mark)
			if p >= n {
				return true
			}
		}
	}
	if kind(class) && star() {
		kind(mark)
		return p >= n
	}
	return false
}

func (it *item) has(c byte) bool {
	if it.in != 0 {
		return inClass[c]&it.in != 0
	}
	return it.b == c
}
