package around_test

import (
	"testing"

	"vedette/internal/regex/around"
)

func TestTextsAreFoundByWhatIsAroundThem(t *testing.T) {
	t.Parallel()
	digit := around.Of(func(c byte) bool { return '0' <= c && c <= '9' })
	for _, tc := range []struct {
		left, right around.Bytes
		last        bool
		subject     string
		from, want  int
	}{
		{around.Any, around.Any, false, "a:b", 0, 1},
		{around.Any, around.Any, false, "a:b", 2, -1},
		{around.Any, around.Any, false, ":", 0, 0},
		{digit, digit, false, "a:b 1:x :2 3:4", 0, 12},
		{digit, digit, false, "1:", 0, -1},
		{digit, digit, true, "1:", 0, 1},
		{digit, around.Any, false, "1:", 0, 1},
		{digit, around.Any, false, ":1:", 0, 2},
		{around.Any, digit, false, ":x:1", 0, 2},
		{digit, digit, false, "1:2", 1, 1},
	} {
		x := around.New(":", tc.left, tc.right, tc.last)
		if got := x.Index(tc.subject, tc.from); got != tc.want {
			t.Errorf("%+v: found at %d", tc, got)
		}
	}
	colon := around.New(":", digit, digit, false)
	for subject, want := range map[string]bool{"1:2:3": true, "1:2": false, "1:2 3:4": true, "1::2:": false} {
		if got := around.InOrder([]around.Text{colon, colon}, subject, 0); got != want {
			t.Errorf("two in %q: %v", subject, got)
		}
	}
}
