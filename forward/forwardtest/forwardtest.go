// Package forwardtest holds the promises of every destination, as tests. Their
// messages are for the author of one.
package forwardtest

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"vedette/forward"
	"vedette/internal/retry"
	"vedette/internal/store/storetest"
	"vedette/schemas"
)

// Subject is a destination under test, with its receiver.
type Subject struct {
	forward.Destination
	// Count returns how many different alerts have arrived. An alert's document
	// holds its coordinates in the member `vedette`.
	Count func(t testing.TB) int
	// Refuse lets the receiver refuse the next n requests by an error that may
	// pass. Nil: nothing of the kind can happen.
	Refuse func(n int)
	// Busy lets the receiver refuse the next request and ask for a pause. Nil: it
	// has no way to.
	Busy func(wait time.Duration)
	// Hang lets the receiver answer nothing until release is called; reached is
	// closed by the first request. Nil: it cannot hang.
	Hang func() (reached <-chan struct{}, release func())
}

// triesMax bounds how often alerts are delivered again.
const triesMax = 20

// Series makes n alerts as analysis writes them: their documents hold coordinates.
func Series(name string, n int) []schemas.Alert {
	out := make([]schemas.Alert, n)
	for i := range out {
		out[i] = storetest.Alert(name, i, map[string]any{"vedette": map[string]any{"topic_id": name, "partition": 0, "offset": i, "n": 0, "ruleset": "r"}})
	}
	return out
}

// deliver hands over alerts that a destination must take whole at the first try.
func deliver(t testing.TB, s Subject, alerts []schemas.Alert) {
	t.Helper()
	failures, err := s.Deliver(t.Context(), alerts)
	if err != nil {
		t.Errorf("Deliver refused %d good alerts: %v; return an error only when the receiver does not answer", len(alerts), err)
	}
	given(t, failures, alerts)
}

// given reports failures of alerts that are good.
func given(t testing.TB, failures []forward.Failure, alerts []schemas.Alert) {
	t.Helper()
	for _, f := range failures {
		if f.Index < 0 || f.Index >= len(alerts) {
			t.Errorf("Deliver gave up alert %d of %d; Index is the place in the alerts of this call", f.Index, len(alerts))
			continue
		}
		t.Errorf("Deliver gave up alert %d of %d (%s: %s); a failure sends a good alert to the dead letter topic", f.Index, len(alerts), f.Reason, f.Detail)
	}
}

// insist delivers as the role does: after an error, again from the first alert
// that is not done.
func insist(t testing.TB, s Subject, alerts []schemas.Alert) {
	t.Helper()
	for range triesMax {
		failures, err := s.Deliver(t.Context(), alerts)
		if err == nil {
			given(t, failures, alerts)
			return
		}
		alerts = alerts[done(t, failures, err, alerts):]
	}
	t.Fatalf("Deliver still returns an error after %d tries, while the receiver takes alerts again", triesMax)
}

// done returns how many alerts an error says are done, and checks its failures.
func done(t testing.TB, failures []forward.Failure, err error, alerts []schemas.Alert) int {
	t.Helper()
	var part *forward.Partial
	if !errors.As(err, &part) {
		return 0
	}
	if part.Done < 0 || part.Done > len(alerts) {
		t.Fatalf("Deliver returned a Partial with Done %d for %d alerts", part.Done, len(alerts))
	}
	given(t, failures, alerts[:part.Done])
	return part.Done
}

// arrived checks how many different alerts the receiver has.
func arrived(t testing.TB, s Subject, want int) {
	t.Helper()
	switch n := s.Count(t); {
	case n < want:
		t.Errorf("the receiver has %d of %d alerts; Deliver must return nil only when the receiver has every alert", n, want)
	case n > want:
		t.Errorf("the receiver has %d alerts, want %d; a repeated alert must not count twice, so tell repeats by their ID", n, want)
	}
}

type test struct {
	name string
	// applies reports whether the destination can be tested by it; nil: any can.
	applies func(s Subject) bool
	run     func(t testing.TB, s Subject)
}

