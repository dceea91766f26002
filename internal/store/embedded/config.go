package embedded

import (
	"errors"
	"fmt"
	"time"
)

// Config is the place and the bounds of the store.
type Config struct {
	// Dir holds the files; it is made when it is not there.
	Dir string `mapstructure:"dir" yaml:"dir"`
	// MaxAge removes days that ended longer ago.
	MaxAge time.Duration `mapstructure:"max_age" yaml:"max_age"`
	// MaxBytes removes the oldest days while all files together are larger. The
	// newest day always stays.
	MaxBytes int64 `mapstructure:"max_bytes" yaml:"max_bytes"`
	// ReadOnly opens a store that another process writes.
	ReadOnly bool `mapstructure:"-" yaml:"-"`
}

// Default returns the bounds used when nothing is configured; Dir is left open.
func Default() Config {
	return Config{MaxAge: 90 * 24 * time.Hour, MaxBytes: 20 << 30}
}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("dir is empty"))
	}
	if c.MaxAge < 24*time.Hour {
		errs = append(errs, fmt.Errorf("max_age is %s, at least 24h is needed: only whole days are removed", c.MaxAge))
	}
	if c.MaxBytes < 16<<20 {
		errs = append(errs, fmt.Errorf("max_bytes is %d, at least 16 MiB are needed", c.MaxBytes))
	}
	return errors.Join(errs...)
}
