package simulate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vedette/ingest/secure"
	"vedette/internal/registry"
	"vedette/internal/responses"
	"vedette/internal/retry"
	"vedette/internal/secret"
)

// Report holds the results of a run.
type Report struct {
	// Sent counts lines whose bytes were handed to the socket completely.
	Sent int64
	// Refused counts connections that ended without the startup being
	// acknowledged, and startups answered with an error.
	Refused int64
	// Reconnects counts connections after an agent's first.
	Reconnects int64
	// Enrolled and EnrollFailed count identities asked for in this run.
	Enrolled     int64
	EnrollFailed int64
	// Unsent counts lines that were due and could not be handed over before the end.
	Unsent  int64
	Elapsed time.Duration
	// Up is how long after the run's start agents were acknowledged for the first
	// time: how many were, the slowest of the first half, and the slowest of all.
	Up struct {
		Agents    int
		Half, All time.Duration
	}
	// The agents' work for the server: merged files received whole and not,
	// requests answered, responses run and not known, packages installed; and
	// the messages of their modules. Dropped counts messages that could not wait
	// to be sent.
	Files, BadFiles, Requests, Responses, UnknownResponses, Upgrades, ModuleEvents, Dropped int64
	// PerAgent is by agent name.
	PerAgent map[string]AgentReport
}

// AgentReport is one agent's part of a Report.
type AgentReport struct {
	ID         string
	Sent       int64
	Reconnects int64
}

// enrollAtOnce bounds simultaneous enrollments, enrollTries the attempts of one
// agent that cannot reach the port.
const (
	enrollAtOnce  = 32
	enrollTries   = 5
	enrollTimeout = 60 * time.Second
)

// identity is an agent's key.
type identity struct {
	ID, Name, IP string
	Key          secret.String
}

type fleet struct {
	cfg      Config
	method   secure.Method
	encoders *secure.Pool[*secure.Encoder]
	deadline time.Time // of generating; zero without end

	begun  time.Time // when the agents began to connect
	ctx    context.Context
	runner *responses.Runner // nil without Config.ResponseDir

	sent, refused, reconnects, enrolled, enrollFailed, unsent, connected atomic.Int64
	// The agents' work for the server.
	files, badFiles, requests, responses, unknownResponses, upgrades, moduleEvents, dropped atomic.Int64
}

// Run enrolls the agents, runs them until all lines are sent, the duration is
// over or ctx ends, and lets them say goodbye. It prints one line per second to
// progress, which may be nil. The end of ctx is an orderly end, not an error.
func Run(ctx context.Context, cfg Config, progress io.Writer) (Report, error) {
	if err := cfg.defaults(); err != nil {
		return Report{}, err
	}
	f := &fleet{cfg: cfg}
	f.encoders = secure.NewPool(func() *secure.Encoder { return &secure.Encoder{Level: cfg.Level} })
	if cfg.Cipher == "blowfish" {
		f.method = secure.Blowfish
	}
	start := time.Now()
	if progress != nil {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { f.print(progress, stop) })
		defer func() { close(stop); wg.Wait() }()
	}
	ids, err := f.identities(ctx)
	if err != nil {
		return f.report(start, nil), err
	}
	if cfg.Duration > 0 {
		f.deadline = time.Now().Add(cfg.Duration)
	}
	var plain [][]byte
	for line := range bytes.Lines(cfg.Logs) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			plain = append(plain, line)
		}
	}
	templates := compile(corpus)
	agents := make([]*agent, len(ids))
	var wg sync.WaitGroup
	f.begun, f.ctx = time.Now(), ctx
	if cfg.ResponseDir != "" {
		if f.runner, err = responses.NewRunner(cfg.ResponseDir, "", nil, 0); err != nil {
			return f.report(start, nil), err
		}
		ticking, stop := context.WithCancel(context.WithoutCancel(ctx))
		var tick sync.WaitGroup
		tick.Go(func() { f.runner.Tick(ticking) })
		defer func() { stop(); tick.Wait(); f.runner.UndoAll() }()
	}
	for i, id := range ids {
		a := &agent{
			f: f, id: id, key: secure.NewKey(id.ID, id.Name, id.Key.Reveal()), quota: -1,
			src: source{templates: templates, plain: plain, host: id.Name, rng: rand.New(rand.NewPCG(uint64(i), 4)), next: i},
		}
		if i == 0 && cfg.Story && len(plain) == 0 && !cfg.Idle {
			a.story = story(id.Name, f.begun)
		}
		if cfg.Count > 0 {
			n := int64(len(ids))
			a.quota = cfg.Count / n
			if int64(i) < cfg.Count%n {
				a.quota++
			}
		}
		if cfg.Idle {
			a.every, a.phase = time.Hour, 10*365*24*time.Hour
		}
		if cfg.EPS > 0 {
			a.every = time.Duration(float64(time.Second) * float64(len(ids)) / cfg.EPS)
			a.phase = a.every / time.Duration(len(ids)) * time.Duration(i)
		}
		agents[i] = a
		wg.Go(func() { a.run(ctx) })
	}
	wg.Wait()
	return f.report(start, agents), nil
}

