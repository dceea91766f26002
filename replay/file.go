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
	"strings"
	"sync"
	"sync/atomic"
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
	// FormatNDJSON is what logtest reads by --input ndjson.
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
	// Loop, if above 0, reads the whole file into memory before it is judged, and
	// gives it so many times, each time later by its own span.
	Loop int
	// Skip leaves out the lines before it, for Resume.
	Skip int64
	// OnLoaded is called when a file that is looped stands in memory.
	OnLoaded func()
}

// Name implements Source.
func (f *File) Name() string { return f.Path }

// Open implements Source.
func (f *File) Open(_ context.Context, n int) ([]Lane, error) {
	r, err := openFile(f)
	if err != nil {
		return nil, err
	}
	if f.Loop > 0 {
		return f.looped(r, n)
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
	last    time.Time // the time of events that bring none
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
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	r := &reader{f: f, file: file, read: &countingReader{r: file}, format: f.Format, refused: map[string]int64{}, close: func() { _ = file.Close() }}
	if st, err := file.Stat(); err == nil {
		r.size, r.last = st.Size(), st.ModTime().UTC().Truncate(time.Millisecond)
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
	return r, nil
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
	items := make([]Item, 0, batchMax)
	for len(items) < batchMax {
		if r.line%256 == 0 && ctx.Err() != nil {
			break
		}
		line, err := r.readLine()
		if err != nil {
			r.err = err
			r.close()
			break
		}
		if line == nil || r.line <= r.f.Skip {
			continue
		}
		if it, ok := r.item(line); ok {
			items = append(items, it)
		}
	}
	r.done.Store(r.read.n.Load())
	if len(items) == 0 {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, r.err
	}
	return items, nil
}

// readLine returns the next line, which is the caller's, or nil for one that is
// left out.
func (r *reader) readLine() ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := r.lines.ReadSlice('\n')
		if !long {
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
	r.line++
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

// item makes an event of a line.
func (r *reader) item(line []byte) (Item, bool) {
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
	}
	if reason == "" && len(it.Event.Log) > schemas.MaxEventBytes {
		reason = "event_too_large"
	}
	if reason != "" {
		r.refused[reason]++
		return it, false
	}
	if it.Event.Time.IsZero() {
		it.Event.Time = r.last
	}
	r.last = it.Event.Time
	if !wanted(r.f.Agents, it.Event.AgentID) {
		return it, false
	}
	in, silent := r.f.Range.place(it.Event.Time)
	it.Silent = silent
	return it, in
}

func wanted(agents []string, id string) bool {
	if len(agents) == 0 {
		return true
	}
	for _, a := range agents {
		if a == id {
			return true
		}
	}
	return false
}

// At implements Lane.
func (r *reader) At() Position { return Position{Next: r.line} }

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
		// What was read is dealt out whole, so that all lanes end at one line.
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

// At implements Lane.
func (l *dealt) At() Position {
	<-l.d.stopped
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
	<-l.d.stopped
	if l == l.d.lanes[0] {
		return l.d.r.refused
	}
	return nil
}

// looped reads the whole file and returns lanes that give it again and again.
func (f *File) looped(r *reader, n int) ([]Lane, error) {
	n = max(n, 1)
	lanes := make([]*loop, n)
	for i := range lanes {
		lanes[i] = &loop{rounds: f.Loop}
	}
	lanes[0].refused = r.refused
	var first, last time.Time
	var size int64
	for {
		items, err := r.Next(context.Background())
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
	if f.OnLoaded != nil {
		f.OnLoaded()
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

// Next implements Lane. The items are valid until the next call.
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
	end := min(len(l.items), l.at+batchMax)
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
func (l *loop) At() Position { return Position{} }

// Progress implements Lane.
func (l *loop) Progress() (done, total int64) {
	return l.given.Load(), int64(len(l.items)) * int64(l.rounds)
}

// Refused implements Lane.
func (l *loop) Refused() map[string]int64 { return l.refused }

// document makes an event of an alert document, and says why it is none.
// Documents of agent modules hold what was decoded, not what was sent, so those
// cannot be judged again.
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
		if _, err := fmt.Sscanf(d.Rule.ID, "%d", &it.Recorded.Rule); err != nil {
			return "not_a_document"
		}
		it.Recorded.Level, it.Recorded.Groups = d.Rule.Level, strings.Join(d.Rule.Groups, ",")
	}
	return ""
}

// moduleDocument tells whether a document came of a module's message.
func moduleDocument(location, decoder string) bool {
	switch location {
	case "EventChannel", "syscheck", "rootcheck", "sca", "syscollector":
		return true
	}
	return strings.HasPrefix(decoder, "syscheck_") || decoder == "windows_eventchannel" || decoder == "rootcheck" || decoder == "sca"
}
