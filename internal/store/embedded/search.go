package embedded

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"vedette/internal/qlang"
	"vedette/internal/store"
)

// maxPageBytes bounds what one page may weigh in memory.
const maxPageBytes = 64 << 20

// columns are the fields that have a column.
var columns = map[string]struct {
	name    string
	numeric bool
}{
	"rule.id":       {name: "rule_id"},
	"rule.level":    {name: "rule_level", numeric: true},
	"agent.id":      {name: "agent_id"},
	"decoder.name":  {name: "decoder"},
	store.TimeField: {name: "time", numeric: true},
}

// translate writes x in SQL over the columns; ok is false when a part of it has
// no column or needs what SQL compares differently.
func translate(x *qlang.Expr, now time.Time) (where string, args []any, ok bool) {
	if x.Clause != nil {
		return clauseSQL(x.Clause, now)
	}
	list, word := x.And, " AND "
	if x.Or != nil {
		list, word = x.Or, " OR "
	}
	parts := make([]string, 0, len(list))
	for _, c := range list {
		w, a, ok := translate(c, now)
		if !ok {
			return "", nil, false
		}
		parts, args = append(parts, w), append(args, a...)
	}
	return "(" + strings.Join(parts, word) + ")", args, true
}

func clauseSQL(c *qlang.Clause, now time.Time) (string, []any, bool) {
	field := c.Field
	if store.DateField(field) {
		field = store.TimeField
	}
	col, ok := columns[field]
	if !ok || c.Value == qlang.Null || c.Op == qlang.Contains || strings.ContainsAny(c.Value, `'"`) {
		return "", nil, false
	}
	op := map[qlang.Op]string{qlang.Equal: "=", qlang.NotEqual: "<>", qlang.Less: "<", qlang.Greater: ">"}[c.Op]
	switch {
	case field == store.TimeField:
		m, err := c.Date(now)
		if err != nil {
			return "", nil, false
		}
		if m.Period {
			switch c.Op {
			case qlang.Greater:
				op = "<"
			case qlang.Less, qlang.Equal:
				op = ">"
			default:
				op = "<="
			}
		}
		return "time " + op + " ?", []any{m.Time.UnixMilli()}, true
	case col.numeric:
		n, ok := c.Number()
		if !ok {
			return "", nil, false
		}
		return col.name + " " + op + " ?", []any{n}, true
	case c.Op == qlang.Less || c.Op == qlang.Greater:
		return "", nil, false // the collation folds case its own way
	}
	return col.name + " " + op + " ?", []any{c.Value}, true
}

// plan is a query over one day's file.
type plan struct {
	where    []string
	args     []any
	residual *qlang.Matcher // what the columns cannot say; nil: nothing
	plain    bool           // no condition at all
}

func newPlan(q *store.Query) (*plan, error) {
	p := &plan{plain: q.Filter == nil}
	var rest []*qlang.Expr
	for _, x := range q.Filter.Conjuncts() {
		if w, a, ok := translate(x, q.Now); ok {
			p.where, p.args = append(p.where, w), append(p.args, a...)
		} else {
			rest = append(rest, x)
		}
	}
	if x := qlang.AllOf(rest...); x != nil {
		m, err := x.Compile(q.Options())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", store.ErrQuery, err)
		}
		p.residual = m
	}
	if match := matchExpr(q.Words()); match != "" {
		p.where, p.args, p.plain = append(p.where, "n IN (SELECT rowid FROM alert_text WHERE alert_text MATCH ?)"), append(p.args, match), false
	}
	return p, nil
}

