// Package shadow tries a candidate ruleset on live traffic, beside the running
// one: `events` in, the difference of the verdicts to `shadow` out. It writes
// nothing else, neither alerts nor checkpoints. It reads in a consumer group of
// its own, so that it can lag behind the workers without holding them up.
//
// The group begins at the end of the log when it reads for the first time, and
// goes on from its commit ever after. It skips only records that retention
// removed, and counts them. An offset is committed once the differences before
// it are acknowledged; a difference written again after a crash has the same ID.
//
// Each partition has two states. They are not kept in checkpoints: a new owner
// judges again, silently, from the longest timeframe of both rulesets before the
// commit. State from further back starts empty in both. A ruleset that changes
// takes its state along. While both are the same version, one judges for both. A
// lagging shadow judges by the ruleset that runs now, not by the ruleset that
// had judged; each difference names both versions.
package shadow
