package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/leaktest"
	"vedette/internal/qlang"
	"vedette/internal/store"
	"vedette/internal/store/storetest"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	cfg := Default()
	cfg.Dir = dir
	s, err := Open(cfg, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}

func TestAReaderInAnotherProcessSeesWhatIsCommitted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := Default()
	cfg.Dir, cfg.ReadOnly = dir, true
	r, err := Open(cfg, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	total := func(want int) {
		t.Helper()
		p, err := r.Search(t.Context(), store.Query{Limit: 5})
		if err != nil || p.Total != want {
			t.Errorf("total %d, want %d: %v", p.Total, want, err)
		}
	}
	total(0)
	w := open(t, dir)
	for _, n := range []int{4, 9} {
		if _, err := w.Put(t.Context(), storetest.Series("r", n)); err != nil {
			t.Fatal(err)
		}
		total(n)
	}
	if _, err := r.Put(t.Context(), storetest.Series("r", 1)); err == nil {
		t.Error("a read-only store took an alert")
	}
	if err := w.files.remove(dayOf(storetest.Base())); err != nil {
		t.Fatal(err)
	}
	total(0)
}

func TestAReaderNeedsNoWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, dir)
	if _, err := w.Put(t.Context(), storetest.Series("r", 3)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Dir, cfg.ReadOnly = dir, true
	r, err := Open(cfg, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if p, err := r.Search(t.Context(), store.Query{Limit: 5}); err != nil || p.Total != 3 {
		t.Errorf("total %d: %v", p.Total, err)
	}
	w = open(t, dir) // and a writer may come back
	if _, err := w.Put(t.Context(), storetest.Series("s", 2)); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Search(t.Context(), store.Query{Limit: 5}); err != nil || p.Total != 5 {
		t.Errorf("total %d: %v", p.Total, err)
	}
}

func TestASecondWriterIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	cfg := Default()
	cfg.Dir = dir
	if _, err := Open(cfg, quiet, nil); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v", err)
	}
}

func TestWhatWasWrittenIsThereAfterAReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Put(t.Context(), storetest.Series("x", 50)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err := open(t, dir).Search(t.Context(), store.Query{Limit: 1}); err != nil || p.Total != 50 {
		t.Errorf("%d, %v", p.Total, err)
	}
}

