//go:build e2e

// Package e2e runs the binary against real Kafka and real OpenSearch, kills
// parts of it, and counts.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vedette/test/harness"
)

var (
	servers *harness.Servers
	bin     string
	workDir string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if workDir, err = os.MkdirTemp("", "vedette-e2e"); err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(workDir)
	// OpenSearch drops to another user, which must be able to enter.
	if err := os.Chmod(workDir, 0o755); err != nil {
		fmt.Println(err)
		return 1
	}
	if bin, err = harness.Build(workDir); err != nil {
		fmt.Println(err)
		return 1
	}
	if servers, err = harness.Start(filepath.Join(workDir, "servers")); err != nil {
		fmt.Println(err)
		return 1
	}
	defer servers.Stop()
	return m.Run()
}
