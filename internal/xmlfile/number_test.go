package xmlfile_test

import (
	"testing"

	"vedette/internal/xmlfile"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text          string
		n, leading    int
		ok, leadingOK bool
	}{
		{"", 0, 0, false, false},
		{"0", 0, 0, true, true},
		{"042", 42, 42, true, true},
		{"9999", 0, 999, false, true}, // of at most three digits
		{"12a", 0, 0, false, false},
		{"-1", 0, 0, false, false},
		{" 1", 0, 0, false, false},
		{"١", 0, 0, false, false},
	} {
		if n, ok := xmlfile.Number(tc.text, 3); n != tc.n || ok != tc.ok {
			t.Errorf("Number of %q = %d, %v, want %d, %v", tc.text, n, ok, tc.n, tc.ok)
		}
		if n, ok := xmlfile.LeadingNumber(tc.text, 3); n != tc.leading || ok != tc.leadingOK {
			t.Errorf("LeadingNumber of %q = %d, %v, want %d, %v", tc.text, n, ok, tc.leading, tc.leadingOK)
		}
	}
}
