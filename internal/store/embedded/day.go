package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// schemaVersion is PRAGMA user_version of the files written here. Files of
// schemaNoIndex lack the terms of index.go, until fill has added them.
const (
	schemaVersion = 2
	schemaNoIndex = 1
)

const schema = `
CREATE TABLE alert (
	n INTEGER PRIMARY KEY,
	id TEXT NOT NULL UNIQUE,
	epoch INTEGER NOT NULL,
	time INTEGER NOT NULL,
	rule_id TEXT COLLATE NOCASE,
	rule_level INTEGER,
	agent_id TEXT COLLATE NOCASE,
	decoder TEXT COLLATE NOCASE,
	doc BLOB NOT NULL
);
CREATE INDEX alert_time ON alert (time);
CREATE INDEX alert_rule ON alert (rule_id, time);
CREATE INDEX alert_level ON alert (rule_level, time);
CREATE INDEX alert_agent ON alert (agent_id, time);
CREATE INDEX alert_decoder ON alert (decoder, time);
CREATE VIRTUAL TABLE alert_text USING fts5 (full_log, description, content='', contentless_delete=1);
CREATE TABLE rollup (
	dim TEXT NOT NULL,
	hour INTEGER NOT NULL,
	value TEXT NOT NULL,
	count INTEGER NOT NULL,
	PRIMARY KEY (dim, hour, value)
) WITHOUT ROWID;
`

// day is one UTC day as the number of days since 1970-01-01.
type day int64

const millisPerDay = 24 * 60 * 60 * 1000

func dayOf(t time.Time) day { return day(floorDiv(t.UnixMilli(), millisPerDay)) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func (d day) start() time.Time { return time.UnixMilli(int64(d) * millisPerDay).UTC() }

func (d day) String() string { return d.start().Format(time.DateOnly) }

const suffix = ".db"

func parseDay(name string) (day, bool) {
	base, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return 0, false
	}
	t, err := time.Parse(time.DateOnly, base)
	if err != nil {
		return 0, false
	}
	return dayOf(t), true
}

// files opens the days' files on demand. A database/sql pool without
// connections costs next to nothing, and idle connections close by themselves,
// so pools stay for as long as their file does.
type files struct {
	dir      string
	readOnly bool

	mu      sync.Mutex
	writers map[day]*sql.DB
	readers map[day]*sql.DB
}

// idle closes a connection, and with it its page cache and descriptors.
const idle = time.Minute

func (f *files) path(d day) string { return filepath.Join(f.dir, d.String()+suffix) }

func (f *files) dsn(d day, query string) string {
	u := url.URL{Scheme: "file", Path: f.path(d), RawQuery: query}
	return u.String()
}

// list returns the days there are, oldest first.
func (f *files) list() ([]day, error) {
	entries, err := os.ReadDir(f.dir) // sorted by name, which is by day
	if err != nil {
		return nil, fmt.Errorf("read store: %w", err)
	}
	var days []day
	for _, e := range entries {
		if d, ok := parseDay(e.Name()); ok {
			days = append(days, d)
		}
	}
	return days, nil
}

// writer returns the pool of one connection that writes a day, and makes the
// file when it is not there.
func (f *files) writer(ctx context.Context, d day) (*sql.DB, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if db := f.writers[d]; db != nil {
		return db, nil
	}
	db, err := sql.Open("sqlite", f.dsn(d, "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"+
		"&_pragma=synchronous(FULL)&_pragma=cache_size(-32768)&_pragma=temp_store(MEMORY)&_pragma=journal_size_limit(67108864)"+
		"&_pragma=wal_autocheckpoint(4000)"))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.path(d), err)
	}
	db.SetMaxOpenConns(1)
	db.SetConnMaxIdleTime(idle)
	if err := migrate(ctx, db); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open %s: %w", f.path(d), err)
	}
	f.writers[d] = db
	return db, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	switch v, err := version(ctx, tx); {
	case err != nil:
		return err
	case v == schemaVersion:
		return nil
	case v == schemaNoIndex:
		if _, err := tx.ExecContext(ctx, indexSchema); err != nil {
			return err
		}
		return tx.Commit()
	case v != 0:
		return fmt.Errorf("written by another version of vedette (schema %d, this one knows %d)", v, schemaVersion)
	}
	if _, err := tx.ExecContext(ctx, schema+indexSchema+fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

func version(ctx context.Context, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
},
) (int, error) {
	var v int
	err := q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v)
	return v, err
}

// errGone says that a day has no readable file (any more, or not yet).
var errGone = errors.New("the day is not there")

// reader returns a pool that can only read a day, and whether the day's terms are
// complete.
func (f *files) reader(ctx context.Context, d day) (_ *sql.DB, withTerms bool, _ error) {
	f.mu.Lock()
	db := f.readers[d]
	if db == nil {
		var err error
		db, err = sql.Open("sqlite", f.dsn(d, "mode=ro&_pragma=busy_timeout(10000)&_pragma=query_only(1)&_pragma=cache_size(-8192)"))
		if err != nil {
			f.mu.Unlock()
			return nil, false, fmt.Errorf("open %s: %w", f.path(d), err)
		}
		db.SetMaxOpenConns(4)
		db.SetConnMaxIdleTime(idle)
		f.readers[d] = db
	}
	f.mu.Unlock()
	switch v, err := version(ctx, db); {
	case err != nil:
		if _, gone := os.Stat(f.path(d)); errors.Is(gone, os.ErrNotExist) {
			f.forget(d)
			return nil, false, errGone
		}
		return nil, false, fmt.Errorf("read %s: %w", f.path(d), err)
	case v == 0:
		return nil, false, errGone // the writer is making it
	case v == schemaNoIndex:
		return db, false, nil
	case v != schemaVersion:
		return nil, false, fmt.Errorf("read %s: written by another version of vedette (schema %d, this one knows %d)", f.path(d), v, schemaVersion)
	}
	return db, true, nil
}

// forget closes a day's pools.
func (f *files) forget(d day) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range []map[day]*sql.DB{f.readers, f.writers} {
		if db := m[d]; db != nil {
			_ = db.Close()
			delete(m, d)
		}
	}
}

// keep forgets every day that is not in days (sorted by list): another process
// removed its file, and an open descriptor would keep the space.
func (f *files) keep(days []day) {
	there := make(map[day]bool, len(days))
	for _, d := range days {
		there[d] = true
	}
	f.mu.Lock()
	var gone []day
	for d := range f.readers {
		if !there[d] {
			gone = append(gone, d)
		}
	}
	f.mu.Unlock()
	for _, d := range gone {
		f.forget(d)
	}
}

// parts are the files of one day.
func (f *files) parts(d day) []string {
	p := f.path(d)
	return []string{p, p + "-wal", p + "-shm"}
}

func (f *files) size(d day) int64 {
	var n int64
	for _, p := range f.parts(d) {
		if st, err := os.Stat(p); err == nil {
			n += st.Size()
		}
	}
	return n
}

func (f *files) remove(d day) error {
	f.forget(d)
	var errs []error
	for _, p := range f.parts(d) {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f *files) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	// Readers first: the last connection to leave folds the log into the file,
	// and a read-only one cannot.
	for _, m := range []map[day]*sql.DB{f.readers, f.writers} {
		for d, db := range m {
			errs = append(errs, db.Close())
			delete(m, d)
		}
	}
	return errors.Join(errs...)
}
