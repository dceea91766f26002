// Package httpsend sends the requests of destinations that speak HTTP. It decides
// the meaning of an answer, bounds the cost of a receiver, and keeps secrets out of
// errors. A destination decides the content of a request.
//
// Bounds: Config.Timeout for a request as a whole; 5 s for the rest of an answer
// after its head; 64 KiB of it are read, and 64 KiB of its headers. Redirects are
// never followed: the new place was not configured, and may be inside the network.
package httpsend

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"vedette/internal/retry"
	"vedette/internal/secret"
)

const (
	// answerWait is how long the rest of an answer may take after its head.
	answerWait = 5 * time.Second
	// answerMax is how much of an answer is read, so that its connection can be
	// used again; reasonMax is how much of a refusal is read for its reason, and
	// reasonShown how much of that is shown.
	answerMax   = 64 << 10
	reasonMax   = 4 << 10
	reasonShown = 200
	headersMax  = 64 << 10
	// personWait is the pause after an answer that only a person can change:
	// receivers lock out senders that repeat a wrong login too often.
	personWait = time.Minute
	// partMin is the shortest part of a secret that is looked for in errors.
	partMin = 8
)

// Class says how a sender goes on after an answer.
type Class int

// The classes.
const (
	// Taken: the receiver has the request.
	Taken Class = iota
	// Again: the same request may be taken later.
	Again
	// Drop: this request will never be taken, while others may be.
	Drop
	// TooLarge: a smaller request may be taken.
	TooLarge
	// Person: no request will be taken until somebody changes the configuration
	// or the receiver.
	Person
)

// ClassOf returns the class of an HTTP status.
func ClassOf(status int) Class {
	switch status {
	case http.StatusRequestTimeout, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests:
		return Again
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusConflict, http.StatusRequestURITooLong,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusRequestHeaderFieldsTooLarge:
		return Drop
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusNetworkAuthenticationRequired:
		return Person
	}
	switch status / 100 {
	case 2:
		return Taken
	case 5:
		return Again
	}
	return Person
}

// StatusError is an answer of another class than Taken.
type StatusError struct {
	Status int
	Class  Class
	// host is the receiver's; hint is the next step for a person; reason is the
	// start of the answer, without secrets and control characters.
	host, hint, reason string
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s answered %d", e.host, e.Status)
	if e.hint != "" {
		s += "; " + e.hint
	}
	if e.reason != "" {
		s += ": " + e.reason
	}
	return s
}

// Client sends requests to one URL. It is safe for concurrent use.
type Client struct {
	url       *url.URL
	timeout   time.Duration
	header    http.Header
	client    *http.Client
	transport *http.Transport
	secrets   []string // the longest first
}

// New reads the files of the configuration. header goes with every request; the
// values of secrets are never shown in errors. The receiver need not answer yet.
func New(cfg Config, header http.Header, secrets ...secret.String) (*Client, error) {
	if err := cfg.Validate(false); err != nil {
		return nil, err
	}
	l, err := cfg.load()
	if err != nil {
		return nil, err
	}
	c := &Client{url: l.url, timeout: cfg.Timeout, header: header.Clone()}
	c.transport = &http.Transport{
		TLSClientConfig: l.tls, ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConnsPerHost: 8,
		IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: headersMax,
	}
	if l.proxy != nil {
		c.transport.Proxy = http.ProxyURL(l.proxy)
		c.hide(l.proxy.String())
	}
	c.client = &http.Client{
		Transport:     c.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.hide(l.url.String())
	for _, path := range []string{l.url.RequestURI(), l.url.Path} {
		if len(path) >= partMin {
			c.hide(path)
		}
	}
	for _, values := range l.url.Query() {
		for _, v := range values {
			if len(v) >= partMin {
				c.hide(v)
			}
		}
	}
	for _, u := range []*url.URL{l.url, l.proxy} {
		if u == nil || u.User == nil {
			continue
		}
		password, _ := u.User.Password()
		c.hide(password)
		c.hide(base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password)))
	}
	for _, s := range secrets {
		c.hide(s.Reveal())
	}
	slices.SortFunc(c.secrets, func(a, b string) int { return len(b) - len(a) })
	return c, nil
}

