package embedded

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/store"
	"vedette/schemas"
)

// sweepEvery is how often a writer looks at age and size.
const sweepEvery = time.Minute

// aheadMax bounds how far ahead of this machine's clock an alert may be.
const aheadMax = 48 * time.Hour

// Store is a store.Store over a directory of day files.
type Store struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	files   *files
	lock    *os.File
	now     func() time.Time

	// write serializes Put; searchers hold days for reading so that no day is
	// removed under them. Order: write, then days.
	write sync.Mutex
	days  sync.RWMutex

	// terms are of the days written to, under write.
	terms map[day]terms
	// endFill ends fill and waits for it.
	endFill func()

	swept  time.Time // under write
	closed bool      // under days
}

var _ store.Store = (*Store)(nil)

var errClosed = errors.New("the store is closed")

// Open opens the directory. A second writer is refused.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{
		cfg: cfg, log: log, metrics: newMetrics(reg), now: time.Now, endFill: func() {}, terms: map[day]terms{},
		files: &files{dir: cfg.Dir, readOnly: cfg.ReadOnly, writers: map[day]*sql.DB{}, readers: map[day]*sql.DB{}},
	}
	if cfg.ReadOnly {
		return s, nil // the directory may come later, with the writer
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make store: %w", err)
	}
	var err error
	if s.lock, err = lock(cfg.Dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.endFill = func() { cancel(); <-done }
	go func() {
		defer close(done)
		s.fill(ctx)
	}()
	return s, nil
}

