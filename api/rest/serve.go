package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"vedette/api/problem"
	"vedette/api/rbac"
)

// Call is one request on its way through its operation.
type Call struct {
	// Ctx ends when the client has gone or the request has taken too long.
	Ctx  context.Context
	Now  time.Time
	User User
	Common

	gin   *gin.Context
	frame *Frame
	op    *operation
	perms *rbac.Permissions
	// context is the hash of the context of the login, for the log; often empty.
	context string
	failed  map[problem.Code][]string
}

// Log returns the API's log.
func (c *Call) Log() *slog.Logger { return c.frame.log }

// Refused counts a request that is refused before its operation ran, by reason.
func (c *Call) Refused(reason string) { c.frame.metrics.refused.WithLabelValues(reason).Inc() }

// Request returns the HTTP request.
func (c *Call) Request() *http.Request { return c.gin.Request }

// RemoteIP returns the address of the client.
func (c *Call) RemoteIP() string { return c.gin.RemoteIP() }

// SetHeader sets a header of the answer.
func (c *Call) SetHeader(name, value string) { c.gin.Header(name, value) }

// SetUser sets the name of the user for the log of requests.
func (c *Call) SetUser(name string) { c.gin.Set(keyUser, name) }

var (
	notFound   = problem.HTTP(http.StatusNotFound, "404: Not Found")
	notAllowed = problem.HTTP(http.StatusMethodNotAllowed, "405: Method Not Allowed")
)

// envelop is around every request: headers, panics, the log, the request limit.
func (f *Frame) envelop(c *gin.Context) {
	start := f.now()
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
			f.log.Error("request ended in a panic", "path", c.Request.URL.Path, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			if !c.Writer.Written() {
				f.refuse(c, problem.New(problem.Internal, ""))
			}
		}
		f.account(c, start)
	}()
	if path := c.Request.URL.Path; path != "/healthz" && path != "/readyz" {
		wait, ok := f.limit.allow(start, c.RemoteIP(), func() string { return f.bearer(c, start) })
		if !ok {
			f.metrics.refused.WithLabelValues("request_limit").Inc()
			h.Set("Retry-After", retryAfter(wait))
			f.refuse(c, problem.New(problem.RequestLimit, ""))
			return
		}
	}
	c.Next()
}

// Keys of the values that serve leaves for the log.
const (
	keyOperation = "operation"
	keyUser      = "user"
)

func (f *Frame) account(c *gin.Context, start time.Time) {
	took := f.now().Sub(start)
	op := c.GetString(keyOperation)
	if op == "" {
		op = "none"
	}
	f.metrics.requests.WithLabelValues(op, strconv.Itoa(c.Writer.Status()/100)+"xx").Inc()
	f.metrics.duration.WithLabelValues(op).Observe(took.Seconds())
	if op == "healthz" || op == "readyz" {
		return
	}
	user := c.GetString(keyUser)
	if user == "" {
		user = "unknown_user"
	}
	f.log.LogAttrs(c.Request.Context(), slog.LevelInfo, "request", slog.String("user", user), slog.String("ip", c.RemoteIP()),
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
func (f *Frame) serve(c *gin.Context, op *operation) {
	c.Set(keyOperation, op.id)
	k := &Call{Ctx: c.Request.Context(), Now: f.now(), gin: c, frame: f, op: op}
	res, err := f.answer(k)
	if err != nil {
		var p *problem.Problem
		switch {
		case errors.As(err, &p):
		case errors.Is(err, context.DeadlineExceeded):
			p = problem.New(problem.Timeout, "")
		case c.Request.Context().Err() != nil:
			return // nobody waits for the answer
		default:
			f.log.Error("operation ended in an error", "operation", op.id, "err", err)
			p = problem.New(problem.Internal, "")
		}
		f.audit(k, p.Status, auditCode(p))
		f.refuse(c, p)
		return
	}
	if op.deprecated {
		c.Header("Deprecated", "true")
	}
	status, contentType, data, value := res.body(k)
	f.audit(k, status, outcomeOf(value))
	if value == nil {
		c.Data(status, contentType, data)
		return
	}
	f.write(c, status, contentType, value)
}

// answer runs an operation: token, query, body, permissions, then the function.
func (f *Frame) answer(k *Call) (Answer, error) {
	op := k.op
	if !op.probe && !op.basic {
		if err := f.authenticate(k); err != nil {
			return nil, err
		}
	}
	values, err := op.query(k.gin.Request.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	body, err := f.readBody(k.gin, op)
	if err != nil {
		return nil, err
	}
	if err := k.permit(); err != nil {
		return nil, err
	}
	if err := op.pathValues(k.gin, values); err != nil {
		return nil, err
	}
	common := reflect.ValueOf(&k.Common).Elem()
	for _, b := range commonFields {
		assign(common.FieldByIndex(b.index), values[b.name])
	}
	if !k.WaitForComplete {
		ctx, cancel := context.WithTimeout(k.Ctx, f.cfg.RequestTimeout)
		defer cancel()
		k.Ctx = ctx
	}
	params, err := k.fill(values, body)
	if err != nil {
		return nil, err
	}
	return op.fn.run(k, params)
}

// refuse answers with an error.
func (f *Frame) refuse(c *gin.Context, p *problem.Problem) {
	detail := strings.Join(strings.Fields(strings.ReplaceAll(p.Detail, "\n", ". ")), " ")
	o := Ordered{{"title", p.Title}, {"detail", detail}}
	if p.Code != 0 {
		o = append(o, Member{"error", p.Code})
		if p.Remediation != "" {
			o = append(o, Member{"remediation", p.Remediation})
		}
		if p.Code < int(problem.AddressBlocked) {
			node := "unknown-node"
			if perms, ok := c.Get(keyPerms); ok && perms.(*rbac.Permissions).Allows("cluster:read", "node:id:"+f.cfg.Identity.Node) {
				node = f.cfg.Identity.Node
			}
			o = append(o, Member{"dapi_errors", map[string]any{node: map[string]string{"error": detail}}})
		}
	}
	f.write(c, p.Status, "application/problem+json; charset=utf-8", o)
	c.Abort()
}

func (f *Frame) write(c *gin.Context, status int, contentType string, v any) {
	b, err := Encode(v)
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

// Hold takes one of a channel's places, which the caller gives back.
func Hold(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
