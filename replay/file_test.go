package replay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A path that is no regular file is refused by its name, and opening it does not
// wait.
func TestAHistoryIsARegularFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, dangling := filepath.Join(dir, "pipe"), filepath.Join(dir, "dangling")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{pipe: "a named pipe", "/dev/zero": "a device", dir: "a directory", dangling: "no such file"} {
		_, err := (&File{Path: name}).Open(t.Context(), 1, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %q and the name", name, err, want)
		}
	}
}

// A line without an end neither fills the memory nor keeps a replay from ending.
func TestAnEndlessLineIsStopped(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "endless")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 1<<40); err != nil { // sparse: it takes no room
		t.Fatal(err)
	}
	lanes, err := (&File{Path: name}).Open(t.Context(), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := lanes[0].Next(ctx)
		ended <- err
	}()
	r, ok := lanes[0].(*reader)
	if !ok {
		t.Fatalf("the lane is a %T", lanes[0])
	}
	for r.read.n.Load() < 4*lineMax { // far beyond the kept part of a line
		if len(ended) > 0 {
			t.Fatalf("it ended by itself: %v", <-ended)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want that it was canceled", err)
	}
}
