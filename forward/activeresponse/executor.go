package activeresponse

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/internal/kafka"
	"vedette/internal/responses"
	"vedette/internal/secret"
	"vedette/schemas"
)

const (
	// ExecutorGroup is the consumer group of those who run the server's commands.
	ExecutorGroup = "activeresponse-server"
	// runsMax bounds the scripts that run at once, and waitingMax what waits for
	// one of them to end; further commands are refused.
	runsMax    = 8
	waitingMax = 1024
	// runTime is how long a script may take in all, endTime those that undo at an
	// orderly end.
	runTime = 30 * time.Second
	endTime = 10 * time.Second
	// lineMax bounds what a script may say.
	lineMax = 64 << 10
)

// Executor runs the responses of location server.
type Executor struct {
	dir     string // of the executables
	file    string // of what is to be undone
	byName  map[string]responses.Bound
	box     *secret.Box
	node    string
	log     *slog.Logger
	prod    Producer
	reg     prometheus.Registerer
	results *prometheus.CounterVec
	slots   chan struct{}
	waiting chan schemas.Command
	// offenders are the minutes of repeated offenders.
	offenders []int
	runTime   time.Duration

	mu      sync.Mutex
	pending map[string]*undo
	counts  map[string]int // how often a state key has come, for repeated offenders
}

// countsMax bounds the state keys that are remembered as offenders.
const countsMax = 65_536

// undo is a response in force, by its state key.
type undo struct {
	Executable string    `json:"executable"`
	Message    string    `json:"message"`
	Due        time.Time `json:"due"`
}

// NewExecutor prepares the executor. dir holds the executables, file keeps what
// is to be undone.
func NewExecutor(set *responses.Set, offenders []int, dir, file string, box *secret.Box, node string, prod Producer, log *slog.Logger, reg prometheus.Registerer) (*Executor, error) {
	x := &Executor{
		dir: dir, file: file, byName: map[string]responses.Bound{}, box: box, node: node, prod: prod, log: log, reg: reg, offenders: offenders,
		slots: make(chan struct{}, runsMax), waiting: make(chan schemas.Command, waitingMax), pending: map[string]*undo{}, counts: map[string]int{}, runTime: runTime,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vedette_activeresponse_runs_total", Help: "Responses of the server itself, by what came of them.",
		}, []string{"result"}),
	}
	for _, b := range set.Bound() {
		if _, again := x.byName[b.Identity]; !again {
			x.byName[b.Identity] = b
		}
	}
	if reg != nil {
		if err := reg.Register(x.results); err != nil {
			return nil, err
		}
	}
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &x.pending)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("what is to be undone of earlier responses: %w", err)
	}
	return x, nil
}

// Run runs commands until ctx ends, undoes what is in force, and returns nil.
func (x *Executor) Run(ctx context.Context, cluster *kafka.Cluster) error {
	var wg sync.WaitGroup
	for range runsMax {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case c := <-x.waiting:
					x.run(ctx, &c)
				}
			}
		})
	}
	wg.Go(func() { x.tick(ctx) })
	err := cluster.Consume(ctx, kafka.GroupConfig{
		Group: ExecutorGroup, Topic: schemas.TopicCommands, Log: x.log, Registerer: x.reg,
		Open: func(context.Context, kafka.Assignment) (kafka.Handler, error) { return executing{x}, nil },
	})
	wg.Wait()
	x.undoAll()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

type executing struct{ x *Executor }

func (executing) Close() {}

