package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"vedette/ruleset/logtest"
	"vedette/schemas"
)

// Format says how the lines of a file are read.
type Format string

// Formats of files.
const (
	// FormatAuto looks at the first line.
	FormatAuto Format = "auto"
	// FormatLines is a log per line.
	FormatLines Format = "lines"
	// FormatNDJSON is the format that logtest reads by --input ndjson.
	FormatNDJSON Format = "ndjson"
	// FormatDocuments is alerts.json or archives.json: alert documents.
	FormatDocuments Format = "documents"
)

// ParseFormat reads a format's name.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatAuto, FormatLines, FormatNDJSON, FormatDocuments:
		return f, nil
	}
	return "", fmt.Errorf("format %q: choose auto, lines, ndjson or documents", s)
}

const (
	// lineMax bounds a line; a longer one is counted and left out.
	lineMax = 4 << 20
	// loopBytesMax bounds the logs that Loop holds in memory.
	loopBytesMax = 4 << 30
)

// File is a history in a file: plain lines, NDJSON or alert documents, as it is
// or compressed by gzip or zstd.
type File struct {
	Path   string
	Format Format
	Range  Range
	// Agents keeps only their events; empty keeps all.
	Agents []string
	// Times, if set, has plain lines take their written time; lines without one
	// take the time of the line before. Else all have the time of the file's
	// last change.
	Times *LogTimes
	// Loop, if above 0, reads the whole file into memory before it is judged, and
	// gives it so many times, each time later by its own span.
	Loop int
}

// Name implements Source.
func (f *File) Name() string { return f.Path }

// Lines tells the format of the file's lines, which it looks for if it is to be guessed.
func (f *File) Lines() (Format, error) {
	r, err := openFile(f)
	if err != nil {
		return "", err
	}
	r.close()
	return r.format, nil
}

// Open implements Source.
func (f *File) Open(ctx context.Context, n int, from []Place) ([]Lane, error) {
	r, err := openFile(f)
	if err != nil {
		return nil, err
	}
	if len(from) > 0 {
		// All lanes of a file end at one line.
		if r.skip = from[0].Next; !from[0].Clock.IsZero() {
			r.at = from[0]
			if r.clock != nil {
				r.clock.begun, r.clock.year = true, 0
			}
		}
	}
	if f.Loop > 0 {
		return f.looped(ctx, r, n)
	}
	if n <= 1 {
		return []Lane{r}, nil
	}
	d := &dealer{r: r, lanes: make([]*dealt, n), stopped: make(chan struct{})}
	lanes := make([]Lane, n)
	for i := range lanes {
		d.lanes[i] = &dealt{d: d, items: make(chan []Item, 4)}
		lanes[i] = d.lanes[i]
	}
	return lanes, nil
}

// reader reads a file line by line.
type reader struct {
	f       *File
	file    *os.File
	size    int64
	read    *countingReader
	lines   *bufio.Reader
	close   func()
	format  Format
	line    int64
	skip    int64 // lines that were judged before
	at      Place
	clock   *logClock // nil if lines are not asked for their time
	agents  chosen
	items   []Item
	refused map[string]int64
	err     error
	done    atomic.Int64
}

type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func openFile(f *File) (*reader, error) {
	file, err := openRegular(f.Path)
	if err != nil {
		return nil, err
	}
	r := &reader{f: f, file: file, read: &countingReader{r: file}, format: f.Format, agents: choose(f.Agents), refused: map[string]int64{}, close: func() { _ = file.Close() }}
	if st, err := file.Stat(); err == nil {
		r.size, r.at.Clock = st.Size(), st.ModTime().UTC().Truncate(time.Millisecond)
	}
	begin := bufio.NewReaderSize(r.read, 256<<10)
	magic, _ := begin.Peek(4)
	var in io.Reader = begin
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(begin)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("open history %s: %w", f.Path, err)
		}
		in = z
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(begin, zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			r.close()
			return nil, fmt.Errorf("open history %s: %w", f.Path, err)
		}
		in, r.close = z, func() { z.Close(); _ = file.Close() }
	}
	r.lines = bufio.NewReaderSize(in, 256<<10)
	if r.format == "" || r.format == FormatAuto {
		head, _ := r.lines.Peek(64 << 10)
		r.format = guess(head)
	}
	if f.Times != nil && r.format == FormatLines {
		r.clock = newLogClock(*f.Times, r.at.Clock)
	}
	return r, nil
}

