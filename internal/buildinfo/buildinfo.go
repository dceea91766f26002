// Package buildinfo tells which version of the program runs.
package buildinfo

import "runtime/debug"

// version is set when a release is built: -ldflags "-X vedette/internal/buildinfo.version=…".
var version string

// Version returns the version of a release, or "devel" with the start of the commit.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "devel-" + s.Value[:12]
			}
		}
	}
	return "devel"
}
