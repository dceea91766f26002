package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

// memoryLimit returns the bytes that the control group grants this process, as a
// container with a memory limit has; 0 where there is no limit, or it is not known.
// root is where the control groups are mounted: /sys/fs/cgroup.
func memoryLimit(root string) int64 {
	for _, name := range []string{"memory.max", "memory/memory.limit_in_bytes"} { // version 2, version 1
		raw, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
		// Version 2 says "max"; version 1 a number near the end of the range.
		if err != nil || n <= 0 || n > math.MaxInt64/2 {
			return 0
		}
		return n
	}
	return 0
}
