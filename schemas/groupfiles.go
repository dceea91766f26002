package schemas

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// GroupFilesVersion is the version of GroupFiles that this program writes and reads.
const GroupFilesVersion = 1

// Bounds of the files shared with agents.
const (
	// MaxSharedFiles bounds the files of a group.
	MaxSharedFiles = 4096
	// MaxSharedBytes bounds their content in all.
	MaxSharedBytes = 32 << 20
	// MaxSharedPath bounds a path relative to the group's directory.
	MaxSharedPath = 255
)

// SharedFile is one file of a group. Its content stands in chunks of its own.
type SharedFile struct {
	// Path is relative to the group's directory, with `/`.
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
}

// Chunks is the number of records of the file's content.
func (f *SharedFile) Chunks() int { return int((f.Size + MaxFileChunkBytes - 1) / MaxFileChunkBytes) }

// GroupFiles lists the files that agents of a group share. Its record stands in
// TopicFiles under the key `group/<name>`, written after the contents, with
// HeaderMAC over MACInput.
type GroupFiles struct {
	Group string
	// Node published it, at Time of its clock; both are for people.
	Node string
	Time time.Time
	// Files are sorted by path in byte order.
	Files []SharedFile
}

type groupFilesJSON struct {
	V     int          `json:"v"`
	Group string       `json:"group"`
	Node  string       `json:"node"`
	Time  int64        `json:"time"` // Unix milliseconds
	Files []SharedFile `json:"files"`
}

const (
	groupFilesPrefix  = "group/"
	sharedChunkPrefix = "shared/"
)

// ErrGroupFiles says that a record or a list of a group's files is not usable.
var ErrGroupFiles = errors.New("not a list of a group's files")

// ValidSharedPath reports whether p may name a file of a group: relative, clean,
// without `..`, control characters or names that the server keeps for itself.
func ValidSharedPath(p string) bool {
	if p == "" || len(p) > MaxSharedPath || path.IsAbs(p) || path.Clean(p) != p || strings.ContainsAny(p, "\\") {
		return false
	}
	for _, part := range strings.Split(p, "/") {
		if part == ".." || strings.HasPrefix(part, ".") || strings.HasPrefix(part, "merged.mg") {
			return false
		}
	}
	return strings.IndexFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) < 0
}

// Check refuses lists that are too large or name files that no agent may be sent.
func (g *GroupFiles) Check() error {
	if !ValidGroupName(g.Group) {
		return fmt.Errorf("%w: group %q", ErrGroupFiles, g.Group)
	}
	if len(g.Files) > MaxSharedFiles {
		return fmt.Errorf("%w: %d files, at most %d", ErrGroupFiles, len(g.Files), MaxSharedFiles)
	}
	var total int64
	for i := range g.Files {
		f := &g.Files[i]
		if !ValidSharedPath(f.Path) {
			return fmt.Errorf("%w: path %q", ErrGroupFiles, f.Path)
		}
		if i > 0 && f.Path <= g.Files[i-1].Path {
			return fmt.Errorf("%w: %q is out of order", ErrGroupFiles, f.Path)
		}
		if f.Size < 0 || f.Size > MaxSharedBytes || !validSHA256(f.SHA256) {
			return fmt.Errorf("%w: file %q", ErrGroupFiles, f.Path)
		}
		if total += f.Size; total > MaxSharedBytes {
			return fmt.Errorf("%w: more than %d bytes in all", ErrGroupFiles, int64(MaxSharedBytes))
		}
	}
	return nil
}

// Record returns the list's record, without its MAC.
func (g *GroupFiles) Record() (Record, error) {
	if err := g.Check(); err != nil {
		return Record{}, err
	}
	b := mustMarshal(groupFilesJSON{V: GroupFilesVersion, Group: g.Group, Node: g.Node, Time: g.Time.UnixMilli(), Files: g.Files})
	if len(b) > MaxRulesetManifestBytes {
		return Record{}, fmt.Errorf("%w: the list takes %d bytes, at most %d", ErrGroupFiles, len(b), MaxRulesetManifestBytes)
	}
	return Record{Topic: TopicFiles, Key: []byte(groupFilesPrefix + g.Group), Value: b}, nil
}

// GroupFilesOf tells of which group a record of TopicFiles lists the files.
func GroupFilesOf(key []byte) (group string, ok bool) {
	return strings.CutPrefix(string(key), groupFilesPrefix)
}

// ParseGroupFiles reads a list's record. It does not verify the MAC.
func ParseGroupFiles(r *Record) (GroupFiles, error) {
	var j groupFilesJSON
	if len(r.Value) > MaxRulesetManifestBytes {
		return GroupFiles{}, fmt.Errorf("%w: too long", ErrGroupFiles)
	}
	if err := decode(r.Value, GroupFilesVersion, &j, ErrGroupFiles, ErrGroupFiles); err != nil {
		return GroupFiles{}, err
	}
	g := GroupFiles{Group: j.Group, Node: j.Node, Time: time.UnixMilli(j.Time).UTC(), Files: j.Files}
	if name, ok := GroupFilesOf(r.Key); !ok || name != g.Group {
		return g, fmt.Errorf("%w: key %q is not that of group %q", ErrGroupFiles, r.Key, g.Group)
	}
	return g, g.Check()
}

// SharedChunk returns the record of chunk n of a shared file's content in the old
// form, which stands in TopicFiles (BlobOwner.Chunk), without its MAC.
func SharedChunk(sha256 string, n int, data []byte) Record {
	return Record{Topic: TopicFiles, Key: fmt.Appendf(nil, "%s%s/%d", sharedChunkPrefix, sha256, n), Value: data}
}

// SharedChunkOf tells which chunk of which content a record of TopicFiles is.
func SharedChunkOf(key []byte) (sha256 string, n int, ok bool) {
	rest, ok := strings.CutPrefix(string(key), sharedChunkPrefix)
	if !ok {
		return "", 0, false
	}
	sum, number, ok := strings.Cut(rest, "/")
	n, err := strconv.Atoi(number)
	_, bad := hex.DecodeString(sum)
	return sum, n, ok && err == nil && n >= 0 && bad == nil && len(sum) == 64
}
