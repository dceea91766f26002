package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheMemoryLimitIsThatOfTheControlGroup(t *testing.T) {
	t.Parallel()
	f := func(file, text string, want int64) {
		t.Helper()
		root := t.TempDir()
		if file != "" {
			at := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := memoryLimit(root); got != want {
			t.Errorf("%s %q grants %d bytes, want %d", file, text, got, want)
		}
	}
	f("memory.max", "536870912\n", 512<<20)
	f("memory.max", "max\n", 0)
	f("memory/memory.limit_in_bytes", "1073741824\n", 1<<30)
	f("memory/memory.limit_in_bytes", "9223372036854771712\n", 0)
	f("memory.max", "-1", 0)
	f("memory.max", "", 0)
	f("", "", 0)
}
