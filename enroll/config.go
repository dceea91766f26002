package enroll

import (
	"vedette/internal/secret"
	"vedette/schemas"
)

// Config sets the rules of enrollment.
type Config struct {
	// Listen is the address of the enrollment port.
	Listen string
	// UsePassword demands Password from every agent.
	UsePassword bool
	Password    secret.String
	// UseSourceIP registers agents that name no address under the one they come from.
	UseSourceIP bool
	// AllowHigherVersions admits agents newer than ServerVersion.
	AllowHigherVersions bool
	// Certificate and Key are PEM files; empty means a self-signed pair made in DataDir.
	Certificate string
	Key         string
	DataDir     string
	// Hosts are names and addresses that a generated certificate names.
	Hosts []string
	// AgentCA is a PEM file of CAs. When set, an agent must show a certificate
	// that chains to one of them.
	AgentCA string
	// VerifyAgentAddress demands, with AgentCA, that the agent's certificate names
	// the address it comes from.
	VerifyAgentAddress bool
	// RatePerSource is how many connections a second one address (IPv6: one /64)
	// may open in the long run; rateBurst seconds' worth may come at once. 0: any.
	RatePerSource int
	// ServerVersion is the release this server is compatible with.
	ServerVersion string
	// Force says when an existing agent gives way.
	Force schemas.ForcePolicy
}

// DefaultRatePerSource lets 20,000 agents behind one address enroll at once, and
// all of them again every 20 seconds.
const DefaultRatePerSource = 1000

// Default returns the configuration of a server that demands nothing.
func Default() Config {
	return Config{
		Listen: ":1515", ServerVersion: "v4.14.7", DataDir: "data", Force: schemas.DefaultForcePolicy(),
		RatePerSource: DefaultRatePerSource,
	}
}
