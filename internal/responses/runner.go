package responses

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// RunsMax bounds the scripts of a Runner that run at once.
	RunsMax = 8
	// DefaultRunTime is how long a script may take in all, endTime those that undo
	// at an orderly end.
	DefaultRunTime = 30 * time.Second
	endTime        = 10 * time.Second
	// lineMax bounds a line of a script's output.
	lineMax = 64 << 10
	// countsMax bounds the state keys that are remembered as offenders.
	countsMax = 65_536
)

// Runner runs the executables of responses as the response daemon does: it tells
// them the message, hears which key they act on, and has them undo it when the
// time is over. It is safe for concurrent use.
//
// A script gets no shell, no arguments and nothing of this process's environment
// but a path; it and the processes that it starts end with the run time.
//
// Source: spec/active-response.md §4.
type Runner struct {
	dir  string
	file string
	// offenders are the minutes of repeated offenders.
	offenders []int
	runTime   time.Duration
	slots     chan struct{}

	// OnUndo is told of each response that was undone, or could not be. OnKeep is
	// told when the file could not be written. Set both before use.
	OnUndo func(executable string, err error)
	OnKeep func(err error)

	mu      sync.Mutex
	pending map[string]*undo
	counts  map[string]int // how often a state key has come
	// busy are the state keys that a script is acting on, so that what is put in
	// force is whole before it is asked for again or undone.
	busy map[string]*busy
}

// busy is one at a time; users counts those that hold it or wait.
type busy struct {
	ch    chan struct{}
	users int
}

// enter waits until nobody else acts on a key.
func (r *Runner) enter(ctx context.Context, key string) error {
	r.mu.Lock()
	b := r.busy[key]
	if b == nil {
		b = &busy{ch: make(chan struct{}, 1)}
		r.busy[key] = b
	}
	b.users++
	r.mu.Unlock()
	select {
	case b.ch <- struct{}{}:
		return nil
	case <-ctx.Done():
		r.left(key, b)
		return ctx.Err()
	}
}

func (r *Runner) leave(key string) {
	r.mu.Lock()
	b := r.busy[key]
	r.mu.Unlock()
	<-b.ch
	r.left(key, b)
}

func (r *Runner) left(key string, b *busy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.users--; b.users == 0 {
		delete(r.busy, key)
	}
}

// undo is a response in force, by its state key.
type undo struct {
	Executable string    `json:"executable"`
	Message    string    `json:"message"`
	Due        time.Time `json:"due"`
}

// NewRunner returns a Runner for the executables in dir. file keeps what is to be
// undone over restarts; empty keeps nothing. offenders are the minutes for which
// a key is held that comes again; runTime 0 is DefaultRunTime.
func NewRunner(dir, file string, offenders []int, runTime time.Duration) (*Runner, error) {
	if runTime == 0 {
		runTime = DefaultRunTime
	}
	r := &Runner{
		dir: dir, file: file, offenders: offenders, runTime: runTime, slots: make(chan struct{}, RunsMax),
		OnUndo: func(string, error) {}, OnKeep: func(error) {}, pending: map[string]*undo{}, counts: map[string]int{}, busy: map[string]*busy{},
	}
	if file == "" {
		return r, nil
	}
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &r.pending)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("what is to be undone of earlier responses: %w", err)
	}
	return r, nil
}

// Run has an executable act on a message. The outcome is `run` for one without a
// state, else `continue` or `abort` and the state key. A timeout of 0 is for ever.
func (r *Runner) Run(ctx context.Context, executable, message string, timeout time.Duration) (outcome string, err error) {
	if executable == "" || executable != filepath.Base(executable) || strings.HasPrefix(executable, ".") {
		return "", fmt.Errorf("%q is no plain name", executable)
	}
	m := map[string]any{}
	if err := json.Unmarshal([]byte(message), &m); err != nil {
		return "", errors.New("its message is no JSON")
	}
	if err := r.slot(ctx); err != nil {
		return "", err
	}
	defer r.free()
	entered := ""
	defer func() {
		if entered != "" {
			r.leave(entered)
		}
	}()
	err = r.start(ctx, executable, func(run context.Context, in io.Writer, out *bufio.Reader) error {
		if err := r.say(in, executable, m, "add"); err != nil {
			return err
		}
		line, err := out.ReadString('\n')
		if err != nil { // a script without a state
			outcome = "run"
			return nil //nolint:nilerr // the end of its output is its answer
		}
		key := stateKey(executable, line)
		if err := r.enter(run, key); err != nil {
			return err
		}
		entered = key // until the script has ended
		answer := "continue"
		if timeout > 0 && !r.hold(key, executable, m, timeout) {
			answer = "abort"
		}
		outcome = answer + " " + key
		return r.say(in, executable, m, answer)
	})
	if outcome == "" {
		outcome = "run" // it ended without reading its message
	}
	return outcome, err
}

