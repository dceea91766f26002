package analyze

import (
	"errors"
	"slices"
)

// Builtin names the ruleset that the binary carries.
const Builtin = "builtin"

// Config says what the analysis runs.
type Config struct {
	// Rulesets are "builtin", files such as ossec.conf whose <ruleset> block names
	// files, or directories holding decoders/, rules/ and
	// lists/. A directory replaces builtin; several are read together.
	Rulesets []string `mapstructure:"rulesets"`
	// Shadow names a candidate in the same way, which is tried on live traffic
	// beside what runs; empty: none is.
	Shadow []string `mapstructure:"shadow"`
	// LogAll writes every decoded event to the topic archives.
	LogAll bool `mapstructure:"log_all"`
	// GeoIPFile is a database of the MaxMind format (.mmdb) with countries or
	// cities; empty: srcgeoip, dstgeoip and the like match nothing, and documents
	// in OpenSearch get no GeoLocation.
	GeoIPFile string `mapstructure:"geoip_file"`
}

// Default returns the configuration that is useful when first started.
func Default() Config { return Config{Rulesets: []string{Builtin}} }

// Validate returns every problem, joined.
func (c Config) Validate() error {
	var errs []error
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
