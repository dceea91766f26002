// Package webhook is the destination that posts alerts as JSON to any URL.
//
// A request holds one alert document or, with a batch, a list of them; a template
// can give it any other form. Requests of one partition follow one another in
// order. Documents end with the member `vedette`, which is the same in a repeat,
// so that a receiver can tell one.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"vedette/forward"
	"vedette/forward/httpsend"
	"vedette/forward/template"
	"vedette/internal/secret"
	"vedette/internal/store"
	"vedette/schemas"
)

// Bounds of a request: alerts, and bytes when it holds more than one.
const (
	batchMax = 1000
	bytesMax = 4 << 20
)

// SignatureHeader holds `sha256=` and the HMAC-SHA256 of the body, as hex.
const SignatureHeader = "X-Vedette-Signature"

// Config holds the settings of one webhook.
type Config struct {
	httpsend.Config `mapstructure:",squash"`
	// Headers go with every request. HeaderFiles names files that hold the values
	// of secret ones.
	Headers     map[string]secret.String `mapstructure:"headers"`
	HeaderFiles map[string]string        `mapstructure:"header_files"`
	// SecretFile holds the key of SignatureHeader; empty: requests are not signed.
	SecretFile string `mapstructure:"secret_file"`
	// Batch is how many alerts one request holds at most; 1: a request is the
	// document itself, not a list.
	Batch int `mapstructure:"batch"`
	// Body is a template (package template) for the request of one alert, and
	// TemplateFile a file that holds one. Empty: the alert document.
	Body         string `mapstructure:"body"`
	TemplateFile string `mapstructure:"template_file"`
}

// Default returns the settings used when nothing is configured.
func Default() Config { return Config{Config: httpsend.Default(), Batch: 1} }

// Factory makes webhooks.
var Factory = forward.NewFactory("webhook", Default, func(c Config, _ forward.Env) (forward.Destination, error) { return New(c) })

// reserved headers follow from the request itself.
var reserved = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", SignatureHeader}

// Validate reports every problem of the configuration. With files it also reads
// the files that the configuration names.
func (c *Config) Validate(files bool) error {
	errs := []error{c.Config.Validate(files), c.headerErrors()}
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if c.Batch < 1 || c.Batch > batchMax {
		bad("batch: %d is not in 1…%d", c.Batch, batchMax)
	}
	switch {
	case c.Body != "" && c.TemplateFile != "":
		bad("body: give it or template_file, not both")
	case (c.Body != "" || c.TemplateFile != "") && c.Batch > 1:
		bad("batch: a template gives the request of one alert; leave batch at 1")
	}
	if c.Body != "" {
		if _, err := template.Parse(c.Body); err != nil {
			bad("body: %w", err)
		}
	}
	if files {
		_, _, err := c.secrets()
		errs = append(errs, err)
		if c.TemplateFile != "" {
			_, err = c.template()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// headerErrors reports every header that cannot be sent.
func (c *Config) headerErrors() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	names := map[string]bool{}
	for key, set := range map[string][]string{"headers": slices.Collect(maps.Keys(c.Headers)), "header_files": slices.Collect(maps.Keys(c.HeaderFiles))} {
		for _, name := range set {
			canonical := http.CanonicalHeaderKey(name)
			switch {
			case !httpguts.ValidHeaderFieldName(name):
				bad("%s: %q is no name of a header", key, name)
			case slices.Contains(reserved, canonical):
				bad("%s: %s is set by itself", key, canonical)
			case names[canonical]:
				bad("%s: %s is given twice", key, canonical)
			}
			names[canonical] = true
		}
	}
	for name, value := range c.Headers {
		if !httpguts.ValidHeaderFieldValue(value.Reveal()) {
			bad("headers: the value of %s holds a line end or another control character", name)
		}
	}
	return errors.Join(errs...)
}

// Warnings returns the settings that are allowed but unwise.
func (c *Config) Warnings() []string {
	w := c.Config.Warnings()
	t, err := c.template()
	if err != nil || t == nil || !c.json() {
		return w
	}
	switch body, err := t.Render([]byte(awkward)); {
	case err != nil:
		w = append(w, "body: it fails for a sample alert, and such alerts go to the dead letter topic: "+err.Error())
	case !json.Valid(body):
		w = append(w, "body: it gives no JSON for an alert whose texts hold quotation marks and line ends, and such alerts go to the dead letter topic; write {{json .field}}, or \"{{jsontext .field}}\"")
	}
	return w
}

// awkward is an alert that shows where a template does not escape.
const awkward = `{"timestamp":"2026-01-01T00:00:00.000+0000","rule":{"level":3,"description":"a \"b\"\n\\","id":"100","firedtimes":1,"mail":false,"groups":["a\"b"],
"mitre":{"id":["T1"],"tactic":["a\"b"],"technique":["a\"b"]}},"agent":{"id":"001","name":"a\"b","ip":"192.0.2.1"},"manager":{"name":"m"},"id":"1.1",
"full_log":"a \"b\"\n\\","predecoder":{"program_name":"a\"b","timestamp":"x","hostname":"a\"b"},"decoder":{"parent":"x","name":"x"},
"data":{"srcip":"192.0.2.1","srcuser":"a\"b","dstuser":"a\"b","url":"a\"b","id":"a\"b"},"location":"a\"b"}`

// json reports whether requests are of the type JSON.
func (c *Config) json() bool {
	for name, value := range c.Headers {
		if http.CanonicalHeaderKey(name) == "Content-Type" {
			kind, _, err := mime.ParseMediaType(value.Reveal())
			return err == nil && kind == contentJSON
		}
	}
	return true
}

const contentJSON = "application/json"

// template returns nil without an error when there is none.
func (c *Config) template() (*template.Template, error) {
	key, text := "body", c.Body
	if c.TemplateFile != "" {
		key = "template_file"
		f, err := os.Open(c.TemplateFile)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, template.MaxTextBytes+1))
		if err != nil {
			return nil, fmt.Errorf("%s: read %s: %w", key, c.TemplateFile, err)
		}
		if text = string(b); text == "" {
			return nil, fmt.Errorf("%s: %s is empty", key, c.TemplateFile)
		}
	}
	if text == "" {
		return nil, nil
	}
	t, err := template.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return t, nil
}

