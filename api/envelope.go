package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"vedette/api/problem"
	"vedette/api/rbac"
)

// call is one request on its way through its operation.
type call struct {
	ctx    context.Context
	gin    *gin.Context
	op     *operation
	params map[string]any
	body   map[string]any
	raw    []byte // a body that is not JSON
	user   User
	perms  *rbac.Permissions
	now    time.Time
}

// str returns a string parameter, empty when absent.
func (c *call) str(name string) string { s, _ := c.params[name].(string); return s }

func (c *call) num(name string) int { n, _ := c.params[name].(int); return n }

func (c *call) flag(name string) bool { b, _ := c.params[name].(bool); return b }

// strs returns an array parameter; ok is false when it is absent.
func (c *call) strs(name string) (out []string, ok bool) {
	vs, ok := c.params[name].([]any)
	for _, v := range vs {
		out = append(out, fmt.Sprint(v))
	}
	return out, ok
}

// may reports whether the caller may do the operation to a thing known under
// one or more resources.
func (c *call) may(resources ...string) bool { return c.perms.Allows(c.op.action, resources...) }

// list is the answer of most operations.
type list struct {
	Items  any // a slice
	Total  int // before offset and limit
	failed map[problem.Code][]string
	// The message when all, some or none of what was asked for is in Items.
	All, Some, None string
	// numeric says that failed ids are shown as numbers.
	numeric bool
	// Extra members of data.
	Extra map[string]any
}

// fail adds an id that the operation could not be done for.
func (l *list) fail(code problem.Code, id string) {
	if l.failed == nil {
		l.failed = map[problem.Code][]string{}
	}
	l.failed[code] = append(l.failed[code], id)
}

type failedItem struct {
	Error failedError `json:"error"`
	ID    []any       `json:"id"`
}

type failedError struct {
	Code        int    `json:"code"`
	Message     string `json:"message"`
	Remediation string `json:"remediation,omitempty"`
}

// ordered is a JSON object that keeps the order of its members.
type ordered []member

