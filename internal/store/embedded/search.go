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

// maxPageBytes bounds the memory of one page.
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

// condition is a part of a query in SQL, in which a is an alert with n and time.
type condition struct {
	sql  string
	args []any
	// columns says that it names columns of alert other than n and time.
	columns bool
	// driver is a query for the n and time of all that meet it, empty if there is
	// none that is better than looking at each alert.
	driver string
}

var never = condition{sql: "0"}

// plan is a query over one day's file.
type plan struct {
	conditions []condition
	residual   *qlang.Matcher // the part that SQL cannot express; nil: nothing
	plain      bool           // no condition at all
}

// planner translates a filter for one day's file.
type planner struct {
	db        *sql.DB
	withTerms bool
	options   qlang.Options
}

// plan translates conditions to SQL where it can. The rest is tested on each
// document.
func (t *planner) plan(ctx context.Context, q *store.Query) (*plan, error) {
	p := &plan{plain: q.Filter == nil}
	var rest []*qlang.Expr
	for _, x := range q.Filter.Conjuncts() {
		c, ok, err := t.translate(ctx, x)
		if err != nil {
			return nil, err
		}
		if ok {
			p.conditions = append(p.conditions, c)
		} else {
			rest = append(rest, x)
		}
	}
	if x := qlang.AllOf(rest...); x != nil {
		m, err := x.Compile(t.options)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", store.ErrQuery, err)
		}
		p.residual = m
	}
	if match := matchExpr(q.Words()); match != "" {
		p.conditions, p.plain = append(p.conditions, condition{sql: "n IN (SELECT rowid FROM alert_text WHERE alert_text MATCH ?)", args: []any{match}}), false
	}
	return p, nil
}

// translate writes x in SQL; ok is false when a part of it can only be asked of
// documents.
func (t *planner) translate(ctx context.Context, x *qlang.Expr) (condition, bool, error) {
	if x.Clause != nil {
		return t.clause(ctx, x)
	}
	list, word := x.And, " AND "
	if x.Or != nil {
		list, word = x.Or, " OR "
	}
	var out condition
	parts := make([]string, 0, len(list))
	var drivers []string
	for _, c := range list {
		p, ok, err := t.translate(ctx, c)
		if !ok || err != nil {
			return out, false, err
		}
		if x.Or != nil && p.driver != "" {
			drivers = append(drivers, p.driver)
		}
		parts, out.args, out.columns = append(parts, p.sql), append(out.args, p.args...), out.columns || p.columns
	}
	out.sql = "(" + strings.Join(parts, word) + ")"
	if len(drivers) == len(list) {
		out.driver = strings.Join(drivers, " UNION ")
	}
	return out, true, nil
}

func (t *planner) clause(ctx context.Context, x *qlang.Expr) (condition, bool, error) {
	c := x.Clause
	field := c.Field
	if store.DateField(field) {
		field = store.TimeField
	}
	if col, ok := columns[field]; ok && c.Value != qlang.Null {
		if w, args, ok := columnSQL(c, field, col.name, col.numeric, t.options.Now); ok {
			return condition{sql: w, args: args, columns: field != store.TimeField}, true, nil
		}
		if !col.numeric {
			return t.values(ctx, x, col.name)
		}
	}
	if t.withTerms && indexed[field] {
		return t.terms(ctx, x)
	}
	return condition{}, false, nil
}

// columnSQL compares a column; ok is false where SQL compares differently.
func columnSQL(c *qlang.Clause, field, name string, numeric bool, now time.Time) (string, []any, bool) {
	if c.Op == qlang.Contains || strings.ContainsAny(c.Value, `'"`) {
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
	case numeric:
		n, ok := c.Number()
		if !ok {
			return "", nil, false
		}
		return name + " " + op + " ?", []any{n}, true
	case c.Op == qlang.Less || c.Op == qlang.Greater:
		return "", nil, false // the collation folds case its own way
	}
	return name + " " + op + " ?", []any{c.Value}, true
}

// valuesMax bounds the values of a column that a clause is compared with.
const valuesMax = 10_000

