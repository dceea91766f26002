// Package replay judges a history of events by a ruleset, with the very engine
// of live analysis. It reports the difference to another ruleset, or to the
// recorded verdicts. It reads a topic or files and writes alerts only to a given
// sink. It touches no consumer group, no state of workers and no command.
//
// A history is read in lanes: partitions of a topic, or the keys of a file dealt
// out. No key is in two lanes, so that many workers come to the answer of one.
//
// Events that a source has written again after a crash (schemas.HeaderEventID)
// are left out, as live analysis does. Nothing is known of the records before
// the first event that is read.
package replay

import (
	"context"
	"fmt"
	"time"

	"vedette/schemas"
)

// Item is one event of a history, with its place.
type Item struct {
	// Partition is the partition of a topic, 0 in a file; Offset is the
	// record's, or the number of the line from 1.
	Partition int32
	Offset    int64
	Event     schemas.Event
	// Key is the record's, which identifies a source's repeats; nil in a file.
	Key []byte
	// Silent says that the event only warms the state up.
	Silent bool
	// Recorded is the verdict that the source itself records for the event; nil
	// if it records none.
	Recorded *Verdict
}

// Verdict is the comparable part of a ruleset's result for an event.
type Verdict struct {
	Rule  int `json:"rule"`
	Level int `json:"level"`
	// Groups are the names of the alert's groups, sorted, separated by commas.
	Groups string `json:"groups,omitempty"`
}

// Source is a history.
type Source interface {
	// Open returns the history's lanes, for up to n workers. from, if not nil, is
	// where each lane of an earlier Open goes on.
	Open(ctx context.Context, n int, from []Place) ([]Lane, error)
	// Name describes the source to people.
	Name() string
}

// Lane is a part of a history. It is used by one goroutine.
type Lane interface {
	// Next returns further items, in order, or io.EOF. They are valid until the
	// next call. When ctx ends, items already read still come, then an error.
	Next(ctx context.Context) ([]Item, error)
	// At is the place to go on behind the items of Next. Like Refused it is
	// called when Next has returned an error, or never was called.
	At() Place
	// Progress is how much of the lane was returned, in a unit of the source.
	Progress() (done, total int64)
	// Refused counts the inputs before At that are no readable events, by cause.
	Refused() map[string]int64
}

// Position names an event of a history.
type Position struct {
	Partition int32
	Offset    int64
}

// Place says where a lane goes on.
type Place struct {
	Partition int32
	// Begin and End bound the lane; End is 0 if the lane ends with the file.
	Begin, End int64
	// Next is the position of the first event that is still to come.
	Next int64
	// Clock is the time of a file's events that bring none of their own.
	Clock time.Time
	// Begun and Past are the lane's position in its Range.
	Begun bool
	Past  int
}

// start is where the lane began.
func (p Place) start() Place {
	return Place{Partition: p.Partition, Begin: p.Begin, End: p.End, Next: p.Begin}
}

// Range bounds a history by time. Zero values do not.
type Range struct {
	From, To time.Time
	// Warm is how long before From events are judged silently, so that windows
	// are as full as they were.
	Warm time.Duration
}

// outOfOrder is how many events in a row that are not older than Range.To end a
// lane: times within a partition may run backwards.
const outOfOrder = 10_000

// placing is the treatment of an event in a Range.
type placing uint8

const (
	leftOut placing = iota
	// silent events are judged for their effect on later ones.
	silent
	counted
	ended
)

// place decides the treatment of a lane's next event. Once the lane has begun,
// events outside of the range are judged too, silently: in the whole history the
// events after them would have met the state that they leave.
func (p *Place) place(r *Range, t time.Time) placing {
	if !p.Begun && !r.From.IsZero() && t.Before(r.From.Add(-r.Warm)) {
		return leftOut
	}
	p.Begun = true
	if !r.To.IsZero() && !t.Before(r.To) {
		if p.Past++; p.Past > outOfOrder {
			return ended
		}
		return silent
	}
	p.Past = 0
	if !r.From.IsZero() && t.Before(r.From) {
		return silent
	}
	return counted
}

// chosen is the set of agents whose events are wanted; nil wants all.
type chosen map[string]bool

func choose(agents []string) chosen {
	if len(agents) == 0 {
		return nil
	}
	c := make(chosen, len(agents))
	for _, a := range agents {
		c[a] = true
	}
	return c
}

func (c chosen) wants(agent string) bool { return c == nil || c[agent] }

// batchMax bounds the items that Next returns at once. Tests make it smaller.
var batchMax = 2048

// position names an event to people.
func position(partition int32, offset int64) string {
	return fmt.Sprintf("%d/%d", partition, offset)
}
