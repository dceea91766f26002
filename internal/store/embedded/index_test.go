package embedded

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/qlang"
	"vedette/internal/store"
	"vedette/internal/store/storetest"
	"vedette/schemas"
)

// oddAlerts have few values in fields that are indexed, of every kind there is.
func oddAlerts(r *rand.Rand, n int) []schemas.Alert {
	pick := func(vs ...any) any { return vs[r.IntN(len(vs))] }
	long := strings.Repeat("x", termBytesMax+1)
	var out []schemas.Alert
	for i := range n {
		a := storetest.Alert("odd", i, nil)
		// Not in the order in which they are written, and several at one time.
		a.Time = storetest.Base().Add(time.Duration(r.IntN(n/2)) * time.Second)
		doc := map[string]any{
			"timestamp": a.Time.Format("2006-01-02T15:04:05.000-0700"), "n": i, "unindexed": pick("a", "B", 5),
			"rule": map[string]any{
				"id": fmt.Sprint(r.IntN(4)), "level": 1 + r.IntN(5), "description": pick("One", "two \"quoted\"", "Zwei Ärger"),
				"groups": pick([]string{"syslog"}, []string{"syslog", "sshd"}, []string{"Web", "web"}, []string{}, "syslog"),
				"mitre":  map[string]any{"id": pick([]string{"T1", "T2"}, []string{"T2"}, nil)},
			},
			"agent": map[string]any{"id": fmt.Sprintf("%03d", r.IntN(3)), "name": pick("web-1", "Web-1", "db")},
			"data": map[string]any{
				"srcip": pick("10.0.0.1", "10.0.0.2", nil), "srcport": pick(22, 22.0, "22", "443", 443), "status": pick(true, false, "true", "", " a b"),
				"dstuser": pick("root", []any{"root", "Admin"}, []any{map[string]any{"x": 1}, "nested"}), "url": pick("/a", `{"a": 1}`, `{"a":1}`),
				"win": map[string]any{"system": map[string]any{"eventID": pick("4624", "4625")}, "system.channel": "Dotted"},
			},
			"syscheck": map[string]any{"path": pick("/etc/passwd", `C:\Windows\a`, "/etc/é")},
		}
		if r.IntN(3) == 0 {
			doc["location"] = pick("/var/log/a", "/var/log/B")
		}
		if i == n/2 {
			doc["data"].(map[string]any)["id"] = long
		}
		var err error
		if a.Document, err = json.Marshal(doc); err != nil {
			panic(err)
		}
		out = append(out, a)
	}
	return out
}

// oddQueries are about the fields of oddAlerts.
func oddQueries(r *rand.Rand, n int) []*qlang.Expr {
	fields := []string{
		"rule.groups", "rule.description", "rule.mitre.id", "agent.name", "data.srcip", "data.srcport", "data.status", "data.dstuser", "data.url", "data.id",
		"data.win.system.eventID", "data.win.system.channel", "syscheck.path", "location", "unindexed", "rule.id", "agent.id", "decoder.name", "rule.level", "data.file",
	}
	values := []string{
		"syslog", "SSHD", "web", "web-1", "T2", "10.0.0.1", "10.0", "22", "22.0", "443", "true", "root", "admin", "nested", `{"a":1}`, "/a", "4624", "dotted", "/etc/É",
		"null", "a", "5", "1", "000", "nothing", "s'slog", "two \"quoted\"", "zwei ärger", "/var/log/b", "",
	}
	ops := []qlang.Op{qlang.Equal, qlang.NotEqual, qlang.Less, qlang.Greater, qlang.Contains}
	var expr func(depth int) *qlang.Expr
	expr = func(depth int) *qlang.Expr {
		if depth == 0 || r.IntN(3) == 0 {
			return &qlang.Expr{Clause: &qlang.Clause{Field: fields[r.IntN(len(fields))], Op: ops[r.IntN(len(ops))], Value: values[r.IntN(len(values))]}}
		}
		list := []*qlang.Expr{expr(depth - 1), expr(depth - 1)}
		if r.IntN(2) == 0 {
			return &qlang.Expr{And: list}
		}
		return &qlang.Expr{Or: list}
	}
	var out []*qlang.Expr
	for range n {
		out = append(out, expr(2))
	}
	return out
}