// openRegular opens a file to read it. It refuses pipes and devices: a history is
// opened twice and has an end. Opening never waits.
func openRegular(name string) (*os.File, error) {
	regular := func(st os.FileInfo, err error) error {
		if err != nil {
			return fmt.Errorf("open history: %w", err)
		}
		if !st.Mode().IsRegular() {
			return fmt.Errorf("open history %s: it is a %s and no regular file; write what it gives to a file first", name, fileKind(st.Mode()))
		}
		return nil
	}
	if err := regular(os.Stat(name)); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	if err := regular(file.Stat()); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func fileKind(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&os.ModeNamedPipe != 0:
		return "named pipe"
	case m&os.ModeSocket != 0:
		return "socket"
	case m&os.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// guess looks at the first line: documents and NDJSON are objects with members
// of their own.
func guess(head []byte) Format {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.TrimSpace(line)
	if !bytes.HasPrefix(line, []byte("{")) {
		return FormatLines
	}
	var members struct {
		Log     *string         `json:"log"`
		FullLog *string         `json:"full_log"`
		Rule    json.RawMessage `json:"rule"`
		Manager json.RawMessage `json:"manager"`
	}
	if json.Unmarshal(line, &members) != nil {
		return FormatLines // a JSON log, or more than is seen here
	}
	switch {
	case members.Log != nil && members.Manager == nil:
		return FormatNDJSON
	case members.FullLog != nil || members.Rule != nil && members.Manager != nil:
		return FormatDocuments
	}
	return FormatLines
}

// Next implements Lane.
func (r *reader) Next(ctx context.Context) ([]Item, error) {
	if r.err != nil {
		return nil, r.err
	}
	items := r.items[:0]
	for n := 0; len(items) < batchMax && r.err == nil; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			r.err = ctx.Err()
			break
		}
		line, err := r.readLine(ctx)
		switch {
		case err != nil:
			r.err = err
		case line != nil:
			it, placed := r.item(line)
			switch placed {
			case silent, counted:
				it.Silent = placed == silent
				items = append(items, it)
			case ended:
				r.err = io.EOF
			}
		}
	}
	r.items = items
	r.done.Store(r.read.n.Load())
	if r.err != nil {
		r.close()
		if len(items) == 0 {
			return nil, r.err
		}
	}
	return items, nil
}

// readLine returns the next line, which is the caller's, or nil for a line that
// is left out or was judged before.
func (r *reader) readLine(ctx context.Context) ([]byte, error) {
	var line []byte
	long := false
	for {
		if ctx.Err() != nil { // a line may have no end
			return nil, ctx.Err()
		}
		part, err := r.lines.ReadSlice('\n')
		switch {
		case r.line < r.skip:
			if len(part) > 0 {
				line = append(line[:0], '.') // only tells that there was something
			}
		case !long:
			line = append(line, part...)
			long = len(line) > lineMax
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			if errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			return nil, fmt.Errorf("read %s after line %d: %w", r.f.Path, r.line, err)
		}
		break
	}
	if r.line++; r.line <= r.skip {
		return nil, nil
	}
	if long {
		r.refused["line_too_long"]++
		return nil, nil
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return nil, nil
	}
	return line, nil
}

