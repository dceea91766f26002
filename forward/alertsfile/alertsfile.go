// Package alertsfile is the destination for scripts that read alerts.json: one
// alert document a line, laid out and rotated as 4.14 does.
//
// <dir>/alerts/alerts.json is another name of <dir>/alerts/2006/Jan/ossec-alerts-02.json,
// the file of the day on which alerts are written; at midnight it becomes the
// name of the next one, so that `tail -F` follows it and sees every alert, also
// one that had to wait.
//
// What Deliver took is on disk when it returns. Lines are appended whole; what a
// crash left of one is cut off when the file is opened again. Alerts delivered
// again are skipped, as far as the last lines tell (seenMax).
//
// Source: spec/alert-format.md §6.
package alertsfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"vedette/forward"
	"vedette/schemas"
)

// Config holds the settings of one file.
type Config struct {
	// Dir gets the folder alerts; empty: logs below data_dir.
	Dir string `mapstructure:"dir"`
}

// Validate implements forward.Settings.
func (*Config) Validate(bool) error { return nil }

// Warnings implements forward.Settings.
func (*Config) Warnings() []string { return nil }

// Type is the type of its entries in forward.destinations.
const Type = "file"

// Factory makes such files.
var Factory = forward.NewFactory(Type, func() Config { return Config{} }, func(c Config, env forward.Env) (forward.Destination, error) {
	if c.Dir == "" {
		c.Dir = filepath.Join(env.DataDir, "logs")
	}
	return New(c.Dir, env.Zone), nil
})

// Bounds. Alerts that are delivered again lie within a batch of each partition,
// far fewer than are remembered.
const (
	seenMax = 100_000 // alerts that a repeat is known of
	// tailMax is how much of a file's end is read for them at the start.
	tailMax = 64 << 20
	// writeMax is how much is written at once, but for a longer line.
	writeMax = 4 << 20
)

// File is the destination. It opens its file at the first alert, or when asked
// whether it is ready.
type File struct {
	dir  string // <dir>/alerts
	zone *time.Location
	now  func() time.Time

	mu    sync.Mutex
	lock  *os.File // held by one process
	f     *os.File // nil: to be opened
	day   string   // the path of f
	size  int64    // of whole lines
	dirty bool     // written since the last sync
	seen  map[string]struct{}
	order []string // of seen, a ring
	next  int
	buf   []byte
}

var _ forward.Destination = (*File)(nil)

// New returns the destination that writes below dir; days begin in zone.
func New(dir string, zone *time.Location) *File {
	return &File{dir: filepath.Join(dir, "alerts"), zone: zone, now: time.Now, seen: map[string]struct{}{}}
}

// Ready implements forward.Destination.
func (a *File) Ready(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open()
}

// Close ends the file and gives the folder up to another process.
func (a *File) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.closeFile()
	if a.lock != nil {
		err = errors.Join(err, a.lock.Close())
		a.lock = nil
	}
	return err
}

// Deliver implements forward.Destination.
func (a *File) Deliver(ctx context.Context, alerts []schemas.Alert) ([]forward.Failure, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("write alerts: %w", err)
	}
	if len(alerts) == 0 {
		return nil, nil
	}
	if err := a.open(); err != nil {
		return nil, err
	}
	a.buf = a.buf[:0]
	var fresh []string
	batch := map[string]bool{}
	for i := range alerts {
		id := alerts[i].ID
		if _, ok := a.seen[id]; ok || batch[id] {
			continue
		}
		var err error
		if a.buf, err = appendLine(a.buf, alerts[i].Document); err != nil {
			return nil, err
		}
		batch[id], fresh = true, append(fresh, id)
		if len(a.buf) >= writeMax {
			if err := a.write(fresh); err != nil {
				return nil, err
			}
			fresh = fresh[:0]
		}
	}
	if err := a.write(fresh); err != nil {
		return nil, err
	}
	return nil, a.sync()
}

// appendLine adds a document as one line.
func appendLine(b, doc []byte) ([]byte, error) {
	if bytes.IndexByte(doc, '\n') < 0 {
		return append(append(b, doc...), '\n'), nil
	}
	var one bytes.Buffer
	if err := json.Compact(&one, doc); err != nil {
		return b, fmt.Errorf("write alert: %w", err)
	}
	return append(append(b, one.Bytes()...), '\n'), nil
}

// write appends a.buf, the lines of the alerts with these ids.
func (a *File) write(ids []string) error {
	if len(a.buf) == 0 {
		return nil
	}
	a.dirty = true
	if _, err := a.f.Write(a.buf); err != nil {
		if cut := a.f.Truncate(a.size); cut != nil {
			// Opened again, the file's last line is cut.
			return errors.Join(fmt.Errorf("write alerts: %w", err), cut, a.closeFile())
		}
		return fmt.Errorf("write alerts: %w", err)
	}
	a.size += int64(len(a.buf))
	a.buf = a.buf[:0]
	for _, id := range ids {
		a.see(id)
	}
	return nil
}

func (a *File) sync() error {
	if !a.dirty {
		return nil
	}
	if err := a.f.Sync(); err != nil {
		// Nobody knows what of it is on disk: it is written again.
		a.forget()
		return errors.Join(fmt.Errorf("write alerts: %w", err), a.closeFile())
	}
	a.dirty = false
	return nil
}

