package regex

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind             Kind
		pattern, subject string
		next             int
		groups           []string
		ok               bool
	}{
		{OSRegex, `User (\w+) `, "user Bob from", 9, []string{"Bob"}, true},
		{OSRegex, `nope`, "user", 0, nil, false},
		{PCRE2, `User (\w+)`, "user Bob", 0, nil, false},
		{PCRE2, `(?i)User (\w+)`, "user Bob!", 8, []string{"Bob"}, true},
		{PCRE2, `a(x)?(b)`, "ab", 2, []string{"", "b"}, true},
		{OSMatch, `bob`, "user Bob", 8, nil, true},
		{String, `Bob`, "Bob", 3, nil, true},
		{String, `Bob`, "bob", 0, nil, false},
	} {
		p, err := Compile(tc.kind, tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		var m Machine
		next, pos, ok := m.Find(p, tc.subject, Lower(tc.subject))
		var groups []string
		for i := 0; i < len(pos); i += 2 {
			groups = append(groups, tc.subject[pos[i]:pos[i+1]])
		}
		if ok != tc.ok || ok && (next != tc.next && tc.kind != OSMatch && tc.kind != String) {
			t.Errorf("%v %q: next %d, %v", tc.kind, tc.pattern, next, ok)
		}
		if diff := cmp.Diff(tc.groups, groups); diff != "" {
			t.Errorf("%v %q (-want +got):\n%s", tc.kind, tc.pattern, diff)
		}
		if m.Match(p, tc.subject, Lower(tc.subject)) != tc.ok {
			t.Errorf("%v %q: Match and Find differ", tc.kind, tc.pattern)
		}
	}
}

func TestLower(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "abc": "abc", "aBC\xc9\xff": "abc\xc9\xff"} {
		if got := Lower(in); got != want {
			t.Errorf("Lower(%q) is %q", in, got)
		}
	}
}
