package enroll

import (
	"vedette/internal/secret"
	"vedette/schemas"
)

// Config says who may enroll and how.
type Config struct {
	// Listen is the address of the enrollment port.
	Listen string `mapstructure:"listen"`
	// UsePassword demands Password from every agent.
	UsePassword bool          `mapstructure:"use_password"`
	Password    secret.String `mapstructure:"password"`
	// UseSourceIP registers agents that name no address under the one they come from.
	UseSourceIP bool `mapstructure:"use_source_ip"`
	// AllowHigherVersions admits agents newer than ServerVersion.
	AllowHigherVersions bool `mapstructure:"allow_higher_versions"`
	// Certificate and Key are PEM files; empty means a self-signed pair made in DataDir.
	Certificate string `mapstructure:"certificate"`
	Key         string `mapstructure:"key"`
	DataDir     string `mapstructure:"-"`
	// ServerVersion is the release this server is compatible with.
	ServerVersion string `mapstructure:"-"`
	// HostName is the server's own name, which no agent may take; empty means
	// this machine's.
	HostName string `mapstructure:"-"`
	// Force says when an existing agent gives way.
	Force schemas.ForcePolicy `mapstructure:"-"`
}

// Default returns the configuration of a server that demands nothing.
func Default() Config {
	return Config{Listen: ":1515", ServerVersion: "v4.14.7", DataDir: "data", Force: schemas.DefaultForcePolicy()}
}
