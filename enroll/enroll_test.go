package enroll

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"vedette/enroll/protocol"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/internal/registry"
	"vedette/internal/secret"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// run runs a role until the test ends.
func run(t *testing.T, role interface{ Run(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- role.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// start runs an enrollment port on a real registry.
func start(t *testing.T, change func(*Config)) (*Server, *registry.Registry) {
	t.Helper()
	box, err := secret.NewBox(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(kafkatest.New(t), box, "node01", quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	reg.Reserve("siem", "vm")
	run(t, reg)
	cfg := Default()
	cfg.Listen, cfg.DataDir = "127.0.0.1:0", t.TempDir()
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, reg, quiet(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s, reg
}

// ask sends a request like an agent and returns all the server says.
func ask(t *testing.T, addr net.Addr, request string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr.String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("%.60q: no close-notify: %v", request, err)
	}
	return string(b)
}

type row struct {
	Request string `json:"request"`
	Reply   string `json:"reply"`
}

func specRows(t *testing.T) (noPassword, password []row) {
	t.Helper()
	dir := os.Getenv("VEDETTE_SPEC")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "spec")
	}
	b, err := os.ReadFile(filepath.Join(dir, "vectors", "vectors.json"))
	if err != nil {
		t.Skipf("specification vectors are missing (set VEDETTE_SPEC): %v", err)
	}
	var v struct {
		Enrollment struct {
			NoPassword []row `json:"no_password"`
			Password   []row `json:"password_topsecret"`
		} `json:"enrollment"`
	}
	if err := json.Unmarshal(b, &v); err != nil || len(v.Enrollment.NoPassword) == 0 {
		t.Fatal(err)
	}
	return v.Enrollment.NoPassword, v.Enrollment.Password
}

func check(t *testing.T, addr net.Addr, rows []row) {
	t.Helper()
	for _, r := range rows {
		got := ask(t, addr, r.Request)
		want := regexp.QuoteMeta(r.Reply)
		if head, ok := strings.CutSuffix(r.Reply, " K'"); ok {
			want = regexp.QuoteMeta(head) + " [0-9a-f]{64}'"
		}
		if !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("%q:\n got %q\nwant %q", r.Request, got, r.Reply)
		}
	}
}

func TestEverySpecifiedExchangeOverTLS(t *testing.T) {
	t.Parallel()
	open, pass := specRows(t)
	t.Run("without password", func(t *testing.T) {
		t.Parallel()
		s, reg := start(t, nil)
		check(t, s.Addr(), open)
		var keys bytes.Buffer
		if err := registry.WriteClientKeys(&keys, reg.Agents()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"002 ag2 10.0.0.0/8 ", "008 mm 10.2.0.0/16 "} {
			if !strings.Contains(keys.String(), want) {
				t.Errorf("the key file lacks %q", want)
			}
		}
	})
	t.Run("with password", func(t *testing.T) {
		t.Parallel()
		s, _ := start(t, func(c *Config) { c.UsePassword, c.Password = true, "topsecret" })
		check(t, s.Addr(), pass)
	})
}

func TestOwnExchanges(t *testing.T) {
	t.Parallel()
	s, reg := start(t, func(c *Config) { c.Force.AfterRegistrationTime = 0 })
	check(t, s.Addr(), []row{
		{"OSSEC A:'web1' V:'v4.14.7' G:'default'\nignored", "OSSEC K:'001 web1 any K'"},
		{"OSSEC A:'web1'\n", "OSSEC K:'002 web1 any K'"}, // it never connected, and age is not asked for
		{"OSSEC A:'web2' IP:'src'\n", "OSSEC K:'003 web2 127.0.0.1 K'"},
		{"OSSEC A:'web3' V:'v5.0.0'\n", "ERROR: Agent version must be lower or equal to manager version. Unable to add agent"},
		{"\n", "ERROR: Invalid request for new agent. Unable to add agent"},
		{"OSSEC A:'\x00\xff'\n", "ERROR: Invalid request for new agent. Unable to add agent"},
	})
	// A request that shows the key it holds is not replaced.
	a, ok := reg.AgentByName("web1")
	if !ok {
		t.Fatal("web1 is not registered")
	}
	check(t, s.Addr(), []row{{"OSSEC A:'web1' K:'" + a.KeyHash() + "'\n", "ERROR: Duplicate agent name: web1. Unable to add agent"}})
	if len(a.Groups) != 0 {
		t.Errorf("groups of the replaced agent: %v", a.Groups)
	}
	if n := testutil.ToFloat64(s.m.enrolled); n != 3 {
		t.Errorf("%v agents counted", n)
	}
	if n := testutil.ToFloat64(s.m.refused.WithLabelValues(string(protocol.CauseDuplicateName))); n != 1 {
		t.Errorf("%v refusals for the name counted", n)
	}
}

// fake is a registry under the test's control.
type fake struct {
	ready chan struct{}
	add   func(ctx context.Context) (registry.Agent, error)
	gone  chan string
}

func newFake() *fake {
	f := &fake{ready: make(chan struct{}), gone: make(chan string, 1)}
	f.add = func(context.Context) (registry.Agent, error) {
		return registry.Agent{ID: "001", Name: "web1", Key: "thekey"}, nil
	}
	return f
}

func (f *fake) Ready() <-chan struct{} { return f.ready }
func (f *fake) Add(ctx context.Context, _ registry.AddRequest) (registry.Agent, error) {
	return f.add(ctx)
}
func (f *fake) Remove(_ context.Context, id string, _ bool) error { f.gone <- id; return nil }
func (f *fake) GroupExists(string) bool                           { return true }

func startFake(t *testing.T, f *fake, limit time.Duration) *Server {
	t.Helper()
	cfg := Default()
	cfg.Listen, cfg.DataDir = "127.0.0.1:0", t.TempDir()
	s, err := New(cfg, f, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.limit = limit
	run(t, s)
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestNobodyIsAnsweredBeforeTheRegistryIsRead(t *testing.T) {
	t.Parallel()
	f := newFake()
	s := startFake(t, f, time.Minute)
	got := make(chan string, 1)
	go func() { got <- ask(t, s.Addr(), "OSSEC A:'web1'\n") }()
	select {
	case r := <-got:
		t.Errorf("answered %q", r)
	case <-time.After(200 * time.Millisecond):
	}
	close(f.ready)
	if r := <-got; r != "OSSEC K:'001 web1 any thekey'" {
		t.Errorf("then answered %q", r)
	}
}

func TestSlowSilentAndHugeRequestsEndWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	f := newFake()
	close(f.ready)
	hasty, s := startFake(t, f, time.Second), startFake(t, f, time.Minute)
	dial := func() *tls.Conn {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		return c
	}
	ended := func(s *Server, c net.Conn, why string) {
		t.Helper()
		if n, _ := io.Copy(io.Discard, c); n != 0 {
			t.Errorf("%s: answered", why)
		}
		eventually(t, why+" is counted", func() bool { return testutil.ToFloat64(s.m.dropped.WithLabelValues(why)) >= 1 })
	}
	late := func() *tls.Conn { // the time may be over within the handshake
		raw, err := net.Dial("tcp", hasty.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		_ = raw.SetDeadline(time.Now().Add(2 * time.Minute))
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		_ = c.Handshake()
		return c
	}
	silent := late()
	drip := late()
	go func() {
		for range 40 {
			if _, err := drip.Write([]byte("O")); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	ended(hasty, silent, dropTimeout)
	ended(hasty, drip, dropTimeout)
	eventually(t, "both are counted", func() bool { return dropped(hasty, dropTimeout) == 2 })
	huge := dial()
	go func() { _, _ = huge.Write(bytes.Repeat([]byte("x"), protocol.MaxRequest+1)) }()
	ended(s, huge, dropTooLarge)
	short := dial()
	_, _ = io.WriteString(short, "OSSEC A:'web1'")
	_ = short.CloseWrite()
	ended(s, short, dropEnd)
	raw, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, _ = io.WriteString(raw, "GET / HTTP/1.0\r\n\r\n")
	_ = raw.SetDeadline(time.Now().Add(2 * time.Minute))
	_, _ = io.Copy(io.Discard, raw)
	eventually(t, "tls is counted", func() bool { return testutil.ToFloat64(s.m.dropped.WithLabelValues(dropTLS)) == 1 })
	eventually(t, "no connection is left", func() bool { return testutil.ToFloat64(s.m.connections) == 0 })
}

func TestWhatTheRegistryCannotDecideIsAnInternalError(t *testing.T) {
	t.Parallel()
	f := newFake()
	close(f.ready)
	f.add = func(context.Context) (registry.Agent, error) {
		return registry.Agent{}, errors.New("the broker is away")
	}
	s := startFake(t, f, time.Minute)
	if r := ask(t, s.Addr(), "OSSEC A:'web1'\n"); r != "ERROR: Internal manager error adding agent: web1. Unable to add agent" {
		t.Error(r)
	}
}

func TestAnAgentThatNeverLearnsItsKeyIsRemoved(t *testing.T) {
	t.Parallel()
	f := newFake()
	close(f.ready)
	asked, closed := make(chan struct{}), make(chan struct{})
	f.add = func(context.Context) (registry.Agent, error) {
		close(asked)
		<-closed
		return registry.Agent{ID: "001", Name: "web1", Key: "thekey"}, nil
	}
	s := startFake(t, f, time.Minute)
	raw, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if _, err := io.WriteString(c, "OSSEC A:'web1'\n"); err != nil {
		t.Fatal(err)
	}
	<-asked
	_ = raw.(*net.TCPConn).SetLinger(0) // resets
	raw.Close()
	time.Sleep(50 * time.Millisecond)
	close(closed)
	select {
	case id := <-f.gone:
		if id != "001" {
			t.Error(id)
		}
	case <-time.After(2 * time.Minute):
		t.Error("still registered")
	}
}

func TestAPortInUseIsAnErrorAtStart(t *testing.T) {
	t.Parallel()
	f := newFake()
	close(f.ready)
	s := startFake(t, f, time.Minute)
	cfg := Default()
	cfg.Listen, cfg.DataDir = s.Addr().String(), t.TempDir()
	if _, err := New(cfg, f, quiet(), nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("err = %v", err)
	}
	cfg.Listen, cfg.UsePassword = "127.0.0.1:0", true
	if _, err := New(cfg, f, quiet(), nil); err == nil {
		t.Error("a password is demanded and there is none")
	}
}

func TestTheServersOwnNamesAreRefused(t *testing.T) {
	t.Parallel()
	s, _ := start(t, func(c *Config) { c.UsePassword = false })
	for name, own := range map[string]bool{"siem": true, "vm": true, "SIEM": false, "siem2": false} {
		got := ask(t, s.Addr(), "OSSEC A:'"+name+"'\n")
		want := "OSSEC K:'"
		if own {
			want = "ERROR: Invalid agent name: " + name + ". Unable to add agent"
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