// secrets reads the secret headers and the key.
func (c *Config) secrets() (header map[string]secret.String, key secret.String, err error) {
	header = map[string]secret.String{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.HeaderFiles)) {
		value, err := httpsend.ReadSecret(c.HeaderFiles[name])
		if err == nil && !httpguts.ValidHeaderFieldValue(value.Reveal()) {
			err = fmt.Errorf("%s holds a control character", c.HeaderFiles[name])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("header_files: %s: %w", name, err))
		}
		header[name] = value
	}
	if c.SecretFile != "" {
		if key, err = httpsend.ReadSecret(c.SecretFile); err != nil {
			errs = append(errs, fmt.Errorf("secret_file: %w", err))
		}
	}
	return header, key, errors.Join(errs...)
}

// Hook is the destination.
type Hook struct {
	client *httpsend.Client
	batch  int
	body   *template.Template // nil: the document
	json   bool
	key    secret.String
}

var _ forward.Destination = (*Hook)(nil)

// New reads the files of the configuration. The receiver need not answer yet.
func New(c Config) (*Hook, error) {
	if err := c.Validate(false); err != nil {
		return nil, err
	}
	held, key, err := c.secrets()
	if err != nil {
		return nil, err
	}
	body, err := c.template()
	if err != nil {
		return nil, err
	}
	header, hidden := http.Header{"Content-Type": {contentJSON}}, []secret.String{key}
	for name, value := range c.Headers {
		header.Set(name, value.Reveal())
	}
	for name, value := range held {
		header.Set(name, value.Reveal())
		hidden = append(hidden, value)
	}
	client, err := httpsend.New(c.Config, header, hidden...)
	if err != nil {
		return nil, err
	}
	return &Hook{client: client, batch: c.Batch, body: body, json: c.json(), key: key}, nil
}

// Close ends idle connections.
func (h *Hook) Close() error {
	h.client.Close()
	return nil
}

// Ready implements forward.Destination. Whether the receiver answers shows when
// there is an alert: an empty request would be a message to people.
func (*Hook) Ready(context.Context) error { return nil }

// Deliver implements forward.Destination. After an error it says how many alerts
// the receiver has taken.
func (h *Hook) Deliver(ctx context.Context, alerts []schemas.Alert) ([]forward.Failure, error) {
	var failures []forward.Failure
	size := h.batch
	for done := 0; done < len(alerts); {
		fail := func(reason string, err error) {
			failures = append(failures, forward.Failure{Index: done, ID: alerts[done].ID, Reason: reason, Detail: err.Error()})
			done++
		}
		body, n, err := h.request(alerts[done:min(done+size, len(alerts))])
		if err != nil {
			fail(store.ReasonDocument, err)
			continue
		}
		err = h.client.Post(ctx, body, h.sign(body))
		var refused *httpsend.StatusError
		switch {
		case err == nil:
			done += n
			size = min(2*size, h.batch)
		case !errors.As(err, &refused) || refused.Class != httpsend.Drop && refused.Class != httpsend.TooLarge:
			return failures, &forward.Partial{Done: done, Err: err}
		case n > 1:
			size = n / 2 // to find the alert that is refused
		case refused.Class == httpsend.TooLarge:
			fail(store.ReasonTooLarge, err)
		default:
			fail(store.ReasonRefused, err)
		}
	}
	return failures, nil
}

// request makes the body for the first of some alerts, and says for how many.
func (h *Hook) request(alerts []schemas.Alert) (body []byte, n int, err error) {
	switch {
	case h.body != nil:
		body, err = h.body.Render(alerts[0].Document)
		if err == nil && h.json && !json.Valid(body) {
			err = errors.New("the template gave no JSON; escape fields with json or jsontext")
		}
		return body, 1, err
	case h.batch == 1:
		return document(&alerts[0]), 1, nil
	}
	body = append(body, '[')
	for n < len(alerts) && (n == 0 || len(body)+len(alerts[n].Document) < bytesMax) {
		if n > 0 {
			body = append(body, ',')
		}
		body = append(body, document(&alerts[n])...)
		n++
	}
	return append(body, ']'), n, nil
}

// document is the alert as JSON allows it: logs may hold bytes that are no UTF-8.
func document(a *schemas.Alert) []byte {
	if utf8.Valid(a.Document) {
		return a.Document
	}
	return bytes.ToValidUTF8(a.Document, []byte("\uFFFD"))
}

func (h *Hook) sign(body []byte) http.Header {
	if h.key == "" {
		return nil
	}
	mac := hmac.New(sha256.New, []byte(h.key.Reveal()))
	mac.Write(body)
	return http.Header{SignatureHeader: {"sha256=" + hex.EncodeToString(mac.Sum(nil))}}
}
