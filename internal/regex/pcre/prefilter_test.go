package pcre

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// everywhere is find without anything that rules out subjects, positions or ways
// to return to.
func everywhere(m *Machine, r *Regex, s string) (groups []int, end int, ok bool) {
	prog := slices.Clone(r.prog)
	for i := range prog {
		prog[i].sure, prog[i].hasUntil = false, false
	}
	m.prog, m.sub, m.utf, m.out, m.steps = prog, s, r.utf, false, DefaultSteps
	m.inner = 1 // captures are always put back
	for start := 0; start <= len(s); start++ {
		m.caps, m.regs, m.stack = make([]int, 3*(r.groups+1)), make([]int, r.regs), nil
		for i := range m.caps {
			m.caps[i] = -1
		}
		for i := range m.regs {
			m.regs[i] = -1
		}
		m.keep = start
		if end, ok := m.run(0, start); ok {
			return slices.Clone(m.caps[2 : 2*(r.groups+1)]), end, true
		}
		if m.out {
			return nil, 0, false
		}
	}
	return nil, 0, false
}

func filtersAgree(t *testing.T, pattern, subject string) {
	t.Helper()
	r, err := Compile(pattern)
	if err != nil || r.utf || len(subject) > 2000 {
		return
	}
	var a, b Machine
	wantGroups, wantEnd, want := everywhere(&a, r, subject)
	if a.out {
		return
	}
	end, got := b.find(r, subject, lower(subject))
	if b.out {
		return
	}
	if got != want || got && (end != wantEnd || !slices.Equal(b.caps[2:2*(r.groups+1)], wantGroups)) {
		t.Fatalf("%q on %q: %v %d, without filters %v %d %v", pattern, subject, got, end, want, wantEnd, wantGroups)
	}
	if first, texts := r.Needs(); want {
		held := len(texts) == 0
		for _, x := range texts {
			held = held || strings.Contains(lower(subject), x)
		}
		if !held || first != nil && (subject == "" || !first[subject[0]]) {
			t.Fatalf("%q matches %q without what it needs", pattern, subject)
		}
	}
}

func TestFiltersAgreeWithTryingEverywhere(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	parts := []string{
		`a`, `b`, `ab`, `\d`, `\s`, `\w+`, `.*`, `(a)`, `(b|c)?`, `[ab]+`, `^`, `$`, `|`, `(?i)`, `x{2,3}`, `(a*)*`, `\b`, `(?=a)`, `(?!b)`, `(?>a+)`, `\1`, `(?:ab)+?`, `:`, `1`, `[^:]*`, `([^,]+),`, `(?:abc|xyz)`, `(?!(a)b)`, `(?>(a)|b)`, `\K`, `ab1`,
	}
	for range 150_000 {
		var p, s strings.Builder
		for range 1 + rnd.IntN(6) {
			p.WriteString(parts[rnd.IntN(len(parts))])
		}
		for range rnd.IntN(14) {
			s.WriteByte("abcABx1: \n,yz"[rnd.IntN(13)])
		}
		filtersAgree(t, p.String(), s.String())
	}
}

func FuzzFiltersAgreeWithTryingEverywhere(f *testing.F) {
	f.Add(`\s\d+:(\d+) \w+`, "at 10:22 x")
	f.Add(`(?i)(a|b)*c$`, "ABc\n")
	f.Fuzz(filtersAgree)
}
