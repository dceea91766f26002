package agentless

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"vedette/internal/secret"
)

// Types of checks.
const (
	// CommandDiff runs Config.Command and takes its output.
	CommandDiff = "command_diff"
	// ConfigDiff takes the content of each of Config.Files.
	ConfigDiff = "config_diff"
)

// Config is one check of one or more hosts.
type Config struct {
	// Name is unique; rules see it in the location.
	Name string `mapstructure:"name" yaml:"name"`
	// Type is CommandDiff or ConfigDiff.
	Type string `mapstructure:"type" yaml:"type"`
	// Hosts are names or addresses; Port is 22 if 0.
	Hosts []string `mapstructure:"hosts" yaml:"hosts"`
	Port  int      `mapstructure:"port" yaml:"port"`
	User  string   `mapstructure:"user" yaml:"user"`
	// KeyFile is a private key in OpenSSH or PEM form without a passphrase,
	// PasswordFile holds a password on its first line; one or both. They are read
	// anew for each run.
	KeyFile      string `mapstructure:"key_file" yaml:"key_file"`
	PasswordFile string `mapstructure:"password_file" yaml:"password_file"`
	// KnownHosts holds the hosts' keys as OpenSSH's known_hosts does. A host that
	// is not there is not talked to.
	KnownHosts string `mapstructure:"known_hosts" yaml:"known_hosts"`
	// Interval is the time between two runs, an hour if 0; Timeout bounds one run,
	// a minute if 0.
	Interval time.Duration `mapstructure:"interval" yaml:"interval"`
	Timeout  time.Duration `mapstructure:"timeout" yaml:"timeout"`
	// Command is for CommandDiff, Files are for ConfigDiff.
	Command string   `mapstructure:"command" yaml:"command"`
	Files   []string `mapstructure:"files" yaml:"files"`
	// Ignore are regular expressions (RE2); lines that one of them matches are
	// left out, such as one with the time of day.
	Ignore []string `mapstructure:"ignore" yaml:"ignore"`
	// LegacyAlgorithms also offers algorithms that are not safe any more, for
	// devices that know no others.
	LegacyAlgorithms bool `mapstructure:"legacy_algorithms" yaml:"legacy_algorithms"`
}

const (
	defaultPort     = 22
	defaultInterval = time.Hour
	defaultTimeout  = time.Minute
	intervalMin     = 10 * time.Second
	// targetsMax bounds checks times hosts.
	targetsMax = 10_000
	filesMax   = 100
)

