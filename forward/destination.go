package forward

import (
	"context"

	"vedette/internal/store"
	"vedette/schemas"
)

// Failure is an alert that a destination will never take.
type Failure = store.Failure

// Destination takes alerts. What every destination promises is in forwardtest.
type Destination interface {
	// Name is a word that names it in metrics, logs and the consumer group.
	Name() string
	// Deliver hands over alerts. It returns those that can never be delivered, by
	// their place in alerts; after an error the whole batch is delivered again,
	// so it must take repeats. It is called from several goroutines, one per
	// partition.
	Deliver(ctx context.Context, alerts []schemas.Alert) ([]Failure, error)
	// Ready returns nil when the destination can take alerts.
	Ready(ctx context.Context) error
}
