package retry

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestAReceiverAsksForAPause(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 8, 0, 0, 500_000_000, time.UTC)
	busy := errors.New("busy")
	for header, want := range map[string]time.Duration{
		"7":                                7 * time.Second,
		" 120 ":                            2 * time.Minute,
		"0":                                0,
		"300":                              AfterMax,
		"301":                              AfterMax,
		"99999999999999999999999999":       AfterMax,
		"Sat, 28 Nov 2026 08:00:10 GMT":    9500 * time.Millisecond,
		"Saturday, 28-Nov-26 08:00:10 GMT": 9500 * time.Millisecond,
		"Sat Nov 28 08:00:10 2026":         9500 * time.Millisecond,
		"Sat, 28 Nov 2026 07:00:00 GMT":    0,
		"Mon, 28 Dec 2026 08:00:10 GMT":    AfterMax,
	} {
		err := fmt.Errorf("deliver: %w", Ask(busy, header, now))
		var a *After
		if !errors.As(err, &a) || Asked(err) != want || !errors.Is(err, busy) {
			t.Errorf("Retry-After %q asks for %s, want %s; error %v", header, Asked(err), want, err)
		}
	}
	for _, header := range []string{"", "  ", "soon", "-1", "1.5", "5 s", "Sat, 31 Nov 2026"} {
		if err := Ask(busy, header, now); err != busy { //nolint:errorlint // it must come back as it is
			t.Errorf("Retry-After %q gives %v, want the error as it was", header, err)
		}
	}
	if d := Asked(nil); d != 0 {
		t.Errorf("no error asks for %s, want 0", d)
	}
	if d := Asked(&After{busy, 24 * time.Hour}); d != AfterMax {
		t.Errorf("an error with a day's pause asks for %s, want at most %s", d, AfterMax)
	}
}

func TestThePauseIsAtLeastAsLongAsAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy := errors.New("busy")
		pause := func(b Backoff, err error) time.Duration {
			began := time.Now()
			if err := b.WaitAfter(t.Context(), err); err != nil {
				t.Fatalf("WaitAfter returned %v, want nil", err)
			}
			return time.Since(began)
		}
		short := Backoff{Min: time.Second, Max: time.Second}
		if d := pause(short, &After{busy, time.Minute}); d != time.Minute {
			t.Errorf("a pause of one minute was asked for, and was %s", d)
		}
		if d := pause(short, busy); d > time.Second {
			t.Errorf("nothing was asked for, and the pause was %s; want at most 1s", d)
		}
		if d := pause(Backoff{Min: time.Hour, Max: time.Hour}, &After{busy, 0}); d < 30*time.Minute {
			t.Errorf("no pause was asked for, and the pause was %s; want the loop's own of 30m or more", d)
		}
	})
}

// FuzzAsk reads headers of hostile receivers.
func FuzzAsk(f *testing.F) {
	for _, s := range []string{"5", "Sat, 28 Nov 2026 08:00:10 GMT", "-1", ""} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, header string) {
		err := Ask(errors.New("x"), header, now)
		var a *After
		if errors.As(err, &a) && (a.Wait < 0 || a.Wait > AfterMax) {
			t.Errorf("Retry-After %q asks for %s; it must lie in 0…%s", header, a.Wait, AfterMax)
		}
	})
}
