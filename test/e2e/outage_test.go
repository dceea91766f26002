//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/schemas"
	"vedette/test/harness"
)

// eventually waits until ok, and fails with the given text.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func TestWhileKafkaIsAwayAgentsAreHeldAndNothingIsLost(t *testing.T) {
	if !servers.Owned() {
		t.Skip("the servers come from outside and cannot be stopped")
	}
	in := install(t, "kafka", 6)
	p := in.launch("front", "enroll", "ingest")
	front := p.Endpoints(t, time.Minute)
	sim := harness.StartSimulate(t, harness.SimulateConfig{Agents: 10, EPS: 400, Duration: 100 * time.Second, Front: front, PasswordFile: filepath.Join(in.dir, "enrollment-password")})
	sim.WaitSent(t, 2000)
	if err := servers.StopKafka(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "readiness turns red", func() bool { return harness.Ready(front.Metrics) != nil })
	// Agents reconnect when they have heard nothing for a minute: their sockets
	// are not read for longer than that, and they are told that all is well.
	time.Sleep(70 * time.Second)
	if p.Exited() {
		t.Fatal("the gateway ended")
	}
	// One more process comes up while the brokers are away.
	late := in.launch("late", "analyze", "forward")
	if err := servers.StartKafka(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "readiness turns green", func() bool { return harness.Ready(front.Metrics) == nil })
	report := sim.Wait(t)
	eventually(t, time.Minute, "everything received is written", func() bool {
		m := harness.Metrics(t, front.Metrics, "vedette_ingest_")
		return m["vedette_ingest_in_flight_events"] == "0"
	})
	seen := marks(in.records(schemas.TopicEvents))
	t.Logf("sent %d, in the topic %d, reconnects %d; %v", report.Sent, len(seen), report.Reconnects, harness.Metrics(t, front.Metrics, "vedette_ingest_events"))
	if int64(len(seen)) != report.Sent || report.Reconnects != 0 {
		t.Errorf("sent %d, in the topic %d, %d reconnects", report.Sent, len(seen), report.Reconnects)
	}
	for m, n := range seen {
		if n != 1 {
			t.Errorf("line %s stands %d times in the topic", m, n)
		}
	}
	late.Endpoints(t, time.Minute)
	in.compareIndex(in.records(schemas.TopicEvents))
}

func TestWhileTheIndexerIsAwayAlertsWaitAndThenAllArrive(t *testing.T) {
	if !servers.Owned() {
		t.Skip("the servers come from outside and cannot be stopped")
	}
	in := install(t, "indexer", 6)
	p := in.launch("all", "enroll", "ingest", "analyze", "forward")
	front := p.Endpoints(t, time.Minute)
	if err := servers.StopOpenSearch(); err != nil {
		t.Fatal(err)
	}
	sim := harness.StartSimulate(t, harness.SimulateConfig{Agents: 5, EPS: 300, Duration: 20 * time.Second, Front: front, PasswordFile: filepath.Join(in.dir, "enrollment-password")})
	eventually(t, 30*time.Second, "readiness turns red", func() bool { return harness.Ready(front.Metrics) != nil })
	sim.Wait(t)
	if p.Exited() {
		t.Fatal("the process ended")
	}
	if err := servers.StartOpenSearch(); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "readiness turns green", func() bool { return harness.Ready(front.Metrics) == nil })
	in.compareIndex(in.records(schemas.TopicEvents))
}

func TestADocumentTheIndexerRefusesGoesToTheDeadLetterAlone(t *testing.T) {
	in := install(t, "mapping", 3)
	in.launch("forward", "forward").Endpoints(t, time.Minute)
	prod, err := in.cluster.NewProducer("test", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer prod.Close()
	now := time.Now()
	topic := in.topicID()
	put := func(n int, data string) {
		doc := fmt.Sprintf(`{"timestamp":%q,"rule":{"level":3,"id":"1"},"data":%s,"vedette":{"topic_id":%q,"partition":0,"offset":%d,"n":0}}`,
			now.UTC().Format("2006-01-02T15:04:05.000-0700"), data, topic, n)
		if !json.Valid([]byte(doc)) {
			t.Fatal(doc)
		}
		a := schemas.Alert{ID: schemas.AlertDocID(topic, 0, int64(n), 0), Epoch: 1, Key: "001", Time: now, Document: []byte(doc)}
		if _, err := prod.ProduceSync(t.Context(), a.Record()); err != nil {
			t.Fatal(err)
		}
	}
	put(0, `{"conflict":"a value"}`)
	put(1, `{"conflict":{"an":"object"}}`)
	put(2, `{"srcip":"10.0.0.2"}`)
	if _, err := prod.ProduceSync(t.Context(), schemas.Record{Topic: schemas.TopicAlerts, Key: []byte("001"), Value: []byte("no alert")}); err != nil {
		t.Fatal(err)
	}
	causes := map[string]int64{}
	deadline := time.Now().Add(time.Minute)
	for len(causes) < 2 && time.Now().Before(deadline) {
		recs := in.records(schemas.TopicDeadLetter)
		for i := range recs {
			d, err := schemas.ParseDeadLetter(&recs[i])
			if err != nil {
				t.Fatal(err)
			}
			causes[d.Cause] = d.Offset
		}
		time.Sleep(200 * time.Millisecond)
	}
	// In one request either of the two may be the first to map the field.
	if at, ok := causes["mapping"]; !ok || at > 1 {
		t.Errorf("dead letters by cause: %v; want mapping at offset 0 or 1", causes)
		got, err := harness.IndexedAlerts(t.Context(), servers.OpenSearchURLs[0], topic)
		t.Fatalf("in the index: %v %v", got, err)
	}
	eventually(t, time.Minute, "the other two in the index", func() bool {
		got, err := harness.IndexedAlerts(t.Context(), servers.OpenSearchURLs[0], topic)
		return err == nil && len(got) == 2
	})
}
