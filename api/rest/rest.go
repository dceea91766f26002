package rest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// Frame serves the operations of a document.
type Frame struct {
	cfg     Config
	users   Users
	log     *slog.Logger
	metrics *metrics
	kinds   map[kindKey]AnyKind
	ops     []*operation
	handler http.Handler
	now     func() time.Time
	limit   *requestLimit
}

// Part is the operations of one resource and the kinds that it knows.
type Part struct {
	Operations []Operation
	Kinds      []AnyKind
	// Items are the structs that lists of the part hold.
	Items []Item
}

// Item is a struct that lists hold and the name of its schema in the document.
type Item struct {
	schema string
	of     reflect.Type
}

// ItemOf returns the item T with the name of its schema.
func ItemOf[T any](schema string) Item { return Item{schema, reflect.TypeFor[T]()} }

// New reads the document and matches it with the functions of the parts. It
// fails while an operation lacks its permissions, its function or a parameter,
// or a function its operation.
func New(cfg Config, document []byte, users Users, parts []Part, log *slog.Logger, reg prometheus.Registerer) (*Frame, error) {
	f := &Frame{
		cfg: cfg, users: users, log: log, metrics: newMetrics(reg), kinds: map[kindKey]AnyKind{}, now: time.Now,
		limit: &requestLimit{max: cfg.MaxRequestsPerMinute},
	}
	var table []Operation
	for _, p := range parts {
		table = append(table, p.Operations...)
		for _, k := range p.Kinds {
			f.kinds[k.key()] = k
		}
	}
	var err error
	var schemas openapi3.Schemas
	if f.ops, schemas, err = loadOperations(document); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if err := f.bind(f.ops, table); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	for _, p := range parts {
		for _, it := range p.Items {
			if err := it.check(schemas); err != nil {
				return nil, fmt.Errorf("api: schema %s: %w", it.schema, err)
			}
		}
	}
	f.handler = f.router()
	return f, nil
}

// Handler serves the API without a listener.
func (f *Frame) Handler() http.Handler { return f.handler }

// Serve serves on a listener until ctx ends, then finishes the requests under
// way, and returns nil.
func (f *Frame) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           f.handler,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerBytesMax,
		TLSConfig:      &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{f.cfg.Certificate}},
		// Scanners and clients that mistrust the certificate are no event.
		ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.ServeTLS(ln, "", "") }()
	f.log.Info(fmt.Sprintf("Listening on [%s]", ln.Addr())) // readiness checks look for this text (spec/api.md §9)
	select {
	case err := <-served:
		return fmt.Errorf("api: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close()
	}
	<-served
	return nil
}

func (f *Frame) router() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.RedirectTrailingSlash = false
	r.RedirectFixedPath = false
	r.ForwardedByClientIP = false
	r.UseRawPath = true
	r.Use(f.envelop)
	r.NoRoute(func(c *gin.Context) { f.refuse(c, notFound) })
	r.NoMethod(func(c *gin.Context) { f.refuse(c, notAllowed) })
	for _, op := range f.ops {
		r.Handle(op.method, op.ginPath, func(c *gin.Context) { f.serve(c, op) })
	}
	return r
}
