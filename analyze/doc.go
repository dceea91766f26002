// Package analyze is the role that judges events: `events` in, `alerts` and
// (when switched on) `archives` out.
//
// Each assigned partition has its own state and is worked on by one goroutine,
// in order. An offset is committed only after the brokers have acknowledged all
// results of the events before it, so a killed worker loses nothing. Results it
// had already written are written again under the same id and overwrite
// themselves downstream.
//
// The state of a partition survives its owner by checkpoints (checkpoint.go,
// docs/design.md D4). An owner that begins with an empty state says so in a first
// checkpoint before it judges; afterwards one is due every minute or 100,000
// events, and when the partition is given up. A new owner loads the newest whole
// one at offset c, judges silently from c up to the commit, and emits from
// max(commit, c). So a worker may die at any moment, and no alert changes.
//
// Without a usable checkpoint (none, of another topic id or ruleset, broken, not
// made under this cluster key) the new owner rebuilds the windows of composite
// rules by reading again from the time of the committed event less the ruleset's
// longest timeframe; state from further back (first-time-seen, check_diff,
// firedtimes) starts empty then. Without Options.Box that is always so.
//
// An event that cannot be read goes to the dead letter with its cause. An event
// whose key does not fit its agent is produced once more under the right key.
package analyze