// hide keeps a text, and its words and path segments, out of errors.
func (c *Client) hide(text string) {
	if text == "" {
		return
	}
	c.secrets = append(c.secrets, text)
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" /:=?&", r) }) {
		if len(part) >= partMin && !strings.Contains(c.url.Host, part) {
			c.secrets = append(c.secrets, part)
		}
	}
}

// Close ends idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Post sends body and returns nil when the receiver took it. header is added to
// the one of New. An answer of another class is a *StatusError, in a *retry.After if
// the sender must pause. Any other error is of the connection, or of ctx.
func (c *Client) Post(ctx context.Context, body []byte, header http.Header) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("%s gave no answer within %s", c.url.Host, c.timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New(c.redact(err.Error()))
	}
	req.Header.Set("User-Agent", "vedette")
	for _, h := range []http.Header{c.header, header} {
		for name, values := range h {
			req.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	res, err := c.client.Do(req)
	if err != nil {
		return c.failed(ctx, err)
	}
	defer res.Body.Close()
	defer time.AfterFunc(answerWait, cancel).Stop()
	class := ClassOf(res.StatusCode)
	var reason []byte
	if class != Taken {
		// A refusal whose text does not come is still a refusal.
		reason, _ = io.ReadAll(io.LimitReader(res.Body, reasonMax))
	}
	_, _ = io.CopyN(io.Discard, res.Body, answerMax)
	if class == Taken {
		return nil
	}
	e := &StatusError{Status: res.StatusCode, Class: class, host: c.url.Host, hint: c.hint(res), reason: c.reason(reason)}
	switch class {
	case Again:
		return retry.Ask(e, res.Header.Get("Retry-After"), time.Now())
	case Person:
		return &retry.After{Err: e, Wait: personWait}
	}
	return e
}

// hint tells a person the next step after an answer that only a person can change.
func (c *Client) hint(res *http.Response) string {
	switch status := res.StatusCode; {
	case status >= 300 && status < 400:
		to := "elsewhere"
		if u, err := res.Location(); err == nil && u.Host != "" {
			to = "to " + c.reason([]byte(u.Scheme+"://"+u.Host))
		}
		return "it redirects " + to + ", and redirects are not followed; set url to the final address"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "the login is missing, wrong or not allowed; look at headers, certificate and url"
	case status == http.StatusNotFound, status == http.StatusGone, status == http.StatusMethodNotAllowed:
		return "look at url"
	case status == http.StatusProxyAuthRequired:
		return "the proxy asks for a login; name a file with its address and login in proxy_file"
	case ClassOf(status) == Person:
		return "look at url, and at the receiver"
	}
	return ""
}

// failed describes a request without an answer.
func (c *Client) failed(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause // of the caller, or the time limit
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err // the outer error repeats the URL
	}
	var unverified *tls.CertificateVerificationError
	text := c.redact(err.Error())
	if errors.As(err, &unverified) {
		text += "; if the receiver's authority is not one of the system's, name its certificate in ca"
	}
	return fmt.Errorf("send to %s: %s", c.url.Host, text)
}

// redact hides every secret in a text.
func (c *Client) redact(text string) string {
	for _, s := range c.secrets {
		text = strings.ReplaceAll(text, s, secret.Redacted)
	}
	return text
}

// reason returns the start of an answer as one line. A secret is hidden before the
// text is cut, because a part of it would not be found.
func (c *Client) reason(b []byte) string {
	text, shown := string(b), strings.Builder{}
next:
	for i := 0; i < len(text) && i < reasonShown; {
		for _, s := range c.secrets {
			if strings.HasPrefix(text[i:], s) {
				shown.WriteString(secret.Redacted)
				i += len(s)
				continue next
			}
		}
		shown.WriteByte(text[i])
		i++
	}
	clean := strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(shown.String(), " "))
	return strings.Join(strings.Fields(clean), " ")
}
