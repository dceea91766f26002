// Package leaktest finds goroutines that the tests of a package have left behind.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds the wait for goroutines that are about to end. On a busy machine
// those of a closed client take longer than the second that goleak waits.
const patience = 2 * time.Minute

// Main runs the tests of a package. It fails if goroutines are left that do not end.
func Main(m *testing.M) {
	code := m.Run()
	if code != 0 {
		os.Exit(code)
	}
	err := goleak.Find()
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the tests left goroutines behind:", err)
		code = 1
	}
	os.Exit(code)
}
