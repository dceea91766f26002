// Package store is where alerts are kept and asked about: one interface over
// the embedded store (SQLite) and an indexer (OpenSearch).
//
// Put is idempotent by id, so that a record read twice changes nothing; of two
// documents with one id the one with the higher epoch holds (docs/design.md
// D3). The tests in storetest state the promises of both stores.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vedette/internal/qlang"
	"vedette/schemas"
)

// Store keeps alerts. It is safe for concurrent use.
type Store interface {
	// Put writes alerts. It returns the alerts that can never be written, by
	// their place in alerts; an error means that the state of the whole batch is
	// unknown and the batch should be put again.
	Put(ctx context.Context, alerts []schemas.Alert) ([]Failure, error)
	// Search returns one page of alerts.
	Search(ctx context.Context, q Query) (Page, error)
	// Ready returns nil when the store answers.
	Ready(ctx context.Context) error
	Close() error
}

// Reasons of a Failure: a closed set, used as a metric's label.
const (
	// ReasonDocument: the document is not a JSON object.
	ReasonDocument = "document"
	// ReasonMapping: a field's value does not fit the index.
	ReasonMapping = "mapping"
	// ReasonTooLarge: the document is larger than the store takes.
	ReasonTooLarge = "too_large"
	// ReasonRefused: the store refused it for another lasting reason.
	ReasonRefused = "refused"
)

// Failure is a document that cannot be written, ever.
type Failure struct {
	// Index is its place in the batch.
	Index  int
	ID     string
	Reason string
	// Detail is for people.
	Detail string
}

// MaxWindow bounds Offset plus Limit; for more, narrow the time.
const MaxWindow = 10_000

// maxText bounds Query.Text and the number of its words.
const (
	maxTextBytes = 1 << 10
	maxTextWords = 32
)

// Query asks for alerts.
type Query struct {
	// Filter compares fields of the document; letter case is ignored. `timestamp`
	// and `@timestamp` are dates. May be nil.
	Filter *qlang.Expr
	// From is inclusive, To is not; zero values leave the side open.
	From, To time.Time
	// Text holds words that must all be in full_log or rule.description; a word
	// with `*` at its end is a prefix.
	Text string
	// Limit may be 0 to learn only the total.
	Limit, Offset int
	// Sort defaults to the newest first.
	Sort []Order
	// Now is the time from which periods in Filter count; zero means the
	// present.
	Now time.Time
}

// Order is one key to sort by. Text compares in the store's order; documents
// without the field come last in either direction.
type Order struct {
	Field string
	Desc  bool
}

// Page is a part of the alerts that match.
type Page struct {
	// Items are the documents.
	Items []json.RawMessage
	// Total counts all that match, in and outside the page.
	Total int
}

// ErrQuery says that a query cannot be answered and why; asking again does not help.
var ErrQuery = errors.New("query refused")

// TimeField is the field that time means in Sort and Filter.
const TimeField = "timestamp"

// DateField reports whether a field is compared as a date.
func DateField(name string) bool { return name == TimeField || name == "@timestamp" }

// Options returns how the filter compares.
func (q *Query) Options() qlang.Options {
	return qlang.Options{FoldCase: true, Date: DateField, Now: q.Now}
}

// Words returns the words of Text.
func (q *Query) Words() []string { return strings.Fields(q.Text) }

// Normalize fills defaults and checks bounds. Errors wrap ErrQuery; a filter
// that does not compile gives its *qlang.Error as well.
func (q *Query) Normalize() error {
	if q.Now.IsZero() {
		q.Now = time.Now()
	}
	if len(q.Sort) == 0 {
		q.Sort = []Order{{Field: TimeField, Desc: true}}
	}
	switch {
	case q.Limit < 0 || q.Offset < 0:
		return fmt.Errorf("%w: limit and offset must not be negative", ErrQuery)
	case q.Offset+q.Limit > MaxWindow || q.Offset > MaxWindow:
		return fmt.Errorf("%w: offset and limit together are above %d; narrow the time instead", ErrQuery, MaxWindow)
	case len(q.Text) > maxTextBytes || len(q.Words()) > maxTextWords:
		return fmt.Errorf("%w: text is longer than %d bytes or %d words", ErrQuery, maxTextBytes, maxTextWords)
	case len(q.Sort) > 4:
		return fmt.Errorf("%w: more than 4 fields to sort by", ErrQuery)
	}
	q.Sort = slices.Clone(q.Sort)
	for i, o := range q.Sort {
		if o.Field == "@timestamp" {
			q.Sort[i].Field = TimeField
		}
		if o.Field == "" || strings.ContainsAny(o.Field, "*\"'\\") {
			return fmt.Errorf("%w: %q is no field to sort by", ErrQuery, o.Field)
		}
	}
	if err := q.Filter.Check(q.Options()); err != nil {
		return fmt.Errorf("%w: %w", ErrQuery, err)
	}
	return nil
}
