package pcre

import "testing"

// agree reports whether comparing texts and the matcher say the same.
func agree(t *testing.T, pattern, subject string) {
	t.Helper()
	r, err := Compile(pattern)
	if err != nil || r.plain == nil {
		return
	}
	var m Machine
	low := lower(subject)
	_, want := m.find(r, subject, low)
	if m.Exceeded > 0 {
		return
	}
	if got := r.plain.match(subject, low); got != want {
		t.Errorf("%q on %q: as texts %v, by the matcher %v", pattern, subject, got, want)
	}
	if v, ok := r.Values(); ok && want {
		found := false
		for _, x := range v {
			found = found || x == low
		}
		if !found {
			t.Errorf("%q matches %q, which is not among %q", pattern, subject, v)
		}
	}
}

func TestPlainTextsAgreeWithMatcher(t *testing.T) {
	t.Parallel()
	patterns := []string{
		"^4624$", "(?i)^Abc$", "abc", `\\cmd\.exe$`, "^a|b$", "(?i)(x|yz)a?$", "^(a|b)(c|d)$", "[Ff]oo", "(?i)[ab]c", `a\z`, "^$", "", "a{2}", "ab?c",
		"a^b", "a$b", "$", "(?i)é", `^x(?-i)Y`, "(?:^a|^)b", "a$$", `a$\z`, "(a|)", "^^a",
	}
	plains := 0
	for _, p := range patterns {
		r, err := Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		if r.plain != nil {
			plains++
		}
		for _, s := range []string{
			"", "4624", "4624\n", "\n4624", "abc", "ABC", "aBc\n", "xabc", `C:\cmd.exe`, "a", "b", "ab", "yza", "YZ", "xa\n", "ac", "bd\n", "Foo", "foo", "fOO",
			"AC", "aa", "aA", "a\n\n", "\n", "é", "É", "xY", "xy", "abcc", "b\n",
		} {
			agree(t, p, s)
		}
	}
	if plains < 15 {
		t.Errorf("only %d of %d patterns are taken as texts", plains, len(patterns))
	}
}

func FuzzPlainTextsAgreeWithMatcher(f *testing.F) {
	f.Add("^(a|b)c?$", "ac\n")
	f.Add("(?i)x[yY]z|^q", "XYZ")
	f.Fuzz(agree)
}
