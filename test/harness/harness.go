// Package harness starts what the end-to-end tests run against: real Kafka, real
// OpenSearch, and the vedette binary as separate processes.
//
// TEST_SERVERS chooses: "native" (default) runs the scripts under servers/;
// "external" takes KAFKA_BROKERS and OPENSEARCH_URLS.
package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Servers is where the real servers answer.
type Servers struct {
	KafkaBrokers   []string
	OpenSearchURLs []string
	dir            string
	native         bool
	brokers        int
	kafkaPort      int
	openSearchPort int
}

// freePorts finds a port below the range of outgoing connections such that it
// and its neighbors are free: the scripts take P to P+2 and P+100 to P+102.
func freePorts() (int, error) {
	for range 100 {
		base := 20000 + 300*rand.IntN(38)
		free := true
		for _, off := range []int{0, 1, 2, 100, 101, 102} {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+off))
			if err != nil {
				free = false
				break
			}
			ln.Close()
		}
		if free {
			return base, nil
		}
	}
	return 0, errors.New("no free ports between 20000 and 31400")
}

func scripts() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "servers")
}

// Start brings up three brokers and one indexer node under dir, or takes the
// addresses given from outside. The caller stops them.
func Start(dir string) (*Servers, error) {
	s, err := StartBrokers(dir, 3)
	if err != nil || !s.native {
		return s, err
	}
	if s.openSearchPort, err = freePorts(); err != nil {
		s.Stop()
		return nil, err
	}
	if err := s.StartOpenSearch(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// StartBrokers is Start without the indexer, with so many brokers of its own.
func StartBrokers(dir string, brokers int) (*Servers, error) {
	switch mode := os.Getenv("TEST_SERVERS"); mode {
	case "external":
		s := &Servers{KafkaBrokers: split(os.Getenv("KAFKA_BROKERS")), OpenSearchURLs: split(os.Getenv("OPENSEARCH_URLS"))}
		if len(s.KafkaBrokers) == 0 || len(s.OpenSearchURLs) == 0 {
			return nil, fmt.Errorf("TEST_SERVERS=external needs KAFKA_BROKERS and OPENSEARCH_URLS")
		}
		return s, nil
	case "", "native":
	default:
		return nil, fmt.Errorf("TEST_SERVERS=%s: choose native or external", mode)
	}
	s := &Servers{dir: dir, native: true, brokers: brokers}
	var err error
	if s.kafkaPort, err = freePorts(); err != nil {
		return nil, err
	}
	if err := s.StartKafka(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// StartKafka starts the brokers that are down.
func (s *Servers) StartKafka() error {
	env, err := s.script("kafka.sh", "start", "--brokers", fmt.Sprint(s.brokers), "--dir", filepath.Join(s.dir, "kafka"), "--port", fmt.Sprint(s.kafkaPort))
	s.KafkaBrokers = split(env["KAFKA_BROKERS"])
	return err
}

// StartOpenSearch starts the node if it is down.
func (s *Servers) StartOpenSearch() error {
	env, err := s.script("opensearch.sh", "start", "--nodes", "1", "--dir", filepath.Join(s.dir, "opensearch"), "--port", fmt.Sprint(s.openSearchPort))
	s.OpenSearchURLs = split(env["OPENSEARCH_URLS"])
	return err
}

// StopKafka stops the brokers and keeps their data.
func (s *Servers) StopKafka() error {
	_, err := s.script("kafka.sh", "stop", "--dir", filepath.Join(s.dir, "kafka"))
	return err
}

// KillBroker kills one of the brokers, counted from 0; StartKafka starts it again.
func (s *Servers) KillBroker(n int) error {
	pid, err := s.BrokerPID(n)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// BrokerPID is the process of one of the brokers, counted from 0.
func (s *Servers) BrokerPID(n int) (int, error) {
	raw, err := os.ReadFile(filepath.Join(s.dir, "kafka", fmt.Sprintf("broker-%d", n+1), "pid"))
	if err != nil {
		return 0, fmt.Errorf("broker %d: %w", n, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(raw)))
}

// StopOpenSearch stops the node and keeps its data.
func (s *Servers) StopOpenSearch() error {
	_, err := s.script("opensearch.sh", "stop", "--dir", filepath.Join(s.dir, "opensearch"))
	return err
}

// Native reports whether the servers can be stopped and started.
func (s *Servers) Native() bool { return s.native }

// Stop ends the servers and removes their data.
func (s *Servers) Stop() {
	if !s.native {
		return
	}
	_, _ = s.script("kafka.sh", "stop", "--dir", filepath.Join(s.dir, "kafka"), "--wipe")
	_, _ = s.script("opensearch.sh", "stop", "--dir", filepath.Join(s.dir, "opensearch"), "--wipe")
}

func (s *Servers) script(name string, args ...string) (map[string]string, error) {
	cmd := exec.Command(filepath.Join(scripts(), name), args...)
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

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