// Close folds the logs into the files and lets go of the directory.
func (s *Store) Close() error {
	s.endFill()
	s.write.Lock()
	defer s.write.Unlock()
	s.days.Lock()
	defer s.days.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.files.close()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Ready returns nil when the directory can be read and the newest day answers.
func (s *Store) Ready(ctx context.Context) error {
	s.days.RLock()
	defer s.days.RUnlock()
	if s.closed {
		return errClosed
	}
	days, err := s.files.list()
	if errors.Is(err, os.ErrNotExist) && s.cfg.ReadOnly {
		return nil
	}
	if err != nil || len(days) == 0 {
		return err
	}
	if _, _, err = s.files.reader(ctx, days[len(days)-1]); errors.Is(err, errGone) {
		return nil
	}
	return err
}

// head holds the parts of a document that the columns, the text index and the
// counts need.
type head struct {
	FullLog string `json:"full_log"`
	Rule    struct {
		ID          string   `json:"id"`
		Level       int64    `json:"level"`
		Description string   `json:"description"`
		Groups      []string `json:"groups"`
		Mitre       struct {
			ID []string `json:"id"`
		} `json:"mitre"`
	} `json:"rule"`
	Agent struct {
		ID string `json:"id"`
	} `json:"agent"`
	Decoder struct {
		Name string `json:"name"`
	} `json:"decoder"`
}

// parseHead takes members of the expected type and leaves the rest.
func parseHead(doc []byte) (head, error) {
	var h head
	err := json.Unmarshal(doc, &h)
	var odd *json.UnmarshalTypeError
	if errors.As(err, &odd) && odd.Field != "" {
		err = nil
	}
	return h, err
}

// Dimensions that alerts are counted by per hour.
const (
	DimAll   = "all"
	DimRule  = "rule"
	DimLevel = "level"
	DimAgent = "agent"
	DimGroup = "group"
	DimMitre = "mitre"
)

type rollupKey struct {
	dim   string
	hour  int64
	value string
}

type counts map[rollupKey]int64

func (c counts) add(h *head, at time.Time, by int64) {
	hour := floorDiv(at.Unix(), 3600)
	c[rollupKey{DimAll, hour, ""}] += by
	one := func(dim, value string) {
		if value != "" {
			c[rollupKey{dim, hour, value}] += by
		}
	}
	one(DimRule, h.Rule.ID)
	one(DimLevel, fmt.Sprint(h.Rule.Level))
	one(DimAgent, h.Agent.ID)
	for i, g := range h.Rule.Groups {
		if !slices.Contains(h.Rule.Groups[:i], g) {
			one(DimGroup, g)
		}
	}
	for i, m := range h.Rule.Mitre.ID {
		if !slices.Contains(h.Rule.Mitre.ID[:i], m) {
			one(DimMitre, m)
		}
	}
}

// Put implements store.Store: one transaction per day the batch touches, so an
// error may leave some days written, which the repeat then overwrites.
func (s *Store) Put(ctx context.Context, alerts []schemas.Alert) ([]store.Failure, error) {
	if s.cfg.ReadOnly {
		return nil, errors.New("the store was opened read-only")
	}
	s.write.Lock()
	defer s.write.Unlock()
	s.days.RLock()
	closed := s.closed
	s.days.RUnlock()
	if closed {
		return nil, errClosed
	}
	now := s.now()
	oldest := dayOf(now.Add(-s.cfg.MaxAge))
	byDay := map[day][]int{}
	var failures []store.Failure
	for i := range alerts {
		// The newest day always stays, so one far ahead would push out all others.
		if alerts[i].Time.Sub(now) > aheadMax {
			failures = append(failures, store.Failure{Index: i, ID: alerts[i].ID, Reason: store.ReasonRefused, Detail: "its time is too far ahead"})
			continue
		}
		d := dayOf(alerts[i].Time)
		if d < oldest {
			s.metrics.expired.Inc()
			continue
		}
		byDay[d] = append(byDay[d], i)
	}
	days := make([]day, 0, len(byDay))
	for d := range byDay {
		days = append(days, d)
	}
	slices.Sort(days)
	for _, d := range days {
		f, err := s.putDay(ctx, d, alerts, byDay[d])
		if err != nil {
			return nil, fmt.Errorf("write alerts of %s: %w", d, err)
		}
		failures = append(failures, f...)
	}
	slices.SortFunc(failures, func(a, b store.Failure) int { return cmp.Compare(a.Index, b.Index) })
	if now.Sub(s.swept) >= sweepEvery {
		s.swept = now
		if err := s.sweep(now); err != nil {
			s.log.Warn("store not cut back", "err", err)
		}
	}
	return failures, nil
}

func (s *Store) putDay(ctx context.Context, d day, alerts []schemas.Alert, which []int) (failures []store.Failure, err error) {
	db, err := s.files.writer(ctx, d)
	if err != nil {
		return nil, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	b, err := newBatch(ctx, tx, s.termsOf(d))
	if err != nil {
		return nil, err
	}
	for _, i := range which {
		a := &alerts[i]
		h, err := parseHead(a.Document)
		if err != nil {
			failures = append(failures, store.Failure{Index: i, ID: a.ID, Reason: store.ReasonDocument, Detail: err.Error()})
			continue
		}
		if err := b.put(ctx, a, &h); err != nil {
			return nil, err
		}
	}
	if err := b.count(ctx); err != nil {
		return nil, err
	}
	if err := b.index.flush(ctx); err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	s.termsOf(d).committed(b.index.found)
	s.metrics.written.Add(float64(b.written))
	s.metrics.repeated.Add(float64(b.repeated))
	s.metrics.stale.Add(float64(b.stale))
	return failures, nil
}

// batch is the open transaction of one day.
type batch struct {
	insert, text, find, replace, unText, rollup *sql.Stmt

	index                    *indexer
	counts                   counts
	written, repeated, stale int
}

func newBatch(ctx context.Context, tx *sql.Tx, known terms) (*batch, error) {
	index, err := newIndexer(ctx, tx, known)
	if err != nil {
		return nil, err
	}
	b := &batch{counts: counts{}, index: index}
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&b.insert, `INSERT INTO alert (id, epoch, time, rule_id, rule_level, agent_id, decoder, doc)
			VALUES (?, ?, ?, nullif(?, ''), nullif(?, 0), nullif(?, ''), nullif(?, ''), ?) ON CONFLICT (id) DO NOTHING`},
		{&b.text, `INSERT INTO alert_text (rowid, full_log, description) VALUES (?, ?, ?)`},
		{&b.find, `SELECT n, epoch, time, doc FROM alert WHERE id = ?`},
		{&b.replace, `UPDATE alert SET epoch = ?, time = ?, rule_id = nullif(?, ''), rule_level = nullif(?, 0), agent_id = nullif(?, ''),
			decoder = nullif(?, ''), doc = ? WHERE n = ?`},
		{&b.unText, `DELETE FROM alert_text WHERE rowid = ?`},
		{&b.rollup, `INSERT INTO rollup (dim, hour, value, count) VALUES (?, ?, ?, ?)
			ON CONFLICT (dim, hour, value) DO UPDATE SET count = count + excluded.count`},
	} {
		var err error
		if *p.to, err = tx.PrepareContext(ctx, p.sql); err != nil {
			return nil, err // closing the transaction closes its prepared statements
		}
	}
	return b, nil
}

