// Package health tells whether a process is ready: its named checks, the HTTP server
// that answers with them and with the metrics, and a watch on the brokers.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vedette/internal/kafka"
	"vedette/internal/ports"
	"vedette/internal/retry"
)

// Checks are the named conditions of readiness. The zero value is empty; it is safe
// for concurrent use.
type Checks struct {
	mu  sync.Mutex
	all map[string]func() error
}

// Add adds a check, or replaces it. fn returns nil while all is well.
func (c *Checks) Add(name string, fn func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]func() error{}
	}
	c.all[name] = fn
}

// Run returns the state of every check; nil values are good.
func (c *Checks) Run() map[string]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]error, len(c.all))
	for name, fn := range c.all {
		out[name] = fn()
	}
	return out
}

// Server answers /metrics, /healthz and /readyz of one process.
type Server struct {
	ln  net.Listener
	srv *http.Server
}

// NewServer binds addr (`metrics.listen`).
func NewServer(addr string, reg *prometheus.Registry, c *Checks) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, ports.Taken(fmt.Errorf("metrics.listen: %w", err), "metrics.listen")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state, status := map[string]string{}, http.StatusOK
		for name, err := range c.Run() {
			state[name] = "ok"
			if err != nil {
				state[name], status = err.Error(), http.StatusServiceUnavailable
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(state)
	})
	return &Server{ln: ln, srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}}, nil
}

// Addr is where the server listens.
func (h *Server) Addr() net.Addr { return h.ln.Addr() }

// Close frees the port of a server that did not run.
func (h *Server) Close() error { return h.ln.Close() }

// Run serves until ctx ends, and returns nil.
func (h *Server) Run(ctx context.Context) error {
	go func() {
		<-ctx.Done()
		_ = h.srv.Close()
	}()
	if err := h.srv.Serve(h.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Watch asks the brokers every few seconds whether they answer and hold every
// topic, so that readiness says so before a stage notices.
type Watch struct {
	cluster *kafka.Cluster
	mu      sync.Mutex
	err     error
}

// NewWatch prepares a watch on the brokers of a cluster.
func NewWatch(c *kafka.Cluster) *Watch {
	return &Watch{cluster: c, err: errors.New("the brokers have not been asked yet")}
}

// Err returns the finding of the last look: nil if the brokers hold every topic.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Watch) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	missing, err := w.cluster.MissingTopics(ctx)
	switch {
	case err != nil:
		err = fmt.Errorf("the brokers do not answer: %w", err)
	case len(missing) > 0:
		err = missingTopicsError(missing)
	}
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
	return err
}

// Await asks until the brokers hold every topic, for at most the given time.
// It does not wait for brokers that do not answer.
func (w *Watch) Await(ctx context.Context, most time.Duration) error {
	// Topics may be made just now, and a broker hears of them a moment later.
	pause := retry.Backoff{Min: 250 * time.Millisecond, Max: 2 * time.Second}
	for end := time.Now().Add(most); ; {
		err := w.ask(ctx)
		if !errors.Is(err, ErrTopics) || !time.Now().Before(end) || pause.Wait(ctx) != nil {
			return err
		}
	}
}

// Run asks every two seconds until ctx ends, and returns nil.
func (w *Watch) Run(ctx context.Context) error {
	for {
		_ = w.ask(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

// ErrTopics marks brokers that answer but lack topics.
var ErrTopics = errors.New("topics are missing")

func missingTopicsError(names []string) error {
	return fmt.Errorf("%w: %v; run `vedette topics apply` once with this configuration", ErrTopics, names)
}
