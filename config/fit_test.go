package config

import (
	"strings"
	"testing"
)

func TestFitLowersBoundsToTheMachine(t *testing.T) {
	t.Parallel()
	c := Default()
	if w := c.Fit(0, 0, nil); len(w) > 0 || c.Ingest.InFlightBytes != Default().Ingest.InFlightBytes || c.Kafka.QueueBytes != 0 {
		t.Errorf("without limits Fit changed the configuration or warned: %q", w)
	}
	c = Default()
	w := c.Fit(320<<20, 1024, nil)
	if c.Kafka.QueueBytes != 320<<20/12 || c.Ingest.InFlightBytes != 320<<20/12 || c.Ingest.MaxConnections != 512 {
		t.Errorf("320 MiB and 1024 files: queues %d, in flight %d, connections %d", c.Kafka.QueueBytes, c.Ingest.InFlightBytes, c.Ingest.MaxConnections)
	}
	if c.Analyze.StateBytes != 320<<20/4/12 {
		t.Errorf("320 MiB: a partition may remember %d bytes", c.Analyze.StateBytes)
	}
	if len(w) != 1 || !strings.Contains(w[0], "ingest.max_connections (100000)") {
		t.Errorf("the warnings are %q; want one that names the key and its value", w)
	}
	c = Default()
	c.Ingest.MaxConnections, c.Kafka.QueueBytes = 100, 5<<20
	if w := c.Fit(1<<30, 1024, []string{"ingest"}); len(w) > 0 || c.Kafka.QueueBytes != 5<<20 || c.Ingest.MaxConnections != 100 {
		t.Errorf("bounds below the machine's changed: %q, queues %d, connections %d", w, c.Kafka.QueueBytes, c.Ingest.MaxConnections)
	}
	c = Default()
	c.Kafka.Brokers = []string{"a:9092"}
	if c.Fit(320<<20, 0, nil); c.Analyze.StateBytes != 0 {
		t.Errorf("with brokers the state's bound follows from this machine: %d", c.Analyze.StateBytes)
	}
	c = Default()
	if w := c.Fit(100<<20, 1024, []string{"analyze"}); len(w) != 1 || !strings.Contains(w[0], "100 MiB") || c.Ingest.MaxConnections != Default().Ingest.MaxConnections {
		t.Errorf("a role without agents and 100 MiB: %q, connections %d", w, c.Ingest.MaxConnections)
	}
	if c.Kafka.QueueBytes < 4<<20 {
		t.Errorf("queues of %d bytes cannot hold a batch", c.Kafka.QueueBytes)
	}
}
