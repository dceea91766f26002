package history

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vedette/schemas"
)

// Dir is the content of a directory when it was opened. It is safe for
// concurrent use.
type Dir struct {
	path  string
	files map[int32][]file // of each partition, by offset; they do not overlap
	// Ignored are files of another incarnation of the topic, or broken ones.
	Ignored int
}

type file struct {
	Header
	path string
	size int64
}

// Gap is a run of offsets that no file covers, End not among them.
type Gap struct{ First, End int64 }

// Open finds the files of one incarnation of a topic in a directory. Without an
// id it is the incarnation of the newest file. A missing directory holds
// nothing.
func Open(path, topicID string) (*Dir, error) {
	all, broken, err := list(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, files: map[int32][]file{}, Ignored: broken}
	if topicID == "" && len(all) > 0 {
		topicID = slices.MaxFunc(all, func(a, b file) int { return cmp.Compare(a.To, b.To) }).TopicID
	}
	for _, f := range all { // by offset
		have := d.files[f.Partition]
		if f.TopicID != topicID || len(have) > 0 && f.First < have[len(have)-1].End {
			d.Ignored++
			continue
		}
		d.files[f.Partition] = append(have, f)
	}
	return d, nil
}

// list returns the finished files of a directory, by their offsets, and how many
// cannot be read.
func list(path string) (all []file, broken int, err error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("history: %w", err)
	}
	for _, e := range entries {
		if finished, _ := isFile(e.Name()); !finished {
			continue
		}
		f, err := look(filepath.Join(path, e.Name()))
		switch {
		case err == nil:
			all = append(all, f)
		case errors.Is(err, fs.ErrNotExist): // the bound took it
		case errors.Is(err, ErrFile):
			broken++
		default:
			return nil, 0, fmt.Errorf("history: %w", err)
		}
	}
	slices.SortFunc(all, func(a, b file) int { return cmp.Compare(a.First, b.First) })
	return all, broken, nil
}

func look(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	h, err := readHeader(f)
	return file{Header: h, path: path, size: st.Size()}, err
}

// Partitions returns those that have files, in order.
func (d *Dir) Partitions() []int32 {
	out := make([]int32, 0, len(d.files))
	for p := range d.files {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// Range returns the first offset of a partition and the one behind the last; ok
// is false if there is none. There can be gaps in between.
func (d *Dir) Range(partition int32) (first, end int64, ok bool) {
	fs := d.files[partition]
	if len(fs) == 0 {
		return 0, 0, false
	}
	return fs[0].First, fs[len(fs)-1].End, true
}

// Gaps returns the missing ranges within the range of a partition: records that
// retention removed before they were copied.
func (d *Dir) Gaps(partition int32) (out []Gap) {
	fs := d.files[partition]
	for i := 1; i < len(fs); i++ {
		if fs[i].First > fs[i-1].End {
			out = append(out, Gap{fs[i-1].End, fs[i].First})
		}
	}
	return out
}

// After returns the first offset of a partition whose record is not older than t,
// or the end of its range; 0 for one without files.
func (d *Dir) After(partition int32, t time.Time) int64 {
	fs := d.files[partition]
	for i := range fs {
		f := &fs[i]
		if f.To < t.UnixMilli() {
			continue
		}
		at := f.First
		if f.From < t.UnixMilli() {
			// A file that cannot be read begins where it begins: Read tells why.
			_ = f.read(context.Background(), f.First, f.End, func(rec schemas.Record) bool {
				at = rec.Offset
				return rec.Timestamp.Before(t)
			})
		}
		return at
	}
	_, end, _ := d.Range(partition)
	return end
}

// Read passes the records of a partition from an offset up to, and not with,
// another to fn, in order, until it answers false. Gaps are passed over; see Gaps.
// A record's bytes stay valid after fn returns. A file that is broken, or that the
// bound took meanwhile, is an error that names it.
func (d *Dir) Read(ctx context.Context, partition int32, from, to int64, fn func(schemas.Record) bool) error {
	more := true
	for i := range d.files[partition] {
		f := &d.files[partition][i]
		if f.End <= from || f.First >= to {
			continue
		}
		err := f.read(ctx, from, to, func(rec schemas.Record) bool { more = fn(rec); return more })
		if err != nil {
			return fmt.Errorf("history: read %s: %w", filepath.Base(f.path), err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

func (f *file) read(ctx context.Context, from, to int64, fn func(schemas.Record) bool) error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	h, err := readHeader(in)
	if err != nil {
		return err
	}
	if h != f.Header {
		return fmt.Errorf("%w: it was replaced", ErrFile)
	}
	return readRecords(ctx, in, &h, from, to, fn)
}

// readRecords reads the frames behind a header.
func readRecords(ctx context.Context, r io.Reader, h *Header, from, to int64, fn func(schemas.Record) bool) error {
	z, err := newDecoder(r)
	if err != nil {
		return err
	}
	defer z.Close()
	in := bufio.NewReaderSize(z, 256<<10)
	expected := h.First
	for n := int64(0); ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		size, err := binary.ReadUvarint(in)
		if errors.Is(err, io.EOF) {
			if n != h.Records {
				return fmt.Errorf("%w: %d records, not %d", ErrFile, n, h.Records)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFile, err)
		}
		if size > recordBytesMax+2*binary.MaxVarintLen64 {
			return fmt.Errorf("%w: a record of %d bytes", ErrFile, size)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(in, b); err != nil {
			return fmt.Errorf("%w: %w", ErrFile, err)
		}
		rec, err := parseRecord(b, h, expected)
		if err != nil {
			return err
		}
		expected = rec.Offset + 1
		if rec.Offset >= to {
			return nil
		}
		if rec.Offset >= from && !fn(rec) {
			return nil
		}
	}
}
