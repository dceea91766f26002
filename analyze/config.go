package analyze

import (
	"errors"
	"fmt"
	"slices"

	"vedette/ruleset/engine"
)

// Builtin names the ruleset that the binary carries.
const Builtin = "builtin"

// Config sets the rulesets and bounds of the analysis.
type Config struct {
	// Rulesets are "builtin", files such as ossec.conf whose <ruleset> block names
	// files, or directories holding decoders/, rules/ and
	// lists/. A directory replaces builtin; several are read together.
	Rulesets []string `mapstructure:"rulesets"`
	// Shadow names a candidate in the same way, which is tried on live traffic
	// beside the running ruleset; empty: none is.
	Shadow []string `mapstructure:"shadow"`
	// LogAll writes every decoded event to the topic archives.
	LogAll bool `mapstructure:"log_all"`
	// StateBytes bounds the events that a partition remembers for composite rules;
	// beyond it the least recently used keys go, with all that is known of them. 0
	// means DefaultStateBytes. Alerts depend on it: it must be equal on all
	// workers.
	StateBytes int64 `mapstructure:"state_bytes"`
	// GeoIPFile is a database of the MaxMind format (.mmdb) with countries or
	// cities; empty: srcgeoip, dstgeoip and the like match nothing, and documents
	// in OpenSearch get no GeoLocation.
	GeoIPFile string `mapstructure:"geoip_file"`
}

// DefaultStateBytes is the meaning of Config.StateBytes 0.
const DefaultStateBytes = engine.DefaultTotalBytes

// Default returns the configuration that is useful when first started.
func Default() Config { return Config{Rulesets: []string{Builtin}} }

// Validate returns every problem, joined.
func (c Config) Validate() error {
	var errs []error
	if c.StateBytes < 0 || c.StateBytes > 0 && c.StateBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("analyze.state_bytes: %d is less than 1 MiB", c.StateBytes))
	}
	if len(c.Rulesets) == 0 {
		errs = append(errs, errors.New("analyze.rulesets: empty; name \"builtin\" or a directory"))
	}
	if slices.Contains(c.Rulesets, "") {
		errs = append(errs, errors.New("analyze.rulesets: holds an empty name"))
	}
	if slices.Contains(c.Shadow, "") {
		errs = append(errs, errors.New("analyze.shadow: holds an empty name"))
	}
	return errors.Join(errs...)
}