// matchExpr writes words as an FTS5 expression in which nothing but a closing
// `*` has a meaning. Words without a letter or digit ask for nothing.
func matchExpr(words []string) string {
	var parts []string
	for _, w := range words {
		prefix := ""
		if t, ok := strings.CutSuffix(w, "*"); ok {
			w, prefix = t, " *"
		}
		if strings.IndexFunc(w, func(r rune) bool { return r > 127 || isAlnum(byte(r)) }) < 0 {
			continue
		}
		// Only what the tokenizer would skip anyway is left out.
		w = strings.Map(func(r rune) rune {
			if r < ' ' || r == '"' {
				return ' '
			}
			return r
		}, w)
		parts = append(parts, `"`+w+`"`+prefix)
	}
	return strings.Join(parts, " ")
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// hit is a document that matches, before its text is fetched.
type hit struct {
	day  day
	n    int64
	time int64
	keys []any // values to sort by: nil, float64 or string
}

// Search implements store.Store.
func (s *Store) Search(ctx context.Context, q store.Query) (store.Page, error) {
	if err := q.Normalize(); err != nil {
		return store.Page{}, err
	}
	p, err := newPlan(&q)
	if err != nil {
		return store.Page{}, err
	}
	s.days.RLock()
	defer s.days.RUnlock()
	if s.closed {
		return store.Page{}, errClosed
	}
	days, err := s.files.list()
	if errors.Is(err, os.ErrNotExist) && s.cfg.ReadOnly {
		return store.Page{}, nil
	}
	if err != nil {
		return store.Page{}, err
	}
	s.files.keep(days)
	byTime := len(q.Sort) == 1 && q.Sort[0].Field == store.TimeField
	if !byTime || q.Sort[0].Desc {
		slices.Reverse(days)
	}
	need := q.Offset + q.Limit
	if q.Limit == 0 {
		need = 0
	}
	var page store.Page
	var hits []hit
	for _, d := range days {
		if !q.To.IsZero() && !d.start().Before(q.To) || !q.From.IsZero() && !(d+1).start().After(q.From) {
			continue
		}
		want := need
		if byTime {
			want -= len(hits) // days come in the wanted order
		}
		db, err := s.files.reader(ctx, d)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return store.Page{}, err
		}
		found, total, err := searchDay(ctx, db, d, &q, p, want, byTime)
		if err != nil {
			return store.Page{}, fmt.Errorf("search alerts of %s: %w", d, err)
		}
		page.Total += total
		hits = append(hits, found...)
		if !byTime {
			hits = best(hits, &q, need)
		}
	}
	if q.Offset >= len(hits) {
		return page, nil
	}
	page.Items, err = s.fetch(ctx, hits[q.Offset:])
	return page, err
}

// searchDay returns the first want matches of a day in the wanted order, and
// how many there are.
func searchDay(ctx context.Context, db *sql.DB, d day, q *store.Query, p *plan, want int, byTime bool) ([]hit, int, error) {
	where, args := slices.Clone(p.where), slices.Clone(p.args)
	whole := true
	if !q.From.IsZero() && q.From.After(d.start()) {
		where, args, whole = append(where, "time >= ?"), append(args, ceilMillis(q.From)), false
	}
	if !q.To.IsZero() && q.To.Before((d + 1).start()) {
		where, args, whole = append(where, "time < ?"), append(args, ceilMillis(q.To)), false
	}
	cond := ""
	if len(where) > 0 {
		cond = " WHERE " + strings.Join(where, " AND ")
	}
	// The order can be SQL's when each key has a column.
	var order, cols []string
	inColumns := true
	for _, o := range q.Sort {
		c, ok := columns[o.Field]
		if !ok {
			inColumns = false
			break
		}
		dir := " ASC"
		if o.Desc {
			dir = " DESC"
		}
		order, cols = append(order, c.name+dir+" NULLS LAST"), append(cols, c.name)
	}
	if inColumns {
		dir := " ASC"
		if q.Sort[0].Desc {
			dir = " DESC"
		}
		if byTime {
			order = []string{"time" + dir} // without NULLS LAST the index gives the order
		}
		order = append(order, "n"+dir)
	}

	if p.residual == nil && inColumns {
		var total int
		count := "SELECT count(*) FROM alert" + cond
		if p.plain && whole {
			count = "SELECT coalesce(sum(count), 0) FROM rollup WHERE dim = 'all'"
		}
		if err := db.QueryRowContext(ctx, count, args...).Scan(&total); err != nil {
			return nil, 0, err
		}
		if want <= 0 || total == 0 {
			return nil, total, nil
		}
		rows, err := db.QueryContext(ctx, "SELECT n, time, "+strings.Join(cols, ", ")+" FROM alert"+cond+
			" ORDER BY "+strings.Join(order, ", ")+" LIMIT ?", append(args, want)...)
		if err != nil {
			return nil, 0, err
		}
		defer rows.Close()
		var hits []hit
		for rows.Next() {
			h := hit{day: d, keys: make([]any, len(cols))}
			dest := []any{&h.n, &h.time}
			for i := range h.keys {
				dest = append(dest, &h.keys[i])
			}
			if err := rows.Scan(dest...); err != nil {
				return nil, 0, err
			}
			for i, k := range h.keys {
				h.keys[i] = key(k)
			}
			hits = append(hits, h)
		}
		return hits, total, rows.Err()
	}

	query := "SELECT n, time, doc FROM alert" + cond
	if byTime {
		query += " ORDER BY " + strings.Join(order, ", ")
	}
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	var hits []hit
	total := 0
	for rows.Next() {
		h := hit{day: d}
		var doc sql.RawBytes
		if err := rows.Scan(&h.n, &h.time, &doc); err != nil {
			return nil, 0, err
		}
		obj := qlang.Raw(doc) // Put has seen that it is valid
		if p.residual != nil && !p.residual.Match(obj) {
			continue
		}
		total++
		if want <= 0 || byTime && len(hits) >= want {
			continue
		}
		for _, o := range q.Sort {
			if o.Field == store.TimeField {
				h.keys = append(h.keys, float64(h.time))
				continue
			}
			var k any
			if vs := obj.Values(o.Field); len(vs) > 0 {
				k = key(vs[0])
			}
			h.keys = append(h.keys, k)
		}
		hits = append(hits, h)
		if !byTime && len(hits) >= 2*want+1000 {
			hits = best(hits, q, want)
		}
	}
	return hits, total, rows.Err()
}

