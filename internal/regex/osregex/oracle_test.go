package osregex

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// oracle is the procedure of §4.3 to the letter, step by step, with no shortcut.
func (m *Machine) oracle(a *alternative, sub string, captures bool) bool {
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
		failed := true
		if p < n {
			it := &items[p]
			switch it.kind {
			case class:
				quant := byte(0)
				if p+1 < n && items[p+1].kind == quantifier {
					quant = items[p+1].b
				}
				if it.has(c) { // 2
					if quant == 0 { // 2.1
						p++
						if r < 0 {
							r = s
						}
						e = s
						s++
						continue
					}
					if quant == '*' { // 2.2
						hit = true
					}
					if hit { // 2.3
						look, skipped := p+2, int16(-1)
						if look < n && items[look].kind == mark {
							skipped = items[look].mark
							look++
						}
						switch {
						case look >= n: // end
							if skipped >= 0 {
								m.setMark(skipped, s+1)
							}
							s++
							continue
						case items[look].kind == class && items[look].has(c):
							if skipped >= 0 {
								m.setMark(skipped, s)
							}
							if nsaved < savedMax {
								saved[nsaved] = [2]int{p, s}
								nsaved++
							}
							if look+1 < n && items[look+1].kind == quantifier { // open
								p = look
							} else { // take
								p = look + 1
							}
						case (items[look].kind != class && items[look].b == c):
							if skipped >= 0 {
								m.setMark(skipped, s)
							}
							if nsaved < savedMax {
								saved[nsaved] = [2]int{p, s}
								nsaved++
							}
							p = look + 1
							hit = false
						}
					} else { // 2.4
						if p+2 < n && items[p+2].kind == mark {
							pos := s
							if s == len(sub)-1 {
								pos = s + 1
							}
							m.setMark(items[p+2].mark, pos)
						}
						hit = true
					}
					e = s // 2.5
					s++
					continue
				}
				// 3
				rest := n - p - 1
				if hit && e != none && (rest == 0 || rest == 1 && items[p+1].kind != class) { // 3.1
					e = s
					if !a.atEnd {
						m.end = e
						return true
					}
					hit = false
				} else if quant == '+' && hit { // 3.2
					p += 2
					hit = false
					continue
				} else if quant == '*' { // 3.3
					p += 2
					hit = false
					e = s - 1
					continue
				} else { // 3.4
					hit = false
				}
			default:
				if it.kind != class && it.b == c { // 4
					p++
					if r < 0 {
						r = s
					}
					e = s
					s++
					continue
				}
			}
		}
		if failed { // 5
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
		}
	}
	// The subject is exhausted.
	if captures { // 6
		for p+1 < n && items[p].kind == class && items[p+1].kind == quantifier && items[p+1].b == '*' {
			p += 2
		}
		if p < n && items[p].kind == mark {
			m.setMark(items[p].mark, len(sub))
		}
	}
	m.end = e
	return e != none && m.finished(items, p, hit)
}

// byOracle is Find with the oracle.
func byOracle(m *Machine, r *Regex, low string) (end int, groups []int, ok bool) {
	m.steps = DefaultSteps
	for i := range r.alts {
		a := &r.alts[i]
		if !m.oracle(a, low, r.groups) {
			continue
		}
		for k := 0; k+1 < int(a.marks); k += 2 {
			from, to := m.mark(k), m.mark(k+1)
			if from < 0 || to < 0 {
				break
			}
			if to < from {
				return 0, nil, false
			}
			groups = append(groups, from, to)
		}
		return m.end, groups, true
	}
	return 0, nil, false
}

