package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Causes of Err.
var (
	// ErrGone says that the directory was removed or replaced while it was in use.
	ErrGone = errors.New("the data directory was removed or replaced")
	// ErrFull says that the file system has less room than Reserve.
	ErrFull = errors.New("the disk is nearly full")
	// ErrReadOnly says that the file system takes no writes.
	ErrReadOnly = errors.New("the file system is read-only")
)

// Bounds of the room that stays free for offsets, checkpoints and cleaning up.
const (
	reserveMax     = 256 << 20
	reserveMin     = 8 << 20
	reservePercent = 5
)

// Space is the room on the file system of the directory, in bytes.
type Space struct{ Free, Total, Reserve int64 }

// Space asks the file system.
func (d *Dir) Space() (Space, error) {
	s, _, err := d.space()
	return s, err
}

func (d *Dir) space() (Space, syscall.Statfs_t, error) {
	var st syscall.Statfs_t
	if err := d.statfs(d.Path, &st); err != nil {
		return Space{}, st, fmt.Errorf("ask for the room of data_dir %s: %w", d.Path, err)
	}
	s := Space{Free: int64(st.Bavail) * st.Bsize, Total: int64(st.Blocks) * st.Bsize}
	s.Reserve = max(reserveMin, min(reserveMax, s.Total/100*reservePercent))
	return s, st, nil
}

// Err returns nil while the directory is the opened one and its file system has
// room. Otherwise callers must not promise to keep anything more. The error
// wraps ErrGone, ErrFull or ErrReadOnly and gives the remedy. It costs three
// system calls and is safe for concurrent use.
func (d *Dir) Err() error {
	now, err := os.Stat(filepath.Join(d.Path, LockFile))
	if err != nil || !os.SameFile(now, d.identity) {
		return fmt.Errorf("%w: %s; stop this process, put the directory back, and start again", ErrGone, d.Path)
	}
	s, st, err := d.space()
	switch {
	case err != nil:
		return err
	case st.Flags&syscall.MS_RDONLY != 0:
		return fmt.Errorf("%w: %s; remount it for writing", ErrReadOnly, d.Path)
	case s.Free < s.Reserve:
		return fmt.Errorf("%w: data_dir %s has %d MiB free of %d MiB and keeps %d MiB in reserve; free some space, enlarge the disk, or lower events.retention",
			ErrFull, d.Path, s.Free>>20, s.Total>>20, s.Reserve>>20)
	}
	return nil
}
