package simulate_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"vedette/enroll"
	"vedette/ingest"
	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/registry"
	"vedette/internal/secret"
	"vedette/schemas"
	"vedette/simulate"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const location = "/var/log/auth.log"

// site is a registry, an enrollment port and a gateway on one broker.
type site struct {
	t       testing.TB
	cluster *kafka.Cluster
	broker  *kfake.Cluster
	log     *slog.Logger
	dir     string
	reg     *registry.Registry
	prod    *kafka.Producer
	metrics *prometheus.Registry
	enroll  *enroll.Server

	gateway     *ingest.Gateway
	stopGateway func()

	mu   sync.Mutex
	seen map[string]int // "seq=…" to how often
	n    atomic.Int64   // lines with a seq
	by   map[string]int // other events by location
}

func newSite(t testing.TB, broker func() (*kafka.Cluster, *kfake.Cluster)) *site {
	t.Helper()
	s := &site{t: t, log: slog.New(slog.DiscardHandler), dir: t.TempDir(), seen: map[string]int{}, by: map[string]int{}, metrics: prometheus.NewRegistry()}
	if os.Getenv("VEDETTE_TEST_LOG") != "" {
		s.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	s.cluster, s.broker = broker()
	box, err := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if s.reg, err = registry.Open(s.cluster, box, "gw1", s.log, nil); err != nil {
		t.Fatal(err)
	}
	s.background("registry", s.reg.Run)
	if s.prod, err = s.cluster.NewProducer("ingest", s.log, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.prod.Close)
	ec := enroll.Default()
	ec.Listen, ec.DataDir = "127.0.0.1:0", s.dir
	if s.enroll, err = enroll.New(ec, s.reg, s.log, nil); err != nil {
		t.Fatal(err)
	}
	s.background("enroll", s.enroll.Run)
	s.startGateway("127.0.0.1:0", ingest.Default())
	follower := s.cluster.Follow(schemas.TopicEvents, s.log, s.event)
	s.background("follower", follower.Run)
	return s
}

func (s *site) background(name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				s.t.Errorf("%s: %v", name, err)
			}
		})
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *site) startGateway(addr string, cfg ingest.Config) {
	s.t.Helper()
	cfg.Listen, cfg.Node = addr, "gw1"
	s.metrics = prometheus.NewRegistry()
	var err error
	if s.gateway, err = ingest.New(cfg, s.reg, s.prod, ingest.Services{}, s.log, s.metrics); err != nil {
		s.t.Fatal(err)
	}
	s.stopGateway = s.background("gateway", s.gateway.Run)
}

func (s *site) event(rec schemas.Record) {
	e, err := schemas.ParseEvent(&rec)
	if err != nil {
		s.t.Errorf("event does not parse: %v", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := bytes.LastIndex(e.Log, []byte(" seq=")); i >= 0 {
		s.seen[string(e.Log[i+1:])]++
		s.n.Add(1)
		if e.AgentID == "000" || e.AgentName == "" || e.Location != location || e.Gateway != "gw1" || e.Queue != '1' {
			s.t.Errorf("headers: %+v", e)
		}
		return
	}
	s.by[e.Location]++
}

func (s *site) config() simulate.Config {
	return simulate.Config{
		Manager: "127.0.0.1", EnrollPort: s.enroll.Addr().(*net.TCPAddr).Port, Port: s.gateway.Addr().(*net.TCPAddr).Port,
		Location: location, Mark: true, RetryMax: 500 * time.Millisecond,
	}
}

func (s *site) wait(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("not in time: %s; %d lines, others %v; received %v, written %v, refused %v, in flight %v", what, s.n.Load(), s.by,
				s.value("vedette_ingest_events_received_total"), s.value("vedette_ingest_events_written_total"),
				s.value("vedette_ingest_events_refused_total"), s.value("vedette_ingest_in_flight_events"))
		}
	}
}

// exactly checks that each sent line is in the topic, once.
func (s *site) exactly(r simulate.Report) {
	s.t.Helper()
	s.wait("all lines arrive", func() bool { return s.n.Load() >= r.Sent })
	s.mu.Lock()
	defer s.mu.Unlock()
	missing, twice := 0, 0
	for name, a := range r.PerAgent {
		for i := int64(1); i <= a.Sent; i++ {
			switch s.seen["seq="+name+"-"+strconv.FormatInt(i, 10)] {
			case 0:
				missing++
			case 1:
			default:
				twice++
			}
		}
	}
	if missing > 0 || twice > 0 || s.n.Load() != r.Sent {
		s.dump()
		s.t.Errorf("sent %d, in the topic %d: %d missing, %d more than once", r.Sent, s.n.Load(), missing, twice)
	}
}

// dump prints the counters that are not zero.
func (s *site) dump() {
	families, _ := s.metrics.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				s.t.Log(f.GetName(), m.GetLabel(), v)
			}
		}
	}
}

