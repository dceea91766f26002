package engine

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"vedette/ruleset/program"
)

// Writing data object by object gives the same text as gathering all members first.
func TestNestedDataIsWhatGatheringGives(t *testing.T) {
	t.Parallel()
	s := New(testProgram(t), Config{}).NewState()
	rnd := rand.New(rand.NewPCG(5, 6))
	parts := []string{"a", "b", "A", "ab", "aB", "", "é", "srcip", "SRCIP", "id", "data", "x\"y", "\u017f", "s"}
	values := []string{"", "1", "text", `say "no"`, "[1, 2]", "[1,", "é\xff", "[\"x\",{\"a\":1}]"}
	nested := 0
	for range 200_000 {
		s.scratch.ev.dyn, s.scratch.ev.static = s.scratch.ev.dyn[:0], [program.NumStatic]value{}
		for range rnd.IntN(3) {
			s.scratch.ev.setStatic(program.Static(rnd.IntN(int(program.NumStatic))), values[rnd.IntN(len(values))])
		}
		var name []string
		for range rnd.IntN(8) {
			// Neighbours often share where they stand.
			name = append(name[:rnd.IntN(len(name)+1)], parts[rnd.IntN(len(parts))])
			if rnd.IntN(3) > 0 {
				name = append(name, parts[rnd.IntN(len(parts))])
			}
			s.scratch.add(strings.Join(name, "."), values[rnd.IntN(len(values))])
		}
		if rnd.IntN(2000) == 0 {
			s.scratch.names.forget()
		}
		r := &Result{s: &s.scratch, doc: &s.document}
		w, g := &writer{r: r, b: []byte("{")}, &writer{r: r, b: []byte("{")}
		g.gather()
		if !w.nest() {
			if len(w.b) != 1 {
				t.Fatalf("gave up and left %s", w.b)
			}
			continue
		}
		nested++
		if !bytes.Equal(w.b, g.b) {
			t.Fatalf("%+v: nested %s, gathered %s", s.scratch.ev.dyn, w.b, g.b)
		}
	}
	if nested < 20_000 {
		t.Errorf("%d of 200000 were nested", nested)
	}
}
