package xmlfile

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// show prints elements in one line.
func show(es []*Element) string {
	var b strings.Builder
	for _, e := range es {
		fmt.Fprintf(&b, "(%s", e.Name)
		for _, a := range e.Attrs {
			fmt.Fprintf(&b, " %s=%q", a.Name, a.Value)
		}
		fmt.Fprintf(&b, " %q%s)", e.Content, show(e.Children))
	}
	return b.String()
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"several roots", `<a>x</a> <b></b>`, `(a "x")(b "")`},
		{"self-closing", `<a k="v"/>`, `(a k="v" "")`},
		{"no entities", `<a>&lt;&amp;</a>`, `(a "&lt;&amp;")`},
		{"escaped markup", `<a>x\<y</a>`, `(a "x\\<y")`},
		{"two backslashes", `<a>E:\\</a>`, `(a "E:\\\\")`},
		{"content verbatim", "<a>\n x </a>", `(a "\n x ")`},
		{"content behind the last child", `<a>lost<b>x</b>kept</a>`, `(a "kept"(b "x"))`},
		{"comments", `<!-- a --><a>x<!-- <b> -->y<! c !>z</a>`, `(a "xyz")`},
		{"quotes", `<a k='a"b' l = "c'd">x</a>`, `(a k="a\"b" l="c'd" "x")`},
		{"names in any case", `<A>x</a>`, `(A "x")`},
		{"greater-than is text", `<a>b > c</a>`, `(a "b > c")`},
		{"variable", `<var name="V">val</var><a k="$V|">$v|x $V</a>`, `(a k="val|" "val|x val")`},
		{"variable too late", `<a>$V x</a><var name="V">val</var>`, `(a "$V x")`},
		{"what is no variable", `<var name="V">val</var><a>$(x) y$ $|$.</a>`, `(a "$(x) y$ $|$.")`},
		{"short texts are not scanned", `<var name="V">val</var><a>$V</a><b>$V.</b>`, `(a "$V")(b "val.")`},
		{"variable inside a group", `<g><var name="V">val</var><a>-$V</a></g>`, `(g ""(a "-val"))`},
	} {
		es, err := Parse([]byte(tc.in))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if diff := cmp.Diff(tc.want, show(es)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in  string
		line, col int
	}{
		{"not closed", "<a>\n<b>", 2, 4},
		{"wrong end", "<a>\n  <b>x</c></a>", 2, 7},
		{"end without start", "x\n</a>", 2, 1},
		{"attribute without value", `<a k>x</a>`, 1, 5},
		{"attribute twice", `<a k="1" K="2">x</a>`, 1, 12},
		{"value not quoted", `<a k=v>x</a>`, 1, 6},
		{"comment not closed", "<a>\n<!-- x", 2, 1},
		{"processing instruction", `<?xml version="1.0"?><a/>`, 1, 2},
		{"unknown variable", "<var name=\"V\">v</var>\n<a>$NO x</a>", 2, 1},
		{"too deep", strings.Repeat("<a>", NestingMax+2), 1, 3*(NestingMax+1) + 1},
		{"too long", "<a>" + strings.Repeat("x", TextMax+1) + "</a>", 1, TextMax + 9},
		{"variable too long", "<var name=\"V\">" + strings.Repeat("x", TextMax) + "</var><a>$V $V</a>", 1, TextMax + 21},
	} {
		_, err := Parse([]byte(tc.in))
		var xe *Error
		if !errors.As(err, &xe) {
			t.Errorf("%s: error %v", tc.name, err)
			continue
		}
		if xe.Line != tc.line || xe.Col != tc.col {
			t.Errorf("%s: at %d:%d, want %d:%d (%s)", tc.name, xe.Line, xe.Col, tc.line, tc.col, xe.Msg)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<var name="A">x</var><group name="g,"><rule id="1"><match>$A\<y</match></rule></group>`))
	f.Add([]byte(`<a b='c'/><!-- d -->`))
	f.Add([]byte(`<a>\\</a>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := Parse(data); err != nil {
			var xe *Error
			if !errors.As(err, &xe) || xe.Line < 1 || xe.Col < 1 {
				t.Errorf("error without a place: %v", err)
			}
		}
	})
}
