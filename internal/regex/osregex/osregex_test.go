package osregex

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type vector struct {
	Pattern      string   `json:"pattern"`
	Subject      string   `json:"subject"`
	CompileError int      `json:"compile_error"`
	Match        bool     `json:"match"`
	End          int      `json:"end"`
	Next         int      `json:"next"`
	Groups       []string `json:"groups"`
}

func lower(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lowerByte(b[i])
	}
	return string(b)
}

func run(v vector) (got vector) {
	got = vector{Pattern: v.Pattern, Subject: v.Subject}
	r, err := Compile(v.Pattern)
	switch {
	case errors.Is(err, ErrEscape):
		got.CompileError = 6
		return got
	case errors.Is(err, ErrParens):
		got.CompileError = 7
		return got
	}
	var m Machine
	end, next, groups, ok := m.Find(r, lower(v.Subject), nil, nil)
	if !ok {
		return got
	}
	got.Match, got.End, got.Next = true, end, next
	got.Groups = []string{}
	for i := 0; i < len(groups); i += 2 {
		got.Groups = append(got.Groups, v.Subject[groups[i]:groups[i+1]])
	}
	return got
}

func TestVectors(t *testing.T) {
	t.Parallel()
	path := os.Getenv("VEDETTE_OSREGEX_VECTORS")
	if path == "" {
		path = "../../../../shared/spec/osregex-vectors.jsonl"
	}
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("no OS_Regex vectors (set VEDETTE_OSREGEX_VECTORS): %v", err)
	}
	defer f.Close()
	n, bad := 0, 0
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var v vector
		if err := json.Unmarshal(sc.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		n++
		if diff := cmp.Diff(v, run(v)); diff != "" {
			bad++
			if bad <= 10 {
				t.Errorf("vector %d (-want +got):\n%s", n, diff)
			}
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d vectors hold", n-bad, n)
}

func TestExamples(t *testing.T) {
	t.Parallel()
	for _, tc := range []vector{
		{Pattern: `a.c`, Subject: "abc"},
		{Pattern: `a.c`, Subject: "a.c", Match: true, End: 2, Next: 3},
		{Pattern: `a\.c`, Subject: "abc", Match: true, End: 2, Next: 3},
		{Pattern: `a+`, Subject: "aaa"},
		{Pattern: `a+`, Subject: "a+b", Match: true, End: 1, Next: 2},
		{Pattern: `[0-9]`, Subject: "5"},
		{Pattern: `\w+ab`, Subject: "xaab"},
		{Pattern: `\w+ab`, Subject: "xxab", Match: true, End: 3, Next: 4},
		{Pattern: `\d+\d\d`, Subject: "123", Match: true, End: 2, Next: 3},
		{Pattern: `(\.+) from (\S+)`, Subject: "a from b from c", Match: true, End: 7, Next: 8, Groups: []string{"a", "b"}},
		{Pattern: `(\.+)end`, Subject: "xxendyyend", Match: true, End: 4, Next: 5, Groups: []string{"xx"}},
		{Pattern: `(\w+)\.*(\d+)`, Subject: "ab--77", Match: true, End: 4, Next: 5, Groups: []string{"a", "77"}},
		{Pattern: `(a)(b)`, Subject: "ab"},
		{Pattern: `(foo|bar)`, CompileError: 7},
		{Pattern: `(foo)|(bar)`, Subject: "bar", Match: true, End: 2, Next: 3, Groups: []string{"bar"}},
		{Pattern: `foo|bar`, Subject: "bar foo", Match: true, End: 6, Next: 7},
		{Pattern: `^abc$`, Subject: "xabc"},
		{Pattern: `^abc`, Subject: "xabc"},
		{Pattern: `abc$`, Subject: "abcabc", Match: true, End: 5, Next: 6},
		{Pattern: `abc$`, Subject: "xabcd"},
		{Pattern: `$`, Subject: "a"},
		{Pattern: `\s`, Subject: "\t"},
		{Pattern: `\p`, Subject: "a/b"},
		{Pattern: `\p`, Subject: "a-b", Match: true, End: 1, Next: 2},
		{Pattern: `k=(\S*);`, Subject: "k=;", Match: true, End: 2, Next: 3, Groups: []string{""}},
		{Pattern: `from (\S+) port (\d+)$`, Subject: "from 1.2.3.4 port 22", Match: true, End: 18, Next: 19, Groups: []string{"1.2.3.4", "22"}},
		{Pattern: `from (\S+) port (\d+)$`, Subject: "from 1.2.3.4 port 22 x"},
		{Pattern: `\q`, CompileError: 6},
		{Pattern: `user (\w+) `, Subject: "user bob from", Match: true, End: 8, Next: 9, Groups: []string{"bob"}},
		{Pattern: `(\d+)`, Subject: "ab123cd", Match: true, End: 2, Next: 3, Groups: []string{"123"}},
		{Pattern: `\d+`, Subject: "ab123cd", Match: true, End: 5, Next: 6},
		{Pattern: `from (\S+)`, Subject: "from host port", Match: true, End: 5, Next: 6, Groups: []string{"host"}},
		{Pattern: `(ab)`, Subject: "xabcd", Match: true, End: 2, Next: 3, Groups: []string{"ab"}},
		{Pattern: ``, Subject: "abc", Match: true, End: 0, Next: 1},
	} {
		if tc.Match && tc.Groups == nil {
			tc.Groups = []string{}
		}
		if diff := cmp.Diff(tc, run(tc)); diff != "" {
			t.Errorf("%q on %q (-want +got):\n%s", tc.Pattern, tc.Subject, diff)
		}
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	r, err := Compile(`\w+ x|y`)
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{Steps: 10}
	if m.Match(r, strings.Repeat("a", 100)+" x") || m.Exceeded != 1 {
		t.Errorf("exceeded %d times, want 1", m.Exceeded)
	}
	if !m.Match(r, "aa x") || m.Exceeded != 1 {
		t.Error("machine is not usable after it ran out of steps")
	}
}

// FuzzMatch checks that no pattern and no subject makes the procedure panic or
// run on, and that positions stay inside the subject.
func FuzzMatch(f *testing.F) {
	f.Add(`^(\w+)\.*(\d+)$|x\S*`, "ab--77")
	f.Add(`\d*`, "abc")
	f.Add(`(\.+) from (\S+)`, "a from b from c")
	m := Machine{Steps: 20_000}
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		r, err := Compile(pattern)
		if err != nil {
			return
		}
		low := lower(subject)
		_, next, groups, ok := m.Find(r, low, nil, nil)
		if !ok {
			return
		}
		if next < 0 || next > len(subject) {
			t.Fatalf("resumes at %d of %d", next, len(subject))
		}
		for i := 0; i < len(groups); i += 2 {
			_ = subject[groups[i]:groups[i+1]]
		}
	})
}
