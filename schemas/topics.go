package schemas

import "time"

// Topic describes one topic. This file is the only list of them.
type Topic struct {
	// Name is the name without the configured prefix.
	Name string
	// Key describes the record key to people.
	Key string
	// Carries describes the content of a record to people.
	Carries string
	// Compacted topics keep the newest record of each key.
	Compacted bool
	// Single topics have exactly one partition, whose order is meaningful.
	Single bool
	// Retention is how long records are kept; 0 keeps them for ever. The
	// retention of `events` is configuration (events.retention).
	Retention time.Duration
	// Bytes bounds each partition; 0 does not. That of `events` is configuration.
	Bytes int64
	// Segment is the age and SegmentBytes the size at which a segment is closed;
	// 0 leaves it to the broker. Only closed segments are compacted or removed.
	Segment      time.Duration
	SegmentBytes int64
}

// Topic names, without prefix.
const (
	TopicEvents      = "events"
	TopicAlerts      = "alerts"
	TopicArchives    = "archives"
	TopicStates      = "states"
	TopicRegistry    = "registry"
	TopicSnapshots   = "snapshots"
	TopicFiles       = "files"
	TopicBlobs       = "blobs"
	TopicPresence    = "presence"
	TopicNodes       = "nodes"
	TopicCommands    = "commands"
	TopicReplies     = "replies"
	TopicCheckpoints = "checkpoints"
	TopicShadow      = "shadow"
	TopicDeadLetter  = "deadletter"
)

const day = 24 * time.Hour

// Topics returns every topic in a fixed order.
//
// Source: docs/design.md "Topics".
func Topics() []Topic {
	return []Topic{
		{Name: TopicEvents, Key: "agent id (syslog: 000/ and the source address)", Carries: "one raw event: the message's bytes as received", Retention: 7 * day},
		{Name: TopicAlerts, Key: "the event's key", Carries: "the alert document (JSON)", Retention: 7 * day},
		{Name: TopicArchives, Key: "the event's key", Carries: "every decoded event, when switched on", Retention: 7 * day},
		{Name: TopicStates, Key: "kind/agent/item", Carries: "inventory, FIM, SCA and vulnerability documents", Compacted: true},
		{Name: TopicRegistry, Key: "none", Carries: "proposals that change agents, keys, groups and users", Single: true},
		{Name: TopicSnapshots, Key: "none", Carries: "snapshots of the registry as chunks, manifest last", Single: true},
		{Name: TopicFiles, Key: "path", Carries: "control records: which files groups, rulesets and upgrades consist of", Compacted: true, Single: true},
		// Contents that go make room once their segment is closed.
		{Name: TopicBlobs, Key: "owner/SHA-256/chunk", Carries: "the contents of these files, in chunks", Compacted: true, Single: true, Segment: day, SegmentBytes: 64 << 20},
		{Name: TopicPresence, Key: "agent id", Carries: "address, gateway, version, OS, config sum, last sign of life", Compacted: true},
		{Name: TopicNodes, Key: "node/roles", Carries: "which processes run, and the formats they read", Compacted: true, Single: true},
		{Name: TopicCommands, Key: "agent id", Carries: "orders to an agent", Retention: day},
		{Name: TopicReplies, Key: "agent id", Carries: "an agent's answers", Retention: day},
		// State is written again every minute, so the broker's week and gigabyte
		// would keep far more than is used.
		{Name: TopicCheckpoints, Key: "role/partition", Carries: "analysis state at an offset", Compacted: true, Segment: time.Hour, SegmentBytes: 64 << 20},
		// A candidate that differs at every event must not fill the disk.
		{Name: TopicShadow, Key: "the event's key", Carries: "what a shadow ruleset would change", Retention: day, Bytes: 256 << 20, Segment: time.Hour, SegmentBytes: 32 << 20},
		{Name: TopicDeadLetter, Key: "source topic", Carries: "what could not be processed, with cause and coordinates", Retention: 30 * day},
	}
}
