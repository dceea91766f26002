// Package harness starts the servers of the end-to-end tests: real Kafka, real
// OpenSearch, and the vedette binary as separate processes.
//
// TEST_SERVERS chooses: "native" (default) runs the scripts under servers/;
// "containers" starts images by testcontainers-go, for which
// test/containers/{engine,images}.sh prepare a machine; "external" takes
// KAFKA_BROKERS and OPENSEARCH_URLS.
package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
)

// Servers is where the real servers answer.
type Servers struct {
	KafkaBrokers   []string
	OpenSearchURLs []string
	on             backend // nil if the servers come from outside
}

// backend runs servers on fixed ports of 127.0.0.1. What is stopped or killed
// keeps its data and its addresses.
type backend interface {
	// startKafka starts the brokers that are down, and waits until all serve.
	startKafka() (brokers []string, err error)
	stopKafka() error
	killBroker(n int) error
	// brokerPID is the process of a broker on this machine.
	brokerPID(n int) (int, error)
	startOpenSearch() (urls []string, err error)
	stopOpenSearch() error
	// wipe ends everything and removes its data.
	wipe()
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

// Start brings up three brokers and one indexer node, or takes the addresses given
// from outside. The caller stops them. Native servers keep their data under dir.
func Start(dir string) (*Servers, error) {
	s, err := StartBrokers(dir, 3)
	if err != nil || !s.Owned() {
		return s, err
	}
	if err := s.StartOpenSearch(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// StartBrokers is Start without the indexer, with so many brokers of its own.
func StartBrokers(dir string, brokers int) (*Servers, error) {
	s := &Servers{}
	kafkaPort, err := freePorts()
	if err != nil {
		return nil, err
	}
	openSearchPort := kafkaPort
	for openSearchPort == kafkaPort { // nothing listens there yet
		if openSearchPort, err = freePorts(); err != nil {
			return nil, err
		}
	}
	switch mode := os.Getenv("TEST_SERVERS"); mode {
	case "external":
		s.KafkaBrokers, s.OpenSearchURLs = split(os.Getenv("KAFKA_BROKERS")), split(os.Getenv("OPENSEARCH_URLS"))
		if len(s.KafkaBrokers) == 0 || len(s.OpenSearchURLs) == 0 {
			return nil, fmt.Errorf("TEST_SERVERS=external needs KAFKA_BROKERS and OPENSEARCH_URLS")
		}
		return s, nil
	case "containers":
		if s.on, err = newContainers(brokers, kafkaPort, openSearchPort); err != nil {
			return nil, err
		}
	case "", "native":
		s.on = &native{dir: dir, brokers: brokers, kafkaPort: kafkaPort, openSearchPort: openSearchPort}
	default:
		return nil, fmt.Errorf("TEST_SERVERS=%s: choose native, containers or external", mode)
	}
	if err := s.StartKafka(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// StartKafka starts the brokers that are down.
func (s *Servers) StartKafka() (err error) {
	s.KafkaBrokers, err = s.on.startKafka()
	return err
}

// StartOpenSearch starts the node if it is down.
func (s *Servers) StartOpenSearch() (err error) {
	s.OpenSearchURLs, err = s.on.startOpenSearch()
	return err
}

// StopKafka stops the brokers and keeps their data.
func (s *Servers) StopKafka() error { return s.on.stopKafka() }

// KillBroker kills one of the brokers, counted from 0; StartKafka starts it again.
func (s *Servers) KillBroker(n int) error { return s.on.killBroker(n) }

// BrokerPID is the process of one of the brokers, counted from 0.
func (s *Servers) BrokerPID(n int) (int, error) { return s.on.brokerPID(n) }

// StopOpenSearch stops the node and keeps its data.
func (s *Servers) StopOpenSearch() error { return s.on.stopOpenSearch() }

// Owned reports whether the servers can be stopped and started.
func (s *Servers) Owned() bool { return s.on != nil }

// Stop ends the servers and removes their data.
func (s *Servers) Stop() {
	if s.on != nil {
		s.on.wipe()
	}
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
