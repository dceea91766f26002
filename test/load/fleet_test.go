//go:build e2e

package load

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vedette/ingest/secure"
	"vedette/internal/datadir"
	"vedette/test/harness"
)

// fleetSite is an enrollment node and a gateway on a real broker.
type fleetSite struct {
	front    datadir.Endpoints
	udp      string
	gateway  *harness.Process
	bin      string
	env      []string
	metrics  string
	password string
	dir      string
}

func launchFleet(b *testing.B, more ...string) *fleetSite {
	b.Helper()
	dir := b.TempDir()
	servers, err := harness.StartBrokers(filepath.Join(dir, "servers"), 1)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(servers.Stop)
	bin, err := harness.Build(dir)
	if err != nil {
		b.Fatal(err)
	}
	s := &fleetSite{dir: dir, password: filepath.Join(dir, "enrollment-password")}
	env := append([]string{
		"VEDETTE_KAFKA_BROKERS=" + strings.Join(servers.KafkaBrokers, ","), "VEDETTE_KAFKA_PARTITIONS=12",
		"VEDETTE_CLUSTER_KEY_FILE=" + filepath.Join(dir, "cluster.key"), "VEDETTE_ENROLL_PASSWORD_FILE=" + s.password,
		"VEDETTE_ENROLL_LISTEN=127.0.0.1:0", "VEDETTE_INGEST_TCP=127.0.0.1:0", "VEDETTE_INGEST_UDP=127.0.0.1:0", "VEDETTE_API_LISTEN=127.0.0.1:0", "VEDETTE_METRICS_LISTEN=127.0.0.1:0",
	}, more...)
	harness.Run(b, bin, filepath.Join(dir, "cli"), env, "init")
	e := harness.Launch(b, bin, "enroll", filepath.Join(dir, "enroll"), env, "run", "enroll")
	s.front.Enroll = e.Endpoints(b, time.Minute).Enroll
	s.gateway = harness.Launch(b, bin, "ingest", filepath.Join(dir, "ingest"), env, "run", "ingest")
	at := s.gateway.Endpoints(b, time.Minute)
	s.front.Ingest, s.udp, s.metrics, s.bin, s.env = at.Ingest, at.IngestUDP, at.Metrics, bin, env
	if len(more) > 0 {
		for _, role := range []string{"analyze", "forward"} {
			harness.Launch(b, bin, role, filepath.Join(dir, role), env, "run", role).Endpoints(b, time.Minute)
		}
	}
	return s
}

// resident is a process's memory in bytes.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Skip("needs /proc: ", err)
	}
	pages, _ := strconv.ParseFloat(strings.Fields(string(raw))[1], 64)
	return pages * float64(os.Getpagesize())
}

