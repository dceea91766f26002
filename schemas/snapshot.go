package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds and versions of snapshots of the registry.
const (
	// SnapshotVersion is the version of manifests this program writes.
	SnapshotVersion = 1
	// SnapshotChunkBytes is the length of a chunk before it is sealed.
	SnapshotChunkBytes = 512 << 10
	// SnapshotChunksMax bounds a snapshot to 512 MiB.
	SnapshotChunksMax = 1024
	// snapshotManifestMax bounds a manifest's value in bytes.
	snapshotManifestMax = 64 << 10
)

// HeaderChunk names a chunk of a snapshot: its id, a slash, its number from 0.
const HeaderChunk = "chunk"

// SnapshotManifest is the last record of a snapshot in TopicSnapshots. Without
// it, its chunks mean nothing.
type SnapshotManifest struct {
	// V is SnapshotVersion.
	V int `json:"v"`
	// ID is 32 random hexadecimal digits. Chunks are sealed under it and their number.
	ID string `json:"id"`
	// Format is that of the state in the chunks.
	Format int `json:"format"`
	// TopicID is the incarnation of TopicRegistry, and Offset that of the last
	// record which the state holds; -1 for none.
	TopicID string `json:"topic_id"`
	Offset  int64  `json:"offset"`
	// Node wrote it at Time (Unix milliseconds). For people.
	Node string `json:"node"`
	Time int64  `json:"time"`
	// Bytes and SHA256 (hexadecimal) are those of the state before it was sealed.
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Chunks are the offsets of the chunks in TopicSnapshots, ascending.
	Chunks []int64 `json:"chunks"`
}

// ErrSnapshotShape says that a record is no manifest this program can use.
var ErrSnapshotShape = errors.New("not a snapshot manifest of a known version")

// Encode returns the record's value, over which the MAC is made.
func (m *SnapshotManifest) Encode() ([]byte, error) { return json.Marshal(m) }

// SnapshotManifestRecord returns the record for an encoded manifest and its MAC.
func SnapshotManifestRecord(value, mac []byte) Record {
	return Record{Topic: TopicSnapshots, Value: value, Headers: []Header{{Key: HeaderMAC, Value: mac}}}
}

// SnapshotChunkRecord returns the record for one sealed chunk.
func SnapshotChunkRecord(id string, n int, sealed []byte) Record {
	return Record{Topic: TopicSnapshots, Value: sealed, Headers: []Header{{Key: HeaderChunk, Value: []byte(SnapshotChunkName(id, n))}}}
}

// SnapshotChunkName is the name of a chunk, which it is sealed under.
func SnapshotChunkName(id string, n int) string { return id + "/" + strconv.Itoa(n) }

// IsSnapshotManifest reports whether a record of TopicSnapshots claims to be a manifest.
func IsSnapshotManifest(r *Record) bool { return r.Header(HeaderChunk) == nil }

// ParseSnapshotManifest reads a manifest's value. It does not verify the MAC.
func ParseSnapshotManifest(value []byte) (SnapshotManifest, error) {
	var m SnapshotManifest
	if len(value) > snapshotManifestMax {
		return m, ErrSnapshotShape
	}
	if err := json.Unmarshal(value, &m); err != nil {
		return m, fmt.Errorf("read snapshot manifest: %w", err)
	}
	ok := m.V == SnapshotVersion && len(m.ID) == 32 && !strings.Contains(m.ID, "/") && m.Offset >= -1 && m.Bytes > 0 &&
		len(m.SHA256) == 64 && len(m.Chunks) > 0 && len(m.Chunks) <= SnapshotChunksMax &&
		(m.Bytes+SnapshotChunkBytes-1)/SnapshotChunkBytes == int64(len(m.Chunks))
	for i, at := range m.Chunks {
		ok = ok && at >= 0 && (i == 0 || at > m.Chunks[i-1])
	}
	if !ok {
		return m, ErrSnapshotShape
	}
	return m, nil
}