func (c Config) orDefault() Config {
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

// The parts of a location must not look like its punctuation.
var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	userForm = regexp.MustCompile(`^[A-Za-z0-9_.$+-]{1,64}$`)
	hostForm = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,253}$`)
)

// Validate returns every problem of a list, joined; each names its key. It reads
// the files that are named.
func Validate(list []Config) error {
	var errs []error
	names, targets := map[string]bool{}, 0
	for i, c := range list {
		c = c.orDefault()
		bad := func(key, format string, a ...any) {
			errs = append(errs, fmt.Errorf("agentless[%d].%s: %s", i, key, fmt.Sprintf(format, a...)))
		}
		if !nameForm.MatchString(c.Name) {
			bad("name", "%q; use 1 to 64 letters, digits, '.', '_' and '-'", c.Name)
		}
		if names[c.Name] {
			bad("name", "%q stands there twice", c.Name)
		}
		names[c.Name] = true
		if len(c.Hosts) == 0 {
			bad("hosts", "empty")
		}
		for j, h := range c.Hosts {
			if !hostForm.MatchString(h) {
				bad("hosts", "%q is neither a name nor an address; set the port in port", h)
			}
			if slices.Contains(c.Hosts[:j], h) {
				bad("hosts", "%q stands there twice", h)
			}
		}
		targets += len(c.Hosts)
		if c.Port < 1 || c.Port > 65535 {
			bad("port", "%d is no port", c.Port)
		}
		if !userForm.MatchString(c.User) {
			bad("user", "%q; use 1 to 64 letters, digits and any of . _ $ + -", c.User)
		}
		if c.Interval < intervalMin {
			bad("interval", "%v is less than %v", c.Interval, intervalMin)
		}
		if c.Timeout < time.Second || c.Timeout > c.Interval {
			bad("timeout", "%v is less than 1s or more than the interval", c.Timeout)
		}
		switch {
		case c.Type == CommandDiff && strings.TrimSpace(c.Command) == "":
			bad("command", "empty, but the type is %s", CommandDiff)
		case c.Type == CommandDiff && len(c.Files) > 0:
			bad("files", "given, but the type is %s", CommandDiff)
		case c.Type == ConfigDiff && (len(c.Files) == 0 || len(c.Files) > filesMax):
			bad("files", "%d files, but the type %s takes 1 to %d", len(c.Files), ConfigDiff, filesMax)
		case c.Type == ConfigDiff && c.Command != "":
			bad("command", "given, but the type is %s", ConfigDiff)
		case c.Type != CommandDiff && c.Type != ConfigDiff:
			bad("type", "%q is neither %s nor %s", c.Type, CommandDiff, ConfigDiff)
		}
		if len(c.Command) > 4096 || strings.ContainsAny(c.Command, "\x00\r\n") {
			bad("command", "at most 4096 bytes on one line")
		}
		for j, f := range c.Files {
			if !strings.HasPrefix(f, "/") || len(f) > 512 || strings.ContainsAny(f, "\x00\r\n") {
				bad("files", "%q is no absolute path of at most 512 bytes", f)
			}
			if slices.Contains(c.Files[:j], f) {
				bad("files", "%q stands there twice", f)
			}
		}
		for _, p := range c.Ignore {
			if _, err := regexp.Compile(p); err != nil {
				bad("ignore", "%v", err)
			}
		}
		if c.KeyFile == "" && c.PasswordFile == "" {
			bad("key_file", "give it or password_file")
		}
		if c.KeyFile != "" {
			if _, err := signer(c.KeyFile); err != nil {
				bad("key_file", "%v", err)
			}
		}
		if c.PasswordFile != "" {
			if _, err := password(c.PasswordFile); err != nil {
				bad("password_file", "%v", err)
			}
		}
		if c.KnownHosts == "" {
			bad("known_hosts", "empty; make the file with `ssh-keyscan HOST > FILE` and compare its keys with the devices'")
		} else if _, err := knownhosts.New(c.KnownHosts); err != nil {
			bad("known_hosts", "%v", err)
		}
	}
	if targets > targetsMax {
		errs = append(errs, fmt.Errorf("agentless: %d checks of a host are more than %d", targets, targetsMax))
	}
	return errors.Join(errs...)
}

// Warnings returns the settings that are allowed but unwise.
func Warnings(list []Config) (w []string) {
	for i, c := range list {
		for key, path := range map[string]string{"key_file": c.KeyFile, "password_file": c.PasswordFile} {
			if st, err := os.Stat(path); path != "" && err == nil && st.Mode().Perm()&0o077 != 0 {
				w = append(w, fmt.Sprintf("agentless[%d].%s: %s is readable by others; chmod 600", i, key, path))
			}
		}
		if c.LegacyAlgorithms {
			w = append(w, fmt.Sprintf("agentless[%d].legacy_algorithms: others can read or alter the answers of %s under way", i, strings.Join(c.Hosts, ", ")))
		}
	}
	slices.Sort(w)
	return w
}

// signer reads a private key.
func signer(path string) (ssh.Signer, error) {
	raw, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	s, err := ssh.ParsePrivateKey(raw)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("%s has a passphrase, which nobody can type here; use a key of its own without one", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s holds no private key: %w", path, err)
	}
	return s, nil
}

// password reads the first line of a file.
func password(path string) (secret.String, error) {
	raw, err := readSmall(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", fmt.Errorf("%s holds no password on its first line", path)
	}
	return secret.String(line), nil
}

// credentialMax bounds a file with a key or a password.
const credentialMax = 64 << 10

func readSmall(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > credentialMax {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, credentialMax)
	}
	return os.ReadFile(path)
}
