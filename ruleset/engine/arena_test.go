package engine

import (
	"strings"
	"testing"

	"vedette/internal/regex"
)

func TestArenaTextsStayWhileTheEventLasts(t *testing.T) {
	t.Parallel()
	var a arena
	for range 3 {
		a.reset()
		var got, want []string
		for i := range 2000 {
			s := strings.Repeat("xY", i%37) + string(rune('A'+i%26))
			got = append(got, a.copy([]byte(s)), a.lower(s))
			want = append(want, s, strings.ToLower(s))
			b := append(a.Room(2), s...) // outgrows the room now and then
			got, want = append(got, a.Keep(b)), append(want, s)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("text %d is %q, want %q", i, got[i], want[i])
			}
		}
	}
}

func FuzzArenaLower(f *testing.F) {
	f.Add("Hello, WORLD [@`{] \x80\xc1\xda")
	f.Fuzz(func(t *testing.T, s string) {
		var a arena
		if got, want := a.lower(s), regex.Lower(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
