package schemas

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CheckpointVersion is the version of manifests that this program writes and reads.
const CheckpointVersion = 1

// Bounds of a checkpoint.
const (
	// MaxCheckpointChunkBytes bounds one chunk of state.
	MaxCheckpointChunkBytes = 512 << 10
	// MaxCheckpointChunks bounds the chunks of one checkpoint, and with them its
	// length: 256 MiB.
	MaxCheckpointChunks = 512
	// MaxCheckpointManifestBytes bounds a manifest's value.
	MaxCheckpointManifestBytes = 16 << 10
	// CheckpointSlots is the number of places that the checkpoints of a
	// partition take in turn, so that one half written never replaces the last
	// whole one.
	CheckpointSlots = 2
)

// Checkpoint is the manifest of a checkpoint: the state that one stage keeps of a
// partition before the record at Offset. It is written after all its chunks were
// acknowledged, and says where they are.
//
// Its record has the key `<stage>/<partition>` and is in partition 0 of
// TopicCheckpoints. The chunks' keys are `<stage>/<partition>/<slot>/<n>`, and
// their values the bytes of the state. Both carry HeaderMAC over MACInput.
type Checkpoint struct {
	// Stage is the name of the stage, such as `analyze`. It is only in the keys.
	Stage string
	// Topic is the name without prefix, TopicID the incarnation of it whose
	// offsets these are.
	Topic     string
	TopicID   string
	Partition int32
	// Offset is that of the first record the state has not seen.
	Offset int64
	// Epoch is that of the owner who wrote it.
	Epoch int64
	// Ruleset is the version that made the state.
	Ruleset string
	// Time is the writer's clock, for people and metrics.
	Time time.Time
	// Slot is which of the CheckpointSlots the chunks' keys name.
	Slot int
	// ChunkPartition and ChunkOffsets say where in TopicCheckpoints the chunks
	// stand, in order.
	ChunkPartition int32
	ChunkOffsets   []int64
	// Bytes and SHA256 are of all chunks together.
	Bytes  int64
	SHA256 [32]byte
}

type checkpointJSON struct {
	V              int     `json:"v"`
	Topic          string  `json:"topic"`
	TopicID        string  `json:"topic_id"`
	Partition      int32   `json:"partition"`
	Offset         int64   `json:"offset"`
	Epoch          int64   `json:"epoch"`
	Ruleset        string  `json:"ruleset"`
	Time           int64   `json:"time"` // Unix milliseconds
	Slot           int     `json:"slot"`
	ChunkPartition int32   `json:"chunk_partition"`
	ChunkOffsets   []int64 `json:"chunk_offsets"`
	Bytes          int64   `json:"bytes"`
	SHA256         string  `json:"sha256"`
}

// Record returns the manifest's record, without its MAC.
func (c *Checkpoint) Record() Record {
	b := mustMarshal(checkpointJSON{
		V: CheckpointVersion, Topic: c.Topic, TopicID: c.TopicID, Partition: c.Partition, Offset: c.Offset, Epoch: c.Epoch,
		Ruleset: c.Ruleset, Time: c.Time.UnixMilli(), Slot: c.Slot, ChunkPartition: c.ChunkPartition, ChunkOffsets: c.ChunkOffsets,
		Bytes: c.Bytes, SHA256: hex.EncodeToString(c.SHA256[:]),
	})
	return Record{Topic: TopicCheckpoints, Key: strconv.AppendInt([]byte(c.Stage+"/"), int64(c.Partition), 10), Value: b}
}

// Chunk returns the record of chunk n, without its MAC, for ChunkPartition of
// TopicCheckpoints.
func (c *Checkpoint) Chunk(n int, data []byte) Record {
	return Record{
		Topic: TopicCheckpoints, Partition: c.ChunkPartition, Value: data,
		Key: fmt.Appendf(nil, "%s/%d/%d/%d", c.Stage, c.Partition, c.Slot, n),
	}
}

// CheckpointManifestOf tells of which partition a record of TopicCheckpoints is
// the manifest that a stage wrote; false for chunks and all other records.
func CheckpointManifestOf(stage string, key []byte) (partition int32, ok bool) {
	return partitionKey(key, stage+"/")
}

// partitionKey reads a key that is prefix and the number of a partition.
func partitionKey(key []byte, prefix string) (partition int32, ok bool) {
	text, ok := strings.CutPrefix(string(key), prefix)
	if !ok || len(text) > 10 {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0, false
	}
	return int32(n), true
}

// ErrCheckpoint says that a manifest does not have the form of Record.
var ErrCheckpoint = errors.New("not a checkpoint's manifest")

// ErrCheckpointVersion says that a manifest is of a version this program does not know.
var ErrCheckpointVersion = errors.New("checkpoint of an unknown version")

// ParseCheckpoint reads the manifest that a stage wrote. Unknown members are
// ignored. It does not verify the MAC.
func ParseCheckpoint(stage string, r *Record) (Checkpoint, error) {
	if len(r.Value) > MaxCheckpointManifestBytes {
		return Checkpoint{}, fmt.Errorf("%w: too long", ErrCheckpoint)
	}
	var j checkpointJSON
	if err := json.Unmarshal(r.Value, &j); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if j.V != CheckpointVersion {
		return Checkpoint{}, ErrCheckpointVersion
	}
	c := Checkpoint{
		Stage: stage, Topic: j.Topic, TopicID: j.TopicID, Partition: j.Partition, Offset: j.Offset, Epoch: j.Epoch, Ruleset: j.Ruleset,
		Time: time.UnixMilli(j.Time).UTC(), Slot: j.Slot, ChunkPartition: j.ChunkPartition, ChunkOffsets: j.ChunkOffsets, Bytes: j.Bytes,
	}
	sum, err := hex.DecodeString(j.SHA256)
	p, ok := CheckpointManifestOf(stage, r.Key)
	switch {
	case err != nil || len(sum) != len(c.SHA256):
		return c, fmt.Errorf("%w: sha256", ErrCheckpoint)
	case !ok || p != c.Partition:
		return c, fmt.Errorf("%w: key %q is not that of partition %d", ErrCheckpoint, r.Key, c.Partition)
	case c.Offset < 0 || c.Slot < 0 || c.Slot >= CheckpointSlots || c.ChunkPartition < 0:
		return c, fmt.Errorf("%w: a number is out of range", ErrCheckpoint)
	case len(c.ChunkOffsets) == 0 || len(c.ChunkOffsets) > MaxCheckpointChunks || c.Bytes < 0 || c.Bytes > int64(len(c.ChunkOffsets))*MaxCheckpointChunkBytes:
		return c, fmt.Errorf("%w: %d chunks of %d bytes", ErrCheckpoint, len(c.ChunkOffsets), c.Bytes)
	}
	for i, at := range c.ChunkOffsets {
		if at < 0 || i > 0 && at <= c.ChunkOffsets[i-1] {
			return c, fmt.Errorf("%w: offsets of chunks do not ascend", ErrCheckpoint)
		}
	}
	copy(c.SHA256[:], sum)
	return c, nil
}
