package osmatch

import "testing"

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, subject string
		want             bool
	}{
		{"abc", "xabcx", true},
		{"ABC", "xabcx", true},
		{"^abc", "xabc", false},
		{"^abc", "abcx", true},
		{"abc$", "abcx", false},
		{"abc$", "xabc", true},
		{"^abc$", "abc", true},
		{"^abc$", "abcd", false},
		{"^", "x", true},
		{"$", "x", true},
		{"^$", "", true},
		{"^$", "x", false},
		{"", "x", true},
		{"a||b", "zzz", true},
		{"^a|c$", "xc", true},
		{"!a|b", "b", false},
		{"!a|b", "c", true},
		{"a!b", "xa!b", true},
		{`a\.c`, "abc", false},
		{`a\.c`, `a\.c`, true},
	} {
		if got := Compile(tc.pattern).Match(tc.subject); got != tc.want {
			t.Errorf("%q on %q: %v, want %v", tc.pattern, tc.subject, got, tc.want)
		}
	}
}
