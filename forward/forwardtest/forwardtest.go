// Package forwardtest is what every destination promises, as tests.
package forwardtest

import (
	"context"
	"regexp"
	"sync"
	"testing"

	"vedette/forward"
	"vedette/internal/store/storetest"
	"vedette/schemas"
)

// Subject is a destination under test.
type Subject struct {
	forward.Destination
	// Count returns how many different alerts have arrived.
	Count func(t *testing.T) int
}

// deliver hands over alerts that a destination must take whole.
func deliver(t *testing.T, s Subject, alerts []schemas.Alert) {
	t.Helper()
	failures, err := s.Deliver(t.Context(), alerts)
	if err != nil {
		t.Errorf("Deliver refused %d good alerts: %v; return an error only when the receiver does not answer", len(alerts), err)
	}
	for _, f := range failures {
		t.Errorf("Deliver gave up alert %d of %d (%s: %s); a failure sends a good alert to the dead letter topic", f.Index, len(alerts), f.Reason, f.Detail)
	}
}

// arrived checks how many different alerts the receiver has.
func arrived(t *testing.T, s Subject, want int) {
	t.Helper()
	switch n := s.Count(t); {
	case n < want:
		t.Errorf("the receiver has %d of %d alerts; Deliver must return nil only when the receiver has every alert", n, want)
	case n > want:
		t.Errorf("the receiver has %d alerts, want %d; a repeated alert must not count twice, so tell repeats by their ID", n, want)
	}
}

// Run tests a destination; open gives a fresh one.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Run("its name can stand in a metric and a group", func(t *testing.T) {
		form := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
		if n := open(t).Name(); !form.MatchString(n) {
			t.Errorf("Name returned %q; metrics and consumer groups need the form %s", n, form)
		}
	})
	t.Run("nothing to deliver is fine", func(t *testing.T) {
		deliver(t, open(t), nil)
	})
	t.Run("all arrive, and a repeat adds nothing", func(t *testing.T) {
		s := open(t)
		if err := s.Ready(t.Context()); err != nil {
			t.Fatalf("Ready of a fresh destination returned %v; want nil while its receiver answers", err)
		}
		for range 2 {
			deliver(t, s, storetest.Series("f", 30))
		}
		arrived(t, s, 30)
	})
	t.Run("a batch may hold an alert twice", func(t *testing.T) {
		// After a crash of analysis the topic holds some alerts twice.
		s, once := open(t), storetest.Series("t", 10)
		deliver(t, s, append(once[:10:10], once...))
		arrived(t, s, 10)
	})
	t.Run("a batch that overlaps the last one adds the rest", func(t *testing.T) {
		s, all := open(t), storetest.Series("o", 30)
		deliver(t, s, all[:20])
		deliver(t, s, all[10:])
		arrived(t, s, 30)
	})
	t.Run("partitions deliver at the same time", func(t *testing.T) {
		s := open(t)
		var wg sync.WaitGroup
		for _, series := range []string{"a", "b", "c", "d"} {
			wg.Go(func() { deliver(t, s, storetest.Series(series, 25)) })
		}
		wg.Wait()
		arrived(t, s, 100)
	})
	t.Run("an ended context is an error, and the next try delivers", func(t *testing.T) {
		s, alerts := open(t), storetest.Series("z", 3)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if failures, err := s.Deliver(ctx, alerts); err == nil {
			t.Errorf("Deliver returned no error and failures %v after its context ended; the offset would be committed and the alerts lost", failures)
		}
		deliver(t, s, alerts)
		arrived(t, s, len(alerts))
	})
}
