package analyze

import "errors"

// Builtin names the ruleset that the binary carries.
const Builtin = "builtin"

// Config says what the analysis runs.
type Config struct {
	// Rulesets are "builtin", files such as ossec.conf whose <ruleset> block names
	// files, or directories holding decoders/, rules/ and
	// lists/. A directory replaces builtin; several are read together.
	Rulesets []string `mapstructure:"rulesets"`
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
	if len(c.Rulesets) == 0 {
		return errors.New("analyze.rulesets: empty; name \"builtin\" or a directory")
	}
	for _, r := range c.Rulesets {
		if r == "" {
			return errors.New("analyze.rulesets: holds an empty name")
		}
	}
	return nil
}