// item makes an event of a line, and returns its treatment.
func (r *reader) item(line []byte) (Item, placing) {
	it := Item{Offset: r.line, Event: schemas.Event{AgentID: schemas.ManagerID, Location: filepath.Base(r.f.Path), Queue: '1', Log: line}}
	var err error
	reason := ""
	switch r.format {
	case FormatNDJSON:
		if err = logtest.ParseLine(line, &it.Event); err != nil {
			reason = "not_ndjson"
		}
	case FormatDocuments:
		reason = document(line, &it)
	default:
		it.Event.Location = "stdin"
		if r.clock != nil {
			if at, ok := r.clock.of(line, r.at.Clock); ok {
				it.Event.Time = at
			}
		}
	}
	if reason == "" && len(it.Event.Log) > schemas.MaxEventBytes {
		reason = "event_too_large"
	}
	if reason != "" {
		r.refused[reason]++
		return it, leftOut
	}
	if it.Event.Time.IsZero() {
		it.Event.Time = r.at.Clock
	}
	r.at.Clock = it.Event.Time
	if !r.agents.wants(it.Event.AgentID) {
		return it, leftOut
	}
	return it, r.at.place(&r.f.Range, it.Event.Time)
}

// At implements Lane. Next counts the lines that were judged.
func (r *reader) At() Place {
	p := r.at
	p.Next = max(r.line, r.skip)
	return p
}

// Progress implements Lane.
func (r *reader) Progress() (done, total int64) { return r.done.Load(), r.size }

// Refused implements Lane.
func (r *reader) Refused() map[string]int64 { return r.refused }

// lane returns which of n lanes a key belongs to.
func lane(key string, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}

// dealer deals the keys of one reader out to lanes.
type dealer struct {
	r       *reader
	lanes   []*dealt
	begin   sync.Once
	stopped chan struct{}
}

// dealt is one lane of a dealer.
type dealt struct {
	d     *dealer
	items chan []Item
	err   error // set before items is closed
}

func (d *dealer) run(ctx context.Context) {
	var err error
	for err == nil {
		var items []Item
		if items, err = d.r.Next(ctx); err != nil {
			break
		}
		parts := make([][]Item, len(d.lanes))
		for _, it := range items {
			i := lane(it.Event.Key(), len(d.lanes))
			parts[i] = append(parts[i], it)
		}
		// All read lines are dealt out, so that all lanes end at one line.
		for i, l := range d.lanes {
			if len(parts[i]) > 0 {
				l.items <- parts[i]
			}
		}
	}
	for _, l := range d.lanes {
		l.err = err
		close(l.items)
	}
	close(d.stopped)
}

// Next implements Lane.
func (l *dealt) Next(ctx context.Context) ([]Item, error) {
	l.d.begin.Do(func() { go l.d.run(ctx) })
	items, ok := <-l.items
	if !ok {
		return nil, l.err
	}
	return items, nil
}

// wait returns when no lane is given any more, also if none ever was.
func (d *dealer) wait() {
	d.begin.Do(func() { close(d.stopped) })
	<-d.stopped
}

// At implements Lane.
func (l *dealt) At() Place {
	l.d.wait()
	return l.d.r.At()
}

// Progress implements Lane; the lanes share the file.
func (l *dealt) Progress() (done, total int64) {
	done, total = l.d.r.Progress()
	n := int64(len(l.d.lanes))
	return done / n, total / n
}

// Refused implements Lane: the first lane speaks for the file.
func (l *dealt) Refused() map[string]int64 {
	l.d.wait()
	if l == l.d.lanes[0] {
		return l.d.r.refused
	}
	return nil
}

// looped reads the whole file and returns lanes that give it again and again.
func (f *File) looped(ctx context.Context, r *reader, n int) ([]Lane, error) {
	n = max(n, 1)
	lanes := make([]*loop, n)
	for i := range lanes {
		lanes[i] = &loop{rounds: f.Loop}
	}
	lanes[0].refused = r.refused
	var first, last time.Time
	var size int64
	for {
		items, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if size += int64(len(it.Event.Log)); size > loopBytesMax {
				return nil, fmt.Errorf("%s holds more than the %d bytes of logs that can be looped in memory", f.Path, int64(loopBytesMax))
			}
			if first.IsZero() || it.Event.Time.Before(first) {
				first = it.Event.Time
			}
			if it.Event.Time.After(last) {
				last = it.Event.Time
			}
			i := lane(it.Event.Key(), n)
			lanes[i].items = append(lanes[i].items, it)
		}
	}
	out := make([]Lane, n)
	for i, l := range lanes {
		l.span, l.lines = last.Sub(first)+time.Millisecond, r.line
		out[i] = l
	}
	return out, nil
}

