package opensearch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"
	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/geoip"
	"vedette/internal/geoip/geoiptest"
	"vedette/internal/leaktest"
	"vedette/internal/retry"
	"vedette/internal/store"
	"vedette/internal/store/storetest"
	"vedette/schemas"
	templates "vedette/schemas/opensearch"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

// TestConformance runs against a real indexer, whose alert indices it removes.
func TestConformance(t *testing.T) {
	urls := os.Getenv("OPENSEARCH_URLS")
	if urls == "" {
		t.Skip("OPENSEARCH_URLS is not set: needs a running OpenSearch (test/harness starts one); its wazuh-alerts-4.x-* indices are removed")
	}
	cfg := Default()
	cfg.URLs = strings.Split(urls, ",")
	cfg.Refresh = "true"
	cfg.InsecureSkipVerify = true
	if pw := os.Getenv("OPENSEARCH_PASSWORD"); pw != "" {
		cfg.Username = "admin"
		cfg.PasswordFile = filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(cfg.PasswordFile, []byte(pw), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	clean := func(t *testing.T) *Store {
		s, err := Open(cfg, quiet, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		var indices []struct {
			Index string `json:"index"`
		}
		if err := s.do(t.Context(), opensearchapi.CatIndicesRequest{Index: []string{templates.AlertsIndexPrefix + "*"}, Format: "json", H: []string{"index"}}, &indices); err != nil {
			t.Fatal(err)
		}
		for _, i := range indices {
			if err := s.do(t.Context(), opensearchapi.IndicesDeleteRequest{Index: []string{i.Index}}, nil); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	storetest.Run(t, func(t *testing.T) store.Store { return clean(t) })

	t.Run("a mapping conflict fails alone", func(t *testing.T) {
		s := clean(t)
		a := []schemas.Alert{
			storetest.Alert("m", 0, map[string]any{"data": map[string]any{"odd": "text"}}),
			storetest.Alert("m", 1, map[string]any{"data": map[string]any{"odd": map[string]any{"is": "object"}}}),
			storetest.Alert("m", 2, nil),
		}
		f, err := s.Put(t.Context(), a)
		// The two lie on different shards, so either may be the first to map the field.
		if err != nil || len(f) != 1 || f[0].Index > 1 || f[0].Reason != store.ReasonMapping {
			t.Fatalf("%+v, %v", f, err)
		}
	})
	t.Run("a value that does not fit a typed field keeps its document", func(t *testing.T) {
		s := clean(t)
		f, err := s.Put(t.Context(), []schemas.Alert{storetest.Alert("v", 0, map[string]any{
			"data":            map[string]any{"aws": map[string]any{"srcaddr": "-", "awsRegion": "eu"}, "timestamp": "never", "port": map[string]any{"local_port": "x"}},
			"previous_output": strings.Repeat("long ", 20000),
		})})
		if err != nil || len(f) > 0 {
			t.Fatalf("%+v, %v", f, err)
		}
	})
}

// fake answers like an indexer: fn gets the ids of a bulk request.
func fake(t *testing.T, fn func(w http.ResponseWriter, ids []string)) *Store {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !strings.HasSuffix(r.URL.Path, "_bulk") {
			if r.URL.Path == "/" {
				_, _ = io.WriteString(w, `{"version":{"number":"2.19.0","distribution":"opensearch"}}`)
				return
			}
			_, _ = io.WriteString(w, "{}")
			return
		}
		b, _ := io.ReadAll(r.Body)
		var ids []string
		for i, l := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
			if i%2 == 1 {
				continue
			}
			var a struct {
				Index struct {
					ID          string `json:"_id"`
					Index       string `json:"_index"`
					Version     int64  `json:"version"`
					VersionType string `json:"version_type"`
				} `json:"index"`
			}
			if err := json.Unmarshal(l, &a); err != nil || a.Index.VersionType != "external_gte" || a.Index.Version != 1 || !strings.HasPrefix(a.Index.Index, "wazuh-alerts-4.x-") {
				t.Errorf("action %s: %v", l, err)
			}
			ids = append(ids, a.Index.ID)
		}
		fn(w, ids)
	}))
	t.Cleanup(srv.Close)
	cfg := Default()
	cfg.URLs = []string{srv.URL}
	s, err := Open(cfg, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func answer(w http.ResponseWriter, status ...int) {
	var parts []string
	for _, st := range status {
		e := ""
		switch st {
		case 400:
			e = `,"error":{"type":"mapper_parsing_exception","reason":"no"}`
		case 409:
			e = `,"error":{"type":"version_conflict_engine_exception","reason":"newer"}`
		case 429:
			e = `,"error":{"type":"rejected_execution_exception","reason":"busy"}`
		}
		parts = append(parts, fmt.Sprintf(`{"index":{"status":%d%s}}`, st, e))
	}
	fmt.Fprintf(w, `{"items":[%s]}`, strings.Join(parts, ","))
}

func TestOnlyWhatWasNotTakenIsSentAgain(t *testing.T) {
	t.Parallel()
	var sent []string
	s := fake(t, func(w http.ResponseWriter, ids []string) {
		sent = append(sent, strings.Join(ids, " "))
		if len(sent) == 1 {
			answer(w, 201, 429, 400, 409)
			return
		}
		answer(w, 200)
	})
	f, err := s.Put(t.Context(), storetest.Series("a", 4))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]store.Failure{{Index: 2, ID: "a-0-2-0", Reason: store.ReasonMapping, Detail: "mapper_parsing_exception: no"}}, f); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"a-0-0-0 a-0-1-0 a-0-2-0 a-0-3-0", "a-0-1-0"}, sent); d != "" {
		t.Error(d)
	}
}

