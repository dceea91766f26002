package content_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vedette/ruleset/content"
)

// longPattern is from how many characters on a shared pattern is no coincidence;
// sharedByLog are longer patterns that only quote a vendor's log message.
const longPattern = 30

var (
	described   = regexp.MustCompile(`(?s)<description>(.*?)</description>`)
	patterned   = regexp.MustCompile(`(?s)<(?:regex|prematch|match|field|url|id|status)\b[^>]*>(.*?)</`)
	sharedByLog = map[string]bool{
		"Bad protocol version identification": true, // sshd's own message
	}
)

// texts returns the descriptions and the longer patterns of a file system's XML files.
func texts(t *testing.T, fsys fs.FS) (descriptions, patterns map[string]string) {
	t.Helper()
	descriptions, patterns = map[string]string{}, map[string]string{}
	err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".xml") {
			return err
		}
		raw, err := fs.ReadFile(fsys, path)
		if err != nil {
			return err
		}
		for _, m := range described.FindAllSubmatch(raw, -1) {
			descriptions[strings.ToLower(strings.TrimSpace(string(m[1])))] = path
		}
		for _, m := range patterned.FindAllSubmatch(raw, -1) {
			for _, alternative := range append(strings.Split(string(m[1]), "|"), string(m[1])) {
				if len(alternative) >= longPattern {
					patterns[alternative] = path
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return descriptions, patterns
}

// Our content is our own: the stock ruleset holds none of its descriptions and
// longer patterns (docs/design.md D11).
func TestNothingIsSharedWithTheStockRuleset(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("VEDETTE_STOCK_RULESET")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "wazuh")
	}
	if _, err := os.Stat(filepath.Join(dir, "stock")); err != nil {
		t.Skipf("the stock ruleset is not here (set VEDETTE_STOCK_RULESET): %v", err)
	}
	ourDescriptions, ourPatterns := texts(t, content.FS)
	theirDescriptions, theirPatterns := texts(t, os.DirFS(filepath.Join(dir, "stock")))
	if len(ourDescriptions) < 50 || len(theirDescriptions) < 1000 || len(theirPatterns) < 500 {
		t.Fatalf("too little was compared: %d, %d, %d", len(ourDescriptions), len(theirDescriptions), len(theirPatterns))
	}
	for d, file := range ourDescriptions {
		if other, ok := theirDescriptions[d]; ok {
			t.Errorf("%s: description %q stands in %s", file, d, other)
		}
	}
	for p, file := range ourPatterns {
		if other, ok := theirPatterns[p]; ok && !sharedByLog[p] {
			t.Errorf("%s: pattern %q stands in %s", file, p, other)
		}
	}
}
