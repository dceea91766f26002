package pcre

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is a pattern, a subject and the result of libpcre2-8 10.42. Bytes above
// 127 are written as the code points of the same number.
type vector struct {
	Pattern string   `json:"pattern"`
	Subject string   `json:"subject"`
	Error   int      `json:"error"`
	Match   bool     `json:"match"`
	End     int      `json:"end"`
	Groups  []string `json:"groups"`
}

func latin1(s string) string {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

func (v vector) run(m *Machine) (got vector) {
	got = vector{Pattern: v.Pattern, Subject: v.Subject}
	r, err := Compile(latin1(v.Pattern))
	if err != nil {
		got.Error = 1
		return got
	}
	subject := latin1(v.Subject)
	end, groups, ok := m.Find(r, subject, lower(subject), nil)
	if !ok {
		return got
	}
	got.Match, got.End, got.Groups = true, end, []string{}
	for i := 0; i < len(groups); i += 2 {
		var b strings.Builder
		for _, c := range []byte(subject[groups[i]:groups[i+1]]) {
			b.WriteRune(rune(c))
		}
		got.Groups = append(got.Groups, b.String())
	}
	return got
}

func TestVectors(t *testing.T) {
	t.Parallel()
	path := os.Getenv("VEDETTE_PCRE_VECTORS")
	if path == "" {
		path = "testdata/vectors.jsonl"
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m Machine
	n, bad := 0, 0
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var v vector
		if err := json.Unmarshal(sc.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		n++
		v.Error = min(v.Error, 1)
		if diff := cmp.Diff(v, v.run(&m)); diff != "" {
			if bad++; bad <= 10 {
				t.Errorf("vector %d %q %q (-want +got):\n%s", n, v.Pattern, v.Subject, diff)
			}
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d vectors hold", n-bad, n)
}

func TestBudget(t *testing.T) {
	t.Parallel()
	r, err := Compile(`(a+)+$`)
	if err != nil {
		t.Fatal(err)
	}
	s := strings.Repeat("a", 64) + "b"
	m := Machine{Steps: 10_000}
	if m.Match(r, s, s) || m.Exceeded != 1 {
		t.Errorf("exceeded %d times, want 1", m.Exceeded)
	}
	if !m.Match(r, "aaa", "aaa") {
		t.Error("machine is not usable after it ran out of steps")
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		strings.Repeat("(", 300) + strings.Repeat(")", 300),
		"((((a{60000}){60000}){60000}){60000})",
		strings.Repeat("a", MaxPattern+1),
		"(?R)", "(?(1)a|b)", `\X`, "(?C1)",
	} {
		if _, err := Compile(p); err == nil {
			t.Errorf("%.40q compiles", p)
		}
	}
}

// FuzzMatch checks that no pattern and no subject makes the matcher panic or
// run on, and that positions stay inside the subject.
func FuzzMatch(f *testing.F) {
	f.Add(`(?i)(a|b)*c(?=d)\b`, "abABcd")
	f.Add(`(*UTF)\N{U+202E}[^a]`, "a\u202eb")
	f.Add(`(?<n>a++)(?!b)\k<n>{2,}`, "aaaa")
	f.Add(`(?<=ab|c)\R\h*+$`, "ab\r\n ")
	m := Machine{Steps: 20_000}
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		r, err := Compile(pattern)
		if err != nil {
			return
		}
		end, groups, ok := m.Find(r, subject, lower(subject), nil)
		if !ok {
			return
		}
		if end < 0 || end > len(subject) {
			t.Fatalf("ends at %d of %d", end, len(subject))
		}
		for i := 0; i < len(groups); i += 2 {
			_ = subject[groups[i]:groups[i+1]]
		}
	})
}
