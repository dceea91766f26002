package ingest

import (
	"vedette/internal/groups"
	"vedette/schemas"
)

// Services holds the gateway's dependencies beyond the registry and a producer.
// Each may be missing; then the gateway skips its work.
type Services struct {
	// Groups gives the shared configuration of agents.
	Groups Groups
	// Verify reports whether a record of TopicCommands was made under the cluster
	// key. Without it no command is sent.
	Verify func(rec *schemas.Record) bool
	// Bury keeps a record that was not applied.
	Bury func(rec schemas.Record, cause, detail string)
	// Keys receives requests for agents whose key is not known here.
	Keys KeyRequester
	// Packages gives the content of upgrade packages.
	Packages Packages
}

// Groups lists the gateway's calls to the groups' files; *groups.Store
// implements it.
type Groups interface {
	Ready() <-chan struct{}
	Merged(groups []string) *groups.Merged
}

// KeyRequester asks elsewhere for the key of an agent that is not known. It must
// not block.
type KeyRequester interface {
	Unknown(id, ip string)
}

// Use gives the gateway its services. Call it before Run.
func (g *Gateway) Use(s Services) { g.svc = s }
