//go:build e2e

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
	tc "github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/network"

	"vedette/internal/kafka"
	"vedette/internal/retry"
)

// The images that docker-compose.yml names; test/containers/images.sh has them.
const (
	kafkaImage      = "apache/kafka:4.1.1"
	openSearchImage = "opensearchproject/opensearch:2.19.4"
)

const (
	startWithin = 3 * time.Minute
	stopWithin  = time.Minute
)

// containers runs servers as containers, whose ports are published on 127.0.0.1.
type containers struct {
	brokers, kafkaPort, openSearchPort int

	network    *tc.DockerNetwork
	kafka      []tc.Container // made at the first start
	openSearch tc.Container
}

type silent struct{}

func (silent) Printf(string, ...any) {}

func newContainers(brokers, kafkaPort, openSearchPort int) (backend, error) {
	// Its helper that removes leftovers is one more image, which may be absent.
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return nil, err
	}
	tclog.SetDefault(silent{})
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	n, err := network.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("no container engine answers; test/containers/engine.sh starts one: %w", err)
	}
	return &containers{brokers: brokers, kafkaPort: kafkaPort, openSearchPort: openSearchPort, network: n}, nil
}

// create makes a container that is not started, with one port published.
func (c *containers) create(ctx context.Context, name, image, inside string, port int, env map[string]string) (tc.Container, error) {
	return tc.GenericContainer(ctx, tc.GenericContainerRequest{ContainerRequest: tc.ContainerRequest{
		Image: image, Env: env, ExposedPorts: []string{inside},
		Networks: []string{c.network.Name}, NetworkAliases: map[string][]string{c.network.Name: {name}},
		HostConfigModifier: func(h *container.HostConfig) {
			h.PortBindings = nat.PortMap{nat.Port(inside): {{HostIP: "127.0.0.1", HostPort: fmt.Sprint(port)}}}
		},
	}})
}

func (c *containers) makeKafka(ctx context.Context) error {
	isr := "1"
	if c.brokers >= 3 {
		isr = "2"
	}
	n := fmt.Sprint(c.brokers)
	var voters []string
	for i := range c.brokers {
		voters = append(voters, fmt.Sprintf("%d@kafka-%d:9093", i+1, i+1))
	}
	for i := len(c.kafka); i < c.brokers; i++ {
		name := fmt.Sprintf("kafka-%d", i+1)
		k, err := c.create(ctx, name, kafkaImage, "9092/tcp", c.kafkaPort+i, map[string]string{
			"CLUSTER_ID":                           "4L6g3nShT-eMCtK--X86sw",
			"KAFKA_NODE_ID":                        fmt.Sprint(i + 1),
			"KAFKA_PROCESS_ROLES":                  "broker,controller",
			"KAFKA_CONTROLLER_QUORUM_VOTERS":       strings.Join(voters, ","),
			"KAFKA_LISTENERS":                      "OUTSIDE://:9092,CONTROLLER://:9093,INSIDE://:9094",
			"KAFKA_ADVERTISED_LISTENERS":           fmt.Sprintf("OUTSIDE://127.0.0.1:%d,INSIDE://%s:9094", c.kafkaPort+i, name),
			"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
			"KAFKA_INTER_BROKER_LISTENER_NAME":     "INSIDE",
			"KAFKA_CONTROLLER_LISTENER_NAMES":      "CONTROLLER",
			"KAFKA_LOG_DIRS":                       "/var/lib/kafka/data",
			"KAFKA_HEAP_OPTS":                      "-Xms128m -Xmx512m",
			// As in servers/kafka.sh.
			"KAFKA_NUM_NETWORK_THREADS":                      "2",
			"KAFKA_NUM_IO_THREADS":                           "4",
			"KAFKA_NUM_PARTITIONS":                           "3",
			"KAFKA_DEFAULT_REPLICATION_FACTOR":               n,
			"KAFKA_MIN_INSYNC_REPLICAS":                      isr,
			"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":             "8",
			"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         n,
			"KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS":     "8",
			"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": n,
			"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            isr,
			"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
			"KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS":             "1000",
			"KAFKA_LOG_SEGMENT_BYTES":                        "67108864",
			"KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS":          "10000",
			"KAFKA_LOG_CLEANER_DEDUPE_BUFFER_SIZE":           "16777216",
		})
		if err != nil {
			return err
		}
		c.kafka = append(c.kafka, k)
	}
	return nil
}

