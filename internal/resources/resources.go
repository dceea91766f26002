// Package resources finds how much memory and how many file descriptors this
// process may use, and makes the runtime keep to it.
package resources

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// The runtime leaves a part of a container's memory to the embedded store, to
// buffers of sockets, to the page cache, and to its own overshoot under full load:
// three tenths, but two fifths up to restMin, and no more than restMax.
const (
	restMin = 160 << 20
	restMax = 512 << 20
)

// Memory returns how many bytes the runtime may use, or 0 without a limit. It takes
// the limit from the process's control group, unless GOMEMLIMIT gives one. A group
// that cannot be read counts as unlimited and is logged.
func Memory(log *slog.Logger) int64 { return memory(memlimit.FromCgroup, log) }

func memory(ofGroup func() (uint64, error), log *slog.Logger) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
			return limit
		}
		return 0 // "off"
	}
	group, err := ofGroup()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
		return 0
	case err != nil:
		log.Warn("the memory limit of the control group is not known; set GOMEMLIMIT if there is one", "err", err)
		return 0
	}
	all := int64(min(group, math.MaxInt64))
	limit := all - min(max(all/10*3, min(all/5*2, restMin)), restMax)
	debug.SetMemoryLimit(limit)
	log.Info("memory is limited by the control group", "group_bytes", group, "runtime_bytes", limit)
	return limit
}

// Files raises the limit of open files as far as the process may, and returns it.
func Files() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("ask for the limit of open files: %w", err)
	}
	if limit.Cur < limit.Max {
		raised := syscall.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err == nil {
			limit = raised
		}
	}
	return limit.Cur, nil
}