// values compares a clause with the values that a column has, of which there are
// far fewer than alerts.
func (t *planner) values(ctx context.Context, x *qlang.Expr, column string) (condition, bool, error) {
	m, negative, err := t.positive(x)
	if err != nil {
		return condition{}, false, err
	}
	// Steps from value to value by the index.
	rows, err := t.db.QueryContext(ctx, `WITH RECURSIVE d (v) AS (
			SELECT min(`+column+`) FROM alert
			UNION ALL SELECT (SELECT min(`+column+`) FROM alert WHERE `+column+` > d.v) FROM d WHERE d.v IS NOT NULL
		) SELECT v FROM d WHERE v IS NOT NULL LIMIT ?`, valuesMax+1)
	if err != nil {
		return condition{}, false, err
	}
	defer rows.Close()
	found, seen := []string{}, 0
	for rows.Next() {
		v := term{kind: termText}
		if err := rows.Scan(&v.value); err != nil {
			return condition{}, false, err
		}
		if seen++; m.Match(&v) {
			found = append(found, v.value)
		}
	}
	if err := rows.Err(); err != nil || seen > valuesMax {
		return condition{}, false, err
	}
	list, err := json.Marshal(found)
	if err != nil {
		return condition{}, false, err
	}
	not := ""
	if negative {
		not = "NOT "
	}
	return condition{sql: column + " " + not + "IN (SELECT value FROM json_each(?))", args: []any{string(list)}, columns: true}, true, nil
}

// positive compiles a clause; of != it compiles =, and says so.
func (t *planner) positive(x *qlang.Expr) (m *qlang.Matcher, negative bool, err error) {
	c := *x.Clause
	if c.Op == qlang.NotEqual {
		c.Op, negative = qlang.Equal, true
	}
	m, err = (&qlang.Expr{Clause: &c}).Compile(t.options)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", store.ErrQuery, err)
	}
	return m, negative, nil
}

// lookupsMax is for how many terms an alert's postings are looked up one by one.
const lookupsMax = 8

// terms looks a clause up in the terms of its field.
func (t *planner) terms(ctx context.Context, x *qlang.Expr) (condition, bool, error) {
	c := x.Clause
	m, negative, err := t.positive(x)
	if err != nil {
		return condition{}, false, err
	}
	many, long, err := t.marks(ctx, c.Field)
	if err != nil || long {
		return condition{}, false, err
	}
	present := condition{sql: "n IN (SELECT p.n FROM term t JOIN posting p ON p.term = t.id WHERE t.field = ?)", args: []any{c.Field}}
	if slices.Contains(usual, c.Field) {
		present = condition{
			sql:  "NOT EXISTS (SELECT 1 FROM posting p WHERE p.term = (SELECT id FROM term WHERE field = ? AND kind = ?) AND p.time = a.time AND p.n = a.n)",
			args: []any{c.Field, termAbsent},
		}
	}
	if c.Value == qlang.Null && (c.Op == qlang.Equal || c.Op == qlang.NotEqual) {
		if !negative {
			present.sql = "NOT " + present.sql
		}
		return present, true, nil
	}
	query, args := "SELECT id, kind, value FROM term WHERE field = ?", []any{c.Field}
	if plainEqual(c) { // one text, and numbers, which can be written in several ways
		query, args = query+" AND (kind = ? OR kind = ? AND value = ?)", append(args, termNumber, termText, strings.ToLower(c.Value))
	}
	rows, err := t.db.QueryContext(ctx, query, args...)
	if err != nil {
		return condition{}, false, err
	}
	defer rows.Close()
	found := []int64{}
	for rows.Next() {
		var id int64
		var v term
		if err := rows.Scan(&id, &v.kind, &v.value); err != nil {
			return condition{}, false, err
		}
		if v.kind <= termNumber && m.Match(&v) {
			found = append(found, id)
		}
	}
	if err := rows.Err(); err != nil {
		return condition{}, false, err
	}
	if len(found) == 0 && !negative {
		return never, true, nil
	}
	out := condition{args: []any{}}
	set := "term = ?"
	switch len(found) {
	case 1:
		out.args = append(out.args, found[0])
	default:
		list, err := json.Marshal(found)
		if err != nil {
			return condition{}, false, err
		}
		set = "term IN (SELECT value FROM json_each(?))"
		out.args = append(out.args, string(list))
	}
	out.sql = "n IN (SELECT n FROM posting WHERE " + set + ")"
	if negative {
		if len(found) <= lookupsMax { // looking at a few places is cheaper than a set of all
			out.sql = "EXISTS (SELECT 1 FROM posting p WHERE p." + set + " AND p.time = a.time AND p.n = a.n)"
		}
		return condition{sql: "(NOT " + out.sql + " AND " + present.sql + ")", args: append(out.args, present.args...)}, true, nil
	}
	distinct := ""
	if many && len(found) > 1 {
		distinct = "DISTINCT "
	}
	out.driver = "SELECT " + distinct + "n, time FROM posting WHERE " + set
	return out, true, nil
}

