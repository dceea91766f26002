// Package all lists the types of destinations.
package all

import (
	"errors"
	"fmt"
	"io"

	"vedette/forward"
	"vedette/forward/alertsfile"
	"vedette/forward/webhook"
)

// Types returns the types that entries of forward.destinations can have. A new type
// is a line here.
func Types() []forward.Factory {
	return []forward.Factory{
		alertsfile.Factory,
		webhook.Factory,
	}
}

// Type returns the factory of a type.
func Type(name string) (forward.Factory, bool) {
	for _, f := range Types() {
		if f.Name == name {
			return f, true
		}
	}
	return forward.Factory{}, false
}

// Open opens the destinations of valid entries. After an error none is open.
func Open(entries []forward.Entry, env forward.Env) ([]forward.Target, error) {
	var targets []forward.Target
	var errs []error
	for _, e := range entries {
		f, ok := Type(e.Type)
		if !ok {
			errs = append(errs, fmt.Errorf("destination %s: no type %q", e.Name, e.Type))
			continue
		}
		m, err := e.Route.Compile()
		if err != nil {
			errs = append(errs, fmt.Errorf("destination %s: %w", e.Name, err))
			continue
		}
		d, err := f.New(e.Settings, env)
		if err != nil {
			errs = append(errs, fmt.Errorf("destination %s: %w", e.Name, err))
			continue
		}
		targets = append(targets, forward.Target{Name: e.Name, Route: m, Destination: d})
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, Close(targets))...)
	}
	return targets, nil
}

// Close closes the destinations that hold something open.
func Close(targets []forward.Target) error {
	var errs []error
	for _, t := range targets {
		if c, ok := t.Destination.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
