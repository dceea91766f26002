// Package retry paces repeated work: how long a loop pauses before it tries
// again, and how often it logs that it does.
package retry

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Backoff is the pause between tries of one loop. It doubles from Min to Max; a
// random half of each pause keeps many processes from returning at once. Both
// bounds must be above 0. One goroutine uses a Backoff.
type Backoff struct {
	Min, Max time.Duration

	next  time.Duration
	began time.Time
}

// Next returns the coming pause: between half of the delay and the whole delay.
func (b *Backoff) Next() time.Duration {
	d := min(max(b.next, b.Min), b.Max)
	b.next = min(2*d, b.Max)
	return d/2 + rand.N(d/2+1)
}

// Wait pauses for Next, or until ctx ends; then it returns the error of ctx.
func (b *Backoff) Wait(ctx context.Context) error { return Sleep(ctx, b.Next()) }

// Reset makes the next pause the shortest again. Call it after a success.
func (b *Backoff) Reset() { b.next = 0 }

// Begin notes the start of an attempt that runs for long. WaitSince then takes
// an attempt that lasted longer than Max for a success.
func (b *Backoff) Begin() { b.began = time.Now() }

// WaitSince is Wait after an attempt that Begin started.
func (b *Backoff) WaitSince(ctx context.Context) error {
	if time.Since(b.began) > b.Max {
		b.Reset()
	}
	return b.Wait(ctx)
}

// Sleep waits for d, or until ctx ends; then it returns the error of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// AcceptPause is how long a listener pauses after an error that may pass.
const AcceptPause = 100 * time.Millisecond

// LogEvery is how often a loop repeats the same complaint.
const LogEvery = 10 * time.Second

// Log limits a log line to one in LogEvery. The zero value is ready, and safe
// for concurrent use.
type Log struct {
	mu      sync.Mutex
	last    time.Time
	skipped int
}

// Due reports whether the line may be written now, and how many were not
// written since the last one.
func (l *Log) Due() (skipped int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.last.IsZero() || now.Sub(l.last) >= LogEvery {
		skipped, l.skipped, l.last = l.skipped, 0, now
		return skipped, true
	}
	l.skipped++
	return 0, false
}
