package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

const (
	// fillAlerts and fillBytes bound the alerts that one transaction of fill reads.
	fillAlerts = 500
	fillBytes  = 8 << 20
	// fillPause lets Put and searches come between.
	fillPause = 20 * time.Millisecond
)

// fill adds the terms to days that earlier versions wrote, the newest first,
// until ctx ends. A day is searched by its documents until it is done; an
// interrupted day begins anew at the next start.
func (s *Store) fill(ctx context.Context) {
	days, err := s.files.list()
	if err != nil {
		s.log.Warn("the store's days were not listed; alerts of earlier versions stay without an index", "err", err)
		return
	}
	slices.Reverse(days)
	for _, d := range days {
		alerts, err := s.fillDay(ctx, d)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Warn("a day stays without an index; its alerts are searched one by one", "day", d.String(), "err", err)
		case alerts > 0:
			s.log.Info("a day that an earlier version wrote has an index now", "day", d.String(), "alerts", alerts)
		}
	}
}

func (s *Store) fillDay(ctx context.Context, d day) (alerts int, err error) {
	_, withTerms, err := s.files.reader(ctx, d)
	if errors.Is(err, errGone) || withTerms {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	s.log.Info("adding an index to a day that an earlier version wrote", "day", d.String())
	for last, done := int64(0), false; !done; {
		var n int
		if n, last, done, err = s.fillSome(ctx, d, last); err != nil {
			return alerts, err
		}
		alerts += n
		select {
		case <-ctx.Done():
			return alerts, ctx.Err()
		case <-time.After(fillPause):
		}
	}
	return alerts, nil
}

// fillSome indexes some alerts after the one numbered last, and reports how many,
// which was the last, and whether there are no more.
func (s *Store) fillSome(ctx context.Context, d day, last int64) (n int, reached int64, done bool, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	if _, err := os.Stat(s.files.path(d)); errors.Is(err, os.ErrNotExist) {
		return 0, last, true, nil // removed meanwhile
	}
	db, err := s.files.writer(ctx, d)
	if err != nil {
		return 0, last, false, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, last, false, err
	}
	defer func() { _ = tx.Rollback() }()
	known := s.termsOf(d)
	x, err := newIndexer(ctx, tx, known)
	if err != nil {
		return 0, last, false, err
	}
	some, err := readSome(ctx, tx, last)
	if err != nil {
		return 0, last, false, err
	}
	for _, a := range some {
		if err := x.put(ctx, a.n, a.time, a.doc); err != nil {
			return 0, last, false, err
		}
		last = a.n
	}
	if err := x.flush(ctx); err != nil {
		return 0, last, false, err
	}
	if done = len(some) == 0; done {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)); err != nil {
			return 0, last, false, err
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, last, false, err
	}
	known.committed(x.found)
	return len(some), last, done, nil
}

// stored is an alert in the form of a day's file.
type stored struct {
	n, time int64
	doc     []byte
}

func readSome(ctx context.Context, tx *sql.Tx, after int64) ([]stored, error) {
	rows, err := tx.QueryContext(ctx, "SELECT n, time, doc FROM alert WHERE n > ? ORDER BY n LIMIT ?", after, fillAlerts)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []stored
	for size := 0; size < fillBytes && rows.Next(); {
		var a stored
		if err := rows.Scan(&a.n, &a.time, &a.doc); err != nil {
			return nil, err
		}
		out, size = append(out, a), size+len(a.doc)
	}
	return out, rows.Err()
}
