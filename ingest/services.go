package ingest

import (
	"vedette/internal/groups"
	"vedette/schemas"
)

// Services are what the gateway needs beyond the registry and a producer. Each
// may be missing; then what it serves is not done.
type Services struct {
	// Groups gives the shared configuration of agents.
	Groups Groups
	// Verify reports whether a record of TopicCommands was made under the cluster
	// key. Without it no command is sent.
	Verify func(rec *schemas.Record) bool
	// Bury keeps a record that was not applied.
	Bury func(rec schemas.Record, cause, detail string)
	// Keys is told of agents whose key is not known here.
	Keys KeyRequester
	// Packages gives the content of upgrade packages.
	Packages Packages
}

// Groups is what the gateway needs of the groups' files; *groups.Store is one.
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
