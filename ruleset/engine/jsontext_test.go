package engine

import (
	"strings"
	"testing"

	"vedette/schemas"
)

func sameText(t *testing.T, s string) {
	t.Helper()
	if got, want := string(appendText([]byte("x"), s)), "x"+string(schemas.AppendJSONString(nil, s)); got != want {
		t.Errorf("%q is written %s, want %s", s, got, want)
	}
}

func TestTextsAreWrittenAsJSON(t *testing.T) {
	t.Parallel()
	for _, special := range []string{"\"", "\\", "\n", "\t", "\x00", "\x1f", " ", "!", "#", "\x7f", "\x80", "é", "😀", "\xff", "\xf0\x9f", "é\xffé", "[", "]"} {
		for n := range 18 {
			sameText(t, strings.Repeat("a", n)+special)
			sameText(t, strings.Repeat("b", n)+special+special+"tail of some length")
			sameText(t, strings.Repeat("#", n)+"\""+special+"x")
		}
	}
}

func FuzzTextsAreWrittenAsJSON(f *testing.F) {
	f.Add("plain \"text\" \\ with\nall é\xff")
	f.Fuzz(sameText)
}
