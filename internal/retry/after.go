package retry

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// AfterMax bounds the pause that a receiver can ask for.
const AfterMax = 5 * time.Minute

// After is the error of a receiver that asked for a pause before the next try.
type After struct {
	Err error
	// Wait is from 0 to AfterMax.
	Wait time.Duration
}

func (a *After) Error() string {
	return a.Err.Error() + "; the next try is in " + a.Wait.Round(time.Second).String()
}

// Unwrap returns the error without the pause.
func (a *After) Unwrap() error { return a.Err }

// Ask wraps err in an After if header, the value of Retry-After in an HTTP
// answer, asks for a pause: as whole seconds or as a date. A longer pause than
// AfterMax becomes AfterMax. Without such a header it returns err.
func Ask(err error, header string, now time.Time) error {
	header = strings.TrimSpace(header)
	if header == "" {
		return err
	}
	if strings.Trim(header, "0123456789") == "" {
		// A number of any length is one of seconds.
		n, parse := strconv.ParseInt(header, 10, 32)
		if parse != nil {
			n = int64(AfterMax / time.Second)
		}
		return &After{err, min(time.Duration(n)*time.Second, AfterMax)}
	}
	at, parse := http.ParseTime(header)
	if parse != nil {
		return err
	}
	return &After{err, min(max(at.Sub(now), 0), AfterMax)}
}

// Asked returns the pause that err asks for; 0 if none.
func Asked(err error) time.Duration {
	var a *After
	if !errors.As(err, &a) {
		return 0
	}
	return min(max(a.Wait, 0), AfterMax)
}

// WaitAfter is Wait, but at least as long as err asks.
func (b *Backoff) WaitAfter(ctx context.Context, err error) error {
	return Sleep(ctx, max(b.Next(), Asked(err)))
}
