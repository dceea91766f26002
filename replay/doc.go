// Package replay judges a history of events by a ruleset, with the very engine
// that runs live, and tells what another ruleset makes of it, or what was
// recorded. It reads a topic or files, writes alerts only to where it is told,
// and touches no consumer group, no state of workers and no command.
//
// A history is read in lanes: partitions of a topic, or the keys of a file dealt
// out. No key stands in two lanes, so that many workers come to the answer of one.
package replay

import (
	"context"
	"fmt"
	"time"

	"vedette/schemas"
)

// Item is one event of a history, with where it stands.
type Item struct {
	// Partition is that of a topic, 0 in a file; Offset is the record's, or the
	// number of the line from 1.
	Partition int32
	Offset    int64
	Event     schemas.Event
	// Silent says that the event only warms the state up.
	Silent bool
	// Recorded is what the source itself says came of the event; nil if it does
	// not say.
	Recorded *Verdict
}

// Verdict is what a ruleset says of an event, as far as two are compared.
type Verdict struct {
	Rule, Level int
	// Groups are the names of the alert's groups, separated by commas.
	Groups string
}

// Source is a history.
type Source interface {
	// Open returns the history's lanes, for up to n workers.
	Open(ctx context.Context, n int) ([]Lane, error)
	// Name describes the source to people.
	Name() string
}

// Lane is a part of a history. It is used by one goroutine.
type Lane interface {
	// Next returns further items, in order, or io.EOF. They are the caller's.
	Next(ctx context.Context) ([]Item, error)
	// At is the position behind what Next returned, for Resume.
	At() Position
	// Progress is how much of the lane was returned, in a unit of the source.
	Progress() (done, total int64)
	// Refused counts what could not be read as events, by cause.
	Refused() map[string]int64
}

// Position says where a lane goes on.
type Position struct {
	Partition int32
	Next      int64
}

// Range bounds a history by time. Zero values do not.
type Range struct {
	From, To time.Time
	// Warm is how long before From events are judged silently, so that windows
	// are as full as they were.
	Warm time.Duration
}

// place tells whether an event belongs to the range, and whether silently.
func (r *Range) place(t time.Time) (in, silent bool) {
	if !r.To.IsZero() && !t.Before(r.To) {
		return false, false
	}
	if r.From.IsZero() || !t.Before(r.From) {
		return true, false
	}
	return !t.Before(r.From.Add(-r.Warm)), true
}

// batchMax bounds the items that Next returns at once.
const batchMax = 2048

// position names an event to people.
func position(partition int32, offset int64) string {
	return fmt.Sprintf("%d/%d", partition, offset)
}