// ceilMillis makes a bound between two milliseconds exclude the earlier one.
func ceilMillis(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}

// key makes values of SQL and JSON comparable.
func key(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case int64:
		return float64(v)
	case float64:
		return v
	case json.Number:
		f, _ := v.Float64()
		return f
	case []byte:
		return strings.ToLower(string(v))
	case string:
		return strings.ToLower(v)
	case bool:
		return strconv.FormatBool(v)
	}
	return nil
}

// best sorts hits as the query asks and keeps the first n.
func best(hits []hit, q *store.Query, n int) []hit {
	slices.SortFunc(hits, func(a, b hit) int {
		for i, o := range q.Sort {
			c := compareKeys(a.keys[i], b.keys[i], o.Desc)
			if c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(b.time, a.time), cmp.Compare(b.n, a.n))
	})
	return hits[:min(n, len(hits))]
}

func compareKeys(a, b any, desc bool) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1 // absent values come last in either direction
	case b == nil:
		return -1
	}
	c := 0
	fa, na := a.(float64)
	fb, nb := b.(float64)
	switch {
	case na && nb:
		c = cmp.Compare(fa, fb)
	case na:
		c = -1
	case nb:
		c = 1
	default:
		c = strings.Compare(a.(string), b.(string))
	}
	if desc {
		return -c
	}
	return c
}

// fetch reads the documents of hits, in their order.
func (s *Store) fetch(ctx context.Context, hits []hit) ([]json.RawMessage, error) {
	stmts := map[day]*sql.Stmt{}
	defer func() {
		for _, st := range stmts {
			_ = st.Close()
		}
	}()
	items := make([]json.RawMessage, 0, len(hits))
	size := 0
	for _, h := range hits {
		st := stmts[h.day]
		if st == nil {
			db, err := s.files.reader(ctx, h.day)
			if errors.Is(err, errGone) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if st, err = db.PrepareContext(ctx, "SELECT doc FROM alert WHERE n = ?"); err != nil {
				return nil, err
			}
			stmts[h.day] = st
		}
		var doc []byte
		if err := st.QueryRowContext(ctx, h.n).Scan(&doc); err != nil {
			return nil, fmt.Errorf("read alert: %w", err)
		}
		if size += len(doc); size > maxPageBytes {
			return nil, fmt.Errorf("%w: the page is larger than %d MiB; ask for fewer alerts", store.ErrQuery, maxPageBytes>>20)
		}
		items = append(items, doc)
	}
	return items, nil
}

// Count is how many alerts had a value in an hour.
type Count struct {
	Hour  time.Time
	Value string
	Count int64
}

// Counts returns the counts by a dimension for the hours that start in
// [from, to), by hour and value. They are read, not computed.
func (s *Store) Counts(ctx context.Context, dim string, from, to time.Time) ([]Count, error) {
	s.days.RLock()
	defer s.days.RUnlock()
	if s.closed {
		return nil, errClosed
	}
	days, err := s.files.list()
	if err != nil {
		return nil, err
	}
	var out []Count
	for _, d := range days {
		if !d.start().Before(to) || !(d + 1).start().After(from) {
			continue
		}
		db, err := s.files.reader(ctx, d)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if out, err = countsOf(ctx, db, dim, from, to, out); err != nil {
			return nil, fmt.Errorf("read counts of %s: %w", d, err)
		}
	}
	return out, nil
}

func countsOf(ctx context.Context, db *sql.DB, dim string, from, to time.Time, out []Count) ([]Count, error) {
	rows, err := db.QueryContext(ctx, `SELECT hour, value, count FROM rollup
		WHERE dim = ? AND hour * 3600 >= ? AND hour * 3600 < ? AND count > 0 ORDER BY hour, value`, dim, from.Unix(), to.Unix())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c Count
		var hour int64
		if err := rows.Scan(&hour, &c.Value, &c.Count); err != nil {
			return nil, err
		}
		c.Hour = time.Unix(hour*3600, 0).UTC()
		out = append(out, c)
	}
	return out, rows.Err()
}
