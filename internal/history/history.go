// Package history keeps records of a topic longer than the brokers do: in files
// beside the embedded broker's log, which is read whole at each start and must
// stay small.
//
// A Writer copies each partition as it grows, long before retention removes
// anything. It needs no consumer group: the files tell its position. A Dir reads
// the files. A file is whole or not there: it is written under another name,
// synced and renamed. Files together stay within a bound; the oldest are removed
// first.
//
// A file is a zstd file. Its first frame is skippable and holds a JSON object
// (Header), padded with blanks; others hold records, one behind the other:
//
//	uvarint  length of the rest
//	uvarint  offset less that expected: 0 without a gap
//	uvarint  milliseconds since 1970
//	bytes    key, with its length + 1 in front; 0 is none
//	uvarint  number of headers, each a name and a value as the key is written
//	bytes    value: the rest
package history

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"vedette/schemas"
)

const (
	// version of the files.
	version = 1
	// headerBytes is the size of the header with its blanks, in bytes.
	headerBytes = 512
	// skippable is the magic number of a frame that decoders pass over.
	skippable = 0x184D2A5E
	// recordBytesMax bounds a record; no event is that large.
	recordBytesMax = 4 << 20
	// millisMax is the latest time that a file can hold.
	millisMax = 1 << 53
	// windowMax bounds the memory to read a frame; the Writer's chunks are
	// smaller.
	windowMax = 8 << 20

	suffix = ".zst"
	// unfinished is added to a file's name while it is written.
	unfinished = ".tmp"
)

// Header describes the content of a file.
type Header struct {
	V int `json:"v"`
	// Topic is the name without prefix, TopicID the broker's id of the incarnation.
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	// First is the first offset that the file covers, End the one behind the last.
	First int64 `json:"first"`
	End   int64 `json:"end"`
	// From and To are the least and the greatest time stamp, in milliseconds.
	From    int64 `json:"from"`
	To      int64 `json:"to"`
	Records int64 `json:"records"`
}

// ErrFile reports that a file is not in the form of a Writer.
var ErrFile = errors.New("not a file of the history, or a broken one")

// fileName names the incarnation too, whose offsets begin anew.
func fileName(h *Header) string {
	return fmt.Sprintf("%s-%d-%d-%s%s", h.Topic, h.Partition, h.First, h.TopicID, suffix)
}

// isFile reports whether a directory's entry is a finished file, or an unfinished one.
func isFile(name string) (finished, began bool) {
	name, began = strings.CutSuffix(name, unfinished)
	finished = !began && strings.HasSuffix(name, suffix)
	return finished, began && strings.HasSuffix(name, suffix)
}

func (h *Header) frame() ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(text) > headerBytes-8 {
		return nil, fmt.Errorf("history: the header takes %d bytes", len(text))
	}
	b := binary.LittleEndian.AppendUint32(nil, skippable)
	b = binary.LittleEndian.AppendUint32(b, headerBytes-8)
	b = append(b, text...)
	for len(b) < headerBytes {
		b = append(b, ' ')
	}
	return b, nil
}

func readHeader(r io.Reader) (Header, error) {
	var h Header
	b := make([]byte, headerBytes)
	if _, err := io.ReadFull(r, b); err != nil {
		return h, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if binary.LittleEndian.Uint32(b) != skippable || binary.LittleEndian.Uint32(b[4:]) != headerBytes-8 {
		return h, fmt.Errorf("%w: no header", ErrFile)
	}
	if err := json.Unmarshal(b[8:], &h); err != nil {
		return h, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if h.V != version || h.Topic == "" || h.TopicID == "" || h.Partition < 0 || h.First < 0 || h.End <= h.First || h.From > h.To || h.Records < 1 || h.Records > h.End-h.First {
		return h, fmt.Errorf("%w: header %s", ErrFile, strings.TrimSpace(string(b[8:])))
	}
	return h, nil
}

// millis is a record's time as it is written.
func millis(rec *schemas.Record) int64 { return min(max(0, rec.Timestamp.UnixMilli()), millisMax) }

// size is the size of a record in a file, less its length, offset and time.
func size(rec *schemas.Record) int {
	n := bytesLen(rec.Key) + uvarintLen(uint64(len(rec.Headers))) + len(rec.Value)
	for i := range rec.Headers {
		h := &rec.Headers[i]
		n += uvarintLen(uint64(len(h.Key))+1) + len(h.Key) + bytesLen(h.Value)
	}
	return n
}

// appendRecord appends a record whose offset is expected, or lies behind that.
func appendRecord(dst []byte, rec *schemas.Record, expected int64) []byte {
	gap, ms := uint64(rec.Offset-expected), uint64(millis(rec))
	dst = binary.AppendUvarint(dst, uint64(size(rec)+uvarintLen(gap)+uvarintLen(ms)))
	dst = binary.AppendUvarint(dst, gap)
	dst = binary.AppendUvarint(dst, ms)
	dst = appendBytes(dst, rec.Key)
	dst = binary.AppendUvarint(dst, uint64(len(rec.Headers)))
	for i := range rec.Headers {
		h := &rec.Headers[i]
		dst = binary.AppendUvarint(dst, uint64(len(h.Key))+1)
		dst = append(dst, h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return append(dst, rec.Value...)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b))+1)
	return append(dst, b...)
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return uvarintLen(uint64(len(b))+1) + len(b)
}

func uvarintLen(x uint64) int {
	n := 1
	for x >= 0x80 {
		x >>= 7
		n++
	}
	return n
}

// parseRecord reads the form of appendRecord behind the length. The record
// aliases b.
func parseRecord(b []byte, h *Header, expected int64) (schemas.Record, error) {
	p := parser{b: b}
	gap, ms := p.uvarint(), p.uvarint()
	rec := schemas.Record{Topic: h.Topic, Partition: h.Partition, Key: p.bytes()}
	n := p.uvarint()
	if n > uint64(len(p.b)/2) { // each takes two bytes
		p.bad = true
		n = 0
	}
	if n > 0 {
		rec.Headers = make([]schemas.Header, 0, n)
	}
	for range n {
		rec.Headers = append(rec.Headers, schemas.Header{Key: string(p.bytes()), Value: p.bytes()})
	}
	rec.Value = p.b
	if p.bad || gap >= uint64(h.End-expected) || ms > millisMax {
		return rec, fmt.Errorf("%w: the record behind offset %d", ErrFile, expected-1)
	}
	rec.Offset, rec.Timestamp = expected+int64(gap), time.UnixMilli(int64(ms))
	return rec, nil
}

// parser takes a record apart.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) uvarint() uint64 {
	x, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.bad, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return x
}

func (p *parser) bytes() []byte {
	n := p.uvarint()
	if n == 0 {
		return nil
	}
	if n--; n > uint64(len(p.b)) {
		p.bad, p.b = true, nil
		return nil
	}
	out := p.b[:n:n]
	p.b = p.b[n:]
	return out
}

func newDecoder(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(windowMax), zstd.WithDecoderMaxMemory(windowMax))
}