func (c *containers) startKafka() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	if err := c.makeKafka(ctx); err != nil {
		return nil, err
	}
	var brokers []string
	errs := make([]error, c.brokers)
	var wg sync.WaitGroup
	for i, k := range c.kafka {
		at := fmt.Sprintf("127.0.0.1:%d", c.kafkaPort+i)
		brokers = append(brokers, at)
		wg.Go(func() {
			cfg := kafka.Default()
			cfg.Brokers = []string{at}
			cluster, err := kafka.Connect(cfg)
			if err == nil {
				err = start(ctx, k, func(ctx context.Context) error { return cluster.Ping(ctx) })
			}
			if err != nil {
				errs[i] = fmt.Errorf("broker %d: %w", i, err)
			}
		})
	}
	wg.Wait()
	return brokers, errors.Join(errs...)
}

// start starts a container that is down and waits until it answers. The engine
// accepts connections to a published port before the server listens.
func start(ctx context.Context, c tc.Container, answers func(context.Context) error) error {
	st, err := c.State(ctx)
	if err == nil && !st.Running {
		err = c.Start(ctx)
	}
	if err != nil {
		return err
	}
	pause := retry.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for {
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := answers(try)
		cancel()
		if err == nil {
			return nil
		}
		if st, e := c.State(ctx); e == nil && !st.Running {
			return fmt.Errorf("the container ended with %d\n%s", st.ExitCode, lastLog(c))
		}
		if pause.Wait(ctx) != nil {
			return fmt.Errorf("not ready after %s: %w\n%s", startWithin, err, lastLog(c))
		}
	}
}

func lastLog(c tc.Container) string {
	r, err := c.Logs(context.Background())
	if err != nil {
		return ""
	}
	defer r.Close()
	raw, _ := io.ReadAll(io.LimitReader(r, 4<<20))
	return string(raw[max(0, len(raw)-3000):])
}

// stopKafka stops the brokers together: a lone controller cannot end in order.
func (c *containers) stopKafka() error {
	errs := make([]error, len(c.kafka))
	var wg sync.WaitGroup
	for i, k := range c.kafka {
		wg.Go(func() { errs[i] = stop(k) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func stop(c tc.Container) error {
	grace := stopWithin
	return c.Stop(context.Background(), &grace)
}

func (c *containers) killBroker(n int) error {
	ctx := context.Background()
	engine, err := tc.NewDockerClientWithOpts(ctx)
	if err != nil {
		return err
	}
	defer engine.Close()
	id := c.kafka[n].GetContainerID()
	if err := engine.ContainerKill(ctx, id, "KILL"); err != nil {
		return err
	}
	// Until the engine notices, the container counts as running, and is not started.
	gone, failed := engine.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case <-gone:
	case err = <-failed:
	}
	return err
}

func (c *containers) brokerPID(n int) (int, error) {
	st, err := c.kafka[n].State(context.Background())
	if err != nil {
		return 0, err
	}
	return st.Pid, nil
}

func (c *containers) startOpenSearch() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	if c.openSearch == nil {
		o, err := c.create(ctx, "opensearch", openSearchImage, "9200/tcp", c.openSearchPort, map[string]string{
			"discovery.type": "single-node", "DISABLE_SECURITY_PLUGIN": "true", "OPENSEARCH_JAVA_OPTS": "-Xms512m -Xmx512m",
			"cluster.routing.allocation.disk.threshold_enabled": "false",
		})
		if err != nil {
			return nil, err
		}
		c.openSearch = o
	}
	url := fmt.Sprintf("http://127.0.0.1:%d", c.openSearchPort)
	err := start(ctx, c.openSearch, func(ctx context.Context) error {
		return call(ctx, http.MethodGet, url+"/_cluster/health", nil, nil)
	})
	return []string{url}, err
}

func (c *containers) stopOpenSearch() error { return stop(c.openSearch) }

func (c *containers) wipe() {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	all := c.kafka
	if c.openSearch != nil {
		all = append(all, c.openSearch)
	}
	for _, x := range all {
		if err := x.Terminate(ctx, tc.StopTimeout(0)); err != nil {
			fmt.Fprintln(os.Stderr, "a container stays behind:", x.GetContainerID(), err)
		}
	}
	if err := c.network.Remove(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "a network stays behind:", c.network.Name, err)
	}
}
