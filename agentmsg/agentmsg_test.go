package agentmsg_test

import (
	"slices"
	"testing"

	"vedette/agentmsg"
)

func TestSplitList(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]string{"": nil, " , ": nil, "a": {"a"}, " a b ,,c\n": {"a b", "c"}} {
		if got := agentmsg.SplitList(list, ","); !slices.Equal(got, want) {
			t.Errorf("%q = %q, want %q", list, got, want)
		}
	}
}