// slot waits until one more script may run.
func (r *Runner) slot(ctx context.Context) error {
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Runner) free() { <-r.slots }

// stateKey names an effect of a response that is in force.
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

// hold remembers an effect to be undone, and reports whether it was not in force;
// if it was, its time begins anew.
func (r *Runner) hold(key, name string, message map[string]any, timeout time.Duration) (fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.counts[key]; n > 0 && len(r.offenders) > 0 {
		timeout = time.Duration(r.offenders[min(n, len(r.offenders))-1]) * time.Minute
	}
	if len(r.counts) < countsMax || r.counts[key] > 0 {
		r.counts[key]++
	}
	due := time.Now().Add(timeout)
	if u := r.pending[key]; u != nil {
		u.Due = due
		r.save()
		return false
	}
	text, err := worded(message, filepath.Join(r.dir, name), "delete")
	if err != nil {
		return true
	}
	r.pending[key] = &undo{Executable: name, Message: text, Due: due}
	r.save()
	return true
}

// save writes the effects to be undone. The caller holds mu.
func (r *Runner) save() {
	if r.file == "" {
		return
	}
	b, err := json.Marshal(r.pending)
	if err == nil {
		tmp := r.file + ".tmp"
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, r.file)
		}
	}
	if err != nil {
		r.OnKeep(err)
	}
}

// Tick undoes effects that are due, every second, until ctx ends.
func (r *Runner) Tick(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			r.undo(ctx, r.due(func(u *undo) bool { return now.After(u.Due) }), func(u *undo) bool { return now.After(u.Due) })
		}
	}
}

func (r *Runner) due(which func(*undo) bool) (keys []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, u := range r.pending {
		if which(u) {
			keys = append(keys, key)
		}
	}
	return keys
}

// undo undoes the effects under keys that still are as which says.
func (r *Runner) undo(ctx context.Context, keys []string, which func(*undo) bool) {
	var wg sync.WaitGroup
	for _, key := range keys {
		if r.slot(ctx) != nil {
			break
		}
		wg.Go(func() {
			defer r.free()
			if r.enter(ctx, key) != nil {
				return
			}
			defer r.leave(key)
			r.mu.Lock()
			u := r.pending[key]
			if u == nil || !which(u) { // it came again meanwhile
				r.mu.Unlock()
				return
			}
			delete(r.pending, key)
			r.save()
			r.mu.Unlock()
			err := r.start(ctx, u.Executable, func(_ context.Context, in io.Writer, _ *bufio.Reader) error {
				_, err := io.WriteString(in, u.Message+"\n")
				return err
			})
			r.OnUndo(u.Executable, err)
		})
	}
	wg.Wait()
}

// UndoAll undoes everything, as the response daemon does at its end.
func (r *Runner) UndoAll() {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	all := func(*undo) bool { return true }
	r.undo(ctx, r.due(all), all)
}

// say writes the message with another command to a script.
func (r *Runner) say(in io.Writer, name string, message map[string]any, command string) error {
	text, err := worded(message, filepath.Join(r.dir, name), command)
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
func (r *Runner) start(ctx context.Context, name string, talk func(run context.Context, in io.Writer, out *bufio.Reader) error) error {
	path := filepath.Join(r.dir, name)
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("%s is not there; put it into %s", name, r.dir)
	}
	if !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s must be a regular file that can be executed and that only its owner may write", path)
	}
	// The role's end lets a script finish: half a response is worse than a late end.
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.runTime)
	defer cancel()
	cmd := exec.CommandContext(run, path)
	cmd.Dir, cmd.Env = r.dir, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
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
	err = talk(run, in, limited)
	if errors.Is(err, syscall.EPIPE) { // it ended without reading, which is its right
		err = nil
	}
	in.Close()
	_, _ = io.Copy(io.Discard, out) // Wait closes the pipe, also under a script that goes on talking
	if werr := cmd.Wait(); werr != nil {
		if run.Err() != nil {
			return fmt.Errorf("%s took longer than %s and was ended", name, r.runTime)
		}
		if err == nil {
			err = fmt.Errorf("%s: %w", name, werr)
		}
	}
	return err
}