func TestAnUnavailableIndexerIsTriedAgain(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	s := fake(t, func(w http.ResponseWriter, ids []string) {
		if n.Add(1) < 3 {
			w.WriteHeader(503)
			return
		}
		answer(w, 201)
	})
	if f, err := s.Put(t.Context(), storetest.Series("a", 1)); err != nil || len(f) > 0 {
		t.Error(f, err)
	}
}

func TestAPauseThatTheIndexerAsksForIsKept(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		calls.Store(0)
		s := fake(t, func(w http.ResponseWriter, _ []string) {
			calls.Add(1)
			w.Header().Set("Retry-After", "40")
			w.WriteHeader(status)
		})
		_, err := s.Put(t.Context(), storetest.Series("r", 3))
		if d := retry.Asked(err); d != 40*time.Second || calls.Load() != 1 {
			t.Errorf("status %d with a pause of 40 s: Put sent %d requests and asks for %s (%v); the pause is the caller's, so want 1 request and 40s", status, calls.Load(), d, err)
		}
	}
	began := time.Time{}
	s := fake(t, func(w http.ResponseWriter, ids []string) {
		if began.IsZero() {
			began = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		answer(w, slices.Repeat([]int{201}, len(ids))...)
	})
	if f, err := s.Put(t.Context(), storetest.Series("r", 3)); err != nil || len(f) > 0 {
		t.Errorf("after a short pause Put returned failures %v and error %v; want none", f, err)
	}
	if d := time.Since(began); d < time.Second {
		t.Errorf("the indexer asked for 1s, and the request came again after %s", d)
	}
}

func TestATooLargeRequestIsHalved(t *testing.T) {
	t.Parallel()
	s := fake(t, func(w http.ResponseWriter, ids []string) {
		if len(ids) > 1 || ids[0] == "a-0-2-0" {
			w.WriteHeader(413)
			return
		}
		answer(w, 201)
	})
	f, err := s.Put(t.Context(), storetest.Series("a", 4))
	if err != nil || len(f) != 1 || f[0].Index != 2 || f[0].Reason != store.ReasonTooLarge {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	var sizes []int
	s := fake(t, func(w http.ResponseWriter, ids []string) {
		sizes = append(sizes, len(ids))
		st := make([]int, len(ids))
		for i := range st {
			st[i] = 201
		}
		answer(w, st...)
	})
	if _, err := s.Put(t.Context(), storetest.Series("a", bulkDocsMax+1)); err != nil {
		t.Fatal(err)
	}
	var big []schemas.Alert
	for i := range 7 {
		big = append(big, storetest.Alert("b", i, map[string]any{"full_log": strings.Repeat("x", 900_000)}))
	}
	if _, err := s.Put(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]int{bulkDocsMax, 1, 5, 2}, sizes); d != "" {
		t.Error(d)
	}
}