func (b *batch) put(ctx context.Context, a *schemas.Alert, h *head) error {
	res, err := b.insert.ExecContext(ctx, a.ID, a.Epoch, a.Time.UnixMilli(), h.Rule.ID, h.Rule.Level, h.Agent.ID, h.Decoder.Name, a.Document)
	if err != nil {
		return err
	}
	inserted, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if inserted == 0 {
		return b.again(ctx, a, h)
	}
	n, err := res.LastInsertId()
	if err != nil {
		return err
	}
	b.written++
	b.counts.add(h, a.Time, 1)
	if err := b.index.put(ctx, n, a.Time.UnixMilli(), a.Document); err != nil {
		return err
	}
	_, err = b.text.ExecContext(ctx, n, h.FullLog, h.Rule.Description)
	return err
}

// again overwrites a document that is there, unless a newer owner wrote it.
func (b *batch) again(ctx context.Context, a *schemas.Alert, h *head) error {
	var n, epoch, millis int64
	var doc []byte
	if err := b.find.QueryRowContext(ctx, a.ID).Scan(&n, &epoch, &millis, &doc); err != nil {
		return err
	}
	if epoch > a.Epoch {
		b.stale++
		return nil
	}
	b.written++
	b.repeated++
	if epoch == a.Epoch && millis == a.Time.UnixMilli() && bytes.Equal(doc, a.Document) {
		return nil
	}
	old, err := parseHead(doc)
	if err != nil {
		return fmt.Errorf("read back alert %s: %w", a.ID, err)
	}
	b.counts.add(&old, time.UnixMilli(millis), -1)
	b.counts.add(h, a.Time, 1)
	if _, err := b.replace.ExecContext(ctx, a.Epoch, a.Time.UnixMilli(), h.Rule.ID, h.Rule.Level, h.Agent.ID, h.Decoder.Name, a.Document, n); err != nil {
		return err
	}
	if err := b.index.remove(ctx, n, millis, doc); err != nil {
		return err
	}
	if err := b.index.put(ctx, n, a.Time.UnixMilli(), a.Document); err != nil {
		return err
	}
	if _, err := b.unText.ExecContext(ctx, n); err != nil {
		return err
	}
	_, err = b.text.ExecContext(ctx, n, h.FullLog, h.Rule.Description)
	return err
}

// count adds the numbers of the batch to the counts.
func (b *batch) count(ctx context.Context) error {
	keys := make([]rollupKey, 0, len(b.counts))
	for k, v := range b.counts {
		if v != 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(x, y rollupKey) int {
		return cmp.Or(cmp.Compare(x.dim, y.dim), cmp.Compare(x.hour, y.hour), strings.Compare(x.value, y.value))
	})
	for _, k := range keys {
		if _, err := b.rollup.ExecContext(ctx, k.dim, k.hour, k.value, b.counts[k]); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes whole days beyond the age, then the oldest ones beyond the size.
func (s *Store) sweep(now time.Time) error {
	days, err := s.files.list()
	if err != nil {
		return err
	}
	var total int64
	size := make(map[day]int64, len(days))
	for _, d := range days {
		size[d] = s.files.size(d)
		total += size[d]
	}
	oldest := dayOf(now.Add(-s.cfg.MaxAge))
	for len(days) > 0 {
		d, reason := days[0], "age"
		if d >= oldest {
			if total <= s.cfg.MaxBytes || len(days) == 1 {
				break
			}
			reason = "size"
		}
		s.days.Lock()
		err := s.files.remove(d)
		delete(s.terms, d)
		s.days.Unlock()
		if err != nil {
			return fmt.Errorf("remove %s: %w", d, err)
		}
		s.metrics.removedDays.WithLabelValues(reason).Inc()
		s.log.Info("day removed from the store", "day", d.String(), "reason", reason, "bytes", size[d])
		total -= size[d]
		days = days[1:]
	}
	s.metrics.bytes.Set(float64(total))
	return nil
}
