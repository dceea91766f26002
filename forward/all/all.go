// Package all lists the destinations.
package all

import (
	"vedette/forward"
	"vedette/forward/indexer"
	"vedette/internal/store"
)

// New returns the destinations. A new kind of destination is a line here.
func New(s store.Store) []forward.Destination {
	return []forward.Destination{
		indexer.New(s),
	}
}