func TestCountsFollowTheDocuments(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	all := storetest.Series("c", 10)
	for range 3 { // repeats do not count twice
		if _, err := s.Put(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}
	got := func(dim string) string {
		t.Helper()
		cs, err := s.Counts(t.Context(), dim, storetest.Base().Add(-time.Hour), storetest.Base().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, c := range cs {
			if !c.Hour.Equal(storetest.Base()) {
				t.Errorf("hour %s", c.Hour)
			}
			fmt.Fprintf(&b, "%s:%d ", c.Value, c.Count)
		}
		return strings.TrimSpace(b.String())
	}
	check := func(dim, want string) {
		t.Helper()
		if d := cmp.Diff(want, got(dim)); d != "" {
			t.Error(dim, d)
		}
	}
	check(DimAll, ":10")
	check(DimRule, "5700:3 5701:3 5702:2 5703:2")
	check(DimAgent, "000:2 001:2 002:2 003:2 004:2")
	check(DimGroup, "g0:5 g1:5 syslog:10")
	check(DimMitre, "T1110:10")
	changed := storetest.Alert("c", 0, map[string]any{"rule": map[string]any{"id": "1", "level": 15, "groups": []string{"new", "new"}}})
	changed.Epoch = 2
	if _, err := s.Put(t.Context(), []schemas.Alert{changed}); err != nil {
		t.Fatal(err)
	}
	check(DimAll, ":10")
	check(DimRule, "1:1 5700:2 5701:3 5702:2 5703:2")
	check(DimGroup, "g0:4 g1:5 new:1 syslog:9")
	check(DimMitre, "T1110:9")
}

func TestWholeDaysAreRemovedByAgeAndSize(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for _, daysAgo := range []int{89, 60, 30, 1, 0} {
		var as []schemas.Alert
		for i := range 40 {
			a := storetest.Alert(fmt.Sprint("d", daysAgo), i, map[string]any{"full_log": strings.Repeat("lorem ipsum ", 4000)})
			a.Time = time.Now().AddDate(0, 0, -daysAgo)
			as = append(as, a)
		}
		if _, err := s.Put(t.Context(), as); err != nil {
			t.Fatal(err)
		}
	}
	days := func(want int) {
		t.Helper()
		if d, err := s.files.list(); err != nil || len(d) != want {
			t.Errorf("%v, want %d: %v", d, want, err)
		}
	}
	days(5)
	later := time.Now().AddDate(0, 0, 10)
	if err := s.sweep(later); err != nil {
		t.Fatal(err)
	}
	days(4)
	s.cfg.MaxBytes = 2 * s.files.size(dayOf(time.Now().AddDate(0, 0, -30)))
	if err := s.sweep(time.Now()); err != nil {
		t.Fatal(err)
	}
	if d, _ := s.files.list(); len(d) > 2 || len(d) == 0 {
		t.Errorf("%v", d)
	}
	s.cfg.MaxBytes = 1
	if err := s.sweep(time.Now()); err != nil {
		t.Fatal(err)
	}
	days(1) // the newest stays
	old := storetest.Alert("old", 0, nil)
	old.Time = time.Now().AddDate(0, 0, -200)
	if f, err := s.Put(t.Context(), []schemas.Alert{old}); err != nil || len(f) > 0 {
		t.Errorf("%v, %v", f, err)
	}
	days(1)
}

func TestAnUnwritableDirectoryIsAnError(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if err := os.RemoveAll(s.cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), storetest.Series("x", 1)); err == nil {
		t.Error("written without a directory")
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready without a directory")
	}
}

func TestAnyTextCanBeAsked(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if _, err := s.Put(t.Context(), storetest.Series("x", 3)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`"`, `""`, `*`, `a*b`, `AND`, `a OR b NOT c`, `NEAR(a b)`, `full_log:x`, `-x`, `^x`, "a\x00b", `a"b"c*`, `'; DROP TABLE alert`, `{a b}`, "\u00fc*", "+", "\xff\xfe"} {
		if _, err := s.Search(t.Context(), store.Query{Text: text, Limit: 5}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAnAlertFarAheadIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	a := storetest.Series("x", 3)
	a[1].Time = time.Now().AddDate(500, 0, 0)
	f, err := s.Put(t.Context(), a)
	if err != nil || len(f) != 1 || f[0].Index != 1 || f[0].Reason != store.ReasonRefused {
		t.Errorf("%+v, %v", f, err)
	}
}

func BenchmarkSearch(b *testing.B) {
	s := open(b, b.TempDir())
	pad := strings.Repeat("some words that stand in a log line of an ordinary daemon ", 14)
	const n = 100_000
	for i := 0; i < n; i += 5000 {
		as := make([]schemas.Alert, 5000)
		for j := range as {
			as[j] = storetest.Alert("b", i+j, map[string]any{"full_log": fmt.Sprintf("%s w%d", pad, i+j)})
			as[j].Time = storetest.Base().Add(time.Duration(i+j) * 100 * time.Millisecond)
		}
		if f, err := s.Put(b.Context(), as); err != nil || len(f) > 0 {
			b.Fatal(f, err)
		}
	}
	for name, q := range map[string]store.Query{
		"newest":    {Limit: 50},
		"rule":      {Limit: 50, Filter: qlang.Is("rule.id", "5701")},
		"text":      {Limit: 50, Text: "ordinary w4711"},
		"any field": {Limit: 50, Filter: qlang.Is("data.srcip", "10.0.0.3")},
		"hour":      {Limit: 50, From: storetest.Base(), To: storetest.Base().Add(time.Hour), Filter: qlang.Is("data.srcip", "10.0.0.3")},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if p, err := s.Search(b.Context(), q); err != nil || p.Total == 0 {
					b.Fatal(p.Total, err)
				}
			}
		})
	}
	b.Run("counts", func(b *testing.B) {
		for b.Loop() {
			if c, err := s.Counts(b.Context(), DimAgent, storetest.Base(), storetest.Base().Add(24*time.Hour)); err != nil || len(c) == 0 {
				b.Fatal(c, err)
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s := open(b, b.TempDir())
	pad := strings.Repeat("some words that stand in a log line of an ordinary daemon ", 14)
	n := 0
	b.ReportAllocs()
	start := time.Now()
	for b.Loop() {
		as := make([]schemas.Alert, 2000)
		for i := range as {
			as[i] = storetest.Alert("b", n, map[string]any{"full_log": fmt.Sprintf("%s %d", pad, n)})
			as[i].Time = storetest.Base().Add(time.Duration(n) * time.Millisecond)
			n++
		}
		if f, err := s.Put(b.Context(), as); err != nil || len(f) > 0 {
			b.Fatal(f, err)
		}
	}
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "docs/s")
	var size int64
	days, _ := s.files.list()
	for _, d := range days {
		size += s.files.size(d)
	}
	b.ReportMetric(float64(size)/float64(n), "B/doc")
}
