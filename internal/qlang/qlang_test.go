package qlang

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse(t *testing.T) {
	t.Parallel()
	f := func(in, want string) {
		t.Helper()
		x, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			return
		}
		if got := x.String(); got != want {
			t.Errorf("%s is read as %s, want %s", in, got, want)
		}
	}
	f("a=1", "a=1")
	f("a=1;b!=2,c<3;d>4", "a=1;b!=2,c<3;d>4")
	f("((a=1))", "a=1")
	f("(a=1,b=2);c=3", "(a=1,b=2);c=3")
	f("(a=1;b=2),c=3", "a=1;b=2,c=3")
	f("(a=1;(b=2,(c=3;d=4)));e~5", "a=1;(b=2,c=3;d=4);e~5")
	f("os.name~Windows (x64) 10", "os.name~Windows (x64) 10")
	f("(a=f(x))", "a=f(x)")
	f("a=[1,2]", "a=[1,2]")
	f("a>=1", "a>=1")
	f(`a={"k":"v"}`, `a={"k":"v"}`)
	f("q=a=b<c>d%@$/\\?:-_.", "q=a=b<c>d%@$/\\?:-_.")
	f("name=größe", "name=größe")
}

func TestWhatIsNoQueryIs1407(t *testing.T) {
	t.Parallel()
	f := func(in string) {
		t.Helper()
		for _, parse := range []func(string) (*Expr, error){Parse, ParseFlat} {
			_, err := parse(in)
			var q *Error
			if !errors.As(err, &q) || q.Code != CodeSyntax {
				t.Errorf("%.40q: %v", in, err)
			}
		}
	}
	for _, s := range []string{
		"", "a", "a=", "=1", "a=1;", ";a=1", "a=1,,b=2", "(a=1", "a=1)", "a=f(x", "a 1", " a=1", "a=1|2", "a=x*", "a!1", "a=1;(b=2", "\xff=1", "()",
		"a=" + strings.Repeat("x", MaxQueryBytes), strings.Repeat("a=1,", MaxClauses) + "a=1",
	} {
		f(s)
	}
	if _, err := Parse(strings.Repeat("(", MaxDepth+1) + "a=1" + strings.Repeat(")", MaxDepth+1)); err == nil {
		t.Error("parentheses nest without a bound")
	}
}

func item(t testing.TB, s string) Object {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var o Object
	if err := d.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
}

const sample = `{"id":"007","name":"Web Server","level":7,"score":2.5,"ok":true,"none":null,
	"when":"2026-11-22T10:00:00.500+0000","list":["a","b"],"items":[{"key":"k1","n":1},{"key":"k2"}],"deep":{"er":{"x":"y"}},"dot.ted":{"z":"1"},
	"json":"{\"a\": 1}"}`

