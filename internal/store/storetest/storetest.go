// Package storetest holds the promises of every store.Store, as tests.
package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vedette/internal/qlang"
	"vedette/internal/store"
	"vedette/schemas"
)

// Base is the time of the first alert that Alert makes: noon of a recent day, so
// that hours around it are in one day and no store finds it too old.
func Base() time.Time {
	return time.Now().UTC().Truncate(24 * time.Hour).Add(-36 * time.Hour)
}

// Alert makes the i-th alert of a series, one minute after the one before.
// Members of over replace top-level ones.
func Alert(series string, i int, over map[string]any) schemas.Alert {
	at := Base().Add(time.Duration(i) * time.Minute)
	doc := map[string]any{
		"timestamp": at.Format("2006-01-02T15:04:05.000-0700"),
		"rule": map[string]any{
			"level": 3 + i%10, "description": fmt.Sprintf("Login of user u%d", i%3), "id": fmt.Sprint(5700 + i%4), "mail": false, "firedtimes": i,
			"groups": []string{"syslog", fmt.Sprintf("g%d", i%2)}, "mitre": map[string]any{"id": []string{"T1110"}},
		},
		"agent":    map[string]any{"id": fmt.Sprintf("%03d", i%5), "name": fmt.Sprintf("Web-%d", i%5)},
		"manager":  map[string]any{"name": "m"},
		"id":       fmt.Sprintf("%d.%d", at.Unix(), i),
		"full_log": fmt.Sprintf("Nov 22 sshd[%d]: Accepted password for u%d from 10.0.0.%d port 22", 1000+i, i%3, i%7),
		"decoder":  map[string]any{"name": "sshd"},
		"data":     map[string]any{"srcip": fmt.Sprintf("10.0.0.%d", i%7), "dstuser": fmt.Sprintf("u%d", i%3)},
		"location": "/var/log/auth.log",
	}
	for k, v := range over {
		doc[k] = v
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic("storetest: " + err.Error())
	}
	return schemas.Alert{ID: schemas.AlertDocID(series, 0, int64(i), 0), Epoch: 1, Key: "001", Time: at, Document: b}
}

// Series makes alerts 0 to n-1.
func Series(series string, n int) []schemas.Alert {
	out := make([]schemas.Alert, n)
	for i := range out {
		out[i] = Alert(series, i, nil)
	}
	return out
}

