package mitre

import (
	"regexp"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^T\d{4}(\.\d{3})?$`)
	known := map[string]bool{}
	for _, n := range tactics {
		known[n] = true
	}
	for id, x := range techniques {
		if !form.MatchString(id) || x.Name == "" || len(x.Tactics) == 0 {
			t.Errorf("%s: %+v", id, x)
		}
		for _, n := range x.Tactics {
			if !known[n] || !x.In(n) {
				t.Errorf("%s: unknown tactic %q", id, n)
			}
		}
		if parent, _, sub := strings.Cut(id, "."); sub {
			if _, ok := Find(parent); !ok {
				t.Errorf("%s: technique %s is missing", id, parent)
			}
		}
	}
	if name, ok := Tactic("TA0006"); !ok || name != "Credential Access" {
		t.Errorf("TA0006 is %q", name)
	}
}
