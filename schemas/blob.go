package schemas

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// BlobVersion is the version of Blob that this program writes and reads.
const BlobVersion = 1

// MaxBlobBytes bounds one content.
const MaxBlobBytes = 512 << 20

// BlobOwner names the state whose control records name a content. Only the owner
// knows which contents are still needed, so owners do not share contents, and a new
// kind of control record that names contents needs an owner of its own.
type BlobOwner string

// Owners of contents.
const (
	BlobShared  BlobOwner = "shared"  // files of groups
	BlobRuleset BlobOwner = "content" // files of rulesets
	BlobPackage BlobOwner = "package" // upgrade packages
)

// Content names bytes by their hash.
type Content struct {
	SHA256 string // 64 hexadecimal digits, lower case
	Size   int64
}

// Chunks is the number of records that the content takes.
func (c *Content) Chunks() int { return int((c.Size + MaxFileChunkBytes - 1) / MaxFileChunkBytes) }

// Chunk returns the record of chunk n of a content, without its MAC; without data
// it removes the chunk. Its topic is TopicBlobs, or TopicFiles in the old form.
// The key, `<owner>/<SHA-256>/<n>`, is the same in both.
func (o BlobOwner) Chunk(topic, sha256 string, n int, data []byte) Record {
	return Record{Topic: topic, Key: fmt.Appendf(nil, "%s/%s/%d", o, sha256, n), Value: data}
}

// ChunkOf tells which chunk of which content of this owner a record is.
func (o BlobOwner) ChunkOf(key []byte) (sha256 string, n int, ok bool) {
	switch o {
	case BlobShared:
		sha256, n, ok = SharedChunkOf(key)
	case BlobRuleset:
		sha256, n, ok = FileChunkOf(key)
	case BlobPackage:
		sha256, n, ok = PackageOf(key)
	}
	return sha256, n, ok && n >= 0 && n*MaxFileChunkBytes < MaxBlobBytes
}

// Blob says where the chunks of a content stand in TopicBlobs. Its record stands in
// TopicFiles under the key `blob/<owner>/<SHA-256>`, written after the chunks, with
// HeaderMAC over MACInput.
type Blob struct {
	Owner BlobOwner
	Content
	// First and Last are the offsets of the first and the last chunk. First is -1
	// before all chunks are written, and again before they are removed.
	First, Last int64
	// Node wrote it last, at Time of its clock.
	Node string
	Time time.Time
}

type blobJSON struct {
	V      int    `json:"v"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	First  int64  `json:"first"`
	Last   int64  `json:"last"`
	Node   string `json:"node"`
	Time   int64  `json:"time"` // Unix milliseconds
}

const (
	blobPrefix    = "blob/"
	blobActiveKey = "blob/active"
)

// ErrBlob says that a record of TopicFiles does not say where a content stands.
var ErrBlob = errors.New("not a content's place")

// Whole reports whether all chunks are written. The zero Blob is not whole.
func (b *Blob) Whole() bool { return b.Size > 0 && b.First >= 0 }

// Record returns the record, without its MAC.
func (b *Blob) Record() Record {
	r := BlobTombstone(b.Owner, b.SHA256)
	r.Value = mustMarshal(blobJSON{V: BlobVersion, SHA256: b.SHA256, Size: b.Size, First: b.First, Last: b.Last, Node: b.Node, Time: b.Time.UnixMilli()})
	return r
}

// BlobTombstone returns the record that ends a content, without its MAC; its chunks
// need their own.
func BlobTombstone(owner BlobOwner, sha256 string) Record {
	return Record{Topic: TopicFiles, Key: fmt.Appendf(nil, "%s%s/%s", blobPrefix, owner, sha256)}
}

// BlobOf tells of which content of this owner a record of TopicFiles is.
func (o BlobOwner) BlobOf(key []byte) (sha256 string, ok bool) {
	sha256, ok = strings.CutPrefix(string(key), blobPrefix+string(o)+"/")
	return sha256, ok && validSHA256(sha256)
}

// ParseBlob reads the record of a content of this owner. It does not verify the MAC.
func (o BlobOwner) ParseBlob(r *Record) (Blob, error) {
	var j blobJSON
	if len(r.Value) > 4<<10 {
		return Blob{}, fmt.Errorf("%w: too long", ErrBlob)
	}
	if err := decode(r.Value, BlobVersion, &j, ErrBlob, ErrBlob); err != nil {
		return Blob{}, err
	}
	b := Blob{Owner: o, Content: Content{j.SHA256, j.Size}, First: j.First, Last: j.Last, Node: j.Node, Time: time.UnixMilli(j.Time).UTC()}
	if sum, ok := o.BlobOf(r.Key); !ok || sum != b.SHA256 {
		return b, fmt.Errorf("%w: key %.200q is another's", ErrBlob, r.Key)
	}
	if b.Size < 1 || b.Size > MaxBlobBytes || b.First < -1 || b.Whole() && b.Last-b.First < int64(b.Chunks())-1 {
		return b, fmt.Errorf("%w: %d bytes at %d to %d", ErrBlob, b.Size, b.First, b.Last)
	}
	return b, nil
}

// BlobsActive returns the record that lets nodes write contents to TopicBlobs,
// without its MAC. Before it they write the old form, which every release reads.
func BlobsActive(node string, at time.Time) Record {
	return Record{Topic: TopicFiles, Key: []byte(blobActiveKey), Value: mustMarshal(struct {
		V    int    `json:"v"`
		Node string `json:"node"`
		Time int64  `json:"time"`
	}{BlobVersion, node, at.UnixMilli()})}
}

// IsBlobsActive reports whether a record of TopicFiles is the one of BlobsActive.
func IsBlobsActive(key []byte) bool { return string(key) == blobActiveKey }
