package forward

import (
	"context"

	"vedette/internal/store"
	"vedette/schemas"
)

// Failure is an alert that a destination will never take.
type Failure = store.Failure

// Partial is the error of a Deliver that ended on the way. A destination that
// sends alerts one after another returns it, so that those sent are not repeated.
type Partial struct {
	// Done is how many of the first alerts were taken, or refused for good: then
	// they are among the failures that come with the error.
	Done int
	Err  error
}

func (p *Partial) Error() string { return p.Err.Error() }

// Unwrap returns the error of the alert after those.
func (p *Partial) Unwrap() error { return p.Err }

// Destination takes alerts. What every destination promises is in forwardtest.
type Destination interface {
	// Deliver hands over alerts. It returns those that can never be delivered, by
	// their place in alerts. After an error the batch is delivered again, all of it
	// or, after a *Partial, the rest; so it must take repeats. An error that holds
	// a *retry.After keeps every partition from the destination for that long.
	// Deliver is called from several goroutines, one per partition.
	Deliver(ctx context.Context, alerts []schemas.Alert) ([]Failure, error)
	// Ready returns nil when the destination can take alerts.
	Ready(ctx context.Context) error
}
