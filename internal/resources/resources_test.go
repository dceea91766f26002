package resources

import (
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"syscall"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestTheRuntimeKeepsBelowTheControlGroup(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	log := slog.New(slog.DiscardHandler)
	if got := memory(func() (uint64, error) { return 400 << 20, nil }, log); got != 240<<20 || debug.SetMemoryLimit(-1) != got {
		t.Errorf("a group of 400 MiB: the limit is %d and the runtime's %d, want 240 MiB for both", got, debug.SetMemoryLimit(-1))
	}
	if got := memory(func() (uint64, error) { return 8 << 30, nil }, log); got != 15<<29 {
		t.Errorf("a group of 8 GiB: the limit is %d, want 7.5 GiB", got)
	}
	debug.SetMemoryLimit(before)
	for _, err := range []error{memlimit.ErrNoLimit, memlimit.ErrNoCgroup, errors.New("unreadable")} {
		if got := memory(func() (uint64, error) { return 0, err }, log); got != 0 || debug.SetMemoryLimit(-1) != before {
			t.Errorf("%v: the limit is %d, want none, and the runtime's as before", err, got)
		}
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	debug.SetMemoryLimit(1 << 30)
	if got := memory(func() (uint64, error) { return 1, nil }, log); got != 1<<30 {
		t.Errorf("with GOMEMLIMIT the limit is %d, want 1 GiB", got)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if got := memory(func() (uint64, error) { return 1, nil }, log); got != 0 {
		t.Errorf("with GOMEMLIMIT=off the limit is %d, want none", got)
	}
}

func TestTheLimitOfOpenFilesIsTheHardOne(t *testing.T) {
	got, err := Files()
	if err != nil {
		t.Fatalf("Files: %v", err)
	}
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		t.Fatalf("getrlimit: %v", err)
	}
	if got != now.Cur || now.Cur != now.Max {
		t.Errorf("Files returned %d; the limit is %d of at most %d", got, now.Cur, now.Max)
	}
}
