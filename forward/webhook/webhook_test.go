package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"vedette/forward"
	"vedette/forward/forwardtest"
	"vedette/internal/leaktest"
	"vedette/internal/secret"
	"vedette/internal/store"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// receiver takes alerts, or answers as it is told.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
	headers  []http.Header
	alerts   map[string]int
	order    []string
	refuse   int
	busy     time.Duration
	hang     chan struct{}
	reached  func()
	// status decides on a request; nil: 200.
	status func(body string) int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{alerts: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	hang, reached := r.hang, r.reached
	r.mu.Unlock()
	if hang != nil {
		reached()
		select {
		case <-hang:
		case <-req.Context().Done():
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.headers = append(r.requests, string(body)), append(r.headers, req.Header)
	switch {
	case r.busy > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(r.busy.Seconds())))
		r.busy = 0
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case r.refuse > 0:
		r.refuse--
		w.WriteHeader(http.StatusBadGateway)
		return
	case r.status != nil:
		if status := r.status(string(body)); status != 200 {
			w.WriteHeader(status)
			return
		}
	}
	type alert struct {
		Vedette map[string]any `json:"vedette"`
	}
	var list []alert
	if json.Unmarshal(body, &list) != nil {
		var one alert
		_ = json.Unmarshal(body, &one)
		list = []alert{one}
	}
	for _, a := range list {
		id := fmt.Sprint(a.Vedette["topic_id"], a.Vedette["partition"], a.Vedette["offset"])
		r.alerts[id]++
		r.order = append(r.order, fmt.Sprint(a.Vedette["offset"]))
	}
}

func (r *receiver) count(testing.TB) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.alerts)
}

