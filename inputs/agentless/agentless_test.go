package agentless

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"vedette/internal/kafka"
	"vedette/internal/kafka/kafkatest"
	"vedette/internal/leaktest"
	"vedette/schemas"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// device is an SSH server that runs functions as its commands.
type device struct {
	t        *testing.T
	ln       net.Listener
	cfg      *ssh.ServerConfig
	key      ssh.Signer
	port     int
	commands map[string]func(stdout, stderr io.Writer) (status int)

	mu   sync.Mutex
	runs int
	wg   sync.WaitGroup
}

func newSigner(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

func newDevice(t *testing.T, client ssh.PublicKey) *device {
	t.Helper()
	d := &device{t: t, commands: map[string]func(stdout, stderr io.Writer) int{}}
	d.cfg = &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if client == nil || !bytes.Equal(key.Marshal(), client.Marshal()) {
				return nil, errors.New("no")
			}
			return nil, nil
		},
		KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			a, err := ask("", "", []string{"Password:"}, []bool{false})
			if err != nil || len(a) != 1 || a[0] != "s3cret" {
				return nil, errors.New("no")
			}
			return nil, nil
		},
	}
	d.key, _ = newSigner(t)
	d.cfg.AddHostKey(d.key)
	var err error
	if d.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(d.ln.Addr().String())
	d.port, _ = strconv.Atoi(port)
	d.wg.Go(func() {
		for {
			c, err := d.ln.Accept()
			if err != nil {
				return
			}
			d.wg.Go(func() { d.serve(c) })
		}
	})
	t.Cleanup(func() { d.ln.Close(); d.wg.Wait() })
	return d
}

func (d *device) serve(c net.Conn) {
	defer c.Close()
	_, chans, reqs, err := ssh.NewServerConn(c, d.cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		d.wg.Go(func() {
			defer ch.Close()
			for req := range reqs {
				var exec struct{ Command string }
				_ = ssh.Unmarshal(req.Payload, &exec)
				d.mu.Lock()
				f := d.commands[exec.Command]
				d.runs++
				d.mu.Unlock()
				_ = req.Reply(f != nil, nil)
				if f == nil {
					continue
				}
				status := f(ch, ch.Stderr())
				if status >= 0 {
					_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
				}
				return
			}
		})
	}
}

func (d *device) set(command string, f func(stdout, stderr io.Writer) int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.commands[command] = f
}

func (d *device) print(command, text string) {
	d.set(command, func(stdout, _ io.Writer) int { _, _ = io.WriteString(stdout, text); return 0 })
}

// known writes a known_hosts file with a key of the device's address.
func (d *device) known(key ssh.PublicKey) string {
	return write(d.t, knownhosts.Line([]string{knownhosts.Normalize(d.ln.Addr().String())}, key)+"\n")
}

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (d *device) check() Config {
	return Config{
		Name: "listeners", Type: CommandDiff, Hosts: []string{"127.0.0.1"}, Port: d.port, User: "admin", PasswordFile: write(d.t, "s3cret\n"),
		KnownHosts: d.known(d.key.PublicKey()), Command: "show", Timeout: time.Minute, Interval: 2 * time.Minute,
	}
}

func (d *device) run(c Config) (map[string]string, error) {
	t := &target{Config: c.orDefault(), host: c.Hosts[0]}
	out := map[string]string{}
	err := t.run(d.t.Context(), func(it item, output []byte) { out[it.where] = string(output) })
	return out, err
}

