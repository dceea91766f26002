package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestErrNamesTheStateOfTheDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data")
	d, err := Open(path)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer d.Close()
	disk := syscall.Statfs_t{Bsize: 4096, Blocks: 1 << 18, Bavail: 1 << 17} // 1 GiB, half free
	d.statfs = func(_ string, to *syscall.Statfs_t) error { *to = disk; return nil }
	if err := d.Err(); err != nil {
		t.Errorf("a disk with room: %v", err)
	}
	disk.Bavail = 51 << 20 / 4096 // the reserve is 5 %: 51.2 MiB
	if err := d.Err(); !errors.Is(err, ErrFull) {
		t.Errorf("a disk below its reserve: %v, want ErrFull", err)
	}
	disk.Blocks = 1 << 30 // 4 TiB, whose reserve is bounded
	disk.Bavail = 257 << 20 / 4096
	if err := d.Err(); err != nil {
		t.Errorf("257 MiB free of a large disk: %v", err)
	}
	disk.Flags = syscall.MS_RDONLY
	if err := d.Err(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a read-only disk: %v, want ErrReadOnly", err)
	}
	disk.Flags = 0
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	if err := d.Err(); !errors.Is(err, ErrGone) {
		t.Errorf("a directory that was moved: %v, want ErrGone", err)
	}
	if err := os.Mkdir(path, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, LockFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Err(); !errors.Is(err, ErrGone) {
		t.Errorf("a directory that was replaced: %v, want ErrGone", err)
	}
}
