//go:build !e2e

package harness

import "errors"

// The engine's client is large: only the end-to-end tests are built with it.
func newContainers(int, int, int) (backend, error) {
	return nil, errors.New("TEST_SERVERS=containers needs the build tag e2e")
}
