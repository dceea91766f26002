package schemas

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// PackageVersion is the version of Package that this program writes and reads.
const PackageVersion = 1

// MaxPackageBytes bounds an upgrade package.
const MaxPackageBytes = 256 << 20

// Package says that an upgrade package can be had. Its record stands in TopicFiles
// under the key `package/<SHA-256>`, with HeaderMAC over MACInput. It is written after
// the content, and again whenever the package is put again.
type Package struct {
	// File is the package's name.
	File   string
	SHA256 string
	Size   int64
	// Node put it, at Time of its clock: packages that nobody put for a day go.
	Node string
	Time time.Time
}

type packageJSON struct {
	V      int    `json:"v"`
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	Node   string `json:"node"`
	Time   int64  `json:"time"` // Unix milliseconds
}

const packagePrefix = "package/"

// ErrPackage says that a record of a package is not usable.
var ErrPackage = errors.New("not a package")

// PackageChunks is the number of records of a content of that many bytes.
func PackageChunks(size int64) int { return int((size + MaxFileChunkBytes - 1) / MaxFileChunkBytes) }

func (p *Package) check() error {
	if p.File == "" || len(p.File) > MaxSharedPath || !validSHA256(p.SHA256) || p.Size < 1 || p.Size > MaxPackageBytes {
		return fmt.Errorf("%w: %.100q of %d bytes", ErrPackage, p.File, p.Size)
	}
	return nil
}

// Record returns the package's record, without its MAC.
func (p *Package) Record() (Record, error) {
	if err := p.check(); err != nil {
		return Record{}, err
	}
	return Record{
		Topic: TopicFiles, Key: []byte(packagePrefix + p.SHA256),
		Value: mustMarshal(packageJSON{V: PackageVersion, File: p.File, SHA256: p.SHA256, Size: p.Size, Node: p.Node, Time: p.Time.UnixMilli()}),
	}, nil
}

// PackageTombstone returns the record that takes a package away, without its MAC;
// its chunks need their own.
func PackageTombstone(sha256 string) Record {
	return Record{Topic: TopicFiles, Key: []byte(packagePrefix + sha256)}
}

// PackageOf tells of which package a record of TopicFiles is; chunk is -1 for
// the record that the package is there.
func PackageOf(key []byte) (sha256 string, chunk int, ok bool) {
	rest, ok := strings.CutPrefix(string(key), packagePrefix)
	if !ok {
		return "", 0, false
	}
	sum, number, isChunk := strings.Cut(rest, "/")
	if _, err := hex.DecodeString(sum); err != nil || len(sum) != 64 {
		return "", 0, false
	}
	if !isChunk {
		return sum, -1, true
	}
	n, err := strconv.Atoi(number)
	return sum, n, err == nil && n >= 0 && n < PackageChunks(MaxPackageBytes)
}

// ParsePackage reads a package's record. It does not verify the MAC.
func ParsePackage(r *Record) (Package, error) {
	var j packageJSON
	if len(r.Value) > 64<<10 {
		return Package{}, fmt.Errorf("%w: too long", ErrPackage)
	}
	if err := decode(r.Value, PackageVersion, &j, ErrPackage, ErrPackage); err != nil {
		return Package{}, err
	}
	p := Package{File: j.File, SHA256: j.SHA256, Size: j.Size, Node: j.Node, Time: time.UnixMilli(j.Time).UTC()}
	if string(r.Key) != packagePrefix+p.SHA256 {
		return p, fmt.Errorf("%w: key %.100q is another's", ErrPackage, r.Key)
	}
	return p, p.check()
}

// PackageChunk returns the record of chunk n of a package's content in the old form,
// which stands in TopicFiles (BlobOwner.Chunk), without its MAC; without data it takes
// the chunk away.
func PackageChunk(sha256 string, n int, data []byte) Record {
	return Record{Topic: TopicFiles, Key: fmt.Appendf(nil, "%s%s/%d", packagePrefix, sha256, n), Value: data}
}
