// Package forwardtest is what every destination promises, as tests.
package forwardtest

import (
	"context"
	"regexp"
	"sync"
	"testing"

	"vedette/forward"
	"vedette/internal/store/storetest"
)

// Subject is a destination under test.
type Subject struct {
	forward.Destination
	// Count returns how many different alerts have arrived.
	Count func(t *testing.T) int
}

// Run tests a destination; open gives a fresh one.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Run("its name can stand in a metric and a group", func(t *testing.T) {
		if n := open(t).Name(); !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(n) {
			t.Errorf("%q", n)
		}
	})
	t.Run("nothing to deliver is fine", func(t *testing.T) {
		if f, err := open(t).Deliver(t.Context(), nil); err != nil || len(f) > 0 {
			t.Errorf("%v, %v", f, err)
		}
	})
	t.Run("all arrive, and a repeat adds nothing", func(t *testing.T) {
		s := open(t)
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if f, err := s.Deliver(t.Context(), storetest.Series("f", 30)); err != nil || len(f) > 0 {
				t.Fatalf("%v, %v", f, err)
			}
		}
		if n := s.Count(t); n != 30 {
			t.Errorf("%d arrived", n)
		}
	})
	t.Run("partitions deliver at the same time", func(t *testing.T) {
		s := open(t)
		var wg sync.WaitGroup
		for _, series := range []string{"a", "b", "c", "d"} {
			wg.Go(func() {
				if f, err := s.Deliver(t.Context(), storetest.Series(series, 25)); err != nil || len(f) > 0 {
					t.Errorf("%v, %v", f, err)
				}
			})
		}
		wg.Wait()
		if n := s.Count(t); n != 100 {
			t.Errorf("%d arrived", n)
		}
	})
	t.Run("an ended context is an error, not a loss", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if f, err := open(t).Deliver(ctx, storetest.Series("z", 3)); err == nil {
			t.Errorf("no error, failures %v", f)
		}
	})
}
