package ingest

import "vedette/ingest/deliver"

// Services holds the gateway's dependencies beyond the registry and a producer.
// Each may be missing; then the gateway skips its work.
type Services struct {
	// Deliver holds what is brought to agents.
	Deliver deliver.Services
	// Keys receives requests for agents whose key is not known here.
	Keys KeyRequester
}

// KeyRequester asks elsewhere for the key of an agent that is not known. It must
// not block.
type KeyRequester interface {
	Unknown(id, ip string)
}
