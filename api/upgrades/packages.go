package upgrades

import (
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"vedette/api/agents"
)

// packageFilesMax bounds the names of agents.packages_dir that are looked at.
const packageFilesMax = 4096

// packageName is how packages are named that PUT /agents/upgrade finds:
//
//	wazuh_agent_v<version>_<system>[_<architecture>][.<format>].wpk
//
// The system is linux, windows or macos. Without an architecture or a format
// (deb, rpm, pkg, msi) a package is for all of them.
var packageName = regexp.MustCompile(`^wazuh_agent_v(\d{1,3}\.\d{1,3}\.\d{1,3})_(linux|windows|macos)(?:_([A-Za-z0-9_]+))?(?:\.(deb|rpm|pkg|msi))?\.wpk$`)

// knownPackage is a package whose name says whom it is for.
type knownPackage struct {
	file                 string
	version              []int
	system, arch, format string
}

// knownPackages returns the packages of a directory, the newest first; of one
// version those that say most of whom they are for.
func knownPackages(dir string) ([]knownPackage, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(packageFilesMax)
	if err != nil && !errors.Is(err, io.EOF) { // an empty directory
		return nil, err
	}
	slices.Sort(names)
	var out []knownPackage
	for _, n := range names {
		if p, ok := parsePackage(n); ok {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b knownPackage) int {
		if c := slices.Compare(b.version, a.version); c != 0 {
			return c
		}
		return b.detail() - a.detail()
	})
	return out, nil
}

func parsePackage(name string) (knownPackage, bool) {
	m := packageName.FindStringSubmatch(name)
	if m == nil {
		return knownPackage{}, false
	}
	return knownPackage{file: name, version: agents.Numbers(m[1]), system: m[2], arch: architecture(m[3]), format: m[4]}, true
}

func (p *knownPackage) detail() int {
	n := 0
	for _, s := range []string{p.arch, p.format} {
		if s != "" {
			n++
		}
	}
	return n
}

// fits reports whether a package is for an agent; format, if not empty, says how
// the agent was installed, which its platform tells of otherwise.
func (p *knownPackage) fits(x *agents.Agent, format string) bool {
	system, usual := systemOf(strings.ToLower(x.OS.Platform))
	if format == "" {
		format = usual
	}
	return system == p.system && (p.arch == "" || p.arch == architecture(x.OS.Arch)) && (p.format == "" || system != "linux" || p.format == format)
}

// architecture gives the names of one architecture one form.
func architecture(s string) string {
	switch s = strings.ToLower(s); s {
	case "amd64", "x64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "i686", "i586", "x86":
		return "i386"
	case "armv7l", "armv7hl", "arm32":
		return "armhf"
	}
	return s
}

// systemOf tells from a platform which packages are for it, and in which format
// its agents are installed; both are empty where that is not known.
func systemOf(platform string) (system, format string) {
	switch platform {
	case "":
		return "", ""
	case "windows":
		return "windows", ""
	case "darwin", "macos":
		return "macos", ""
	case "debian", "ubuntu", "linuxmint", "raspbian", "kali", "pop":
		return "linux", "deb"
	case "centos", "rhel", "fedora", "amzn", "ol", "almalinux", "rocky", "sles", "suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "photon":
		return "linux", "rpm"
	}
	for _, other := range []string{"bsd", "sunos", "solaris", "aix", "hp-ux"} {
		if strings.Contains(platform, other) {
			return "", ""
		}
	}
	return "linux", ""
}