func agrees(t *testing.T, pattern, subject string) {
	t.Helper()
	r, err := Compile(pattern)
	if err != nil || len(subject) > 4096 {
		return
	}
	low := lower(subject)
	var o, m Machine
	wantEnd, wantGroups, want := byOracle(&o, r, low)
	if o.steps < 0 {
		return
	}
	var hints Hints
	n := 0
	for need := range r.Needs() {
		at := strings.Index(low, need)
		hints.Texts = append(hints.Texts, int32(n))
		hints.At = append(hints.At, int32(max(at-n%2, 0))) // exact, or one less
		if n%64 == 0 {
			hints.Found = append(hints.Found, 0)
		}
		if at >= 0 {
			hints.Found[n/64] |= 1 << (n % 64)
		}
		n++
	}
	for _, h := range []*Hints{nil, &hints} {
		end, _, groups, got := m.Find(r, low, nil, h)
		if got != want || got && (end != wantEnd || !slices.Equal(groups, wantGroups)) {
			t.Fatalf("%q on %q, hints %v: %v %d %v, by the procedure %v %d %v", pattern, subject, h, got, end, groups, want, wantEnd, wantGroups)
		}
	}
	if r.groups {
		return
	}
	if got := m.Match(r, low); got != want {
		t.Fatalf("%q on %q: Match says %v, the procedure %v", pattern, subject, got, want)
	}
	if values, ok := r.Values(); ok && want && !slices.Contains(values, low) {
		t.Fatalf("%q matches %q, which is not among %q", pattern, subject, values)
	}
	held := false
	for need, first := range r.Needs() {
		held = held || strings.Contains(low, need) && (first == nil || low != "" && first[low[0]])
	}
	if want && !held {
		t.Fatalf("%q matches %q without what it needs", pattern, subject)
	}
}

func TestShortcutsAgreeWithTheProcedure(t *testing.T) {
	t.Parallel()
	// The text that a match begins with occurs in the pattern once more.
	agrees(t, `a\.*\da\d:%%x`, "a1a1:%%x")
	agrees(t, `\sa\.*\d a\d:%%x`, "  a1 a1:%%x")
	rnd := rand.New(rand.NewPCG(1, 2))
	items := []string{
		`a`, `b`, `:`, `%`, `1`, ` `, `\d`, `\w`, `\s`, `\p`, `\D`, `\W`, `\S`, `\.`, `\t`, `\(`, `\$`,
		`\d+`, `\w+`, `\s+`, `\S+`, `\.+`, `\.*`, `\d*`, `\w*`, `\s*`, `\S*`, `\p*`, `\(+`, `(\w+)`, `(\S+)`, `(\.*)`, `(\d+)`, `(a)`, `(`, `)`, `|`, `^`, `$`,
	}
	const alphabet = "aAb:%1 1ab :\t($.-z"
	for range 400_000 {
		var p, s strings.Builder
		if rnd.IntN(4) == 0 {
			p.WriteByte('^')
		}
		for range rnd.IntN(9) {
			p.WriteString(items[rnd.IntN(len(items))])
		}
		if rnd.IntN(4) == 0 {
			p.WriteByte('$')
		}
		for range rnd.IntN(24) {
			s.WriteByte(alphabet[rnd.IntN(len(alphabet))])
		}
		agrees(t, p.String(), s.String())
	}
}

func TestFieldsAgreeWithTheProcedure(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	const alphabet = `ab="  x`
	for range 200_000 {
		var s strings.Builder
		for range rnd.IntN(16) {
			s.WriteByte(alphabet[rnd.IntN(len(alphabet))])
		}
		text := []string{`a=`, `ab="`, `"`, `a`, `aa=`, ` a=`}[rnd.IntN(6)]
		pattern := text + `(\.*)` + []string{`"`, `\s`, `$`, `\s+`, ` `, `a`}[rnd.IntN(6)]
		agrees(t, pattern, s.String())
		r, err := Compile(pattern)
		if err != nil || r.one.tail == noField {
			t.Fatalf("%q is no field: %v", pattern, err)
		}
		slow := *r
		slow.one.tail = noField
		var a, b Machine
		a.Find(r, s.String(), nil, nil)
		b.Find(&slow, s.String(), nil, nil)
		if a.steps != b.steps {
			t.Fatalf("%q on %q takes %d steps, by the procedure %d", pattern, s.String(), DefaultSteps-a.steps, DefaultSteps-b.steps)
		}
	}
}

func FuzzShortcutsAgreeWithTheProcedure(f *testing.F) {
	f.Add(`\p*\w+\s+\d*\s\d+:\d+:\d+:\s+%`, "Dec 12 10:00:01: %SYS")
	f.Add(`^(\S+) "(\.*)" (\d+)|x\(y$`, `a "b c" 12`)
	f.Fuzz(agrees)
}