// hook opens a webhook that sends to r.
func hook(t *testing.T, r *receiver, change func(*Config)) *Hook {
	t.Helper()
	c := Default()
	c.URL = secret.String(r.URL)
	if change != nil {
		change(&c)
	}
	if err := c.Validate(true); err != nil {
		t.Fatalf("the configuration is refused: %v", err)
	}
	h, err := New(c)
	if err != nil {
		t.Fatalf("New returned %v", err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func file(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDestination(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 7, 1000} {
		t.Run(fmt.Sprint("batch of ", batch), func(t *testing.T) {
			t.Parallel()
			forwardtest.Run(t, func(t *testing.T) forwardtest.Subject {
				r := newReceiver(t)
				return forwardtest.Subject{
					Destination: hook(t, r, func(c *Config) { c.Batch = batch }),
					Count:       r.count,
					Refuse:      func(n int) { r.refuse = n },
					Busy:        func(d time.Duration) { r.busy = d },
					Hang: func() (<-chan struct{}, func()) {
						hang, reached := make(chan struct{}), make(chan struct{})
						r.hang, r.reached = hang, sync.OnceFunc(func() { close(reached) })
						return reached, func() { close(hang) }
					},
				}
			})
		})
	}
}

func TestARequestIsADocumentOrAList(t *testing.T) {
	t.Parallel()
	alerts := forwardtest.Series("s", 5)
	alerts[4].Document = []byte("{\"full_log\":\"a\xffb\"}")
	r := newReceiver(t)
	if fs, err := hook(t, r, nil).Deliver(t.Context(), alerts); err != nil || len(fs) > 0 {
		t.Fatalf("Deliver returned %v, %v", fs, err)
	}
	want := []string{string(alerts[0].Document), string(alerts[1].Document), string(alerts[2].Document), string(alerts[3].Document), "{\"full_log\":\"a\uFFFDb\"}"}
	if d := cmp.Diff(want, r.requests); d != "" {
		t.Errorf("one alert a request (-want +got):\n%s", d)
	}
	r = newReceiver(t)
	if fs, err := hook(t, r, func(c *Config) { c.Batch = 2 }).Deliver(t.Context(), alerts); err != nil || len(fs) > 0 {
		t.Fatalf("Deliver returned %v, %v", fs, err)
	}
	if d := cmp.Diff([]string{"[" + want[0] + "," + want[1] + "]", "[" + want[2] + "," + want[3] + "]", "[" + want[4] + "]"}, r.requests); d != "" {
		t.Errorf("two alerts a request (-want +got):\n%s", d)
	}
	if k := r.headers[0].Get("Content-Type"); k != "application/json" {
		t.Errorf("the requests have the type %q", k)
	}
}

func TestARequestIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	alerts := forwardtest.Series("s", 10)
	for i := range alerts {
		alerts[i].Document = fmt.Appendf(nil, `{"full_log":"%s","vedette":{"topic_id":"s","partition":0,"offset":%d}}`, strings.Repeat("x", 900<<10), i)
	}
	if _, err := hook(t, r, func(c *Config) { c.Batch = 1000 }).Deliver(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
	for _, b := range r.requests {
		if len(b) > bytesMax+schemas.MaxAlertBytes {
			t.Errorf("a request has %d bytes", len(b))
		}
	}
	if r.count(t) != 10 || len(r.requests) != 3 {
		t.Errorf("%d alerts arrived in %d requests, want 10 in 3", r.count(t), len(r.requests))
	}
}

func TestHeadersAndTheSignatureComeFromFiles(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	h := hook(t, r, func(c *Config) {
		c.Headers = map[string]secret.String{"X-Team": "soc"}
		c.HeaderFiles = map[string]string{"authorization": file(t, "Bearer abc\n")}
		c.SecretFile = file(t, "key\n")
	})
	if _, err := h.Deliver(t.Context(), forwardtest.Series("s", 1)); err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte("key"))
	mac.Write([]byte(r.requests[0]))
	got := r.headers[0]
	if got.Get("X-Team") != "soc" || got.Get("Authorization") != "Bearer abc" || got.Get("X-Vedette-Signature") != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("the request has the headers %v", got)
	}
}

func TestATemplateGivesTheRequest(t *testing.T) {
	t.Parallel()
	const text = `{"text": "{{jsontext .rule.description}} on {{jsontext .agent.name}}", "level": {{.rule.level}}, "user": {{json .data.nobody.name}}}`
	for name, change := range map[string]func(*Config){
		"inline":  func(c *Config) { c.Body = text },
		"in file": func(c *Config) { c.TemplateFile = file(t, text) },
	} {
		r := newReceiver(t)
		if fs, err := hook(t, r, change).Deliver(t.Context(), forwardtest.Series("s", 1)); err != nil || len(fs) > 0 {
			t.Fatalf("%s: Deliver returned %v, %v", name, fs, err)
		}
		if d := cmp.Diff([]string{`{"text": "Login of user u0 on Web-0", "level": 3, "user": null}`}, r.requests); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	// Texts of a log cannot break the request.
	r := newReceiver(t)
	bad := forwardtest.Series("s", 3)
	bad[1].Document = []byte(`{"full_log":"\""}`)
	fs, err := hook(t, r, func(c *Config) { c.Body = `{"text": "{{.full_log}}"}` }).Deliver(t.Context(), bad)
	if err != nil || len(fs) != 1 || fs[0].Index != 1 || fs[0].Reason != store.ReasonDocument || len(r.requests) != 2 {
		t.Errorf("a template that gives no JSON for alert 1 of 3: failures %v, error %v, %d requests", fs, err, len(r.requests))
	}
	// Another type need not be JSON.
	r = newReceiver(t)
	h := hook(t, r, func(c *Config) {
		c.Body, c.Headers = "{{.rule.id}}: {{.rule.description}}", map[string]secret.String{"content-type": "text/plain; charset=utf-8"}
	})
	if _, err := h.Deliver(t.Context(), forwardtest.Series("s", 1)); err != nil || r.requests[0] != "5700: Login of user u0" {
		t.Errorf("a request of plain text: %q, %v", r.requests, err)
	}
}

func TestARefusedAlertFailsAlone(t *testing.T) {
	t.Parallel()
	for status, reason := range map[int]string{400: store.ReasonRefused, 422: store.ReasonRefused, 413: store.ReasonTooLarge} {
		for _, batch := range []int{1, 4, 100} {
			r := newReceiver(t)
			r.status = func(body string) int {
				if strings.Contains(body, `"offset":7,`) || strings.Contains(body, `"offset":8,`) {
					return status
				}
				return 200
			}
			fs, err := hook(t, r, func(c *Config) { c.Batch = batch }).Deliver(t.Context(), forwardtest.Series("s", 20))
			if err != nil || len(fs) != 2 || fs[0].Index != 7 || fs[1].Index != 8 || fs[0].Reason != reason || fs[0].ID != "s-0-7-0" {
				t.Errorf("status %d, batch of %d: failures %+v, error %v; want the alerts 7 and 8 with reason %s", status, batch, fs, err, reason)
			}
			want := []string{"0", "1", "2", "3", "4", "5", "6", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19"}
			if d := cmp.Diff(want, r.order); d != "" {
				t.Errorf("status %d, batch of %d: alerts arrived out of order, or not once (-want +got):\n%s", status, batch, d)
			}
		}
	}
}

func TestAReceiverWithALimitIsSentNothingTwice(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	left := 0
	r.status = func(string) int {
		if left--; left < 0 {
			return 429
		}
		return 200
	}
	h, alerts := hook(t, r, nil), forwardtest.Series("s", 50)
	for tries := 0; len(alerts) > 0; tries++ {
		left = 6
		fs, err := h.Deliver(t.Context(), alerts)
		var part *forward.Partial
		switch {
		case len(fs) > 0:
			t.Fatalf("failures %v", fs)
		case err == nil:
			alerts = nil
		case !errors.As(err, &part) || part.Done != 6 || tries > 50:
			t.Fatalf("the receiver took 6 alerts, and the error says %v", err)
		default:
			alerts = alerts[part.Done:]
		}
	}
	for id, n := range r.alerts {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
}

func TestAlertsWaitWhileAPersonIsNeeded(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 401, 403, 404} {
		r := newReceiver(t)
		r.status = func(string) int { return status }
		fs, err := hook(t, r, func(c *Config) { c.Batch = 10 }).Deliver(t.Context(), forwardtest.Series("s", 5))
		if err == nil || len(fs) > 0 || len(r.requests) != 1 {
			t.Errorf("status %d: failures %v, error %v after %d requests; want an error after one, since no alert is at fault", status, fs, err, len(r.requests))
		}
	}
}

func TestMistakesInTheConfigurationAreNamed(t *testing.T) {
	t.Parallel()
	f := func(change func(*Config), wants ...string) {
		t.Helper()
		c := Default()
		c.URL = "https://example.com/in"
		change(&c)
		err := c.Validate(true)
		if len(wants) == 0 && err != nil {
			t.Errorf("refused: %v", err)
		}
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one with %q", err, want)
			}
		}
	}
	headers := func(name, value string) func(*Config) {
		return func(c *Config) { c.Headers = map[string]secret.String{name: secret.String(value)} }
	}
	f(func(*Config) {})
	f(headers("Content-Type", "text/plain"))
	f(func(c *Config) { c.URL, c.Batch = "", 0 }, "url: empty", "batch: 0 is not in 1…1000")
	f(headers("a b", "x"), `headers: "a b" is no name of a header`)
	f(headers("host", "x"), "headers: Host is set by itself")
	f(headers("X-A", "x\r\nX-B: y"), "headers: the value of X-A holds a line end")
	f(func(c *Config) { headers("x-a", "1")(c); c.HeaderFiles = map[string]string{"X-A": "/no"} }, "X-A is given twice")
	f(func(c *Config) { c.HeaderFiles = map[string]string{"X-A": "/no"} }, "header_files: X-A: open /no")
	f(func(c *Config) { c.HeaderFiles = map[string]string{"X-A": file(t, "a\x01b")} }, "holds a control character")
	f(func(c *Config) { c.SecretFile = "/no" }, "secret_file: open /no")
	f(func(c *Config) { c.Body, c.TemplateFile = "x", "y" }, "body: give it or template_file, not both")
	f(func(c *Config) { c.Body, c.Batch = "x", 2 }, "batch: a template gives the request of one alert")
	f(func(c *Config) { c.Body = "a\n{{.x" }, "body: template:2")
	f(func(c *Config) { c.TemplateFile = "/no" }, "template_file: open /no")
	f(func(c *Config) { c.TemplateFile = file(t, "") }, "template_file: ", "is empty")
	f(func(c *Config) { c.TemplateFile = file(t, "{{") }, "template_file: template:1")

	for body, want := range map[string]string{
		`{"text": {{json .full_log}}}`: "",
		`{"text": "{{.full_log}}"}`:    "body: it gives no JSON",
		`{{if gt .no.no 3}}x{{end}}`:   "body: it fails for a sample alert",
		"":                             "",
	} {
		c := Default()
		c.URL, c.Body = "https://example.com", body
		if w := strings.Join(c.Warnings(), "\n"); want == "" && w != "" || !strings.Contains(w, want) {
			t.Errorf("the body %s gives the warnings %q, want %q", body, w, want)
		}
	}
}

// FuzzDocument makes requests of documents with any bytes.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"full_log":"x"}`))
	f.Add([]byte("{\"full_log\":\"\xff\"}"))
	h := &Hook{batch: 2}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !json.Valid(doc) {
			return // such a record is no alert
		}
		body, n, err := h.request([]schemas.Alert{{Document: doc}, {Document: doc}})
		if err != nil || n != 2 || !json.Valid(body) || !utf8.Valid(body) {
			t.Errorf("a document %q gives %q for %d alerts, %v", doc, body, n, err)
		}
	})
}
