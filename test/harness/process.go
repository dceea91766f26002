package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"vedette/internal/datadir"
)

// Build compiles the binary once into dir and returns its path.
func Build(dir string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	bin := filepath.Join(dir, "vedette")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/vedette")
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
}

// Process is one running vedette.
type Process struct {
	Name    string
	DataDir string
	cmd     *exec.Cmd
	logFile *os.File
	done    chan struct{}
	err     error
}

// Launch starts bin with args and env beside the inherited environment. Its
// output goes to DataDir/../NAME.log.
func Launch(t testing.TB, bin, name, dataDir string, env []string, args ...string) *Process {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(filepath.Dir(dataDir), name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(append(os.Environ(), "VEDETTE_DATA_DIR="+dataDir), env...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Process{Name: name, DataDir: dataDir, cmd: cmd, logFile: f, done: make(chan struct{})}
	go func() { p.err = cmd.Wait(); f.Close(); close(p.done) }()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			if raw, err := os.ReadFile(f.Name()); err == nil {
				t.Logf("--- %s\n%s", name, raw[max(0, len(raw)-6000):])
			}
		}
	})
	return p
}

// Kill ends the process at once.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to drain and waits for it.
func (p *Process) Stop(timeout time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(timeout):
		p.Kill()
		return fmt.Errorf("%s did not drain within %s", p.Name, timeout)
	}
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited reports whether the process ended by itself.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Endpoints waits until the process is ready and returns where it listens.
func (p *Process) Endpoints(t testing.TB, timeout time.Duration) datadir.Endpoints {
	t.Helper()
	deadline := time.Now().Add(timeout)
	var last error
	for time.Now().Before(deadline) {
		if p.Exited() {
			t.Fatalf("%s ended: %v", p.Name, p.err)
		}
		e, err := datadir.ReadEndpoints(p.DataDir)
		if err == nil && e.PID == p.PID() {
			if last = Ready(e.Metrics); last == nil {
				return e
			}
		} else {
			last = err
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s is not ready after %s: %v", p.Name, timeout, last)
	return datadir.Endpoints{}
}

// Ready asks a process's own readiness; the error names the parts that are not.
func Ready(metricsAddr string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddr+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode != http.StatusOK {
		var short map[string]any
		_ = json.Unmarshal(body, &short)
		return fmt.Errorf("%s: %v", resp.Status, short)
	}
	return nil
}

// Metrics returns the values of a process's metrics whose names begin with prefix.
func Metrics(t testing.TB, metricsAddr, prefix string) map[string]string {
	t.Helper()
	resp, err := http.Get("http://" + metricsAddr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := map[string]string{}
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		if name, value, ok := strings.Cut(sc.Text(), " "); ok && strings.HasPrefix(name, prefix) {
			out[name] = value
		}
	}
	return out
}

// Run runs a command of the binary to its end.
func Run(t testing.TB, bin, dataDir string, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Env = append(append(os.Environ(), "VEDETTE_DATA_DIR="+dataDir), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("vedette %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