// Handle takes commands over. They count as done when it returns, so that nobody
// runs them twice.
func (e executing) Handle(_ context.Context, recs []schemas.Record) error {
	for i := range recs {
		if string(recs[i].Key) != schemas.ManagerID {
			continue
		}
		if !Verify(e.x.box, &recs[i]) {
			e.x.results.WithLabelValues("mac").Inc()
			e.x.log.Warn("a command was not run: it was not made under this cluster key", "offset", recs[i].Offset)
			continue
		}
		c, err := schemas.ParseCommand(&recs[i])
		switch {
		case err != nil:
			e.x.results.WithLabelValues("shape").Inc()
		case c.Kind != schemas.CommandResponse:
		case time.Now().UnixMilli() > c.Expires:
			e.x.reply(&c, schemas.ReplyExpired, "it came after its time")
		default:
			select {
			case e.x.waiting <- c:
			default:
				e.x.reply(&c, schemas.ReplyRefused, fmt.Sprintf("%d responses are waiting already", waitingMax))
			}
		}
	}
	return nil
}

func (x *Executor) reply(c *schemas.Command, status schemas.ReplyStatus, text string) {
	x.results.WithLabelValues(string(status)).Inc()
	r := c.Reply(x.node, status, text, time.Now())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := x.prod.ProduceSync(ctx, r.Record()); err != nil {
		x.log.Warn("what came of a response could not be written", "response", c.Response, "err", err)
	}
}

// run is one command's way: add, check_keys, continue or abort.
//
// Source: spec/active-response.md §4.
func (x *Executor) run(ctx context.Context, c *schemas.Command) {
	name, timeout, err := x.lookup(c)
	if err != nil {
		x.reply(c, schemas.ReplyRefused, err.Error())
		return
	}
	message := map[string]any{}
	if err := json.Unmarshal([]byte(c.Text), &message); err != nil {
		x.reply(c, schemas.ReplyRefused, "its message is no JSON")
		return
	}
	done := ""
	err = x.start(ctx, name, func(in io.Writer, out *bufio.Reader) error {
		if err := x.say(in, name, message, "add"); err != nil {
			return err
		}
		line, err := out.ReadString('\n')
		if err != nil { // a script without a state
			done = "run"
			return nil //nolint:nilerr // the end of its output is its answer
		}
		key := stateKey(name, line)
		answer := "continue"
		if timeout > 0 && !x.hold(key, name, message, timeout) {
			answer = "abort"
		}
		done = answer + " " + key
		return x.say(in, name, message, answer)
	})
	if err != nil {
		x.reply(c, schemas.ReplyFailed, err.Error())
		return
	}
	x.reply(c, schemas.ReplyDone, done)
}

func (x *Executor) lookup(c *schemas.Command) (name string, timeout time.Duration, err error) {
	if script, ok := strings.CutPrefix(c.Response, "!"); ok {
		name = script
	} else if b, ok := x.byName[c.Response]; ok {
		name, timeout = b.Exec.Executable, time.Duration(b.Timeout)*time.Second
	} else {
		return "", 0, fmt.Errorf("this node's configuration has no response %q", c.Response)
	}
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return "", 0, fmt.Errorf("%q is no plain name", name)
	}
	return name, timeout, nil
}

// stateKey names what a response has put in force.
func stateKey(name, line string) string {
	var q struct {
		Command    string `json:"command"`
		Parameters struct {
			Keys []string `json:"keys"`
		} `json:"parameters"`
	}
	if json.Unmarshal([]byte(line), &q) != nil || q.Command != "check_keys" {
		return name
	}
	return strings.Join(append([]string{name}, q.Parameters.Keys...), "-")
}

// hold remembers what is to be undone, and reports whether it was not in force;
// if it was, its time begins anew.
func (x *Executor) hold(key, name string, message map[string]any, timeout time.Duration) (fresh bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := x.counts[key]; n > 0 && len(x.offenders) > 0 {
		timeout = time.Duration(x.offenders[min(n, len(x.offenders))-1]) * time.Minute
	}
	if len(x.counts) < countsMax || x.counts[key] > 0 {
		x.counts[key]++
	}
	due := time.Now().Add(timeout)
	if u := x.pending[key]; u != nil {
		u.Due = due
		x.save()
		return false
	}
	text, err := worded(message, filepath.Join(x.dir, name), "delete")
	if err != nil {
		return true
	}
	x.pending[key] = &undo{Executable: name, Message: text, Due: due}
	x.save()
	return true
}