func TestACommandsOutputIsTaken(t *testing.T) {
	t.Parallel()
	client, key := newSigner(t)
	d := newDevice(t, client.PublicKey())
	d.print("show", "line 1\r\nline 2\r\n")
	c := d.check()
	byPassword, err := d.run(c)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	c.PasswordFile, c.KeyFile = "", write(t, string(pem.EncodeToMemory(block)))
	byKey, err := d.run(c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"agentless": "line 1\r\nline 2\r\n"}
	if d := cmp.Diff(want, byPassword) + cmp.Diff(want, byKey); d != "" {
		t.Error(d)
	}
	// A command that fails is an output; one without a status is, if it printed.
	d.set("show", func(stdout, stderr io.Writer) int {
		_, _ = io.WriteString(stdout, "half")
		_, _ = io.WriteString(stderr, "no such thing\n")
		return 3
	})
	if got, err := d.run(c); err != nil || got["agentless"] != "half\nno such thing\nexit status 3" {
		t.Errorf("%q, %v", got, err)
	}
	d.set("show", func(stdout, _ io.Writer) int { _, _ = io.WriteString(stdout, "terse"); return -1 })
	if got, err := d.run(c); err != nil || got["agentless"] != "terse" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFilesAreReadEachByItself(t *testing.T) {
	t.Parallel()
	d := newDevice(t, nil)
	d.print(`cat -- '/etc/passwd'`, "root:x\n")
	d.print(`cat -- '/etc/it'\''s'`, "odd\n")
	c := d.check()
	c.Type, c.Command, c.Files = ConfigDiff, "", []string{"/etc/passwd", "/etc/it's"}
	got, err := d.run(c)
	if err != nil || cmp.Diff(map[string]string{"/etc/passwd": "root:x\n", "/etc/it's": "odd\n"}, got) != "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAFailedRunSaysWhyAndWhatToDo(t *testing.T) {
	t.Parallel()
	other, _ := newSigner(t)
	d := newDevice(t, nil)
	d.print("show", "x")
	f := func(result, text string, change func(*Config)) {
		t.Helper()
		c := d.check()
		change(&c)
		_, err := d.run(c)
		var fail *failure
		if !errors.As(err, &fail) || fail.result != result || !strings.Contains(fail.err.Error()+" "+fail.hint, text) {
			t.Errorf("%v, want %s with %q", err, result, text)
		}
	}
	f(resultHostUnknown, "ssh-keyscan -p", func(c *Config) { c.KnownHosts = write(t, "") })
	f(resultHostUnknown, ssh.FingerprintSHA256(d.key.PublicKey()), func(c *Config) { c.KnownHosts = write(t, "") })
	f(resultHostChanged, "ssh-keygen -R", func(c *Config) { c.KnownHosts = d.known(other.PublicKey()) })
	f(resultLogin, "refuses the user", func(c *Config) { c.PasswordFile = write(t, "wrong\n") })
	f(resultCredentials, "no such file", func(c *Config) { c.PasswordFile = "/no/such" })
	f(resultConnect, "refused", func(c *Config) { c.Port = 1 })
	f(resultSession, "allow commands", func(c *Config) { c.Command = "unknown" })
	d.set("show", func(stdout, _ io.Writer) int { _, _ = stdout.Write(make([]byte, outputMax+1)); return 0 })
	f(resultTooLarge, "print less", func(*Config) {})
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	d.set("show", func(io.Writer, io.Writer) int { <-release; return 0 })
	f(resultTimeout, "not done within", func(c *Config) { c.Timeout = 300 * time.Millisecond })
	// A server that accepts connections and never speaks.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	f(resultTimeout, "not done within", func(c *Config) {
		c.Port, c.Timeout = mute.Addr().(*net.TCPAddr).Port, 300*time.Millisecond
	})
}

func TestAnEventIsWhatAgentlessDevicesLookLike(t *testing.T) {
	t.Parallel()
	c := Config{Name: "conf", User: "admin", Type: CommandDiff, Ignore: []string{`^! Last`}}
	r, now := &target{Config: c, host: "10.0.0.1"}, time.UnixMilli(1_700_000_000_000)
	e := r.event(item{"show", "conf", "agentless"}, []byte("a\x00\nb\r\n\n"), "gw1", now)
	want := schemas.Event{
		Time: now, AgentID: "000", Location: "(conf) admin@10.0.0.1->agentless", Queue: '2', Gateway: "gw1",
		Log: []byte("ossec: output: 'conf':\na\nb"),
	}
	if d := cmp.Diff(want, e); d != "" {
		t.Error(d)
	}
	if got := e.Key(); got != "000/(conf) admin@10.0.0.1->agentless" {
		t.Error(got)
	}
	long := strings.Repeat("x", 100_000)
	a, b := string(r.body([]byte(long+"a"))), string(r.body([]byte(long+"b")))
	if a == b || len(a) > 65_000 || !strings.Contains(a, "[cut: 100001 bytes") {
		t.Errorf("%d bytes, equal: %v, %q", len(a), a == b, a[len(a)-120:])
	}
}