func (f *fleet) report(start time.Time, agents []*agent) Report {
	r := Report{
		Sent: f.sent.Load(), Refused: f.refused.Load(), Reconnects: f.reconnects.Load(), Enrolled: f.enrolled.Load(),
		EnrollFailed: f.enrollFailed.Load(), Unsent: f.unsent.Load(), Elapsed: time.Since(start), PerAgent: map[string]AgentReport{},
	}
	r.Files, r.BadFiles, r.Requests, r.Responses = f.files.Load(), f.badFiles.Load(), f.requests.Load(), f.responses.Load()
	r.UnknownResponses, r.Upgrades, r.ModuleEvents, r.Dropped = f.unknownResponses.Load(), f.upgrades.Load(), f.moduleEvents.Load(), f.dropped.Load()
	var up []time.Duration
	for _, a := range agents {
		if a.firstUp > 0 {
			up = append(up, a.firstUp)
		}
	}
	if r.Up.Agents = len(up); len(up) > 0 {
		slices.Sort(up)
		r.Up.Half, r.Up.All = up[(len(up)-1)/2], up[len(up)-1]
	}
	for _, a := range agents {
		r.PerAgent[a.id.Name] = AgentReport{ID: a.id.ID, Sent: a.sent, Reconnects: a.reconnects}
	}
	return r
}

func (f *fleet) print(w io.Writer, stop <-chan struct{}) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var last int64
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			sent := f.sent.Load()
			fmt.Fprintf(w, "sent=%d refused=%d reconnects=%d agents=%d eps=%d\n", sent, f.refused.Load(), f.reconnects.Load(), f.connected.Load(), sent-last)
			last = sent
		}
	}
}

// identities returns the agents' keys: the keys of the keys file, then enrolled
// ones.
func (f *fleet) identities(ctx context.Context) ([]identity, error) {
	known := map[string]identity{}
	if f.cfg.KeysFile != "" {
		file, err := os.Open(f.cfg.KeysFile)
		if err == nil {
			lines, perr := registry.ParseClientKeys(file)
			file.Close()
			if perr != nil {
				return nil, fmt.Errorf("keys file %s: %w", f.cfg.KeysFile, perr)
			}
			for _, l := range lines {
				known[l.Name] = identity{ID: l.ID, Name: l.Name, IP: l.IP, Key: l.Key}
			}
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	conf, err := f.tlsConfig()
	if err != nil {
		return nil, err
	}
	out := make([]identity, f.cfg.Agents)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
		slots = make(chan struct{}, enrollAtOnce)
	)
	for i := range out {
		name := f.cfg.NamePrefix + fmt.Sprintf("%04d", i+1)
		if id, ok := known[name]; ok {
			out[i] = id
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			id, err := f.enroll(ctx, name, conf)
			if err != nil {
				f.enrollFailed.Add(1)
				mu.Lock()
				if first == nil {
					first = fmt.Errorf("enroll %s: %w", name, err)
				}
				mu.Unlock()
				return
			}
			f.enrolled.Add(1)
			out[i] = id
		})
	}
	wg.Wait()
	var ids []identity
	for _, id := range out {
		if id.ID != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, first
	}
	if f.cfg.KeysFile != "" {
		var agents []registry.Agent
		for _, id := range ids {
			agents = append(agents, registry.Agent{ID: id.ID, Name: id.Name, IP: id.IP, Key: id.Key})
		}
		var b bytes.Buffer
		if err := registry.WriteClientKeys(&b, agents); err != nil {
			return nil, err
		}
		if err := os.WriteFile(f.cfg.KeysFile, b.Bytes(), 0o600); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func (f *fleet) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.cfg.Manager}
	if f.cfg.CAFile == "" {
		conf.InsecureSkipVerify = true // agents verify nothing unless told a CA
		return conf, nil
	}
	pem, err := os.ReadFile(f.cfg.CAFile)
	if err != nil {
		return nil, err
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s holds no certificate", f.cfg.CAFile)
	}
	return conf, nil
}

// enroll asks for an identity. It retries when it cannot reach the server, but
// not after a refusal.
func (f *fleet) enroll(ctx context.Context, name string, conf *tls.Config) (identity, error) {
	var err error
	pause := retry.Backoff{Min: 200 * time.Millisecond, Max: 2 * time.Second}
	for try := range enrollTries {
		if try > 0 {
			if err := pause.Wait(ctx); err != nil {
				return identity{}, err
			}
		}
		var reply string
		if reply, err = f.ask(ctx, name, conf); err != nil {
			continue
		}
		text, ok := strings.CutPrefix(reply, "OSSEC K:'")
		if !ok {
			return identity{}, errors.New(strings.TrimSpace(reply))
		}
		text, _, _ = strings.Cut(text, "'")
		p := strings.Split(text, " ")
		if len(p) != 4 {
			return identity{}, errors.New("the reply does not hold four fields")
		}
		return identity{ID: p[0], Name: p[1], IP: p[2], Key: secret.String(p[3])}, nil
	}
	return identity{}, err
}

func (f *fleet) ask(ctx context.Context, name string, conf *tls.Config) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, enrollTimeout)
	defer cancel()
	d := tls.Dialer{Config: conf}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(f.cfg.Manager, strconv.Itoa(f.cfg.EnrollPort)))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line := "OSSEC A:'" + name + "' V:'" + f.cfg.Version + "'\n"
	if f.cfg.Password != "" {
		line = "OSSEC PASS: " + f.cfg.Password.Reveal() + " " + line
	}
	if _, err := io.WriteString(conn, line); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(conn, 64<<10))
	if len(b) == 0 && err == nil {
		err = io.ErrUnexpectedEOF
	}
	if len(b) > 0 {
		err = nil // some servers end without close-notify
	}
	return string(b), err
}
