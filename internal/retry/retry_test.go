package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestThePauseDoublesToItsCapAndIsNeverShort(t *testing.T) {
	t.Parallel()
	b := Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for round := range 2 {
		for i, full := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
			full *= time.Millisecond
			if d := b.Next(); d < full/2 || d > full {
				t.Errorf("round %d, pause %d is %s; it must lie between %s and %s", round, i, d, full/2, full)
			}
		}
		b.Reset()
	}
}

func TestAPauseEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := Backoff{Min: time.Hour, Max: time.Hour}
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		if err := b.Wait(ctx); !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
			t.Errorf("Wait returned %v after %s; want the context's error after 1s", err, time.Since(began))
		}
		// A context that has ended wins over a pause of any length.
		if err := Sleep(ctx, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("Sleep returned %v, want the context's error", err)
		}
	})
}

func TestALongAttemptCountsAsASuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: time.Second, Max: 10 * time.Second}
		pause := func(attempt time.Duration) time.Duration {
			b.Begin()
			time.Sleep(attempt)
			began := time.Now()
			if err := b.WaitSince(t.Context()); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		for range 5 {
			pause(0)
		}
		if d := pause(0); d < 5*time.Second {
			t.Errorf("pause after six short attempts is %s, want at least 5s", d)
		}
		if d := pause(11 * time.Second); d > time.Second {
			t.Errorf("pause after a long attempt is %s, want at most 1s", d)
		}
	})
}

func TestALineIsWrittenOnceInAWhileAndTheRestIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l Log
		lines, skipped := 0, 0
		for range 10_001 {
			if n, due := l.Due(); due {
				lines, skipped = lines+1, skipped+n
			}
			time.Sleep(3 * time.Millisecond)
		}
		if lines != 3 || skipped < 6_000 {
			t.Errorf("30s of complaints every 3ms gave %d lines that tell of %d more; want 3 lines, each with the number before it", lines, skipped)
		}
	})
}
