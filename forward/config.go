package forward

import (
	"errors"
	"fmt"
	"time"
)

// Config says how destinations are read for.
type Config struct {
	// Group is the consumer group of the indexer; another destination's has its
	// name added.
	Group string `mapstructure:"group" yaml:"group"`
	// RetryDelayMin and RetryDelayMax bound the wait before a batch is tried again.
	RetryDelayMin time.Duration `mapstructure:"retry_delay_min" yaml:"retry_delay_min"`
	RetryDelayMax time.Duration `mapstructure:"retry_delay_max" yaml:"retry_delay_max"`
	// DeliverTimeout bounds one try.
	DeliverTimeout time.Duration `mapstructure:"deliver_timeout" yaml:"deliver_timeout"`
}

// Default returns the settings used when nothing is configured.
func Default() Config {
	return Config{Group: "forward", RetryDelayMin: 200 * time.Millisecond, RetryDelayMax: 30 * time.Second, DeliverTimeout: 5 * time.Minute}
}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Group == "" {
		errs = append(errs, errors.New("forward.group: empty"))
	}
	if c.RetryDelayMin <= 0 || c.RetryDelayMax < c.RetryDelayMin {
		errs = append(errs, fmt.Errorf("forward.retry_delay_min and _max: %s and %s, they must be above 0 and in order", c.RetryDelayMin, c.RetryDelayMax))
	}
	if c.DeliverTimeout <= 0 {
		errs = append(errs, fmt.Errorf("forward.deliver_timeout: %s, it must be above 0", c.DeliverTimeout))
	}
	return errors.Join(errs...)
}
