// Package archtest keeps who may import whom (docs/design.md) as data.
package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "vedette/"

// allowed maps the start of a package path to the starts of what it may import
// of this module. The longest start that fits a package counts.
var allowed = map[string][]string{
	"schemas":  {"schemas"},
	"internal": {"schemas", "internal"},
	"ruleset":  {"schemas", "agentmsg", "internal/regex", "internal/ipset", "internal/xmlfile", "ruleset"},
	"rulesets": {"schemas", "internal", "ruleset", "rulesets"},
	"agentmsg": {"agentmsg"},
	"ingest":   {"schemas", "internal", "ingest"},
	"inputs":   {"schemas", "internal", "inputs"},
	"enroll":   {"schemas", "internal", "enroll"},
	"analyze":  {"schemas", "internal", "analyze", "ruleset"},
	"forward":  {"schemas", "internal", "forward"},
	"api":      {"schemas", "internal", "api", "ruleset", "rulesets"},
	// Destinations share these, which know none of them.
	"forward/httpsend": {"internal/retry", "internal/secret"},
	"forward/route":    {"schemas", "internal/qlang"},
	"forward/template": {"schemas"},
	// Deliveries know the gateway only by the interfaces that they name.
	"ingest/deliver": {"schemas", "internal", "ingest/deliver", "ingest/secure"},
	// The machinery of shared topics knows no state that is kept there.
	"internal/replica": {"schemas", "internal/kafka", "internal/secret"},
	"internal/blobs":   {"schemas", "internal/kafka", "internal/replica", "internal/retry", "internal/secret"},
	// The frame of the API knows no resource, and resources know each other only
	// where one acts on another.
	"api/rest":      {"api/rest", "api/auth", "api/problem", "api/rbac", "internal/qlang"},
	"api/auth":      {},
	"api/problem":   {},
	"api/rbac":      {},
	"api/agents":    {"api/rest", "api/problem", "schemas", "internal"},
	"api/groups":    {"api/rest", "api/problem", "api/agents", "schemas", "internal"},
	"api/responses": {"api/rest", "api/problem", "api/agents", "schemas", "internal"},
	"api/upgrades":  {"api/rest", "api/problem", "api/agents", "schemas", "internal"},
	"api/alerts":    {"api/rest", "api/problem", "api/agents", "internal"},
	"api/rulesets":  {"api/rest", "api/problem", "api/agents", "internal", "rulesets"},
	"api/rules":     {"api/rest", "api/problem", "internal/xmlfile", "ruleset"},
	"api/logtest":   {"api/rest", "api/problem", "schemas", "ruleset/engine"},
	"api/manager":   {"api/rest", "api/problem", "api/agents", "schemas", "internal", "rulesets"},
	"api/security":  {"api/rest", "api/problem", "api/rbac", "schemas"},
	"simulate":      {"schemas", "internal", "simulate", "ingest/secure", "enroll/protocol"},
	"replay":        {"schemas", "internal", "ruleset", "replay"},
	"config":        {"config", "schemas", "internal", "ingest", "inputs", "enroll", "analyze", "forward", "api"},
	"app":           {"app", "config", "schemas", "internal", "ingest", "inputs", "enroll", "analyze", "forward", "api", "ruleset", "rulesets"},
	"cmd":           {"app", "config", "schemas", "internal", "ruleset", "rulesets", "simulate", "replay", "cmd"},
	"test":          {""},
}

func TestImportsFollowThePipeline(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "data") {
			return fs.SkipDir
		}
		// Tests may use test helpers of other packages.
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rule, ok := lookup(pkg)
		if !ok {
			t.Errorf("%s: package %s stands in no row of the table", path, pkg)
			return nil
		}
		for _, imp := range f.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			name, ours := strings.CutPrefix(name, module)
			if !ours {
				continue
			}
			seen++
			if !under(name, rule) {
				t.Errorf("%s imports %s, which %s may not", path, name, pkg)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("only %d imports were looked at", seen)
	}
}

func lookup(pkg string) ([]string, bool) {
	for p := pkg; p != "."; p = filepath.ToSlash(filepath.Dir(p)) {
		if rule, ok := allowed[p]; ok {
			return rule, true
		}
	}
	return nil, false
}

func under(name string, starts []string) bool {
	for _, s := range starts {
		if s == "" || name == s || strings.HasPrefix(name, s+"/") {
			return true
		}
	}
	return false
}

// What judges history or a candidate has no way to act on agents: it does not
// even name the topic of commands, nor what writes to it.
func TestReplayAndShadowCannotReachCommands(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	looked := 0
	for _, dir := range []string{"replay", "analyze", "agentmsg", "ruleset", "rulesets", "internal/shadowlog", "internal/history"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			looked++
			for _, word := range []string{"TopicCommands", "schemas.Command", "internal/commands", "internal/responses"} {
				if strings.Contains(string(text), word) {
					t.Errorf("%s names %s", path, word)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if looked < 50 {
		t.Errorf("only %d files were looked at", looked)
	}
}

// Contents are read by offset. Whoever followed their topic would read all of them
// at each start.
func TestNobodyFollowsTheTopicOfContents(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	looked := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); d.IsDir() {
			if name := d.Name(); name == ".git" || name == "testdata" || name == "data" || rel == "schemas" || rel == "internal/blobs" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if looked++; strings.Contains(string(text), "TopicBlobs") {
			t.Errorf("%s names the topic of contents; internal/blobs reads and writes it", rel)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the sources cannot be read: %v", err)
	}
	if looked < 100 {
		t.Errorf("only %d files were looked at", looked)
	}
}
