package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// portsGiven keeps a port from being given twice.
var portsGiven atomic.Int64

// FreePort returns a port that is free now and lies below the range of outgoing
// connections, so that nothing takes it while it is not listened on.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 11400 {
		n := 20000 + (os.Getpid()+int(portsGiven.Add(1)))*7919%11400
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", n))
		if err == nil {
			ln.Close()
			return n
		}
	}
	t.Fatal("no free port between 20000 and 31400")
	return 0
}

// Balance starts HAProxy in front of nodes until the test ends: one address per
// name, whose connections go to those of its backends that answer.
func Balance(t testing.TB, backends map[string][]string) (addresses map[string]string) {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("haproxy is missing; install it (Debian: apt-get install haproxy)")
	}
	var b strings.Builder
	b.WriteString("global\n  maxconn 5000\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 10m\n  timeout server 10m\n  option redispatch\n  retries 3\n")
	addresses = map[string]string{}
	for name, nodes := range backends {
		addresses[name] = fmt.Sprintf("127.0.0.1:%d", FreePort(t))
		fmt.Fprintf(&b, "listen %s\n  bind %s\n  balance leastconn\n", name, addresses[name])
		for i, n := range nodes {
			// Sessions of a node that is marked down go on: one that ends in order
			// still reads what its agents have sent.
			fmt.Fprintf(&b, "  server s%d %s check inter 300ms fall 1 rise 1\n", i, n)
		}
	}
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(conf, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-db", "-f", conf)
	log, err := os.Create(conf + ".log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("--- haproxy\n%.2000s", text)
		}
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		up := 0
		for _, a := range addresses {
			if c, err := net.Dial("tcp", a); err == nil {
				c.Close()
				up++
			}
		}
		if up == len(addresses) {
			return addresses
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("haproxy does not listen: %s", text)
		}
	}
}