// value sums a metric's series.
func (s *site) value(name string) (sum float64) {
	families, err := s.metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestEveryLineOfManyAgentsIsWrittenOnce(t *testing.T) {
	t.Parallel()
	for _, cipher := range []string{"aes", "blowfish"} {
		t.Run(cipher, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func() (*kafka.Cluster, *kfake.Cluster) { return kafkatest.Start(t) })
			cfg := s.config()
			cfg.Agents, cfg.Count, cfg.Cipher = 20, 5000, cipher
			cfg.KeysFile = filepath.Join(s.dir, "keys")
			r, err := simulate.Run(t.Context(), cfg, io.Discard)
			if err != nil || r.Sent != 5000 || r.Enrolled != 20 || r.Refused != 0 || r.Reconnects != 0 {
				t.Fatalf("%+v %v", r, err)
			}
			s.exactly(r)
			s.wait("agents say that they start and stop", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.by["wazuh-agent"] == 20 && s.by["wazuh-remoted"] == 20
			})
			s.wait("received = written", func() bool {
				return s.value("vedette_ingest_events_received_total") == 5040 && s.value("vedette_ingest_events_written_total") == 5040
			})
			if n := s.value("vedette_ingest_in_flight_events") + s.value("vedette_ingest_in_flight_bytes") + s.value("vedette_ingest_events_refused_total"); n != 0 {
				t.Errorf("in flight or refused: %v", n)
			}
			for _, a := range s.reg.Agents() {
				s.wait("presence of "+a.ID, func() bool {
					p, ok := s.reg.Presence(a.ID)
					return ok && p.State == schemas.StateDisconnected && p.StatusCode == schemas.StatusShutdown && p.Gateway == "gw1"
				})
			}
			// The same agents come again with their keys.
			cfg.Count, cfg.Mark = 40, false
			if r, err := simulate.Run(t.Context(), cfg, nil); err != nil || r.Enrolled != 0 || r.Sent != 40 {
				t.Errorf("second run: %+v %v", r, err)
			}
		})
	}
}

func TestAGatewayThatRestartsInOrderLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, func() (*kafka.Cluster, *kfake.Cluster) { return kafkatest.Start(t) })
	cfg := s.config()
	cfg.Agents, cfg.EPS = 10, 3000
	ctx, end := context.WithCancel(t.Context())
	defer end()
	done := make(chan simulate.Report, 1)
	go func() {
		r, err := simulate.Run(ctx, cfg, nil)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	addr := s.gateway.Addr().String()
	for range 2 {
		before := s.n.Load()
		s.wait("lines flow", func() bool { return s.n.Load() > before+500 })
		s.stopGateway()
		s.startGateway(addr, ingest.Default())
	}
	before := s.n.Load()
	s.wait("lines flow again", func() bool { return s.n.Load() > before+500 })
	end()
	r := <-done
	if r.Reconnects < 10 {
		t.Errorf("%d reconnects", r.Reconnects)
	}
	t.Logf("sent %d, reconnects %d, refused %d", r.Sent, r.Reconnects, r.Refused)
	s.exactly(r)
}

func TestWhileTheBrokerIsAwayAgentsAreHeldAndNothingIsLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, func() (*kafka.Cluster, *kfake.Cluster) { return kafkatest.Start(t) })
	s.stopGateway()
	gc := ingest.Default()
	gc.WindowBytes, gc.TotalBytes = 16<<10, 256<<10
	gc.Limits.LifeInterval = 250 * time.Millisecond
	s.startGateway("127.0.0.1:0", gc)

	var away atomic.Bool
	s.broker.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		s.broker.KeepControl()
		if !away.Load() {
			return nil, nil, false
		}
		// The broker hangs up on any producer.
		return nil, fmt.Errorf("away"), true
	})
	cfg := s.config()
	const lines = 20_000                                             // far more than flow before the test notices: the windows are small
	cfg.Agents, cfg.Count, cfg.SilenceMax = 5, lines, 10*time.Second // a real agent's minute, shortened
	done := make(chan simulate.Report, 1)
	go func() {
		r, err := simulate.Run(t.Context(), cfg, nil)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	s.wait("lines flow", func() bool { return s.n.Load() > 200 })
	away.Store(true)
	s.wait("all agents are held", func() bool { return s.value("vedette_ingest_paused_connections") == 5 })
	time.Sleep(12 * time.Second) // longer than an agent waits before it reconnects
	if n := s.value("vedette_ingest_in_flight_bytes"); n > 256<<10 || n == 0 {
		t.Errorf("%v bytes in flight", n)
	}
	away.Store(false)
	r := <-done
	if r.Sent != lines || r.Reconnects != 0 || r.Refused != 0 {
		s.dump()
		t.Errorf("sent %d, reconnects %d, refused %d: agents were not held", r.Sent, r.Reconnects, r.Refused)
	}
	s.exactly(r)
}

func TestWithoutABrokerAtStartAgentsWaitAndAreThenServed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	kc := kafka.Default()
	kc.Brokers, kc.Partitions = []string{l.Addr().String()}, kafkatest.Partitions
	cluster, err := kafka.Connect(kc)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, func() (*kafka.Cluster, *kfake.Cluster) { return cluster, nil })
	cfg := s.config()
	cfg.Agents, cfg.Count = 3, 300
	done := make(chan simulate.Report, 1)
	go func() {
		r, err := simulate.Run(t.Context(), cfg, nil)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	time.Sleep(500 * time.Millisecond)
	if s.gateway.Ready() == nil {
		t.Error("ready without a broker")
	}
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	if _, err := cluster.ApplyTopics(t.Context(), kafka.Retention{}); err != nil {
		t.Fatal(err)
	}
	r := <-done
	if r.Sent != 300 || r.Enrolled != 3 {
		t.Errorf("%+v", r)
	}
	s.exactly(r)
}

func BenchmarkGateway(b *testing.B) {
	s := newSite(b, func() (*kafka.Cluster, *kfake.Cluster) { return kafkatest.Start(b) })
	cfg := s.config()
	cfg.Agents, cfg.Count, cfg.Mark = 10, int64(max(b.N, 10)), false
	b.ResetTimer()
	r, err := simulate.Run(b.Context(), cfg, nil)
	if err != nil {
		b.Fatal(err)
	}
	s.wait("written", func() bool { return s.value("vedette_ingest_events_written_total") >= float64(r.Sent) })
	b.ReportMetric(float64(r.Sent)/b.Elapsed().Seconds(), "events/s")
}