func TestLinesToIgnoreMakeNoDifference(t *testing.T) {
	t.Parallel()
	d := newDevice(t, nil)
	c := d.check()
	c.Ignore = []string{`^! Last`, `uptime`}
	if err := Validate([]Config{c}); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{Checks: []Config{c}, Cluster: kafkatest.New(t), Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.producer.Close()
	if got := string(r.targets[0].body([]byte("! Last change at noon\r\na\r\nthe uptime is 3\nb"))); got != "a\r\nb" {
		t.Errorf("%q", got)
	}
}

func events(t *testing.T, c *kafka.Cluster) (out []schemas.Event) {
	t.Helper()
	ranges, err := c.Ranges(t.Context(), schemas.TopicEvents)
	if err != nil {
		t.Fatal(err)
	}
	for p, r := range ranges {
		if err := c.Read(t.Context(), schemas.TopicEvents, int32(p), r, func(rec schemas.Record) bool {
			e, err := schemas.ParseEvent(&rec)
			if err != nil {
				t.Error(err)
			}
			out = append(out, e)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestEachCheckRunsOnOneNodeAndMovesWhenItEnds(t *testing.T) {
	t.Parallel()
	d := newDevice(t, nil)
	d.print("show", "x")
	c := kafkatest.New(t)
	var checks []Config
	for i := range 6 {
		check := d.check()
		check.Name = fmt.Sprint("c", i)
		checks = append(checks, check)
	}
	start := func(node string) (*Role, func()) {
		r, err := New(Options{Checks: checks, Cluster: c, Node: node, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), FirstWithin: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		return r, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	owned := func(r *Role) float64 { return testutil.ToFloat64(r.m.owned) }
	eventually := func(what string, f func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	one, stopOne := start("one")
	eventually("one node runs all", func() bool { return owned(one) == 6 && len(events(t, c)) == 6 })
	two, stopTwo := start("two")
	eventually("two nodes share", func() bool { return owned(one)+owned(two) == 6 && owned(two) > 0 && owned(one) > 0 })
	stopOne()
	eventually("the other takes all", func() bool { return owned(two) == 6 })
	stopTwo()
	seen := map[string]bool{}
	for _, e := range events(t, c) {
		seen[e.Location] = true
		if !strings.HasPrefix(string(e.Log), "ossec: output: 'c") {
			t.Errorf("%q", e.Log)
		}
	}
	if len(seen) != 6 {
		t.Errorf("%v", seen)
	}
	if n := owned(one) + owned(two); n != 0 {
		t.Errorf("%v are owned after the end", n)
	}
}

func TestAnUnusableCheckIsNamed(t *testing.T) {
	t.Parallel()
	d := newDevice(t, nil)
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := d.check()
		change(&c)
		if err := Validate([]Config{c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := Validate([]Config{d.check()}); err != nil {
		t.Fatal(err)
	}
	f("agentless[0].name", func(c *Config) { c.Name = "a) b" })
	f("agentless[0].type", func(c *Config) { c.Type = "x" })
	f("agentless[0].hosts: empty", func(c *Config) { c.Hosts = nil })
	f("agentless[0].hosts", func(c *Config) { c.Hosts = []string{"a->b"} })
	f("agentless[0].user", func(c *Config) { c.User = "a@b" })
	f("agentless[0].interval", func(c *Config) { c.Interval = time.Second })
	f("agentless[0].timeout", func(c *Config) { c.Timeout = time.Hour })
	f("agentless[0].command", func(c *Config) { c.Command = "" })
	f("agentless[0].files", func(c *Config) { c.Files = []string{"relative"} })
	f("agentless[0].ignore", func(c *Config) { c.Ignore = []string{"("} })
	f("agentless[0].key_file: give it", func(c *Config) { c.PasswordFile = "" })
	f("holds no private key", func(c *Config) { c.KeyFile = write(t, "x") })
	f("agentless[0].password_file", func(c *Config) { c.PasswordFile = write(t, "\n") })
	f("ssh-keyscan", func(c *Config) { c.KnownHosts = "" })
	f("agentless[0].known_hosts", func(c *Config) { c.KnownHosts = write(t, "nonsense") })
	if err := Validate([]Config{d.check(), d.check()}); err == nil || !strings.Contains(err.Error(), "stands there twice") {
		t.Error(err)
	}
	open := d.check()
	if err := os.Chmod(open.PasswordFile, 0o644); err != nil {
		t.Fatal(err)
	}
	open.LegacyAlgorithms = true
	if w := Warnings([]Config{d.check(), open}); len(w) != 2 || !strings.Contains(w[0], "agentless[1].legacy") || !strings.Contains(w[1], "chmod 600") {
		t.Error(w)
	}
	_, key := newSigner(t)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("p"))
	if err != nil {
		t.Fatal(err)
	}
	f("has a passphrase", func(c *Config) { c.KeyFile = write(t, string(pem.EncodeToMemory(block))) })
}
