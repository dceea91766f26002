//go:build !unix

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
)

// lock opens the lock file; keeping a second writer out is left to the operator
// where the system has no flock.
func lock(dir string) (*os.File, error) {
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return f, nil
}
