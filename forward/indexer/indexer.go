// Package indexer is the destination that keeps alerts for searching: the
// embedded store or OpenSearch, whichever is configured.
package indexer

import (
	"context"

	"vedette/forward"
	"vedette/internal/store"
	"vedette/schemas"
)

// Indexer is a forward.Destination over a store, which stays the caller's.
type Indexer struct{ store store.Store }

var _ forward.Destination = (*Indexer)(nil)

// New returns the destination.
func New(s store.Store) *Indexer { return &Indexer{s} }

// Deliver implements forward.Destination.
func (i *Indexer) Deliver(ctx context.Context, alerts []schemas.Alert) ([]forward.Failure, error) {
	return i.store.Put(ctx, alerts)
}

// Ready implements forward.Destination.
func (i *Indexer) Ready(ctx context.Context) error { return i.store.Ready(ctx) }
