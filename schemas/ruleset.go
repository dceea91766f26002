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

// RulesetRecordVersion is the version of the records of rulesets that this
// program writes and reads.
const RulesetRecordVersion = 1

// Bounds of a ruleset's version in TopicFiles.
const (
	// MaxFileChunkBytes bounds one record of a file's content.
	MaxFileChunkBytes = 512 << 10
	// MaxRulesetManifestBytes bounds the record that lists a version's files;
	// with names of usual length that is about 6,000 files.
	MaxRulesetManifestBytes = 900 << 10
	// MaxRulesetBytes bounds the content of all files of a version.
	MaxRulesetBytes = 512 << 20
)

// FileKind is the kind of a file of a ruleset.
type FileKind string

// Kinds of files.
const (
	FileDecoders FileKind = "decoders"
	FileRules    FileKind = "rules"
	FileList     FileKind = "list"
	FileGeoIP    FileKind = "geoip"
)

// RulesetFile is one file of a version. Its content stands in chunks of its own.
type RulesetFile struct {
	Kind FileKind `json:"kind"`
	// Name decides the load order; messages show Path.
	Name   string `json:"name"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
}

// Chunks is the number of records of the file's content.
func (f *RulesetFile) Chunks() int {
	return int((f.Size + MaxFileChunkBytes - 1) / MaxFileChunkBytes)
}

// RulesetVersion lists the files of a version of a ruleset, in load order. Its
// record stands in TopicFiles under the key `ruleset/version/<version>`, written
// after the contents, with HeaderMAC over MACInput.
type RulesetVersion struct {
	Version string
	// Node published it, at Time of its clock; both are for people.
	Node  string
	Time  time.Time
	Files []RulesetFile
}

// RulesetOrigin says how a version came to be the current one.
type RulesetOrigin string

// Origins of the current version.
const (
	// OriginDirectories: from the directories of a node's configuration.
	OriginDirectories RulesetOrigin = "directories"
	// OriginCommand: somebody asked for it.
	OriginCommand RulesetOrigin = "command"
)

// RulesetCurrent names the version that workers are to run. Its record stands in
// TopicFiles under the key `ruleset/current`, with HeaderMAC over MACInput.
type RulesetCurrent struct {
	Version string
	// Previous is the version it replaced, or empty.
	Previous string
	Origin   RulesetOrigin
	Node     string
	Time     time.Time
}

// RulesetWorker names the versions by which one worker judges. Its record stands in TopicFiles
// under the key `ruleset/worker/<node>`, with HeaderMAC over MACInput; a worker
// writes it when that changes and once a minute, and takes it away at its end.
type RulesetWorker struct {
	Node string
	// Time is the worker's clock.
	Time time.Time
	// Version is the one that its partitions change over to, each at its next event.
	Version string
	// Partitions counts, by version, the partitions that have judged events.
	Partitions map[string]int
	// Shadow is the version it tries beside, and ShadowProblem why the one that
	// it is to try cannot run; empty without.
	Shadow, ShadowProblem string
}

// maxShadowProblemBytes bounds a worker's message about a ruleset that cannot run.
const maxShadowProblemBytes = 4 << 10

const (
	rulesetWorkerPrefix  = "ruleset/worker/"
	rulesetVersionPrefix = "ruleset/version/"
	rulesetCurrentKey    = "ruleset/current"
	filePrefix           = "content/"
)

type rulesetVersionJSON struct {
	V       int           `json:"v"`
	Version string        `json:"version"`
	Node    string        `json:"node"`
	Time    int64         `json:"time"` // Unix milliseconds
	Files   []RulesetFile `json:"files"`
}

type rulesetCurrentJSON struct {
	V        int           `json:"v"`
	Version  string        `json:"version"`
	Previous string        `json:"previous,omitempty"`
	Origin   RulesetOrigin `json:"origin"`
	Node     string        `json:"node"`
	Time     int64         `json:"time"`
}

type rulesetWorkerJSON struct {
	V          int            `json:"v"`
	Node       string         `json:"node"`
	Time       int64          `json:"time"`
	Version    string         `json:"version"`
	Partitions map[string]int `json:"partitions"`

	Shadow        string `json:"shadow,omitempty"`
	ShadowProblem string `json:"shadow_problem,omitempty"`
}

// Errors of the records of rulesets.
var (
	ErrRulesetRecord        = errors.New("not a ruleset's record")
	ErrRulesetRecordVersion = errors.New("ruleset record of an unknown version")
	ErrRulesetTooLarge      = errors.New("the ruleset is too large to be published")
)

// Record returns the version's record, without its MAC.
func (v *RulesetVersion) Record() (Record, error) {
	var total int64
	for i := range v.Files {
		total += v.Files[i].Size
	}
	if total > MaxRulesetBytes {
		return Record{}, fmt.Errorf("%w: %d bytes in all, at most %d", ErrRulesetTooLarge, total, int64(MaxRulesetBytes))
	}
	b := mustMarshal(rulesetVersionJSON{V: RulesetRecordVersion, Version: v.Version, Node: v.Node, Time: v.Time.UnixMilli(), Files: v.Files})
	if len(b) > MaxRulesetManifestBytes {
		return Record{}, fmt.Errorf("%w: the list of its %d files takes %d bytes, at most %d", ErrRulesetTooLarge, len(v.Files), len(b), MaxRulesetManifestBytes)
	}
	return Record{Topic: TopicFiles, Key: []byte(rulesetVersionPrefix + v.Version), Value: b}, nil
}

// Record returns the record, without its MAC.
func (c *RulesetCurrent) Record() Record {
	return Record{Topic: TopicFiles, Key: []byte(rulesetCurrentKey), Value: mustMarshal(rulesetCurrentJSON{
		V: RulesetRecordVersion, Version: c.Version, Previous: c.Previous, Origin: c.Origin, Node: c.Node, Time: c.Time.UnixMilli(),
	})}
}

// Record returns the record, without its MAC.
func (w *RulesetWorker) Record() Record {
	return Record{Topic: TopicFiles, Key: []byte(rulesetWorkerPrefix + w.Node), Value: mustMarshal(rulesetWorkerJSON{
		V: RulesetRecordVersion, Node: w.Node, Time: w.Time.UnixMilli(), Version: w.Version, Partitions: w.Partitions,
		Shadow: w.Shadow, ShadowProblem: w.ShadowProblem[:min(len(w.ShadowProblem), maxShadowProblemBytes)],
	})}
}

// RulesetWorkerOf tells of which worker a record of TopicFiles is.
func RulesetWorkerOf(key []byte) (node string, ok bool) {
	return strings.CutPrefix(string(key), rulesetWorkerPrefix)
}

// ParseRulesetWorker reads the record of a worker. It does not verify the MAC.
func ParseRulesetWorker(r *Record) (RulesetWorker, error) {
	var j rulesetWorkerJSON
	if err := unmarshalRuleset(r.Value, &j); err != nil {
		return RulesetWorker{}, err
	}
	if node, ok := RulesetWorkerOf(r.Key); !ok || node != j.Node {
		return RulesetWorker{}, fmt.Errorf("%w: key %q is not that of worker %q", ErrRulesetRecord, r.Key, j.Node)
	}
	return RulesetWorker{Node: j.Node, Time: time.UnixMilli(j.Time).UTC(), Version: j.Version, Partitions: j.Partitions, Shadow: j.Shadow, ShadowProblem: j.ShadowProblem}, nil
}

// FileChunk returns the record of chunk n of a file's content in the old form, which
// stands in TopicFiles (BlobOwner.Chunk), without its MAC.
func FileChunk(sha256 string, n int, data []byte) Record {
	return Record{Topic: TopicFiles, Key: fmt.Appendf(nil, "%s%s/%d", filePrefix, sha256, n), Value: data}
}

// FileChunkOf tells which chunk of which content a record of TopicFiles is.
func FileChunkOf(key []byte) (sha256 string, n int, ok bool) {
	rest, ok := strings.CutPrefix(string(key), filePrefix)
	if !ok {
		return "", 0, false
	}
	sum, number, ok := strings.Cut(rest, "/")
	n, err := strconv.Atoi(number)
	return sum, n, ok && err == nil && n >= 0 && validSHA256(sum)
}

// RulesetVersionOf tells of which version a record of TopicFiles is the list of files.
func RulesetVersionOf(key []byte) (version string, ok bool) {
	return strings.CutPrefix(string(key), rulesetVersionPrefix)
}

// IsRulesetCurrent tells whether a record of TopicFiles names the current version.
func IsRulesetCurrent(key []byte) bool { return string(key) == rulesetCurrentKey }

// ParseRulesetVersion reads the record of a version. It does not verify the MAC.
func ParseRulesetVersion(r *Record) (RulesetVersion, error) {
	var j rulesetVersionJSON
	if err := unmarshalRuleset(r.Value, &j); err != nil {
		return RulesetVersion{}, err
	}
	v := RulesetVersion{Version: j.Version, Node: j.Node, Time: time.UnixMilli(j.Time).UTC(), Files: j.Files}
	if name, ok := RulesetVersionOf(r.Key); !ok || name != v.Version || name == "" {
		return v, fmt.Errorf("%w: key %q is not that of version %q", ErrRulesetRecord, r.Key, v.Version)
	}
	var total int64
	for i := range v.Files {
		f := &v.Files[i]
		if f.Size < 0 || f.Size > MaxRulesetBytes || !validSHA256(f.SHA256) {
			return v, fmt.Errorf("%w: file %q", ErrRulesetRecord, f.Name)
		}
		if total += f.Size; total > MaxRulesetBytes {
			return v, fmt.Errorf("%w: more than %d bytes", ErrRulesetRecord, int64(MaxRulesetBytes))
		}
	}
	return v, nil
}

// ParseRulesetCurrent reads the record that names the current version. It does
// not verify the MAC.
func ParseRulesetCurrent(r *Record) (RulesetCurrent, error) {
	var j rulesetCurrentJSON
	if err := unmarshalRuleset(r.Value, &j); err != nil {
		return RulesetCurrent{}, err
	}
	if !IsRulesetCurrent(r.Key) || j.Version == "" {
		return RulesetCurrent{}, fmt.Errorf("%w: key %q", ErrRulesetRecord, r.Key)
	}
	return RulesetCurrent{Version: j.Version, Previous: j.Previous, Origin: j.Origin, Node: j.Node, Time: time.UnixMilli(j.Time).UTC()}, nil
}

func unmarshalRuleset(value []byte, into any) error {
	if len(value) > MaxRulesetManifestBytes {
		return fmt.Errorf("%w: too long", ErrRulesetRecord)
	}
	return decode(value, RulesetRecordVersion, into, ErrRulesetRecord, ErrRulesetRecordVersion)
}

func validSHA256(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 64 && strings.ToLower(s) == s
}

// mustMarshal encodes values that cannot fail to encode.
func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("schemas: a struct of strings and numbers did not encode: " + err.Error())
	}
	return b
}

// RulesetActivation says from which offset which version judges a partition of
// `events`. The owner writes it, and sees it acknowledged, before it judges by a
// version for the first time (docs/design.md D7). Its record stands in partition
// 0 of TopicCheckpoints under the key `ruleset/<partition>` and holds the latest
// changes, oldest first, with HeaderMAC over MACInput.
type RulesetActivation struct {
	Topic     string
	TopicID   string
	Partition int32
	// Node is the owner who wrote it, at Time of its clock; both are for people.
	Node    string
	Time    time.Time
	Changes []RulesetChange
}

// RulesetChange is one entry of a RulesetActivation: the records from Offset on,
// up to the next entry's, are judged by Version.
type RulesetChange struct {
	Offset  int64  `json:"offset"`
	Version string `json:"version"`
}

// MaxRulesetChanges bounds the changes that a RulesetActivation holds; older
// ones are forgotten, and with them the way back to the state they made.
const MaxRulesetChanges = 64

type rulesetActivationJSON struct {
	V         int             `json:"v"`
	Topic     string          `json:"topic"`
	TopicID   string          `json:"topic_id"`
	Partition int32           `json:"partition"`
	Node      string          `json:"node"`
	Time      int64           `json:"time"`
	Changes   []RulesetChange `json:"changes"`
}

const rulesetActivationPrefix = "ruleset/"

// Record returns the activation's record, without its MAC.
func (a *RulesetActivation) Record() Record {
	return Record{Topic: TopicCheckpoints, Key: strconv.AppendInt([]byte(rulesetActivationPrefix), int64(a.Partition), 10), Value: mustMarshal(rulesetActivationJSON{
		V: RulesetRecordVersion, Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, Node: a.Node, Time: a.Time.UnixMilli(), Changes: a.Changes,
	})}
}

// RulesetActivationOf tells of which partition of `events` a record of
// TopicCheckpoints holds the rulesets.
func RulesetActivationOf(key []byte) (partition int32, ok bool) {
	return partitionKey(key, rulesetActivationPrefix)
}

// ParseRulesetActivation reads an activation's record. It does not verify the MAC.
func ParseRulesetActivation(r *Record) (RulesetActivation, error) {
	var j rulesetActivationJSON
	if err := unmarshalRuleset(r.Value, &j); err != nil {
		return RulesetActivation{}, err
	}
	a := RulesetActivation{Topic: j.Topic, TopicID: j.TopicID, Partition: j.Partition, Node: j.Node, Time: time.UnixMilli(j.Time).UTC(), Changes: j.Changes}
	if p, ok := RulesetActivationOf(r.Key); !ok || p != a.Partition {
		return a, fmt.Errorf("%w: key %q is not that of partition %d", ErrRulesetRecord, r.Key, a.Partition)
	}
	if len(a.Changes) == 0 || len(a.Changes) > MaxRulesetChanges {
		return a, fmt.Errorf("%w: %d changes", ErrRulesetRecord, len(a.Changes))
	}
	for i, c := range a.Changes {
		if c.Offset < 0 || c.Version == "" || i > 0 && c.Offset <= a.Changes[i-1].Offset {
			return a, fmt.Errorf("%w: the changes do not ascend", ErrRulesetRecord)
		}
	}
	return a, nil
}
