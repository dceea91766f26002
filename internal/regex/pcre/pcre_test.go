package pcre

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is a pattern, a subject and what libpcre2-8 10.42 makes of them. Bytes
// above 127 are written as the code points of the same number.
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
