package laxjson_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vedette/agentmsg/laxjson"
)

func tree(t testing.TB, s string) *laxjson.Node {
	t.Helper()
	var r laxjson.Reader
	n, ok := r.Tree(s)
	if !ok {
		t.Fatalf("%s was refused", s)
	}
	return n
}

func TestValuesAsText(t *testing.T) {
	t.Parallel()
	n := tree(t, `{"a":9007199254740993,"b":-5,"c":1.50,"d":1e3,"e":true,"f":null,"g":"x\n\ud83d\ude00\/","h":[1,"",{"i":2},"y"],"a":1}`)
	want := map[string]string{"a": "9007199254740993", "b": "-5", "c": "1.5", "d": "1000", "e": "true", "f": "", "g": "x\n😀/", "h": "", "z": ""}
	got := map[string]string{}
	for m := range want {
		got[m] = n.Value(m)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1", "y"}, n.Member("h").Values()); diff != "" {
		t.Errorf("array (-want +got):\n%s", diff)
	}
	if m := n.Fold("G"); m != n.Member("g") {
		t.Errorf("member g is not found by G: %v", m)
	}
	if m := n.Member("z").Member("y"); m != nil || m.Value("x") != "" || m.Values() != nil || m.Is(laxjson.Null) {
		t.Errorf("an absent member has a value: %v", m)
	}
}

func TestWhatTreeTakes(t *testing.T) {
	t.Parallel()
	nested := func(depth int) string {
		return `{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}"
	}
	for s, want := range map[string]bool{
		` {}`:                          true,
		`{"a":1} rest`:                 true, // it stops behind the first value
		`{"a":"` + "\x01" + `"}`:       true,
		nested(laxjson.DepthMax - 1):   true,
		nested(laxjson.DepthMax):       false,
		``:                             false,
		`[]`:                           false,
		`{"a":1`:                       false,
		`{"a":1,}`:                     false,
		`{"a" 1}`:                      false,
		`{a:1}`:                        false,
		`{"a":"\x"}`:                   false,
		`{"a":"\ud800"}`:               false,
		`{"a":x}`:                      false,
		strings.Repeat(`{"a":`, 10000): false,
	} {
		var r laxjson.Reader
		if _, ok := r.Tree(s); ok != want {
			t.Errorf("%.80q: taken %v, want %v", s, ok, want)
		}
	}
}

// flat lists the values of a tree in the form of encoding/json.
func flat(n *laxjson.Node) any {
	switch n.Kind {
	case laxjson.Object:
		m := map[string]any{}
		for i := range n.Kids {
			m[n.Kids[i].Name] = flat(&n.Kids[i])
		}
		return m
	case laxjson.Array:
		list := make([]any, len(n.Kids))
		for i := range n.Kids {
			list[i] = flat(&n.Kids[i])
		}
		return list
	case laxjson.Text:
		return n.Text
	case laxjson.Bool:
		return n.Text == "true"
	case laxjson.Number:
		return 0.0 // compared by TestValuesAsText
	}
	return nil
}

func depth(v any) int {
	most := 0
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if _, ok := x.(float64); ok {
				v[k] = 0.0
			}
			most = max(most, depth(x))
		}
	case []any:
		for i, x := range v {
			if _, ok := x.(float64); ok {
				v[i] = 0.0
			}
			most = max(most, depth(x))
		}
	}
	return most + 1
}

func FuzzTree(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x",{"b":null}],"c":true}`, `{"a":"\\\n\t"}`, `{"a":1e400}`, `{"a":{"b":[[["x"]]]}} y`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r laxjson.Reader
		n, ok := r.Tree(s)
		if ok && r.Pos > len(s) {
			t.Fatalf("read up to %d of %d bytes", r.Pos, len(s))
		}
		// Escapes of characters and broken UTF-8 are read in other ways.
		var want map[string]any
		if strings.Contains(s, `\u`) || !utf8.ValidString(s) || json.Unmarshal([]byte(s), &want) != nil || want == nil || depth(want) > laxjson.DepthMax {
			return
		}
		if !ok {
			t.Fatalf("%q was refused", s)
		}
		if diff := cmp.Diff(want, flat(n)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", s, diff)
		}
	})
}