func TestMatch(t *testing.T) {
	t.Parallel()
	it := item(t, sample)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	o := Options{Now: now, Date: func(n string) bool { return n == "when" }, Numeric: func(n string) bool { return n == "id" }}
	with := func(parse func(string) (*Expr, error), o Options) func(string, bool) {
		return func(q string, want bool) {
			t.Helper()
			x, err := parse(q)
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			m, err := x.Compile(o)
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			if got := m.Match(it); got != want {
				t.Errorf("%s is %v", q, got)
			}
		}
	}
	f := with(Parse, o)
	f("name=Web Server", true)
	f("name=web server", false)
	f("name~Serv", true)
	f("name~serv", false)
	f("name!=x", true)
	f("name=Web'Server", true) // a quotation mark is any character
	f(`name~b"S`, true)
	f(`name="""`, false)
	f("id=7", true)
	f("id>6;id<8", true)
	f("id!=7", false)
	f("level=7", true)
	f("level=7.0", true)
	f("level>10", false) // as text it would hold
	f("level<abc", false)
	f("level=0x7", false)
	f("score>2", true)
	f("ok=true", true)
	f("list=b", true)
	f("list!=b", false)
	f("list!=c", true)
	f("list~c", false)
	f("items.key=k2", true)
	f("items.n=1", true)
	f("deep.er.x=y", true)
	f("deep.er=y", false)
	f("dot.ted.z=1", true)
	f("missing=1", false)
	f("missing!=1", false)
	f("missing=null", true)
	f("none=null", true)
	f("name=null", false)
	f("name!=null", true)
	f(`json={"a":1}`, true)
	f("when>2026-11-22", true)
	f("when>2026-11-22 10:00:01", false)
	f("when<2026-11-22T10:00:01Z", true)
	f("when>1h", true) // older than
	f("when>3h", false)
	f("when<3h", true)
	f("when=3h", true)
	f("when<7200", true) // seconds
	f("when!=3h", false)
	f("when~2026", true)
	f("when!=null", true)
	f("(id=1,id=7);level=7", true)
	f("id=1,id=7;level=8", false)
	f("id=7;level=8,name~Web", true)

	o.FoldCase = true
	f = with(Parse, o)
	f("name=web SERVER", true)
	f("name~SERV", true)
	f("name>a", true)

	f = with(ParseFlat, o) // parentheses do not group
	f("(id=7,id=1);level=8", true)
	f("((id=7));(level=7)", true)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	o := Options{
		Field: func(n string) bool { return n != "secret" }, Fields: []string{"group", "when"},
		Operator: func(n string, op Op) bool { return n != "group" || op != Less },
		Date:     func(n string) bool { return n == "when" },
	}
	f := func(q string, code int) {
		t.Helper()
		x, err := Parse(q)
		if err != nil {
			t.Fatal(err)
		}
		var e *Error
		if err := x.Check(o); !errors.As(err, &e) || e.Code != code {
			t.Errorf("%s: %v", q, err)
		}
	}
	f("a=1;secret=2", CodeField)
	f("group<a", CodeOperator)
	f("when>soon", CodeDate)
	f("when=99999999999999999999d", CodeDate)
	if m, err := (*Expr)(nil).Compile(o); err != nil || !m.Match(Object{}) {
		t.Error("no query does not match all")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a=1", "(a=1,b!=2);c~(x)[1,2]", "a=null;b<7d", `x="'"`, "((a>1))"} {
		f.Add(s)
	}
	it := item(f, sample)
	f.Fuzz(func(t *testing.T, s string) {
		x, err := Parse(s)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T", err)
			}
			return
		}
		again, err := Parse(x.String())
		if err != nil || again.String() != x.String() {
			t.Fatalf("%q is written as %q, which reads as %v, %v", s, x, again, err)
		}
		for _, fold := range []bool{false, true} {
			if m, err := x.Compile(Options{FoldCase: fold, Date: func(n string) bool { return n == "when" }}); err == nil {
				m.Match(it)
			}
		}
		_, _ = ParseFlat(s)
	})
}

func TestRawFindsWhatObjectFinds(t *testing.T) {
	t.Parallel()
	doc := sample[:len(sample)-1] + `, "esc\"aped" : {"k\u0041" : [ [1, 2] , {"x":[true,false,null]} ]}, "e":{}, "l":[], "s":"a\\", "u":"\u00fc\"" }`
	it := item(t, doc)
	for _, path := range []string{
		"id", "level", "score", "ok", "none", "list", "items", "items.key", "items.n", "deep", "deep.er.x", "dot.ted.z", "dot", "json", "missing", "id.x",
		`esc"aped.kA`, `esc"aped.kA.x`, "e", "l", "s", "u", "", ".", "items.",
	} {
		if d := cmp.Diff(it.Values(path), Raw(doc).Values(path)); d != "" {
			t.Errorf("%q: %s", path, d)
		}
	}
}

func FuzzRaw(f *testing.F) {
	f.Add([]byte(sample), "deep.er.x")
	f.Add([]byte(`{"a":[{"b":"c\\"}],"d":-1e5}`), "a.b")
	f.Add([]byte(`{"":{"":1}}`), ".")
	f.Add([]byte(`{"":{"x":1,"":[2,{"y":"z"}]},"a.b":{"c":true},"a":{"b.c":false}}`), "a.b.c")
	f.Fuzz(func(t *testing.T, b []byte, path string) {
		got := Raw(b).Values(path) // must not panic or hang on anything
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var o Object
		if !json.Valid(b) || d.Decode(&o) != nil || o == nil || repeats(b) {
			return
		}
		opt := cmpopts.SortSlices(func(a, b any) bool { return Text(a) < Text(b) })
		if diff := cmp.Diff(o.Values(path), got, opt, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q in %s: %s", path, b, diff)
		}
		byPath := map[string][]any{}
		Raw(b).Each(func([]byte) bool { return true }, func(p []byte, v any) { byPath[string(p)] = append(byPath[string(p)], v) })
		if b[0] == '{' && bytes.Count(b, []byte("{"))+bytes.Count(b, []byte("[")) < eachDepth {
			for p, vs := range byPath {
				if slices.Contains(strings.Split(p, "."), "") {
					continue // nobody can ask for a member without a name
				}
				if diff := cmp.Diff(o.Values(p), vs, opt, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("each %q in %s: %s", p, b, diff)
				}
			}
		}
	})
}

// repeats reports whether some object has a member twice.
func repeats(b []byte) bool {
	var o any
	_ = json.Unmarshal(b, &o)
	short, _ := json.Marshal(o)
	keys := func(b []byte) int { return bytes.Count(b, []byte(":")) }
	return keys(short) != keys(b)
}