// marks returns the special properties of a field of the day.
func (t *planner) marks(ctx context.Context, field string) (many, long bool, err error) {
	err = t.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM term WHERE field = ?1 AND kind = ?2), EXISTS (SELECT 1 FROM term WHERE field = ?1 AND kind = ?3)`,
		field, termMany, termLong).Scan(&many, &long)
	return many, long, err
}

// plainEqual reports whether a clause asks for one text as it is.
func plainEqual(c *qlang.Clause) bool {
	return (c.Op == qlang.Equal || c.Op == qlang.NotEqual) && !strings.ContainsAny(c.Value, `'"`) && c.Value != "" && c.Value[0] != '{' && c.Value[0] != '['
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
		// Only characters that the tokenizer would skip anyway are left out.
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
		db, withTerms, err := s.files.reader(ctx, d)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return store.Page{}, err
		}
		t := planner{db, withTerms, q.Options()}
		p, err := t.plan(ctx, &q)
		if err != nil {
			return store.Page{}, fmt.Errorf("search alerts of %s: %w", d, err)
		}
		x := daySearch{planner: &t, day: d, q: &q, plan: p, want: want, byTime: byTime}
		found, total, err := x.run(ctx)
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

// daySearch is a query over one day's file.
type daySearch struct {
	*planner
	day    day
	q      *store.Query
	plan   *plan
	want   int // hits at most
	byTime bool

	conditions []condition // of the plan and of the time
	whole      bool        // the time leaves nothing of the day out
}

// run returns the first matches of a day in the wanted order, and how many there are.
func (x *daySearch) run(ctx context.Context) ([]hit, int, error) {
	q, d := x.q, x.day
	x.conditions, x.whole = slices.Clone(x.plan.conditions), true
	if !q.From.IsZero() && q.From.After(d.start()) {
		x.conditions, x.whole = append(x.conditions, condition{sql: "time >= ?", args: []any{ceilMillis(q.From)}}), false
	}
	if !q.To.IsZero() && q.To.Before((d + 1).start()) {
		x.conditions, x.whole = append(x.conditions, condition{sql: "time < ?", args: []any{ceilMillis(q.To)}}), false
	}
	if x.plan.residual != nil {
		return x.scan(ctx)
	}
	total, err := x.count(ctx)
	if err != nil || x.want <= 0 || total == 0 {
		return nil, total, err
	}
	var hits []hit
	ok := false
	if !x.byTime && len(q.Sort) == 1 && x.withTerms && indexed[q.Sort[0].Field] {
		hits, ok, err = x.byTerm(ctx)
	}
	if err == nil && !ok {
		hits, ok, err = x.byColumns(ctx)
	}
	if err != nil || ok {
		return hits, total, err
	}
	return x.scan(ctx)
}

// from writes FROM and WHERE for a query that reads n and time, and with
// columns also columns of alert.
func (x *daySearch) from(columns bool) (string, []any) {
	source, args := "alert a", []any{}
	driver := -1
	if !columns {
		driver = slices.IndexFunc(x.conditions, func(c condition) bool { return c.driver != "" })
	}
	if driver >= 0 {
		source, args = "("+x.conditions[driver].driver+") a", append(args, x.conditions[driver].args...)
	}
	var where []string
	for i, c := range x.conditions {
		if i == driver {
			continue
		}
		w := c.sql // in it, a is the alert
		if c.columns && driver >= 0 {
			w = "n IN (SELECT n FROM alert WHERE " + w + ")"
		}
		where, args = append(where, w), append(args, c.args...)
	}
	if len(where) == 0 {
		return " FROM " + source, args
	}
	return " FROM " + source + " WHERE " + strings.Join(where, " AND "), args
}

func (x *daySearch) count(ctx context.Context) (total int, err error) {
	from, args := x.from(false)
	query := "SELECT count(*)" + from
	if x.plan.plain && x.whole {
		query = "SELECT coalesce(sum(count), 0) FROM rollup WHERE dim = 'all'"
	}
	err = x.db.QueryRowContext(ctx, query, args...).Scan(&total)
	return total, err
}

func direction(desc bool) string {
	if desc {
		return " DESC"
	}
	return " ASC"
}

// byColumns has SQL sort; ok is false when a key has no column.
func (x *daySearch) byColumns(ctx context.Context) (hits []hit, ok bool, err error) {
	var order, cols []string
	for _, o := range x.q.Sort {
		c, ok := columns[o.Field]
		if !ok {
			return nil, false, nil
		}
		nulls := ""
		if !o.Desc {
			nulls = " NULLS LAST"
		}
		order, cols = append(order, c.name+direction(o.Desc)+nulls), append(cols, c.name)
	}
	if x.byTime { // without NULLS LAST the index gives the order
		dir := direction(x.q.Sort[0].Desc)
		order = []string{"time" + dir, "n" + dir}
	} else {
		order = append(order, "time DESC", "n DESC")
	}
	from, args := x.from(!x.byTime)
	hits, err = x.hits(ctx, "SELECT n, time, "+strings.Join(cols, ", ")+from+" ORDER BY "+strings.Join(order, ", ")+" LIMIT ?", append(args, x.want), len(cols))
	return hits, true, err
}

// byTerm sorts by a field with terms; ok is false when its documents have
// several values, or longer ones than are kept.
func (x *daySearch) byTerm(ctx context.Context) (hits []hit, ok bool, err error) {
	o := x.q.Sort[0]
	many, long, err := x.marks(ctx, o.Field)
	if err != nil || many || long {
		return nil, false, err
	}
	from, args := x.from(false)
	dir := direction(o.Desc)
	// Numbers come before texts, as compareKeys has them.
	number := direction(!o.Desc)
	matching := "SELECT n" + from
	if len(x.conditions) == 0 {
		matching = ""
	}
	in := func(column string) string {
		if matching == "" {
			return ""
		}
		return " AND " + column + " IN (" + matching + ")"
	}
	hits, err = x.hits(ctx, `SELECT p.n, p.time, CASE t.kind WHEN 1 THEN CAST(t.value AS REAL) ELSE t.value END AS k
		FROM term t JOIN posting p ON p.term = t.id WHERE t.field = ? AND t.kind <= 1`+in("p.n")+`
		ORDER BY t.kind = 1`+number+`, k`+dir+`, p.time DESC, p.n DESC LIMIT ?`, slices.Concat([]any{o.Field}, args, []any{x.want}), 1)
	if err != nil || len(hits) >= x.want {
		return hits, true, err
	}
	absent, err := x.hits(ctx, `SELECT n, time, NULL FROM alert a WHERE n NOT IN (SELECT p.n FROM term t JOIN posting p ON p.term = t.id WHERE t.field = ? AND t.kind <= 1)`+in("n")+`
		ORDER BY time DESC, n DESC LIMIT ?`, slices.Concat([]any{o.Field}, args, []any{x.want - len(hits)}), 1)
	return append(hits, absent...), true, err
}

// hits reads n, time and keys.
func (x *daySearch) hits(ctx context.Context, query string, args []any, keys int) ([]hit, error) {
	rows, err := x.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var hits []hit
	for rows.Next() {
		h := hit{day: x.day, keys: make([]any, keys)}
		dest := []any{&h.n, &h.time}
		for i := range h.keys {
			dest = append(dest, &h.keys[i])
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		for i, k := range h.keys {
			h.keys[i] = key(k)
		}
		hits = append(hits, h)
	}
	return hits, rows.Err()
}

// scan asks each document that SQL leaves.
func (x *daySearch) scan(ctx context.Context) ([]hit, int, error) {
	from, args := x.from(true)
	query := "SELECT n, time, doc" + from
	if x.byTime {
		dir := direction(x.q.Sort[0].Desc)
		query += " ORDER BY time" + dir + ", n" + dir
	}
	rows, err := x.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	var hits []hit
	total := 0
	for rows.Next() {
		h := hit{day: x.day}
		var doc sql.RawBytes
		if err := rows.Scan(&h.n, &h.time, &doc); err != nil {
			return nil, 0, err
		}
		obj := qlang.Raw(doc) // Put has seen that it is valid
		if x.plan.residual != nil && !x.plan.residual.Match(obj) {
			continue
		}
		total++
		if x.want <= 0 || x.byTime && len(hits) >= x.want {
			continue
		}
		for _, o := range x.q.Sort {
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
		if !x.byTime && len(hits) >= 2*x.want+1000 {
			hits = best(hits, x.q, x.want)
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
			db, _, err := s.files.reader(ctx, h.day)
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
		db, _, err := s.files.reader(ctx, d)
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
