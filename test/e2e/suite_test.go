//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The suite that every store passes, against the real indexer. It empties the
// alert indices, so it stands last.
func TestTheStoreSuiteHoldsOnTheRealIndexer(t *testing.T) {
	cmd := exec.Command("go", "test", "-count=1", "-v", "./internal/store/opensearch/")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "OPENSEARCH_URLS="+strings.Join(servers.OpenSearchURLs, ","))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Errorf("a part was passed over:\n%s", out)
	}
}
