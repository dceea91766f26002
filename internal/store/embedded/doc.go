// Package embedded keeps alerts in SQLite files, one per UTC day, under one
// directory, so that a single machine needs no indexer.
//
// A file per day makes every bound cheap: what is too old or too much is
// removed as whole files, and a search opens only the days it asks for. Each
// file holds the documents, an index on time, rule, level, agent and decoder, the
// values of some sixty other fields (index.go), a full text index over full_log and rule.description, and counts per hour by
// rule, level, agent, group and MITRE technique, written in the same
// transaction as the documents they count.
//
// One process writes (a lock file sees to it); others open the directory read-only
// and see what is committed. A batch is one synced transaction per day it
// touches. Limits: docs/limits.md "store".
package embedded
