// Package agentless checks devices that can run no agent. It logs in over SSH at
// intervals, runs a command or reads files, and writes the output to
// TopicEvents. A rule decides whether the output differs from the last one
// (`check_diff`, spec/ruleset-language.md §8.2).
//
// An event belongs to agent 000; its location is `(<check>) <user>@<host>->`
// and `agentless` or the file's path (§1.3, example E2i), so that alerts carry
// the object `agentless` in place of `agent`. Its text is `ossec: output:
// '<check or path>':`, a newline and the output, the form of commands that
// agents run. Its key is its own, so each check, host and file is compared with
// itself.
//
// Each check of a host runs on one node: the node that owns a certain partition
// of TopicCommands in the group of this package. The group reads no records of
// the topic. When partitions move, a check may run again before its interval is
// over; an equal output is no difference. The time of the last run is not kept
// over a restart: each check runs again soon after.
//
// Delivery: an event is written, or counted as refused. A check that fails (no
// connection, a host key that is not known, a refused login) writes no event; it
// is counted by cause and logged at a bounded rate.
//
// Limits: the constants of agentless.go and session.go, Config.
package agentless
