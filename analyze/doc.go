// Package analyze is the role that judges events: `events` in, `alerts` and
// (when switched on) `archives` out.
//
// Each assigned partition has its own state and is worked on by one goroutine,
// in order, on internal/stage: an offset is committed only after the brokers have
// acknowledged all results of the events before it, and the state survives its
// owner by checkpoints. So a worker may be killed at any moment, and no alert
// changes (docs/design.md D4).
//
// Without a usable checkpoint the new owner rebuilds the windows of composite rules
// by reading again from the time of the committed event less the ruleset's longest
// timeframe; state from further back (first-time-seen, check_diff, firedtimes)
// starts empty then. Without Options.Box that is always so.
//
// An event that cannot be read goes to the dead letter with its cause. An event
// whose key does not fit its agent is produced once more under the right key.
package analyze
