// Package all lists the destinations.
package all

import (
	"errors"
	"io"

	"vedette/forward"
	"vedette/forward/activeresponse"
	"vedette/forward/alertsfile"
	"vedette/forward/indexer"
	"vedette/internal/store"
)

// Options say which destinations there are besides the indexer.
type Options struct {
	// AlertsFile is nil when it is off.
	AlertsFile *alertsfile.File
	// ActiveResponse is nil when there are no responses.
	ActiveResponse *activeresponse.Destination
}

// New returns the destinations. A new kind of destination is a line here.
func New(s store.Store, o Options) []forward.Destination {
	ds := []forward.Destination{
		indexer.New(s),
	}
	if o.AlertsFile != nil {
		ds = append(ds, o.AlertsFile)
	}
	if o.ActiveResponse != nil {
		ds = append(ds, o.ActiveResponse)
	}
	return ds
}

// Close ends those that hold something open.
func Close(ds []forward.Destination) error {
	var errs []error
	for _, d := range ds {
		if c, ok := d.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