type member struct {
	key   string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		v, err := encode(m.value)
		if err != nil {
			return nil, err
		}
		b.WriteString(strconv.Quote(m.key))
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (l *list) envelope() any {
	items := []failedItem{}
	failed := 0
	for code, ids := range l.failed {
		p := problem.New(code, "")
		sortIDs(ids)
		items = append(items, failedItem{failedError{p.Code, p.Detail, p.Remediation}, l.shown(ids)})
		failed += len(ids)
	}
	slices.SortFunc(items, func(a, b failedItem) int { return cmp.Compare(a.Error.Code, b.Error.Code) })
	outcome, message := 0, l.All
	switch {
	case l.Total == 0:
		message = l.None
		if failed > 0 {
			outcome = 1
		}
	case failed > 0:
		outcome, message = 2, l.Some
	}
	data := ordered{{"affected_items", l.Items}, {"total_affected_items", l.Total}, {"total_failed_items", failed}, {"failed_items", items}}
	for k, v := range l.Extra {
		data = append(data, member{k, v})
	}
	return ordered{{"data", data}, {"message", message}, {"error", outcome}}
}

// shown are failed ids as the answer has them.
func (l *list) shown(ids []string) []any {
	out := make([]any, len(ids))
	for i, id := range ids {
		out[i] = id
		if l.numeric {
			out[i] = json.Number(id)
		}
	}
	return out
}

// sortIDs sorts as numbers when all are.
func sortIDs(ids []string) {
	number := func(s string) (int, bool) { n, err := strconv.Atoi(s); return n, err == nil }
	numeric := !slices.ContainsFunc(ids, func(s string) bool { _, ok := number(s); return !ok })
	slices.SortFunc(ids, func(a, b string) int {
		if numeric {
			x, _ := number(a)
			y, _ := number(b)
			return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
		}
		return cmp.Compare(a, b)
	})
}

// plain is the answer without items.
type plain struct {
	Data    any
	Message string
}

func (p *plain) envelope() any {
	var o ordered
	if p.Data != nil {
		o = append(o, member{"data", p.Data})
	}
	if p.Message != "" {
		o = append(o, member{"message", p.Message})
	}
	return append(o, member{"error", 0})
}

// text is a bare answer.
type text string

// file is a bare answer of any type.
type file struct {
	contentType string
	data        []byte
}

// bare is a JSON answer without an envelope.
type bare struct {
	status int
	value  any
}

var (
	notFound   = problem.HTTP(http.StatusNotFound, "404: Not Found")
	notAllowed = problem.HTTP(http.StatusMethodNotAllowed, "405: Method Not Allowed")
)

// envelop is around every request: headers, panics, the log, the request limit.
func (a *API) envelop(c *gin.Context) {
	start := a.now()
	h := c.Writer.Header()
	h.Set("Server", "Wazuh")
	h.Set("X-Frame-Options", "deny")
	h.Set("Content-Security-Policy", "none")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-XSS-Protection", "0")
	h.Set("Referrer-Policy", "no-referrer, strict-origin-when-cross-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Strict-Transport-Security", "max-age=63072000; includeSubdomains")
	// Clients write the `;` of a query as it is, which Go takes for a mistake.
	c.Request.URL.RawQuery = strings.ReplaceAll(c.Request.URL.RawQuery, ";", "%3B")
	defer func() {
		if r := recover(); r != nil {
			if r == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
				panic(r)
			}
			a.log.Error("request ended in a panic", "path", c.Request.URL.Path, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			if !c.Writer.Written() {
				a.refuse(c, problem.New(problem.Internal, ""))
			}
		}
		a.account(c, start)
	}()
	if path := c.Request.URL.Path; path != "/healthz" && path != "/readyz" {
		wait, ok := a.limit.allow(start, c.RemoteIP(), func() string { return a.bearer(c, start) })
		if !ok {
			a.metrics.refused.WithLabelValues("request_limit").Inc()
			h.Set("Retry-After", retryAfter(wait))
			a.refuse(c, problem.New(problem.RequestLimit, ""))
			return
		}
	}
	c.Next()
}

// Keys of what serve leaves for the log.
const (
	keyOperation = "operation"
	keyUser      = "user"
)

func (a *API) account(c *gin.Context, start time.Time) {
	took := a.now().Sub(start)
	op := c.GetString(keyOperation)
	if op == "" {
		op = "none"
	}
	a.metrics.requests.WithLabelValues(op, strconv.Itoa(c.Writer.Status()/100)+"xx").Inc()
	a.metrics.duration.WithLabelValues(op).Observe(took.Seconds())
	if op == "healthz" || op == "readyz" {
		return
	}
	user := c.GetString(keyUser)
	if user == "" {
		user = "unknown_user"
	}
	a.log.LogAttrs(c.Request.Context(), slog.LevelInfo, "request", slog.String("user", user), slog.String("ip", c.RemoteIP()),
		slog.String("method", c.Request.Method), slog.String("path", c.Request.URL.Path), slog.String("parameters", masked(c.Request.URL.Query())),
		slog.Duration("took", took), slog.Int("status", c.Writer.Status()))
}

// masked writes parameters for the log, bounded.
func masked(q url.Values) string {
	if q.Has("password") {
		q.Set("password", "****")
	}
	s := q.Encode()
	return s[:min(len(s), 1024)]
}

// serve answers one operation.
func (a *API) serve(c *gin.Context, op *operation) {
	c.Set(keyOperation, op.id)
	res, err := a.answer(c, op)
	if err != nil {
		var p *problem.Problem
		switch {
		case errors.As(err, &p):
		case errors.Is(err, context.DeadlineExceeded):
			p = problem.New(problem.Timeout, "")
		case c.Request.Context().Err() != nil:
			return // nobody waits for the answer
		default:
			a.log.Error("operation ended in an error", "operation", op.id, "err", err)
			p = problem.New(problem.Internal, "")
		}
		a.refuse(c, p)
		return
	}
	if op.deprecated {
		c.Header("Deprecated", "true")
	}
	switch res := res.(type) {
	case *list:
		a.write(c, http.StatusOK, "application/json; charset=utf-8", res.envelope())
	case *plain:
		a.write(c, http.StatusOK, "application/json; charset=utf-8", res.envelope())
	case *bare:
		a.write(c, res.status, "application/json; charset=utf-8", res.value)
	case *file:
		c.Data(http.StatusOK, res.contentType, res.data)
	case text:
		c.Data(http.StatusOK, "text/plain; charset=utf-8", []byte(res))
	default:
		panic(fmt.Sprintf("api: operation %s answered with a %T", op.id, res))
	}
}

func (a *API) answer(c *gin.Context, op *operation) (any, error) {
	k := &call{ctx: c.Request.Context(), gin: c, op: op, now: a.now()}
	if !op.probe && !op.basic {
		if err := a.authenticate(k); err != nil {
			return nil, err
		}
	}
	var err error
	if k.params, err = op.query(c.Request.URL.RawQuery); err != nil {
		return nil, err
	}
	if op.bodyType == xmlBody {
		k.raw, err = a.readXML(c)
	} else {
		k.body, err = a.readBody(c, op)
	}
	if err != nil {
		return nil, err
	}
	if op.resource == "*:*" && !k.may(rbac.AnyResource) {
		return nil, problem.New(problem.PermissionDenied, "Permission denied: Resource type: *:*")
	}
	if !k.flag("wait_for_complete") {
		ctx, cancel := context.WithTimeout(k.ctx, a.cfg.RequestTimeout)
		defer cancel()
		k.ctx = ctx
	}
	return op.fn(k)
}

// refuse answers with an error.
func (a *API) refuse(c *gin.Context, p *problem.Problem) {
	detail := strings.Join(strings.Fields(strings.ReplaceAll(p.Detail, "\n", ". ")), " ")
	o := ordered{{"title", p.Title}, {"detail", detail}}
	if p.Code != 0 {
		o = append(o, member{"error", p.Code})
		if p.Remediation != "" {
			o = append(o, member{"remediation", p.Remediation})
		}
		if p.Code < int(problem.AddressBlocked) {
			node := "unknown-node"
			if perms, ok := c.Get(keyPerms); ok && perms.(*rbac.Permissions).Allows("cluster:read", "node:id:"+a.cfg.Identity.Node) {
				node = a.cfg.Identity.Node
			}
			o = append(o, member{"dapi_errors", map[string]any{node: map[string]string{"error": detail}}})
		}
	}
	a.write(c, p.Status, "application/problem+json; charset=utf-8", o)
	c.Abort()
}

func (a *API) write(c *gin.Context, status int, contentType string, v any) {
	b, err := encode(v)
	if err != nil {
		panic(fmt.Sprintf("api: an answer did not encode: %v", err))
	}
	if pretty := c.Query("pretty"); pretty == "true" || status < 400 && strings.EqualFold(pretty, "true") {
		var out bytes.Buffer
		if err := json.Indent(&out, b, "", "   "); err == nil {
			b = out.Bytes()
		}
	}
	c.Data(status, contentType, b)
}
