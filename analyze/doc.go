// Package analyze is the role that judges events: `events` in, `alerts` and
// (when switched on) `archives` out.
//
// Each assigned partition has its own state and is worked on by one goroutine,
// in order. An offset is committed only after everything that came of the
// events before it was acknowledged by the brokers, so a killed worker loses
// nothing; what it had already written is written again under the same id and
// overwrites itself downstream.
//
// A new owner of a partition rebuilds the windows of composite rules by reading
// again from the time of the committed event less the ruleset's longest
// timeframe. What reaches further back than that (first-time-seen, check_diff)
// starts empty.
//
// An event that cannot be read goes to the dead letter with its cause. An event
// whose key does not fit its agent is produced once more under the right key.
package analyze
