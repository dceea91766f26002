// Package embedded keeps alerts in SQLite files, one per UTC day, under one
// directory, so that a single machine needs no indexer.
//
// A file per day makes every bound cheap: old or excess alerts are removed as
// whole files, and a search opens only the days it asks for. Each file holds the
// documents, an index on time, rule, level, agent and decoder, and the values of
// some sixty other fields (index.go). It also holds a full text index over
// full_log and rule.description, and counts per hour by rule, level, agent, group
// and MITRE technique. The counts are written in the same transaction as the
// documents they count.
//
// One process writes (a lock file sees to it); others open the directory
// read-only and see committed alerts. A batch is one synced transaction per day
// it touches. Limits: docs/limits.md "store".
package embedded