// numbersOf are the members n of the documents a search gives.
func numbersOf(t *testing.T, s *Store, q store.Query) (got []int, total int) {
	t.Helper()
	p, err := s.Search(t.Context(), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	got = []int{}
	for _, it := range p.Items {
		var d struct {
			N int `json:"n"`
		}
		if err := json.Unmarshal(it, &d); err != nil {
			t.Fatal(err)
		}
		got = append(got, d.N)
	}
	return got, p.Total
}

// checkOdd compares searches with asking every document.
func checkOdd(t *testing.T, s *Store, alerts []schemas.Alert, queries []*qlang.Expr) {
	t.Helper()
	type doc struct {
		n   int // in the order of writing
		a   *schemas.Alert
		obj qlang.Raw
	}
	for _, x := range queries {
		q := store.Query{Filter: x, Now: time.Now(), From: storetest.Base().Add(10 * time.Second)}
		m, err := x.Compile(q.Options())
		if err != nil {
			t.Fatal(err)
		}
		var docs []doc
		for i := range alerts {
			if d := (doc{i, &alerts[i], qlang.Raw(alerts[i].Document)}); m.Match(d.obj) && !d.a.Time.Before(q.From) {
				docs = append(docs, d)
			}
		}
		for _, order := range []store.Order{{}, {Field: store.TimeField}, {Field: "data.srcip"}, {Field: "data.srcport", Desc: true}, {Field: "rule.id"}, {Field: "agent.name", Desc: true}, {Field: "location"}, {Field: "rule.groups"}} {
			q.Sort, q.Limit = nil, 7
			if order.Field != "" {
				q.Sort = []store.Order{order}
			}
			full := q
			if err := full.Normalize(); err != nil {
				t.Fatal(err)
			}
			var hits []hit
			for _, d := range docs {
				h := hit{n: int64(d.n), time: d.a.Time.UnixMilli()}
				if order.Field == store.TimeField {
					h.n = -h.n // the earliest first, also among alerts of one time
				}
				for _, o := range full.Sort {
					switch vs := d.obj.Values(o.Field); {
					case o.Field == store.TimeField:
						h.keys = append(h.keys, float64(h.time))
					case len(vs) > 0:
						h.keys = append(h.keys, key(vs[0]))
					default:
						h.keys = append(h.keys, nil)
					}
				}
				hits = append(hits, h)
			}
			want := []int{}
			for _, h := range best(hits, &full, 7) {
				want = append(want, int(max(h.n, -h.n)))
			}
			got, total := numbersOf(t, s, q)
			if d := cmp.Diff(want, got); d != "" || total != len(docs) {
				b, _ := json.Marshal(x)
				t.Errorf("%s sorted by %+v: total %d, want %d; %s", b, order, total, len(docs), d)
			}
		}
	}
}

func TestSearchesByTheIndexAnswerLikeAskingEveryDocument(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 5))
	s := open(t, t.TempDir())
	alerts := oddAlerts(r, 300)
	for some := range slices.Chunk(alerts, 70) {
		if f, err := s.Put(t.Context(), some); err != nil || len(f) > 0 {
			t.Fatal(f, err)
		}
	}
	checkOdd(t, s, alerts, oddQueries(r, 400))
	// Replaced documents are found by their new values only.
	next := oddAlerts(r, 300)
	for i := range alerts {
		if i%3 == 0 {
			next[i].Epoch, next[i].Time = alerts[i].Epoch+1, alerts[i].Time
			alerts[i] = next[i]
		}
	}
	if f, err := s.Put(t.Context(), alerts); err != nil || len(f) > 0 {
		t.Fatal(f, err)
	}
	checkOdd(t, s, alerts, oddQueries(r, 100))
}

// unindex makes the file of a day as an earlier version wrote it.
func unindex(t *testing.T, s *Store, d day) {
	t.Helper()
	db, err := s.files.writer(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), `DROP TABLE posting; DROP TABLE term; PRAGMA user_version = 1;`); err != nil {
		t.Fatal(err)
	}
}

func TestDaysOfEarlierVersionsGetTheIndex(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 1))
	dir := t.TempDir()
	s := open(t, dir)
	alerts := oddAlerts(r, 1200) // more than one transaction
	first := alerts[:1000]
	if _, err := s.Put(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	d := dayOf(storetest.Base())
	unindex(t, s, d)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Another process reads it as it is.
	cfg := Default()
	cfg.Dir, cfg.ReadOnly = dir, true
	reader, err := Open(cfg, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	queries := oddQueries(r, 40)
	checkOdd(t, reader, first, queries[:5])

	// While the index is added, alerts are written, replaced and searched.
	s = open(t, dir)
	first[0].Epoch++
	first[0].Document = []byte(strings.Replace(string(first[0].Document), `"n":0`, `"n":0,"location":"/var/log/a"`, 1))
	if _, err := s.Put(t.Context(), append(slices.Clone(alerts[1000:]), first[0])); err != nil {
		t.Fatal(err)
	}
	checkOdd(t, s, alerts, queries[:5])
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, withTerms, err := s.files.reader(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if withTerms {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the index was never added")
		}
	}
	checkOdd(t, s, alerts, queries)
	checkOdd(t, reader, alerts, queries[:5])
}