// loop is a lane in memory.
type loop struct {
	items   []Item
	span    time.Duration
	lines   int64
	rounds  int
	round   int
	at      int
	given   atomic.Int64
	batch   []Item
	refused map[string]int64
}

// loopBatchMax is how many items a loop gives at once: few, so that they are still
// in the processor's cache when they are judged.
const loopBatchMax = 64

// Next implements Lane.
func (l *loop) Next(ctx context.Context) ([]Item, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if l.at == len(l.items) {
		l.at = 0
		l.round++
	}
	if l.round >= l.rounds || len(l.items) == 0 {
		return nil, io.EOF
	}
	end := min(len(l.items), l.at+min(batchMax, loopBatchMax))
	l.batch = append(l.batch[:0], l.items[l.at:end]...)
	l.at = end
	for i := range l.batch {
		l.batch[i].Event.Time = l.batch[i].Event.Time.Add(time.Duration(l.round) * l.span)
		l.batch[i].Offset += int64(l.round) * l.lines
	}
	l.given.Add(int64(len(l.batch)))
	return l.batch, nil
}

// At implements Lane.
func (l *loop) At() Place { return Place{} }

// Progress implements Lane.
func (l *loop) Progress() (done, total int64) {
	return l.given.Load(), int64(len(l.items)) * int64(l.rounds)
}

// Refused implements Lane.
func (l *loop) Refused() map[string]int64 { return l.refused }

// document makes an event of an alert document, or returns the reason for a
// refusal. Documents of agent modules hold the decoded data, not the sent text,
// so those cannot be judged again.
func document(line []byte, it *Item) (refused string) {
	var d struct {
		Timestamp string `json:"timestamp"`
		Rule      *struct {
			ID     string   `json:"id"`
			Level  int      `json:"level"`
			Groups []string `json:"groups"`
		} `json:"rule"`
		Agent struct {
			ID     string          `json:"id"`
			Name   string          `json:"name"`
			IP     string          `json:"ip"`
			Labels json.RawMessage `json:"labels"`
		} `json:"agent"`
		Decoder struct {
			Name string `json:"name"`
		} `json:"decoder"`
		FullLog  *string `json:"full_log"`
		Location string  `json:"location"`
	}
	if json.Unmarshal(line, &d) != nil {
		return "not_a_document"
	}
	if d.FullLog == nil || moduleDocument(d.Location, d.Decoder.Name) {
		return "no_original_log"
	}
	at, err := time.Parse("2006-01-02T15:04:05.999999999Z0700", d.Timestamp)
	if err != nil {
		return "no_timestamp"
	}
	ev := &it.Event
	ev.Time, ev.Location, ev.Log = at.UTC(), d.Location, []byte(*d.FullLog)
	if d.Agent.ID != "" {
		ev.AgentID, ev.AgentName, ev.AgentIP = d.Agent.ID, d.Agent.Name, d.Agent.IP
	}
	if len(d.Agent.Labels) > 0 && d.Agent.Labels[0] == '{' {
		ev.AgentLabels = d.Agent.Labels
	}
	it.Recorded = &Verdict{}
	if d.Rule != nil {
		if it.Recorded.Rule, err = strconv.Atoi(d.Rule.ID); err != nil {
			return "not_a_document"
		}
		it.Recorded.Level, it.Recorded.Groups = d.Rule.Level, joined(d.Rule.Groups)
	}
	return ""
}

// moduleDocument reports whether a document came of a module's message.
func moduleDocument(location, decoder string) bool {
	switch location {
	case "EventChannel", "syscheck", "rootcheck", "sca", "syscollector":
		return true
	}
	return strings.HasPrefix(decoder, "syscheck_") || decoder == "windows_eventchannel" || decoder == "rootcheck" || decoder == "sca"
}
