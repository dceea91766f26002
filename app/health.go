package app

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
	"vedette/internal/retry"
)

// checks are the named conditions of readiness.
type checks struct {
	mu  sync.Mutex
	all map[string]func() error
}

func (c *checks) add(name string, fn func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]func() error{}
	}
	c.all[name] = fn
}

// run returns the state of every check; nil values are good.
func (c *checks) run() map[string]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]error, len(c.all))
	for name, fn := range c.all {
		out[name] = fn()
	}
	return out
}

// healthServer answers /metrics, /healthz and /readyz of one process.
type healthServer struct {
	ln  net.Listener
	srv *http.Server
}

func newHealthServer(addr string, reg *prometheus.Registry, c *checks) (*healthServer, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, portTaken(fmt.Errorf("metrics.listen: %w", err), "metrics.listen")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		state, status := map[string]string{}, http.StatusOK
		for name, err := range c.run() {
			state[name] = "ok"
			if err != nil {
				state[name], status = err.Error(), http.StatusServiceUnavailable
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(state)
	})
	return &healthServer{ln: ln, srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}}, nil
}

func (h *healthServer) Run(ctx context.Context) error {
	go func() {
		<-ctx.Done()
		_ = h.srv.Close()
	}()
	if err := h.srv.Serve(h.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// watch asks the brokers every few seconds whether they answer and hold every
// topic, so that readiness says so before a stage notices.
type watch struct {
	cluster *kafka.Cluster
	mu      sync.Mutex
	err     error
}

func newWatch(c *kafka.Cluster) *watch {
	return &watch{cluster: c, err: errors.New("the brokers have not been asked yet")}
}

func (w *watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *watch) ask(ctx context.Context) error {
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

// awaitTopics asks until the brokers hold every topic, for at most the given time.
// It does not wait for brokers that do not answer.
func (w *watch) awaitTopics(ctx context.Context, most time.Duration) error {
	// Topics may be made just now, and a broker hears of them a moment later.
	pause := retry.Backoff{Min: 250 * time.Millisecond, Max: 2 * time.Second}
	for end := time.Now().Add(most); ; {
		err := w.ask(ctx)
		if !errors.Is(err, errTopics) || !time.Now().Before(end) || pause.Wait(ctx) != nil {
			return err
		}
	}
}

func (w *watch) Run(ctx context.Context) error {
	for {
		_ = w.ask(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

// errTopics marks brokers that answer but lack topics.
var errTopics = errors.New("topics are missing")

func missingTopicsError(names []string) error {
	return fmt.Errorf("%w: %v; run `vedette topics apply` once with this configuration", errTopics, names)
}