// Run tests a store. open gives a fresh and empty one whose writes can be
// searched as soon as Put has returned; it closes it by itself.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	put := func(t *testing.T, s store.Store, alerts ...schemas.Alert) {
		t.Helper()
		f, err := s.Put(t.Context(), alerts)
		if err != nil || len(f) > 0 {
			t.Fatalf("put: %v, %v", f, err)
		}
	}
	// search returns the `firedtimes` of the page, which is i of Alert.
	search := func(t *testing.T, s store.Store, q store.Query) ([]int, int) {
		t.Helper()
		p, err := s.Search(t.Context(), q)
		if err != nil {
			t.Fatalf("search %+v: %v", q, err)
		}
		got := []int{}
		for _, it := range p.Items {
			var d struct {
				Rule struct {
					Firedtimes int `json:"firedtimes"`
				} `json:"rule"`
			}
			if err := json.Unmarshal(it, &d); err != nil {
				t.Fatal(err)
			}
			got = append(got, d.Rule.Firedtimes)
		}
		return got, p.Total
	}

	t.Run("an empty store answers with nothing", func(t *testing.T) {
		s := open(t)
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, total := search(t, s, store.Query{Limit: 10}); len(got) != 0 || total != 0 {
			t.Errorf("%v, %d", got, total)
		}
	})

	t.Run("a put alert is found with its members", func(t *testing.T) {
		s := open(t)
		a := Alert("one", 0, nil)
		put(t, s, a)
		p, err := s.Search(t.Context(), store.Query{Limit: 1})
		if err != nil || len(p.Items) != 1 {
			t.Fatalf("%v, %v", p, err)
		}
		var want, got map[string]any
		if err := errors.Join(json.Unmarshal(a.Document, &want), json.Unmarshal(p.Items[0], &got)); err != nil {
			t.Fatal(err)
		}
		for k := range got {
			if _, ok := want[k]; !ok {
				delete(got, k) // members that indexing adds, such as @timestamp
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})

	t.Run("a repeat changes nothing and a newer epoch replaces", func(t *testing.T) {
		s := open(t)
		all := Series("repeat", 20)
		put(t, s, all...)
		put(t, s, all[5:]...)
		put(t, s, all[3], all[3])
		if _, total := search(t, s, store.Query{}); total != 20 {
			t.Errorf("total %d", total)
		}
		newer := Alert("repeat", 7, map[string]any{"full_log": "newer zebra", "rule": map[string]any{"id": "9", "level": 9, "firedtimes": 7}})
		newer.Epoch = 5
		put(t, s, newer)
		put(t, s, all[7]) // a paused former owner
		got, total := search(t, s, store.Query{Filter: qlang.Is("rule.id", "9"), Limit: 5})
		if d := cmp.Diff([]int{7}, got); d != "" || total != 1 {
			t.Errorf("%s total %d", d, total)
		}
		if got, _ := search(t, s, store.Query{Text: "zebra", Limit: 5}); !slices.Equal(got, []int{7}) {
			t.Errorf("text of the newer one: %v", got)
		}
		if _, total := search(t, s, store.Query{}); total != 20 {
			t.Errorf("total %d", total)
		}
	})

	t.Run("a document that is no object fails alone", func(t *testing.T) {
		s := open(t)
		bad := Alert("bad", 1, nil)
		bad.Document = []byte(`[1]`)
		f, err := s.Put(t.Context(), []schemas.Alert{Alert("bad", 0, nil), bad, Alert("bad", 2, nil)})
		if err != nil || len(f) != 1 || f[0].Index != 1 || f[0].ID != bad.ID || f[0].Reason != store.ReasonDocument {
			t.Fatalf("%+v, %v", f, err)
		}
		if got, _ := search(t, s, store.Query{Limit: 5}); !slices.Equal(got, []int{2, 0}) {
			t.Errorf("%v", got)
		}
	})

	t.Run("queries", func(t *testing.T) {
		s := open(t)
		put(t, s, Series("q", 12)...)
		at := func(i int) time.Time { return Base().Add(time.Duration(i) * time.Minute) }
		f := func(name string, q store.Query, total int, want ...int) {
			t.Run(name, func(t *testing.T) {
				if q.Limit == 0 {
					q.Limit = 100
				}
				got, n := search(t, s, q)
				if d := cmp.Diff(want, got); d != "" || n != total {
					t.Errorf("total %d, want %d; %s", n, total, d)
				}
			})
		}
		x := func(s string) *qlang.Expr {
			e, err := qlang.Parse(s)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			return e
		}
		asc := []store.Order{{Field: "timestamp"}}
		f("newest first", store.Query{Limit: 3}, 12, 11, 10, 9)
		f("second page", store.Query{Limit: 3, Offset: 3}, 12, 8, 7, 6)
		f("page past the end", store.Query{Limit: 3, Offset: 11}, 12, 0)
		f("oldest first", store.Query{Limit: 2, Sort: asc}, 12, 0, 1)
		f("time range", store.Query{From: at(2), To: at(5), Sort: asc}, 3, 2, 3, 4)
		f("equal", store.Query{Filter: x("rule.id=5701"), Sort: asc}, 3, 1, 5, 9)
		f("not equal", store.Query{Filter: x("rule.id!=5701;rule.id!=5702;rule.id!=5703"), Sort: asc}, 3, 0, 4, 8)
		f("number above", store.Query{Filter: x("rule.level>10"), Sort: asc}, 2, 8, 9)
		f("number below", store.Query{Filter: x("rule.level<5"), Sort: asc}, 4, 0, 1, 10, 11)
		f("number equal", store.Query{Filter: x("rule.level=7"), Sort: asc}, 1, 4)
		f("number field with text", store.Query{Filter: x("rule.level=high"), Sort: asc}, 0, []int{}...)
		f("and before or", store.Query{Filter: x("agent.id=001;rule.id=5701,agent.id=003;rule.id=5703"), Sort: asc}, 2, 1, 3)
		f("parentheses", store.Query{Filter: x("(agent.id=001,agent.id=002);rule.level>7"), Sort: asc}, 2, 6, 7)
		f("any field", store.Query{Filter: x("data.srcip=10.0.0.6"), Sort: asc}, 1, 6)
		f("case is ignored", store.Query{Filter: x("agent.name=wEB-2;data.dstuser=U2"), Sort: asc}, 1, 2)
		f("contains", store.Query{Filter: x("agent.name~eb-4"), Sort: asc}, 2, 4, 9)
		f("contains in a description", store.Query{Filter: x("rule.description~user u2;rule.level>10"), Sort: asc}, 1, 8)
		f("element of a list", store.Query{Filter: x("rule.groups=g1;data.srcip=10.0.0.3"), Sort: asc}, 1, 3)
		f("none of a list", store.Query{Filter: x("rule.groups!=g1;agent.id=000"), Sort: asc}, 2, 0, 10)
		f("absent field", store.Query{Filter: x("data.nothing=1"), Sort: asc}, 0, []int{}...)
		f("null", store.Query{Filter: x("data.nothing=null;agent.id=000"), Sort: asc}, 3, 0, 5, 10)
		f("not null", store.Query{Filter: x("data.srcip!=null;agent.id=000"), Sort: asc}, 3, 0, 5, 10)
		f("date after", store.Query{Filter: x("timestamp>" + at(9).Format("2006-01-02T15:04:05Z")), Sort: asc}, 2, 10, 11)
		f("period, older", store.Query{Filter: x("timestamp>10m"), Now: at(12), Sort: asc}, 2, 0, 1)
		f("period, newer", store.Query{Filter: x("timestamp<90s"), Now: at(12), Sort: asc}, 1, 11)
		f("text, all words", store.Query{Text: "accepted 10.0.0.6", Sort: asc}, 1, 6)
		f("text, prefix", store.Query{Text: "acc* u1", Filter: x("rule.level>8"), Sort: asc}, 1, 7)
		f("text in the description", store.Query{Text: "login", Limit: 1}, 12, 11)
		f("text with signs", store.Query{Text: `sshd[1003]: "from`}, 1, 3)
		f("text that is not there", store.Query{Text: "rejected"}, 0, []int{}...)
		f("sort by number", store.Query{Sort: []store.Order{{Field: "rule.level", Desc: true}, {Field: "timestamp"}}, Limit: 3}, 12, 9, 8, 7)
		f("sort by any field", store.Query{Sort: []store.Order{{Field: "data.srcip"}, {Field: "timestamp", Desc: true}}, Limit: 4, Offset: 1}, 12, 0, 8, 1, 9)
		f("sort by an absent field", store.Query{Sort: []store.Order{{Field: "data.nothing"}, {Field: "timestamp"}}, Limit: 2}, 12, 0, 1)
	})

	t.Run("days apart are one set", func(t *testing.T) {
		s := open(t)
		var all []schemas.Alert
		for i := range 6 {
			a := Alert("days", i, nil)
			a.Time = Base().Add(time.Duration(i) * 9 * time.Hour).Add(-54 * time.Hour)
			a.Document = []byte(fmt.Sprintf(`{"timestamp":%q,"rule":{"id":"%d","level":3,"firedtimes":%d},"full_log":"day %d"}`,
				a.Time.Format("2006-01-02T15:04:05.000-0700"), i%2, i, i))
			all = append(all, a)
		}
		put(t, s, all...)
		f := func(q store.Query, total int, want ...int) {
			t.Helper()
			got, n := search(t, s, q)
			if d := cmp.Diff(want, got); d != "" || n != total {
				t.Errorf("total %d, want %d; %s", n, total, d)
			}
		}
		f(store.Query{Limit: 3, Offset: 1}, 6, 4, 3, 2)
		f(store.Query{Limit: 2, Sort: []store.Order{{Field: "rule.firedtimes"}}}, 6, 0, 1)
		f(store.Query{Limit: 9, From: all[1].Time, To: all[4].Time}, 3, 3, 2, 1)
		f(store.Query{Limit: 2, Filter: qlang.Is("rule.id", "1")}, 3, 5, 3)
	})

	t.Run("what cannot be asked is refused as such", func(t *testing.T) {
		s := open(t)
		for _, q := range []store.Query{
			{Limit: store.MaxWindow, Offset: 1},
			{Limit: -1},
			{Sort: []store.Order{{Field: ""}}},
			{Filter: qlang.Is("timestamp", "soon")},
		} {
			if _, err := s.Search(t.Context(), q); !errors.Is(err, store.ErrQuery) {
				t.Errorf("%+v: %v", q, err)
			}
		}
	})
}
