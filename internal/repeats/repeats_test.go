package repeats

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestAnEventIsARepeatIfItsStreamWasFurther(t *testing.T) {
	t.Parallel()
	var r Memory
	f := func(key, id string, want bool) {
		t.Helper()
		if got := r.Seen([]byte(key), id); got != want {
			t.Errorf("%s %s: %v", key, id, got)
		}
	}
	f("a", "T/0/5", false)
	f("a", "T/0/5", true)
	f("a", "T/0/3", true)
	f("a", "T/0/6", false)
	f("a", "T/1/5", false) // another stream
	f("b", "T/0/5", false) // another key
	f("a", "T/0/9223372036854775807", false)
	f("a", "T/0/7", true)
	for _, id := range []string{"", "x", "/5", "T/", "T/-1", "T/05", "T/1e3", "T/99999999999999999999", "3f2b-uuid"} {
		f("a", id, false)
		f("a", id, false)
	}
	f("a", "T/0", false)
	f("a", "T/0", true)
}

func TestRepeatsAreBoundedAndTheLongestUnusedGo(t *testing.T) {
	t.Parallel()
	r := Memory{max: 3}
	for i := range 3 {
		r.Seen(fmt.Appendf(nil, "k%d", i), "s/9")
	}
	r.Seen([]byte("k0"), "s/1") // used again
	r.Seen([]byte("k3"), "s/9") // k1 goes
	for key, want := range map[string]bool{"k0": true, "k2": true, "k3": true} {
		if got := r.Seen([]byte(key), "s/9"); got != want {
			t.Errorf("%s: %v", key, got)
		}
	}
	if r.Seen([]byte("k1"), "s/9") || len(r.at) != 3 {
		t.Errorf("k1 is remembered, or %d are not 3", len(r.at))
	}
}

func TestASnapshotOfRepeatsRestoresThem(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 3))
	a := Memory{max: 50}
	var b Memory
	for i := range 5000 {
		if i%37 == 0 {
			snap := a.AppendSnapshot([]byte("x"))
			restored, rest, err := Restore(append(snap[1:], "rest"...))
			if err != nil || string(rest) != "rest" || !bytes.Equal(restored.AppendSnapshot([]byte("x")), snap) {
				t.Fatalf("%v, %q", err, rest)
			}
			b = restored
			b.max = 50
		}
		key, id := fmt.Appendf(nil, "k%d", rnd.IntN(40)), fmt.Sprintf("T/%d/%d", rnd.IntN(4), rnd.IntN(1000))
		if x, y := a.Seen(key, id), b.Seen(key, id); x != y {
			t.Fatalf("%d: %v and %v", i, x, y)
		}
	}
	if r, rest, err := Restore([]byte("vedette state…")); err != nil || string(rest) != "vedette state…" || len(r.at) != 0 {
		t.Error(err, rest)
	}
}

func FuzzRestore(f *testing.F) {
	var r Memory
	r.Seen([]byte("a"), "T/0/5")
	r.Seen([]byte("b"), "T/1/0")
	f.Add(append(r.AppendSnapshot(nil), "rest"...))
	f.Add([]byte(repeatsMagic + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, rest, err := Restore(data)
		if err != nil {
			return
		}
		again, rest2, err := Restore(append(r.AppendSnapshot(nil), rest...))
		if err != nil || len(r.at) > 0 && !bytes.Equal(rest, rest2) || !bytes.Equal(again.AppendSnapshot(nil), r.AppendSnapshot(nil)) {
			t.Fatalf("%v", err)
		}
	})
}
