package api

import (
	"errors"
	"fmt"
	"time"

	"vedette/api/rest"
)

// Config is what the API needs to know.
type Config struct {
	rest.Config
	// MaxLoginAttempts failures of one address within BlockTime block its logins
	// until BlockTime is over.
	MaxLoginAttempts int
	BlockTime        time.Duration
	// PackagesDir holds the packages that agents are upgraded by; empty: none.
	PackagesDir string

	// Identity is what the server says of itself.
	Identity Identity
}

// Identity is what the server says of itself.
type Identity struct {
	// Manager is the host name that alerts carry as manager.name.
	Manager string
	// Node is the node's name.
	Node string
	// InstallationID is a UUID that stays for the life of the installation.
	InstallationID string
	// Path is the data directory.
	Path string
	// Started is the registration time shown for agent 000.
	Started time.Time
}

// Version is the version of the API that clients compare.
const Version = "4.14.7"

// Default returns the settings used when nothing is configured.
//
// Source: spec/api.md §8.
func Default() Config {
	return Config{Config: rest.Default(), MaxLoginAttempts: 50, BlockTime: 300 * time.Second}
}

const (
	// passwordChecks at the same time: each takes a core and 32 MiB.
	passwordChecks = 2
	// blockedAddresses remembered; beyond it the oldest is forgotten.
	blockedAddresses = 10_000
)

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.BlockTime <= 0 || c.MaxLoginAttempts <= 0 {
		errs = append(errs, fmt.Errorf("api: block_time and max_login_attempts must be above 0"))
	}
	if c.Identity.Manager == "" {
		errs = append(errs, fmt.Errorf("api: the name of the manager is needed"))
	}
	c.Node = c.Identity.Node
	return errors.Join(append(errs, c.Config.Validate())...)
}
