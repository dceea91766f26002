package opensearch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	opensearch "github.com/opensearch-project/opensearch-go/v2"
	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"
	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/geoip"
	"vedette/internal/retry"
	"vedette/internal/store"
	"vedette/schemas"
	templates "vedette/schemas/opensearch"
)

// Retries of one Put. The forwarder repeats the batch after the last.
const (
	attemptsMax   = 6
	retryDelayMin = 200 * time.Millisecond
	retryDelayMax = 10 * time.Second
)

// maxResponseBytes bounds the bytes read of an answer.
const maxResponseBytes = 128 << 20

// Store is a store.Store over an indexer.
type Store struct {
	cfg       Config
	log       *slog.Logger
	metrics   *metrics
	client    *opensearch.Client
	transport *http.Transport

	mu        sync.Mutex
	installed bool
}

var _ store.Store = (*Store)(nil)

// Open prepares the client. The indexer need not answer yet: Ready tells.
func Open(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("indexer: %w", err)
	}
	tlsConf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: cfg.InsecureSkipVerify} //nolint:gosec // G402: asked for by configuration, off by default
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("indexer: read ca_file: %w", err)
		}
		tlsConf.RootCAs = x509.NewCertPool()
		if !tlsConf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("indexer: ca_file %s holds no PEM certificate", cfg.CAFile)
		}
	}
	password := ""
	if cfg.PasswordFile != "" {
		b, err := os.ReadFile(cfg.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("indexer: read password_file: %w", err)
		}
		password = strings.TrimRight(string(b), "\r\n")
	}
	s := &Store{cfg: cfg, log: log, metrics: newMetrics(reg)}
	s.transport = http.DefaultTransport.(*http.Transport).Clone()
	s.transport.TLSClientConfig = tlsConf
	s.transport.ResponseHeaderTimeout = cfg.Timeout
	s.transport.MaxIdleConnsPerHost = 8
	var err error
	s.client, err = opensearch.NewClient(opensearch.Config{
		Addresses: cfg.URLs, Username: cfg.Username, Password: password, Transport: s.transport,
		DisableRetry: true, // Put counts and spaces its own
	})
	if err != nil {
		return nil, fmt.Errorf("indexer: %w", err)
	}
	return s, nil
}

// Close ends idle connections.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Ready returns nil when the indexer answers and the template is there.
func (s *Store) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(s.cfg.Timeout, 5*time.Second))
	defer cancel()
	if err := s.do(ctx, opensearchapi.PingRequest{}, nil); err != nil {
		return fmt.Errorf("indexer: %w", err)
	}
	return s.install(ctx)
}

func (s *Store) install(ctx context.Context) error {
	if !s.cfg.Template {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installed {
		return nil
	}
	err := s.do(ctx, opensearchapi.IndicesPutIndexTemplateRequest{
		Name: templates.AlertsTemplateName, Body: bytes.NewReader(templates.AlertsTemplate()),
	}, nil)
	if err != nil {
		return fmt.Errorf("install index template %s: %w", templates.AlertsTemplateName, err)
	}
	s.installed = true
	s.log.Info("index template installed", "template", templates.AlertsTemplateName)
	return nil
}

type request interface {
	Do(ctx context.Context, transport opensearchapi.Transport) (*opensearchapi.Response, error)
}

// statusError is an answer other than 2xx.
type statusError struct {
	status int
	reason string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the indexer answered %d: %s", e.status, e.reason)
}

// do sends a request and decodes the answer into to, unless it is nil. An answer
// other than 2xx is a *statusError, in a *retry.After if it asks for a pause.
func (s *Store) do(ctx context.Context, r request, to any) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	res, err := r.Do(ctx, s.client)
	if err != nil {
		return err
	}
	if res.Body == nil {
		res.Body = http.NoBody
	}
	defer res.Body.Close()
	if res.IsError() {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		return retry.Ask(&statusError{res.StatusCode, reason(b)}, res.Header.Get("Retry-After"), time.Now())
	}
	body := io.LimitReader(res.Body, maxResponseBytes)
	if to != nil {
		if err := json.NewDecoder(body).Decode(to); err != nil {
			return fmt.Errorf("read the indexer's answer: %w", err)
		}
	}
	_, _ = io.Copy(io.Discard, body) // lets the connection be used again
	return nil
}

// reason takes the sentence out of an error answer.
func reason(b []byte) string {
	var e struct {
		Error struct {
			Type      string `json:"type"`
			Reason    string `json:"reason"`
			RootCause []struct {
				Type   string `json:"type"`
				Reason string `json:"reason"`
			} `json:"root_cause"`
		} `json:"error"`
	}
	if json.Unmarshal(b, &e) == nil && e.Error.Type != "" {
		if len(e.Error.RootCause) > 0 {
			return e.Error.RootCause[0].Type + ": " + e.Error.RootCause[0].Reason
		}
		return e.Error.Type + ": " + e.Error.Reason
	}
	return string(bytes.TrimSpace(b[:min(len(b), 200)]))
}