// BenchmarkGateway has the gateway take messages of 300 bytes, compressed as
// agents do (zlib level 9) before the time counts, from 8 agents at full speed,
// and write them to a real broker. The CPU is the gateway's.
func BenchmarkGateway(b *testing.B) {
	const agents, lines, repeats = 8, 4000, 25
	s := launchFleet(b)
	keys := filepath.Join(s.dir, "keys")
	enroll := harness.StartSimulate(b, harness.SimulateConfig{Agents: agents, Count: agents, Front: s.front, PasswordFile: s.password, KeysFile: keys})
	enroll.Wait(b)
	raw, err := os.ReadFile(keys)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var streams [][]byte
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		key := secure.NewKey(f[0], f[1], f[3])
		enc := secure.Encoder{Level: 9}
		var counter secure.Counter
		var stream []byte
		for i := range lines {
			text := fmt.Sprintf("1:/var/log/app.log:Nov 25 10:%02d:%02d host%d app[%d]: request id=%x from=10.%d.%d.%d user=u%d path=/api/v1/items/%d status=200 bytes=%d took=%dms ",
				i/60%60, i%60, i%7, 1000+i, rng.Uint64(), i%250, rng.IntN(250), rng.IntN(250), rng.IntN(1000), rng.IntN(1e6), rng.IntN(1e6), rng.IntN(900))
			for len(text) < 300 {
				text += strconv.FormatUint(rng.Uint64(), 36) + " "
			}
			g, l := counter.Next()
			unit, err := enc.Append(nil, key, secure.AES, f[0], uint16(rng.Uint32()), g, l, []byte(text[:300]))
			if err != nil {
				b.Fatal(err)
			}
			stream = append(stream, secure.AppendFrame(nil, unit)...)
		}
		streams = append(streams, stream)
	}
	conns := make([]net.Conn, len(streams))
	for i := range conns {
		if conns[i], err = net.Dial("tcp", s.front.Ingest); err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
	}
	for b.Loop() {
		before, begin := cpu(b, s.gateway.PID()), time.Now()
		written := func() float64 {
			m := harness.Metrics(b, s.metrics, "vedette_ingest_events_written_total")
			n, _ := strconv.ParseFloat(m["vedette_ingest_events_written_total"], 64)
			return n
		}
		had := written()
		done := make(chan error, len(conns))
		for i, c := range conns {
			go func() {
				var err error
				for range repeats {
					if _, err = c.Write(streams[i]); err != nil {
						break
					}
				}
				done <- err
			}()
		}
		for range conns {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		const n = agents * lines * repeats
		for written()-had < n {
			if time.Since(begin) > 5*time.Minute {
				b.Fatalf("%.0f of %d messages are written", written()-had, n)
			}
			time.Sleep(10 * time.Millisecond)
		}
		used := cpu(b, s.gateway.PID()) - before
		b.ReportMetric(n/time.Since(begin).Seconds(), "messages/s")
		b.ReportMetric(used*1e6/n, "CPUµs/message")
		b.ReportMetric(n/used, "messages/CPU-s")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkIdleFleet connects 9,000 agents at once that only keep alive: when the
// last was acknowledged, what one costs the gateway in memory, and what
// keepalives cost. Those come every two seconds, and so as fast as those of
// 90,000 agents at their usual 20 s; presence is written once a minute and agent
// whatever the interval.
func BenchmarkIdleFleet(b *testing.B) {
	const agents, every = 9000, 2 * time.Second
	s := launchFleet(b)
	keys := filepath.Join(s.dir, "keys")
	harness.StartSimulate(b, harness.SimulateConfig{Agents: agents, Idle: true, Duration: time.Second, Front: s.front, PasswordFile: s.password, KeysFile: keys}).Wait(b)
	time.Sleep(10 * time.Second) // what the connections before held goes back
	empty := resident(b, s.gateway.PID())
	sim := harness.StartSimulate(b, harness.SimulateConfig{Agents: agents, Idle: true, Keepalive: every, Duration: 75 * time.Second, Front: s.front, PasswordFile: s.password, KeysFile: keys})
	time.Sleep(10 * time.Second)
	counts := func() (keepalives, presences float64) {
		m := harness.Metrics(b, s.metrics, "vedette_ingest_")
		keepalives, _ = strconv.ParseFloat(m[`vedette_ingest_control_messages_total{kind="keepalive"}`], 64)
		presences, _ = strconv.ParseFloat(m[`vedette_ingest_presence_writes_total{result="written"}`], 64)
		return keepalives, presences
	}
	k0, p0 := counts()
	used, begin := cpu(b, s.gateway.PID()), time.Now()
	time.Sleep(60 * time.Second)
	seconds, took := time.Since(begin).Seconds(), cpu(b, s.gateway.PID())-used
	k1, p1 := counts()
	full := resident(b, s.gateway.PID())
	report := sim.Wait(b)
	if report.Up.Agents != agents || report.Reconnects != 0 {
		b.Errorf("%d of %d agents were acknowledged, %d reconnects", report.Up.Agents, agents, report.Reconnects)
	}
	b.ReportMetric(report.Up.All.Seconds(), "s-until-all-acknowledged")
	b.ReportMetric(report.Up.Half.Seconds(), "s-until-half-acknowledged")
	b.ReportMetric((full-empty)/agents, "B/agent")
	b.ReportMetric((k1-k0)/seconds, "keepalives/s")
	b.ReportMetric((p1-p0)/seconds, "presences/s")
	b.ReportMetric(took/seconds, "cores")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkKeepalives has 100,000 agents keep alive every 20 seconds, as they do
// by default, and measures the gateway's CPU, which takes in writing and reading
// all their presences. They talk over UDP, from eight sockets: one process may
// not hold 100,000 sockets everywhere. What TCP costs more per keepalive is seen
// in BenchmarkIdleFleet.
func BenchmarkKeepalives(b *testing.B) {
	const agents, sockets, every = 100_000, 8, 20 * time.Second
	s := launchFleet(b)
	keys := s.imported(b, agents, agentName)
	empty := resident(b, s.gateway.PID())

	sum := sharedSum(b, s.udp, keys[0])
	// Every agent says the same again and again, as agents do; only counters rise.
	var acked, sent atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range sockets {
		conn, err := net.Dial("udp", s.udp)
		if err != nil {
			b.Fatal(err)
		}
		_ = conn.(*net.UDPConn).SetReadBuffer(4 << 20)
		go func() {
			buf := make([]byte, 2048)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
				acked.Add(1)
			}
		}()
		wg.Go(func() {
			defer conn.Close()
			var enc secure.Encoder
			var counter secure.Counter
			enc.Level = 1
			const mine = agents / sockets
			began := time.Now()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				time.Sleep(time.Until(began.Add(time.Duration(n) * every / mine)))
				agent := i*mine + n%mine
				id, name := fmt.Sprintf("%03d", agent+1), fmt.Sprintf("agent%d", agent+1)
				text := "#!-agent startup {\"version\":\"v4.14.7\"}"
				if n >= mine {
					text = "#!-Linux |" + name + " |6.1.0-18-amd64 |#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 |x86_64 [Debian GNU/Linux|debian: 12 (bookworm)] - Wazuh v4.14.7 / ab73af41699f13fdd81903b5f23d8d00\n" +
						sum + " merged.mg\n#\"_agent_ip\":10.1.2.3\n"
				}
				global, local := counter.Next()
				unit, err := enc.Append(nil, secure.NewKey(id, name, keys[agent]), secure.AES, id, uint16(n), global, local, []byte(text))
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = conn.Write(unit)
				sent.Add(1)
			}
		})
	}
	time.Sleep(3 * every) // all have started and are active, and their presences written once
	metric := func(name string) float64 {
		n, _ := strconv.ParseFloat(harness.Metrics(b, s.metrics, "vedette_")[name], 64)
		return n
	}
	const keepalives, presences = `vedette_ingest_control_messages_total{kind="keepalive"}`, `vedette_ingest_presence_writes_total{result="written"}`
	k0, p0, used := metric(keepalives), metric(presences), cpu(b, s.gateway.PID())
	s0, a0 := sent.Load(), acked.Load()
	begin := time.Now()
	time.Sleep(80 * time.Second)
	seconds, took := time.Since(begin).Seconds(), cpu(b, s.gateway.PID())-used
	k1, p1 := metric(keepalives), metric(presences)
	b.ReportMetric(took/seconds, "cores")
	b.ReportMetric((k1-k0)/seconds, "keepalives/s")
	b.ReportMetric((p1-p0)/seconds, "presences/s")
	b.ReportMetric(float64(acked.Load()-a0)/float64(sent.Load()-s0)*100, "%acked")
	b.ReportMetric((resident(b, s.gateway.PID())-empty)/agents, "B/agent")
	b.ReportMetric(metric("vedette_registry_presences"), "presences")
	b.ReportMetric(0, "ns/op")
	close(stop)
	wg.Wait()
}

func agentName(i int) string { return fmt.Sprintf("agent%d", i+1) }

// imported has the registry take over so many agents, with ids from 001 on, and
// returns their keys.
func (s *fleetSite) imported(b *testing.B, agents int, name func(i int) string) []string {
	b.Helper()
	file := filepath.Join(s.dir, "client.keys")
	keys := make([]string, agents)
	for i := range keys {
		keys[i] = fmt.Sprintf("%064x", i+1)
	}
	writeKeys(b, file, keys, 0, name)
	begin := time.Now()
	harness.Run(b, s.bin, filepath.Join(s.dir, "cli"), s.env, "agents", "import", file)
	b.Logf("imported %d agents in %v", agents, time.Since(begin).Round(time.Second))
	return keys
}

// writeKeys writes keys, of which the first is that of agent skip+1, as client.keys.
func writeKeys(b *testing.B, file string, keys []string, skip int, name func(i int) string) {
	b.Helper()
	var lines strings.Builder
	for i, key := range keys {
		fmt.Fprintf(&lines, "%03d %s any %s\n", skip+i+1, name(skip+i), key)
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFleet connects 100,000 agents over TCP at once, which then only keep
// alive, every 20 seconds: when the last connection was open, and what all gateways
// take of CPU and memory. There are six gateways, and as many processes of
// agents, since one process may not hold 100,000 sockets everywhere; each gateway
// knows all agents and reads the presences of all.
func BenchmarkFleet(b *testing.B) {
	const agents, gateways = 100_000, 6
	const share = (agents + gateways - 1) / gateways
	s := launchFleet(b)
	name := func(i int) string { return fmt.Sprintf("fleet%d-%04d", i/share, i%share+1) } // as simulated agents are named
	keys := s.imported(b, agents, name)
	nodes := []*harness.Process{s.gateway}
	for i := 1; i < gateways; i++ {
		node := fmt.Sprint("ingest", i)
		nodes = append(nodes, harness.Launch(b, s.bin, node, filepath.Join(s.dir, node), append(slices.Clone(s.env), "VEDETTE_CLUSTER_NODE="+node), "run", "ingest"))
	}
	var metrics []string
	var empty float64
	for _, n := range nodes {
		metrics = append(metrics, n.Endpoints(b, time.Minute).Metrics)
	}
	sum := func(name string) (total float64) {
		for _, at := range metrics {
			n, _ := strconv.ParseFloat(harness.Metrics(b, at, "vedette_")[name], 64)
			total += n
		}
		return total
	}
	each := func(of func(*testing.B, int) float64) (total float64) {
		for _, n := range nodes {
			total += of(b, n.PID())
		}
		return total
	}
	for sum("vedette_registry_agents") < agents*gateways {
		time.Sleep(100 * time.Millisecond)
	}
	empty = each(resident)

	const connections = "vedette_ingest_connections"
	connect := func(round int) (fleets []*harness.Process, took time.Duration) {
		begin := time.Now()
		for i, n := range nodes {
			from, to := i*share, min((i+1)*share, agents)
			file := filepath.Join(s.dir, fmt.Sprint("keys", i))
			writeKeys(b, file, keys[from:to], from, name)
			_, port, err := net.SplitHostPort(n.Endpoints(b, time.Minute).Ingest)
			if err != nil {
				b.Fatal(err)
			}
			fleets = append(fleets, harness.Launch(b, s.bin, fmt.Sprint("agents", i), filepath.Join(s.dir, fmt.Sprint("agents", round, i)), nil,
				"simulate", "--idle", "--agents", fmt.Sprint(to-from), "--name", fmt.Sprintf("fleet%d-", i), "--keys", file, "--port", port))
		}
		for sum(connections) < agents {
			if time.Since(begin) > 2*time.Minute {
				b.Fatalf("%.0f of %d agents are connected", sum(connections), agents)
			}
			time.Sleep(200 * time.Millisecond)
		}
		return fleets, time.Since(begin)
	}
	// For the first time agents are also given their groups.
	fleets, took := connect(1)
	b.ReportMetric(took.Seconds(), "s-until-all-connected-first")
	time.Sleep(30 * time.Second)
	for _, f := range fleets {
		f.Kill()
	}
	for sum(connections) > 0 {
		time.Sleep(time.Second)
	}
	time.Sleep(10 * time.Second)
	_, took = connect(2)
	b.ReportMetric(took.Seconds(), "s-until-all-connected-again")
	time.Sleep(60 * time.Second) // all are active, and their presences written once
	const keepalives, presences = `vedette_ingest_control_messages_total{kind="keepalive"}`, `vedette_ingest_presence_writes_total{result="written"}`
	k0, p0, used, begin := sum(keepalives), sum(presences), each(cpu), time.Now()
	time.Sleep(80 * time.Second)
	seconds, spent := time.Since(begin).Seconds(), each(cpu)-used
	k1, p1 := sum(keepalives), sum(presences)
	b.ReportMetric(spent/seconds, "cores")
	b.ReportMetric((k1-k0)/seconds, "keepalives/s")
	b.ReportMetric((p1-p0)/seconds, "presences/s")
	b.ReportMetric((each(resident)-empty)/agents, "B/agent")
	b.ReportMetric(sum("vedette_registry_presences")/gateways, "presences")
	b.ReportMetric(sum(connections), "connections")
	b.ReportMetric(0, "ns/op")
}

// sharedSum asks as agent 001 for the sum of the configuration that agents without a group share.
func sharedSum(b *testing.B, addr, key string) string {
	b.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	k := secure.NewKey("001", "agent1", key)
	var enc secure.Encoder
	dec := secure.NewDecoder()
	var counter secure.Counter
	buf := make([]byte, secure.MaxUnit)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		for _, text := range []string{"#!-agent startup {\"version\":\"v4.14.7\"}", "#!-Linux |agent1 |6.1 |#1 |x86_64 [Debian|debian: 12] - Wazuh v4.14.7 / 0\n0 merged.mg\n"} {
			g, l := counter.Next()
			unit, err := enc.Append(nil, k, secure.AES, "001", 1, g, l, []byte(text))
			if err != nil {
				b.Fatal(err)
			}
			_, _ = conn.Write(unit)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := conn.Read(buf)
			if err != nil {
				break
			}
			if m, err := dec.Open(k, buf[:n]); err == nil {
				if f := strings.Fields(string(secure.CutNUL(m.Payload))); len(f) == 4 && f[0] == "#!-up" {
					return f[2]
				}
			}
		}
	}
	b.Fatal("nothing is shared")
	return ""
}

// BenchmarkResponse sends one line at a time that makes its agent respond, on a
// system with nothing else to do, and measures until the command comes back on
// the agent's connection: over gateway, analysis, forwarder and gateway.
func BenchmarkResponse(b *testing.B) {
	const probes = 300
	s := launchFleet(b, `VEDETTE_ACTIVE_RESPONSE_COMMANDS=[{name: block, executable: fw}]`, `VEDETTE_ACTIVE_RESPONSE_RESPONSES=[{command: block, location: local, level: 3}]`)
	keys := filepath.Join(s.dir, "keys")
	harness.StartSimulate(b, harness.SimulateConfig{Agents: 1, Count: 1, Front: s.front, PasswordFile: s.password, KeysFile: keys}).Wait(b)
	raw, err := os.ReadFile(keys)
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(raw)) // id name address key
	conn, err := net.Dial("tcp", s.front.Ingest)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	key := secure.NewKey(f[0], f[1], f[3])
	var enc secure.Encoder
	var counter secure.Counter
	send := func(payload string) {
		global, local := counter.Next()
		unit, err := enc.Append(nil, key, secure.AES, f[0], uint16(rand.Uint32()), global, local, []byte(payload))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write(secure.AppendFrame(nil, unit)); err != nil {
			b.Fatal(err)
		}
	}
	type answer struct {
		line int
		at   time.Time
	}
	heard := make(chan answer, 16)
	number := regexp.MustCompile(`sshd\[(\d+)\]`)
	go func() {
		d := secure.NewDecoder()
		_ = secure.ReadFrames(conn, secure.MaxUnit, func(unit []byte) error {
			m, err := d.Open(key, unit)
			if n := number.FindSubmatch(m.Payload); err == nil && n != nil && strings.HasPrefix(string(m.Payload), "#!-execd ") {
				line, _ := strconv.Atoi(string(n[1]))
				heard <- answer{line, time.Now()}
			}
			return err
		})
	}()
	send(`#!-agent startup {"version":"v4.14.7"}`)
	send("#!-Linux |h |5.1 |#1 |x86_64 [Ubuntu|ubuntu: 22.04] - Wazuh v4.14.7 / ab\nx merged.mg\n#\"_agent_ip\":127.0.0.1\n")
	time.Sleep(2 * time.Second)
	var took []float64
	for i := range probes {
		begin := time.Now()
		send(fmt.Sprintf("1:/var/log/auth.log:Nov 25 10:00:00 h sshd[%d]: Failed password for u%d from 203.0.%d.%d port 22 ssh2", i, i, i/250, i%250))
		for waiting := true; waiting; {
			select {
			case a := <-heard:
				if waiting = a.line != i; !waiting {
					took = append(took, float64(a.at.Sub(begin).Microseconds())/1000)
				}
			case <-time.After(20 * time.Second):
				b.Fatalf("no command came for line %d", i)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "p50-ms")
	b.ReportMetric(took[len(took)*99/100], "p99-ms")
	b.ReportMetric(took[len(took)-1], "max-ms")
	b.ReportMetric(0, "ns/op")
}
