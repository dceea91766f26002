package forward

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vedette/internal/retry"
)

func TestADestinationThatComesAndGoesFillsNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		f := &Forward{metrics: newMetrics(nil), states: map[string]*state{"d": {}}, log: slog.New(slog.NewTextHandler(&out, nil))}
		count := func(text string) int { return strings.Count(out.String(), text) }
		const away, back = "does not take alerts", "takes alerts again"
		for range 1000 {
			f.note("d", errors.New("busy"))
			f.note("d", nil)
		}
		if count(away) != 1 || count(back) != 1 {
			t.Errorf("1,000 errors at once gave %d lines, and %d of the end; want 1 of each", count(away), count(back))
		}
		// A destination that stays away is named, though its first error was not.
		f.note("d", errors.New("down"))
		time.Sleep(2 * retry.LogEvery)
		for range 10 {
			f.note("d", errors.New("down"))
		}
		if count(away) != 2 || f.states["d"].err == nil {
			t.Errorf("a destination that stays away gave %d lines, want 1 more than before; its error is %v", count(away), f.states["d"].err)
		}
		f.note("d", nil)
		if count(back) != 2 || f.states["d"].err != nil {
			t.Errorf("its return gave %d lines, want 1 more than before; its error is %v", count(back), f.states["d"].err)
		}
	})
}