func TestDocumentGetsItsGeoLocation(t *testing.T) {
	t.Parallel()
	named := func(n string) mmdbtype.Map { return mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(n)}} }
	db, err := geoip.New(geoiptest.Records(t, map[string]mmdbtype.DataType{
		"203.0.113.0/24": mmdbtype.Map{
			"city": named("Wellington"), "country": named("New Zealand"),
			"location": mmdbtype.Map{"latitude": mmdbtype.Float64(-41.25), "longitude": mmdbtype.Float64(174.75)},
		},
		"198.51.100.0/24": mmdbtype.Map{"country": named("Sweden")},
	}))
	if err != nil {
		t.Fatal(err)
	}
	const (
		tail       = `"@timestamp":"2026-11-22T00:58:20.271Z","input":{"type":"log"}`
		wellington = `"GeoLocation":{"city_name":"Wellington","country_name":"New Zealand","location":{"lon":174.75,"lat":-41.25}}`
		sweden     = `"GeoLocation":{"country_name":"Sweden"}`
	)
	f := func(in, want string) {
		t.Helper()
		got, err := document([]byte(in), time.UnixMilli(1795309100271), db)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Error(d)
		}
	}
	f(`{"data":{"srcip":"203.0.113.7"}}`, `{"data":{"srcip":"203.0.113.7"},`+tail+`,`+wellington+`}`)
	f(`{"data":{"srcip":"::ffff:198.51.100.7"}}`, `{"data":{"srcip":"::ffff:198.51.100.7"},`+tail+`,`+sweden+`}`)
	// The last of several addresses counts; an address that is not found does
	// not.
	f(`{"data":{"srcip":"203.0.113.7","win":{"eventdata":{"ipAddress":"198.51.100.1"}},"office365":{"ClientIP":"10.0.0.1"}}}`,
		`{"data":{"srcip":"203.0.113.7","win":{"eventdata":{"ipAddress":"198.51.100.1"}},"office365":{"ClientIP":"10.0.0.1"}},`+tail+`,`+sweden+`}`)
	f(`{"data":{"aws":{"sourceIPAddress":"198.51.100.1"}}}`,
		`{"@timestamp":"2026-11-22T00:58:20.271Z","GeoLocation":{"country_name":"Sweden"},"data":{"aws":{"sourceIPAddress":"198.51.100.1"}},"input":{"type":"log"}}`)
	for _, none := range []string{`{"srcip":"203.0.113.7"}`, `{"data":{"srcip":"10.0.0.1"}}`, `{"data":{"srcip":"x"}}`, `{"data":{"srcip":["203.0.113.7"]}}`, `{"data":["srcip"]}`, `{"GeoLocation":{},"data":{"srcip":"203.0.113.7"}}`} {
		f(none, none[:len(none)-1]+`,`+tail+`}`)
	}
}

func TestDocumentGetsWhatThePipelineAdds(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1795309100271)
	const tail = `"@timestamp":"2026-11-22T00:58:20.271Z","input":{"type":"log"}`
	f := func(in, want string) {
		t.Helper()
		got, err := document([]byte(in), at, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Error(d)
		}
	}
	f(`{}`, `{`+tail+`}`)
	f("{\"a\":1\n}\n", `{"a":1,`+tail+`}`)
	f(`{"data":{"aws":{"awsRegion":"eu","aws_account_id":"","n":12345678901234567890}}}`,
		`{"@timestamp":"2026-11-22T00:58:20.271Z","data":{"aws":{"awsRegion":"eu","aws_account_id":"","n":12345678901234567890,"region":"eu"}},"input":{"type":"log"}}`)
	for _, bad := range []string{``, `[1]`, `{`, `{"a":1}{`, `null`} {
		if _, err := document([]byte(bad), at, nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
