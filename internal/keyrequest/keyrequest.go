// Package keyrequest asks an integration for the key of an agent that the
// registry does not know, and adds the answer to the registry.
//
// In: ids and addresses from the gateways. Out: proposals. A question is dropped
// while the same one waits or is asked, while the queue is full, and for a while
// after it was answered: who knocks again and again is asked about once.
//
// Limits: Config.QueueSize questions waiting, Config.Threads asked at once,
// Config.Timeout each, answerMax bytes, remembersMax answered questions.
//
// Source: spec/enrollment.md §9.
package keyrequest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/metrics"
	"vedette/internal/registry"
	"vedette/internal/retry"
	"vedette/internal/secret"
	"vedette/schemas"
)

// Config says whom to ask: a program or a socket.
type Config struct {
	Enabled bool `mapstructure:"enabled"`
	// ExecPath is a program that is run with two arguments, `id 001` or
	// `ip 10.0.0.1`, without a shell, and prints its answer.
	ExecPath string `mapstructure:"exec_path"`
	// Socket is a Unix stream socket that is written `id:001` or `ip:10.0.0.1`.
	Socket string `mapstructure:"socket"`
	// Timeout bounds one question.
	Timeout time.Duration `mapstructure:"timeout"`
	// Threads is how many are asked at once.
	Threads int `mapstructure:"threads"`
	// QueueSize is how many may wait.
	QueueSize int `mapstructure:"queue_size"`
}

// Default returns the configuration that asks nobody.
func Default() Config { return Config{Timeout: time.Minute, Threads: 1, QueueSize: 1024} }

// Validate returns every problem, joined, each with its key below prefix.
func (c Config) Validate(prefix string) error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(prefix+format, a...)) }
	if c.Enabled && (c.ExecPath == "") == (c.Socket == "") {
		bad(".enabled: needs either %[1]s.exec_path or %[1]s.socket", prefix)
	}
	if c.Timeout < time.Second || c.Timeout > time.Hour {
		bad(".timeout: %s; between 1s and 1h", c.Timeout)
	}
	if c.Threads < 1 || c.Threads > 32 {
		bad(".threads: %d; between 1 and 32", c.Threads)
	}
	if c.QueueSize < 1 || c.QueueSize > 220_000 {
		bad(".queue_size: %d; between 1 and 220000", c.QueueSize)
	}
	return errors.Join(errs...)
}

const (
	answerMax = 64 << 10
	// connectTries is how often a socket is tried, a second apart.
	connectTries = 3
	// remembered is how long an answered question is not asked again.
	remembered   = 30 * time.Second
	remembersMax = 4096
	// killWait is how long a program that was killed may hold its pipes open.
	killWait = 5 * time.Second
)

// path is all the environment that a program gets.
const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Registry is where answers go.
type Registry interface {
	Agent(id string) (registry.Agent, bool)
	Add(ctx context.Context, q registry.AddRequest) (registry.Agent, error)
}

// Asker asks. It is safe for concurrent use.
type Asker struct {
	cfg   Config
	reg   Registry
	force schemas.ForcePolicy
	log   *slog.Logger
	m     *prometheus.CounterVec
	queue chan string

	mu   sync.Mutex           // guards what follows; nothing is locked under it
	open map[string]time.Time // waiting or asked: zero; answered: when
}

// New returns an Asker. force says when an agent gives way to an answer's.
func New(cfg Config, reg Registry, force schemas.ForcePolicy, log *slog.Logger, promReg prometheus.Registerer) *Asker {
	set := metrics.Set{Registerer: promReg, Prefix: "vedette_key_requests_"}
	a := &Asker{
		cfg: cfg, reg: reg, force: force, log: log, queue: make(chan string, cfg.QueueSize), open: map[string]time.Time{},
		m: metrics.Register(promReg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "vedette_key_requests_total", Help: "Agents that are not known, by the outcome of asking for their key."}, []string{"outcome"})),
	}
	for _, o := range []string{outAdded, outRefused, outUnknown, outFailed, outInvalid, outRepeated, outFull} {
		a.m.WithLabelValues(o)
	}
	set.GaugeFunc("waiting", "Questions that wait; enroll.key_request.queue_size is their bound.", func() float64 { return float64(len(a.queue)) })
	return a
}

// What comes of a question.
const (
	outAdded    = "added"
	outRefused  = "refused"    // by the registry
	outUnknown  = "unknown"    // the integration does not know it either
	outFailed   = "failed"     // no answer, or none that can be read
	outInvalid  = "invalid"    // neither an id nor an address
	outRepeated = "repeated"   // asked, or answered a moment ago
	outFull     = "queue_full" //
)

