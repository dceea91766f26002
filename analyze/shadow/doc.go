// Package shadow tries a candidate ruleset on live traffic, beside the one that
// runs: `events` in, the difference of the verdicts to `shadow` out. It writes
// nothing else, neither alerts nor checkpoints, and reads in a consumer group of
// its own, so that it can lag behind the workers without holding them up.
//
// The group begins at the end of the log when it reads for the first time, and
// goes on from its commit ever after: it skips nothing but what retention
// removed, which is counted. An offset is committed once the differences before it are
// acknowledged; what is written again after a crash has the same ID.
//
// Each partition has two states. They are not kept in checkpoints: a new owner
// judges again, silently, from the longest timeframe of both rulesets before the
// commit; what reaches further back starts empty in both. A ruleset that changes
// takes its state along. While both are the same version, one judges for both.
// A lagging shadow judges by the ruleset that runs now, not by the one that had
// judged; each difference names both versions.
package shadow