// save writes what is to be undone. The caller holds mu.
func (x *Executor) save() {
	b, err := json.Marshal(x.pending)
	if err == nil {
		tmp := x.file + ".tmp"
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, x.file)
		}
	}
	if err != nil {
		x.log.Error("what is to be undone could not be kept; a restart would forget it", "err", err)
	}
}

// tick undoes what is due, looked at every second.
func (x *Executor) tick(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for _, u := range x.take(func(u *undo) bool { return now.After(u.Due) }) {
				x.undo(ctx, u)
			}
		}
	}
}

func (x *Executor) take(which func(*undo) bool) (out []*undo) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key, u := range x.pending {
		if which(u) {
			out = append(out, u)
			delete(x.pending, key)
		}
	}
	if len(out) > 0 {
		x.save()
	}
	return out
}

func (x *Executor) undo(ctx context.Context, u *undo) {
	err := x.start(ctx, u.Executable, func(in io.Writer, _ *bufio.Reader) error {
		_, err := io.WriteString(in, u.Message+"\n")
		return err
	})
	if err != nil {
		x.results.WithLabelValues("undo_failed").Inc()
		x.log.Error("a response was not undone; undo it by hand", "executable", u.Executable, "err", err)
		return
	}
	x.results.WithLabelValues("undone").Inc()
}

// undoAll undoes everything at the end, as the response daemon does at its.
func (x *Executor) undoAll() {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, u := range x.take(func(*undo) bool { return true }) {
		wg.Go(func() { x.undo(ctx, u) })
	}
	wg.Wait()
}

// say writes the message with another command to a script.
func (x *Executor) say(in io.Writer, name string, message map[string]any, command string) error {
	text, err := worded(message, filepath.Join(x.dir, name), command)
	if err != nil {
		return err
	}
	_, err = io.WriteString(in, text+"\n")
	return err
}

func worded(message map[string]any, program, command string) (string, error) {
	out := make(map[string]any, len(message))
	for k, v := range message {
		out[k] = v
	}
	out["command"] = command
	if o, ok := out["origin"].(map[string]any); ok {
		out["origin"] = map[string]any{"name": o["name"], "module": "wazuh-execd"}
	}
	if p, ok := out["parameters"].(map[string]any); ok {
		q := make(map[string]any, len(p)+1)
		for k, v := range p {
			q[k] = v
		}
		q["program"] = program
		out["parameters"] = q
	}
	b, err := json.Marshal(out)
	return string(b), err
}

// start runs an executable: no shell, no arguments, nothing of this process's
// environment but a path, a group of its own that ends with it.
func (x *Executor) start(ctx context.Context, name string, talk func(in io.Writer, out *bufio.Reader) error) error {
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	path := filepath.Join(x.dir, name)
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("%s is not there; put it into %s", name, x.dir)
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s must be a regular file that can be executed and that only its owner may write", path)
	}
	// The role's end lets a script finish: half a response is worse than a late end.
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.runTime)
	defer cancel()
	cmd := exec.CommandContext(run, path)
	cmd.Dir, cmd.Env = x.dir, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	limited := bufio.NewReaderSize(io.LimitReader(out, lineMax), 4096)
	err = talk(in, limited)
	in.Close()
	_, _ = io.Copy(io.Discard, out) // Wait closes the pipe, also under a script that goes on talking
	if werr := cmd.Wait(); werr != nil {
		if run.Err() != nil {
			return fmt.Errorf("%s took longer than %s and was ended", name, x.runTime)
		}
		if err == nil {
			err = fmt.Errorf("%s: %w", name, werr)
		}
	}
	if errors.Is(err, syscall.EPIPE) { // it ended without reading, which is its right
		err = nil
	}
	return err
}