// Unknown asks about an agent: by its id, or where it gave none by its address.
// It never blocks.
func (a *Asker) Unknown(id, ip string) {
	q := "id:" + id
	ok := schemas.ValidAgentID(id)
	if id == "" {
		addr, err := netip.ParseAddr(ip)
		q, ok = "ip:"+ip, err == nil && addr.Zone() == ""
	}
	if !ok {
		a.m.WithLabelValues(outInvalid).Inc()
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.open[q]; ok && (at.IsZero() || now.Sub(at) < remembered) {
		a.m.WithLabelValues(outRepeated).Inc()
		return
	}
	if len(a.open) >= remembersMax+a.cfg.QueueSize {
		for k, at := range a.open { // what was answered makes room
			if !at.IsZero() {
				delete(a.open, k)
			}
		}
	}
	select {
	case a.queue <- q:
		a.open[q] = time.Time{}
	default:
		a.m.WithLabelValues(outFull).Inc()
	}
}

// Run asks until ctx ends, then returns nil.
func (a *Asker) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range a.cfg.Threads {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case q := <-a.queue:
					outcome := a.one(ctx, q)
					a.m.WithLabelValues(outcome).Inc()
					a.mu.Lock()
					a.open[q] = time.Now()
					a.mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func (a *Asker) one(ctx context.Context, q string) string {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	raw, err := a.ask(ctx, q)
	var r registry.AddRequest
	if err == nil {
		r, err = parse(raw)
	}
	if errors.Is(err, errNotKnown) {
		return outUnknown
	}
	if err != nil {
		a.log.Warn("key request failed", "question", q, "err", err)
		return outFailed
	}
	if have, ok := a.reg.Agent(r.ID); ok && have.Name == r.Name && have.Key == r.Key {
		return outAdded // by another node
	}
	r.Force = a.force
	ag, err := a.reg.Add(ctx, r)
	if refusal := (*registry.Refusal)(nil); errors.As(err, &refusal) {
		a.log.Warn("the agent that a key request brought is refused", "question", q, "agent_id", r.ID, "agent_name", r.Name, "err", err)
		return outRefused
	}
	if err != nil {
		a.log.Warn("key request failed", "question", q, "err", err)
		return outFailed
	}
	a.log.Info("agent added by a key request", "question", q, "agent_id", ag.ID, "agent_name", ag.Name)
	return outAdded
}

func (a *Asker) ask(ctx context.Context, q string) ([]byte, error) {
	if a.cfg.Socket != "" {
		return a.askSocket(ctx, q)
	}
	kind, what, _ := strings.Cut(q, ":")
	cmd := exec.CommandContext(ctx, a.cfg.ExecPath, kind, what)
	cmd.Env = []string{path}
	// What the program started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	answer, err := readAnswer(out)
	if err != nil {
		_ = cmd.Cancel() // it may wait for somebody to read the rest
	}
	if werr := cmd.Wait(); err == nil {
		err = werr
	}
	return answer, err
}

func (a *Asker) askSocket(ctx context.Context, q string) ([]byte, error) {
	var d net.Dialer
	var conn net.Conn
	var err error
	pause := retry.Backoff{Min: time.Second, Max: 2 * time.Second}
	for try := range connectTries {
		if conn, err = d.DialContext(ctx, "unix", a.cfg.Socket); err == nil {
			break
		}
		if try == connectTries-1 {
			return nil, err
		}
		if err := pause.Wait(ctx); err != nil {
			return nil, err
		}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := io.WriteString(conn, q); err != nil {
		return nil, err
	}
	if u, ok := conn.(*net.UnixConn); ok {
		_ = u.CloseWrite() // the question has no other end
	}
	return readAnswer(conn)
}

// readAnswer reads one JSON value: who keeps the line open need not close it.
func readAnswer(r io.Reader) ([]byte, error) {
	limited := &io.LimitedReader{R: r, N: answerMax}
	var raw json.RawMessage
	if err := json.NewDecoder(limited).Decode(&raw); err != nil {
		if limited.N == 0 {
			return nil, fmt.Errorf("the answer is longer than %d bytes", answerMax)
		}
		return nil, fmt.Errorf("the answer is no JSON: %w", err)
	}
	return raw, nil
}

// errNotKnown is an answer that says so.
var errNotKnown = errors.New("the integration does not know the agent")

func parse(raw []byte) (registry.AddRequest, error) {
	var in struct {
		Error *int            `json:"error"`
		Data  json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &in); err != nil || in.Error == nil {
		return registry.AddRequest{}, errors.New(`the answer lacks "error"`)
	}
	if *in.Error != 0 {
		return registry.AddRequest{}, errNotKnown
	}
	var d struct{ ID, Name, IP, Key string }
	if err := json.Unmarshal(in.Data, &d); err != nil || d.ID == "" || d.Name == "" || d.IP == "" || d.Key == "" {
		return registry.AddRequest{}, errors.New(`the answer's "data" needs id, name, ip and key`)
	}
	return registry.AddRequest{ID: d.ID, Name: d.Name, IP: d.IP, Key: secret.String(d.Key)}, nil
}
