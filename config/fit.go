package config

import (
	"fmt"
	"slices"

	"vedette/analyze"
	"vedette/internal/kafka"
)

const (
	// memoryShares is the part of the memory limit that one kind of data in flight
	// may take: records that wait for handlers, or bytes of agents that wait for
	// their acknowledgement. They are held up to three times, decoded and encoded.
	memoryShares = 12
	// stateShare is the part of the memory limit that all partitions' remembered
	// events may take.
	stateShare = 4
	// inFlightMin is the least that Fit leaves for each.
	inFlightMin = 4 << 20
	// filesReserve are the descriptors that Fit keeps from agents' connections.
	filesReserve = 512
	// memoryMin is the least memory a process with every role lives with.
	memoryMin = 256 << 20
)

// Fit lowers bounds to the memory, in bytes, and to the open files that this
// process may use; 0 stands for no limit. It returns a warning for each bound
// that the machine gives no room for. roles are the roles of the process; none
// means all.
func (c *Config) Fit(memory int64, files uint64, roles []string) (warnings []string) {
	has := func(role string) bool { return len(roles) == 0 || slices.Contains(roles, role) }
	if memory > 0 {
		share := max(inFlightMin, memory/memoryShares)
		if c.Kafka.QueueBytes == 0 || c.Kafka.QueueBytes > share {
			c.Kafka.QueueBytes = share
		}
		if has(RoleIngest) {
			c.Ingest.InFlightBytes = min(c.Ingest.InFlightBytes, share)
		}
		if memory < memoryMin {
			warnings = append(warnings, fmt.Sprintf("the runtime may use %d MiB of memory; below %d MiB a process spends its time collecting garbage. Raise the container's limit", memory>>20, memoryMin>>20))
		}
	}
	// With brokers the bound must be the same on every machine, with any memory.
	if memory > 0 && has(RoleAnalyze) && c.Kafka.Embedded() {
		partitions := int64(c.Kafka.Partitions)
		if partitions == 0 {
			partitions = kafka.EmbeddedPartitions
		}
		share := max(inFlightMin, memory/stateShare/partitions)
		if c.Analyze.StateBytes == 0 && share < analyze.DefaultStateBytes || c.Analyze.StateBytes > share {
			c.Analyze.StateBytes = share
		}
	}
	if files > 0 && has(RoleIngest) {
		most := max(64, int(min(files, 1<<31))-filesReserve)
		if c.Ingest.MaxConnections > most {
			warnings = append(warnings, fmt.Sprintf("%d files may be open, so %d agents may connect here and not ingest.max_connections (%d); raise the limit (LimitNOFILE= of the unit, ulimits of the container), or lower the key",
				files, most, c.Ingest.MaxConnections))
			c.Ingest.MaxConnections = most
		}
	}
	return warnings
}
