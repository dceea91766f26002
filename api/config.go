package api

import (
	"errors"
	"time"

	"vedette/api/rest"
)

// Config holds the settings of the API.
type Config struct {
	rest.Config
	// MaxLoginAttempts failures of one address within BlockTime block its logins
	// until BlockTime is over.
	MaxLoginAttempts int
	BlockTime        time.Duration
	// PackagesDir holds the packages that agents are upgraded by; empty: none.
	PackagesDir string
}

// Default returns the settings used when nothing is configured.
//
// Source: spec/api.md §8.
func Default() Config {
	return Config{Config: rest.Default(), MaxLoginAttempts: 50, BlockTime: 300 * time.Second}
}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	err := c.Config.Validate()
	if c.BlockTime <= 0 || c.MaxLoginAttempts <= 0 {
		err = errors.Join(err, errors.New("api: block_time and max_login_attempts must be above 0"))
	}
	return err
}
