package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

// Commands that only read and compute end when they are stopped.
func TestCommandsStop(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	began, never := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(never) })
	ended := make(chan error)
	go func() {
		ended <- stoppable(ctx, func() error {
			close(began)
			<-never
			return nil
		})
	}()
	<-began
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("err = %v, want that it was interrupted", err)
	}
}

// A log test that waits for its next line ends too.
func TestLogtestStopsWhileItWaits(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	in, lines := io.Pipe()
	t.Cleanup(func() { _ = lines.Close() })
	root := newRoot()
	root.SetArgs([]string{"logtest", "--ruleset", "builtin", "--format", "json"})
	root.SetIn(in)
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	ended := make(chan error)
	go func() { ended <- root.ExecuteContext(ctx) }()
	if _, err := lines.Write([]byte("a line\n")); err != nil { // it reads
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("err = %v, want that it was interrupted", err)
	}
}