// item is a document on its way.
type item struct {
	index int // in the batch
	id    string
	lines []byte // action and document
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, alerts []schemas.Alert) ([]store.Failure, error) {
	if err := s.install(ctx); err != nil {
		return nil, err
	}
	var failures []store.Failure
	var chunk []item
	size := 0
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		f, err := s.send(ctx, chunk)
		failures = append(failures, f...)
		chunk, size = chunk[:0], 0
		return err
	}
	for i := range alerts {
		a := &alerts[i]
		lines, err := bulkLines(a, s.cfg.GeoIP)
		if err != nil {
			failures = append(failures, store.Failure{Index: i, ID: a.ID, Reason: store.ReasonDocument, Detail: err.Error()})
			continue
		}
		if len(chunk) == bulkDocsMax || size+len(lines) > bulkBytesMax {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		chunk = append(chunk, item{i, a.ID, lines})
		size += len(lines)
	}
	if err := flush(); err != nil {
		return nil, err
	}
	slices.SortFunc(failures, func(a, b store.Failure) int { return a.Index - b.Index })
	return failures, nil
}

func bulkLines(a *schemas.Alert, db *geoip.DB) ([]byte, error) {
	doc, err := document(a.Document, a.Time, db)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(doc)+200)
	b = append(b, `{"index":{"_index":"`...)
	b = append(b, IndexName(a.Time)...)
	b = append(b, `","_id":`...)
	b = schemas.AppendJSONString(b, a.ID)
	b = append(b, `,"version":`...)
	b = strconv.AppendInt(b, a.Epoch, 10)
	b = append(b, `,"version_type":"external_gte"}}`+"\n"...)
	return append(append(b, doc...), '\n'), nil
}

// IndexName returns the index of an alert's time.
func IndexName(at time.Time) string {
	return templates.AlertsIndexPrefix + at.UTC().Format("2006.01.02")
}

// send writes items, retrying those that a later attempt may write.
func (s *Store) send(ctx context.Context, items []item) ([]store.Failure, error) {
	var failures []store.Failure
	items = slices.Clone(items)
	pause := retry.Backoff{Min: retryDelayMin, Max: retryDelayMax}
	for attempt := 1; ; attempt++ {
		rest, f, err := s.bulk(ctx, items)
		failures = append(failures, f...)
		why := "items"
		var st *statusError
		switch {
		case err == nil && len(rest) == 0:
			return failures, nil
		case errors.As(err, &st) && st.status == http.StatusRequestEntityTooLarge:
			if len(items) == 1 {
				return append(failures, store.Failure{Index: items[0].index, ID: items[0].id, Reason: store.ReasonTooLarge, Detail: st.Error()}), nil
			}
			for _, half := range [][]item{items[:len(items)/2], items[len(items)/2:]} {
				f, err := s.send(ctx, half)
				if err != nil {
					return nil, err
				}
				failures = append(failures, f...)
			}
			return failures, nil
		case errors.As(err, &st):
			why = "status"
		case err != nil:
			why = "connection"
		}
		if err == nil {
			err = fmt.Errorf("%d of %d documents were not taken: %s", len(rest), len(items), rest[0].why)
			items = items[:0]
			for _, r := range rest {
				items = append(items, r.item)
			}
		}
		// A long pause is the forwarder's: it holds up every partition.
		if attempt == attemptsMax || ctx.Err() != nil || retry.Asked(err) > retryDelayMax {
			return nil, fmt.Errorf("write alerts: %w", err)
		}
		s.metrics.retries.WithLabelValues(why).Inc()
		if err := pause.WaitAfter(ctx, err); err != nil {
			return nil, err
		}
	}
}

type retryItem struct {
	item
	why string
}

// bulk sends one request. It returns the items to send again, and those that
// can never be written.
func (s *Store) bulk(ctx context.Context, items []item) (rest []retryItem, failures []store.Failure, err error) {
	var body bytes.Buffer
	for _, it := range items {
		body.Write(it.lines)
	}
	var res struct {
		Items []map[string]struct {
			Status int `json:"status"`
			Error  struct {
				Type     string `json:"type"`
				Reason   string `json:"reason"`
				CausedBy struct {
					Reason string `json:"reason"`
				} `json:"caused_by"`
			} `json:"error"`
		} `json:"items"`
	}
	start := time.Now()
	err = s.do(ctx, opensearchapi.BulkRequest{Body: &body, Refresh: s.cfg.Refresh, FilterPath: []string{"items.*.status", "items.*.error"}}, &res)
	s.metrics.bulk.Observe(time.Since(start).Seconds())
	if err != nil {
		return nil, nil, err
	}
	if len(res.Items) != len(items) {
		return nil, nil, fmt.Errorf("the indexer answered for %d documents of %d", len(res.Items), len(items))
	}
	for i, it := range res.Items {
		r := it["index"]
		detail := r.Error.Type + ": " + r.Error.Reason
		if r.Error.CausedBy.Reason != "" {
			detail += ": " + r.Error.CausedBy.Reason
		}
		switch {
		case r.Status >= 200 && r.Status < 300:
			s.metrics.written.Inc()
		case r.Status == http.StatusConflict:
			s.metrics.stale.Inc()
		// A full cluster refuses a new index with 400; that is not the document's fault.
		case r.Status == http.StatusBadRequest && r.Error.Type != "validation_exception":
			why := store.ReasonRefused
			switch r.Error.Type {
			case "mapper_parsing_exception", "illegal_argument_exception", "strict_dynamic_mapping_exception", "parsing_exception":
				why = store.ReasonMapping
			}
			failures = append(failures, store.Failure{Index: items[i].index, ID: items[i].id, Reason: why, Detail: detail})
		default:
			rest = append(rest, retryItem{items[i], fmt.Sprintf("%d %s", r.Status, detail)})
		}
	}
	return rest, failures, nil
}
