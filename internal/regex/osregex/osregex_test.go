package osregex

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
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
	end, next, groups, ok := r.Find(lower(v.Subject), nil)
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