var tests = []test{
	{"nothing to deliver is fine", nil, func(t testing.TB, s Subject) {
		deliver(t, s, nil)
	}},
	{"all arrive, and a repeat adds nothing", nil, func(t testing.TB, s Subject) {
		if err := s.Ready(t.Context()); err != nil {
			t.Fatalf("Ready of a fresh destination returned %v; want nil while its receiver answers", err)
		}
		for range 2 {
			deliver(t, s, Series("f", 30))
		}
		arrived(t, s, 30)
	}},
	{"a batch may hold an alert twice", nil, func(t testing.TB, s Subject) {
		// After a crash of analysis the topic holds some alerts twice.
		once := Series("t", 10)
		deliver(t, s, append(once[:10:10], once...))
		arrived(t, s, 10)
	}},
	{"a batch that overlaps the last one adds the rest", nil, func(t testing.TB, s Subject) {
		all := Series("o", 30)
		deliver(t, s, all[:20])
		deliver(t, s, all[10:])
		arrived(t, s, 30)
	}},
	{"partitions deliver at the same time", nil, func(t testing.TB, s Subject) {
		var wg sync.WaitGroup
		for _, series := range []string{"a", "b", "c", "d"} {
			wg.Go(func() { deliver(t, s, Series(series, 25)) })
		}
		wg.Wait()
		arrived(t, s, 100)
	}},
	{"an ended context is an error, and the next try delivers", nil, func(t testing.TB, s Subject) {
		alerts := Series("z", 3)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if failures, err := s.Deliver(ctx, alerts); err == nil {
			t.Errorf("Deliver returned no error and failures %v after its context ended; the offset would be committed and the alerts lost", failures)
		}
		insist(t, s, alerts)
		arrived(t, s, len(alerts))
	}},
	{"a context that ends on the way ends the delivery", func(s Subject) bool { return s.Hang != nil }, func(t testing.TB, s Subject) {
		alerts := Series("h", 3)
		reached, release := s.Hang()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		type result struct {
			failures []forward.Failure
			err      error
		}
		ended := make(chan result, 1)
		go func() {
			failures, err := s.Deliver(ctx, alerts)
			ended <- result{failures, err}
		}()
		<-reached
		cancel()
		var r result
		select {
		case r = <-ended:
		case <-time.After(time.Minute):
			release()
			<-ended
			t.Fatalf("Deliver went on for a minute after its context ended; pass the context to every call that waits")
		}
		release()
		if r.err == nil {
			t.Errorf("Deliver returned no error and failures %v, while the receiver had not answered; the offset would be committed and the alerts lost", r.failures)
		}
		insist(t, s, alerts)
		arrived(t, s, len(alerts))
	}},
	{"an error that may pass loses and gives up nothing", func(s Subject) bool { return s.Refuse != nil }, func(t testing.TB, s Subject) {
		alerts := Series("r", 10)
		s.Refuse(3)
		failures, err := s.Deliver(t.Context(), alerts)
		if err == nil {
			t.Errorf("Deliver returned no error and failures %v, while the receiver refused a request for a while; the offset would be committed and the alerts lost", failures)
			return
		}
		insist(t, s, alerts[done(t, failures, err, alerts):])
		arrived(t, s, len(alerts))
	}},
	{"a pause that the receiver asks for is passed on", func(s Subject) bool { return s.Busy != nil }, func(t testing.TB, s Subject) {
		alerts := Series("b", 10)
		const wait = 40 * time.Second
		s.Busy(wait)
		failures, err := s.Deliver(t.Context(), alerts)
		if d := retry.Asked(err); d < wait-time.Second || d > wait {
			t.Errorf("the receiver asked for a pause of %s, and the error of Deliver asks for %s (%v); return a *retry.After, as retry.Ask makes it", wait, d, err)
		}
		insist(t, s, alerts[done(t, failures, err, alerts):])
		arrived(t, s, len(alerts))
	}},
	{"an end loses nothing", func(s Subject) bool { _, ok := s.Destination.(io.Closer); return ok }, func(t testing.TB, s Subject) {
		deliver(t, s, Series("c", 30))
		if err := s.Destination.(io.Closer).Close(); err != nil {
			t.Errorf("Close returned %v", err)
		}
		if n := s.Count(t); n != 30 {
			t.Errorf("the receiver has %d of 30 alerts after Close; alerts are taken when Deliver returns, not later", n)
		}
	}},
}

// Run tests a destination; open gives a fresh one.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			if c.applies != nil && !c.applies(s) {
				t.Skip("the subject gives no way to bring this about")
			}
			c.run(t, s)
		})
	}
}
