package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// native runs the scripts under servers/.
type native struct {
	dir                                string
	brokers, kafkaPort, openSearchPort int
}

func (n *native) startKafka() ([]string, error) {
	env, err := n.script("kafka.sh", "start", "--brokers", fmt.Sprint(n.brokers), "--dir", filepath.Join(n.dir, "kafka"), "--port", fmt.Sprint(n.kafkaPort))
	return split(env["KAFKA_BROKERS"]), err
}

func (n *native) startOpenSearch() ([]string, error) {
	env, err := n.script("opensearch.sh", "start", "--nodes", "1", "--dir", filepath.Join(n.dir, "opensearch"), "--port", fmt.Sprint(n.openSearchPort))
	return split(env["OPENSEARCH_URLS"]), err
}

func (n *native) stopKafka() error {
	_, err := n.script("kafka.sh", "stop", "--dir", filepath.Join(n.dir, "kafka"))
	return err
}

func (n *native) stopOpenSearch() error {
	_, err := n.script("opensearch.sh", "stop", "--dir", filepath.Join(n.dir, "opensearch"))
	return err
}

func (n *native) killBroker(i int) error {
	pid, err := n.brokerPID(i)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

func (n *native) brokerPID(i int) (int, error) {
	raw, err := os.ReadFile(filepath.Join(n.dir, "kafka", fmt.Sprintf("broker-%d", i+1), "pid"))
	if err != nil {
		return 0, fmt.Errorf("broker %d: %w", i, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(raw)))
}

func (n *native) wipe() {
	_, _ = n.script("kafka.sh", "stop", "--dir", filepath.Join(n.dir, "kafka"), "--wipe")
	_, _ = n.script("opensearch.sh", "stop", "--dir", filepath.Join(n.dir, "opensearch"), "--wipe")
}

// script runs one of the scripts and returns the NAME=value lines that it prints.
func (n *native) script(name string, args ...string) (map[string]string, error) {
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.Command(filepath.Join(filepath.Dir(file), "servers", name), args...)
	// Files, not pipes: the servers inherit them and would keep a pipe open.
	out, err := os.CreateTemp("", "vedette-servers")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	runErr := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return nil, err
	}
	if runErr != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), runErr, text)
	}
	env := map[string]string{}
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		if k, v, ok := strings.Cut(sc.Text(), "="); ok {
			env[k] = v
		}
	}
	return env, nil
}