func (a *File) see(id string) {
	if _, ok := a.seen[id]; ok || id == "" {
		return
	}
	if len(a.order) < seenMax {
		a.order = append(a.order, id)
	} else {
		delete(a.seen, a.order[a.next])
		a.order[a.next] = id
		a.next = (a.next + 1) % seenMax
	}
	a.seen[id] = struct{}{}
}

func (a *File) forget() {
	clear(a.seen)
	a.order, a.next = a.order[:0], 0
}

func (a *File) closeFile() error {
	if a.f == nil {
		return nil
	}
	err := errors.Join(a.f.Sync(), a.f.Close())
	a.f, a.day, a.dirty = nil, "", false
	return err
}

// open makes the day's file the one that is written.
func (a *File) open() error {
	now := a.now().In(a.zone)
	day := filepath.Join(a.dir, now.Format("2006"), now.Format("Jan"), "ossec-alerts-"+now.Format("02")+".json")
	if a.f != nil && a.day == day && a.inPlace() {
		return nil
	}
	first := a.lock == nil
	if err := a.claim(); err != nil {
		return err
	}
	last, empty := a.day, a.f != nil && a.size == 0
	if err := a.closeFile(); err != nil {
		return fmt.Errorf("end %s: %w", last, err)
	}
	if err := os.MkdirAll(filepath.Dir(day), 0o750); err != nil {
		return fmt.Errorf("write alerts: %w", err)
	}
	if first {
		// Alerts delivered before a crash may stand in the file of an earlier day.
		if err := a.recover(a.current(), day); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(day, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("write alerts: %w", err)
	}
	size, err := a.load(f)
	if err == nil {
		err = a.point(day)
	}
	if err == nil {
		err = errors.Join(syncDir(filepath.Dir(day)), syncDir(a.dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", day, err), f.Close())
	}
	a.f, a.day, a.size = f, day, size
	if empty && last != day {
		_ = os.Remove(last) // as 4.14 does; it is only an empty file
	}
	return nil
}

// inPlace tells whether the day's file still has both names: somebody may have
// moved it away.
func (a *File) inPlace() bool {
	there, err := os.Stat(a.day)
	if err != nil {
		return false
	}
	named, err := os.Stat(a.current())
	if err != nil {
		return false
	}
	mine, err := a.f.Stat()
	return err == nil && os.SameFile(there, mine) && os.SameFile(named, mine)
}

// claim keeps other processes out of the folder: two would cut each other's lines.
func (a *File) claim() error {
	if a.lock != nil {
		return nil
	}
	if err := os.MkdirAll(a.dir, 0o750); err != nil {
		return fmt.Errorf("write alerts: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(a.dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("write alerts: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("another process or destination writes alerts to %s; give each a dir of its own", a.dir)
		}
		return fmt.Errorf("lock %s: %w", a.dir, err)
	}
	a.lock = f
	return nil
}

// current is the name that scripts know.
func (a *File) current() string { return filepath.Join(a.dir, "alerts.json") }

// recover reads the last file of an earlier run, unless it is the day's.
func (a *File) recover(path, day string) error {
	st, err := os.Stat(path)
	if err != nil {
		return nil //nolint:nilerr // there was none
	}
	if d, err := os.Stat(day); err == nil && os.SameFile(st, d) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	_, err = a.load(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	return nil
}

// load cuts an incomplete last line, notes which alerts stand at the end of the
// file, and returns its size.
func (a *File) load(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := st.Size()
	from := max(0, size-tailMax)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if end == 0 && from > 0 {
		return 0, errors.New("it holds no lines of alerts")
	}
	if end < len(tail) {
		tail, size = tail[:end], from+int64(end)
		if err := f.Truncate(size); err != nil {
			return 0, err
		}
	}
	for line := range bytes.Lines(tail) {
		a.see(alertID(bytes.TrimRight(line, "\n")))
	}
	return size, nil
}

// alertID works out schemas.Alert.ID from a document, whose last member is
// vedette; empty when it is another's line.
func alertID(doc []byte) string {
	mark := []byte(`,"vedette":{`) // within a text its quotes were escaped
	i := bytes.LastIndex(doc, mark)
	if i < 0 || !bytes.HasSuffix(doc, []byte("}}")) {
		return ""
	}
	var v struct {
		TopicID   string `json:"topic_id"`
		Partition int32  `json:"partition"`
		Offset    int64  `json:"offset"`
		N         int    `json:"n"`
	}
	if json.Unmarshal(doc[i+len(mark)-1:len(doc)-1], &v) != nil || v.TopicID == "" {
		return ""
	}
	return schemas.AlertDocID(v.TopicID, v.Partition, v.Offset, v.N)
}

// point makes alerts.json another name of the day's file.
func (a *File) point(day string) error {
	path := a.current()
	d, err := os.Stat(day)
	if err != nil {
		return err
	}
	old, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case os.SameFile(old, d):
		return nil
	default:
		if st, ok := old.Sys().(*syscall.Stat_t); ok && old.Mode().IsRegular() && st.Nlink == 1 && old.Size() > 0 {
			// Another wrote it, or its day's name was removed: it would be lost.
			if err := os.Rename(path, path+"."+a.now().In(a.zone).Format("20060102T150405")); err != nil {
				return err
			}
		}
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Link(day, tmp) != nil {
		// Some file systems have no hard links; `tail -F` follows either.
		rel, err := filepath.Rel(a.dir, day)
		if err == nil {
			err = os.Symlink(rel, tmp)
		}
		if err != nil {
			return err
		}
	}
	return os.Rename(tmp, path)
}

// syncDir makes new names in a folder outlive a crash.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
