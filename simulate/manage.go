package simulate

import (
	"bytes"
	"crypto/md5"  //nolint:gosec // the protocol's
	"crypto/sha1" //nolint:gosec // the protocol's
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"vedette/ingest/secure"
)

// Bounds of the data that a server may have an agent keep.
const (
	sharedMax  = 64 << 20 // a merged file
	outboxMax  = 256      // messages that wait to be sent
	packageMax = 256 << 20
)

// managed holds a server's orders to an agent, and the agent's answers. It is
// safe for concurrent use.
//
// Source: spec/agent-protocol.md §8a, §8b, §9; spec/active-response.md §4.
type managed struct {
	a      *agent
	outbox chan string

	mu        sync.Mutex
	sum       string // of the merged file that holds; x before
	want      string // of the file that is being received
	receiving bool
	buf       bytes.Buffer
	arConf    map[string]response
	inForce   map[string]*time.Timer // by state key, without real scripts
	pkg       *bytes.Buffer          // an upgrade under way
}

// response is a line of ar.conf.
type response struct {
	executable string
	timeout    time.Duration
}

func newManaged(a *agent) *managed {
	return &managed{a: a, sum: "x", outbox: make(chan string, outboxMax), arConf: map[string]response{}, inForce: map[string]*time.Timer{}}
}

// say queues a message for the server; it is dropped and counted when too many wait.
func (m *managed) say(text string) {
	select {
	case m.outbox <- text:
	default:
		m.a.f.dropped.Add(1)
	}
}

// mergedSum is the checksum that keepalives report.
func (m *managed) mergedSum() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}

// heard takes one message of the server.
func (m *managed) heard(text string) {
	if !strings.HasPrefix(text, secure.ControlPrefix) {
		m.piece(text)
		return
	}
	switch rest := text[len(secure.ControlPrefix):]; {
	case strings.HasPrefix(rest, "up file "):
		f := strings.Fields(rest)
		m.mu.Lock()
		m.receiving = len(f) == 4 && f[3] == "merged.mg"
		if m.receiving {
			m.want = f[2]
		}
		m.buf.Reset()
		m.mu.Unlock()
	case strings.HasPrefix(rest, "close file "):
		m.closeFile()
	case strings.HasPrefix(rest, "req "):
		id, command, _ := strings.Cut(rest[len("req "):], " ")
		m.a.f.requests.Add(1)
		if answer, ok := m.answer(command); ok {
			m.say(secure.RequestPrefix + id + " " + answer)
		}
	case strings.HasPrefix(rest, "execd "):
		m.a.f.responses.Add(1)
		go m.respond(rest[len("execd "):])
	}
}

func (m *managed) piece(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.receiving && m.buf.Len()+len(text) <= sharedMax {
		m.buf.WriteString(text)
	}
}

// closeFile ends a transfer: the file holds if its sum is right, else the agent
// reports x and waits for another.
func (m *managed) closeFile() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.receiving {
		return
	}
	m.receiving = false
	sum := md5.Sum(m.buf.Bytes())
	if m.sum = hex.EncodeToString(sum[:]); m.sum != m.want {
		m.sum = "x"
		m.a.f.badFiles.Add(1)
		return
	}
	m.a.f.files.Add(1)
	m.arConf = arConf(m.buf.Bytes())
}

// arConf finds the responses in a merged file.
func arConf(merged []byte) map[string]response {
	out := map[string]response{}
	_, rest, _ := bytes.Cut(merged, []byte("\n"))
	for len(rest) > 0 && rest[0] == '!' {
		head, body, _ := bytes.Cut(rest, []byte("\n"))
		size, name, _ := strings.Cut(string(head[1:]), " ")
		n, err := strconv.Atoi(size)
		if err != nil || n < 0 || n > len(body) {
			break
		}
		if name == "ar.conf" {
			for line := range strings.Lines(string(body[:n])) {
				f := strings.Split(strings.TrimSpace(line), " - ")
				if len(f) != 3 {
					continue
				}
				seconds, _ := strconv.Atoi(f[2])
				if _, again := out[f[0]]; !again {
					out[f[0]] = response{executable: f[1], timeout: time.Duration(seconds) * time.Second}
				}
			}
		}
		rest = body[n:]
	}
	return out
}

// respond runs an active response by the scripts of Config.ResponseDir. Without
// scripts it takes the steps of a stateful script and reports them in the form
// of such scripts.
func (m *managed) respond(text string) {
	var msg struct {
		Command    string `json:"command"`
		Parameters struct {
			Alert struct {
				Data struct {
					SrcIP string `json:"srcip"`
				} `json:"data"`
			} `json:"alert"`
		} `json:"parameters"`
	}
	if json.Unmarshal([]byte(text), &msg) != nil || msg.Command == "" {
		return
	}
	m.mu.Lock()
	r, ok := m.arConf[msg.Command]
	m.mu.Unlock()
	if script, named := strings.CutPrefix(msg.Command, "!"); named && !strings.Contains(script, "..") {
		r, ok = response{executable: script}, true
	}
	if !ok {
		m.a.f.unknownResponses.Add(1)
		return
	}
	if runner := m.a.f.runner; runner != nil {
		outcome, err := runner.Run(m.a.f.ctx, r.executable, text, r.timeout)
		if err != nil {
			outcome = "failed: " + err.Error()
		}
		m.log(r.executable, outcome, text)
		return
	}
	key := r.executable + "-" + msg.Parameters.Alert.Data.SrcIP
	m.mu.Lock()
	if t := m.inForce[key]; t != nil {
		t.Reset(r.timeout)
		m.mu.Unlock()
		m.log(r.executable, "abort", text)
		return
	}
	if r.timeout > 0 {
		m.inForce[key] = time.AfterFunc(r.timeout, func() {
			m.mu.Lock()
			delete(m.inForce, key)
			m.mu.Unlock()
			m.log(r.executable, "delete", text)
		})
	}
	m.mu.Unlock()
	m.log(r.executable, "add", text)
}

// log sends the line that a response's script would have written to the agent's
// log of active responses.
func (m *managed) log(executable, what, text string) {
	var v map[string]any
	if json.Unmarshal([]byte(text), &v) == nil {
		v["command"] = what
		if b, err := json.Marshal(v); err == nil {
			text = string(b)
		}
	}
	line := "1:active-response/active-responses.log:" + time.Now().UTC().Format("2006/01/02 15:04:05") + " active-response/bin/" + executable + ": " + text
	m.say(line[:min(len(line), secure.MaxPayload)])
}

// stop ends the agent's running work at its end.
func (m *managed) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.inForce {
		t.Stop()
	}
}

// answer is the answer of a real agent's parts to a request. Without a command
// there is no answer.
func (m *managed) answer(text string) (string, bool) {
	target, command, ok := strings.Cut(text, " ")
	if !ok {
		return "", false
	}
	word, arg, _ := strings.Cut(command, " ")
	switch {
	case target == "upgrade":
		return m.upgrade(command), true
	case word == "getstate" && (target == "agent" || target == "logcollector"):
		return fmt.Sprintf(`{"error":0,"data":{"status":"connected","msg_sent":%d,"buffer_enabled":true}}`, m.a.f.sent.Load()), true
	case word == "getconfig" && target == "com":
		return `ok  {"` + arg + `":{}}`, true
	case word == "getconfig":
		return `ok {"` + arg + `":{}}`, true
	case target == "com" && (word == "lock_restart" || word == "restart" || word == "restart-wazuh" || word == "reload" || word == "unmerge" || word == "uncompress"):
		return "ok ", true
	case target == "agent" || target == "logcollector" || target == "syscheck" || target == "wmodules" || target == "com":
		return "err Could not get requested section", true
	}
	return "err No such file or directory", true
}

// upgrade is the part that receives packages.
func (m *managed) upgrade(command string) string {
	var q struct {
		Command    string `json:"command"`
		Parameters struct {
			Buffer string `json:"buffer"`
			Length int    `json:"length"`
		} `json:"parameters"`
	}
	if json.Unmarshal([]byte(command), &q) != nil {
		return `{"error":1,"message":"Could not parse JSON","data":[]}`
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	message := "ok"
	fail := func(text string) string { return `{"error":1,"message":"` + text + `","data":[]}` }
	switch q.Command {
	case "open":
		m.pkg = &bytes.Buffer{}
	case "write":
		b, err := base64.StdEncoding.DecodeString(q.Parameters.Buffer)
		if err != nil || len(b) != q.Parameters.Length || m.pkg == nil || m.pkg.Len()+len(b) > packageMax {
			return fail("Cannot write file")
		}
		m.pkg.Write(b)
	case "close":
	case "sha1":
		if m.pkg == nil {
			return fail("Cannot generate SHA1")
		}
		sum := sha1.Sum(m.pkg.Bytes())
		message = hex.EncodeToString(sum[:])
	case "upgrade":
		m.pkg = nil
		m.a.f.upgrades.Add(1)
		message = "0"
		m.say(`u:upgrade_module:{"command":"upgrade_update_status","parameters":{"error":0,"message":"Upgrade was successful","status":"Done"}}`)
	case "clear_upgrade_result":
	default:
		return fail("Unknown command")
	}
	return `{"error":0,"message":"` + message + `","data":[]}`
}

// modules returns the agent's messages of file monitor and inventory from time
// to time: a changed file, and a new package.
func (m *managed) modules(n int64, now time.Time) []string {
	host, ms := m.a.id.Name, now.UnixMilli()
	sum := md5.Sum([]byte(host + strconv.FormatInt(n, 10)))
	hash := hex.EncodeToString(sum[:])
	return []string{
		fmt.Sprintf(`8:syscheck:{"type":"event","data":{"path":"/etc/app%d.conf","version":2,"mode":"realtime","type":"modified","timestamp":%d,"attributes":{"type":"file","size":%d,"perm":"rw-r--r--","uid":"0","gid":"0","user_name":"root","group_name":"root","inode":%d,"mtime":%d,"hash_md5":"%s","hash_sha1":"%s00000000","hash_sha256":"%s%s","checksum":"%s00000000"},"changed_attributes":["size","mtime","md5","sha1","sha256"],"old_attributes":{"type":"file","size":1,"perm":"rw-r--r--","uid":"0","gid":"0","user_name":"root","group_name":"root","inode":%d,"mtime":%d,"hash_md5":"d41d8cd98f00b204e9800998ecf8427e","hash_sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","hash_sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","checksum":"%s00000000"}}}`,
			n%10, now.Unix(), 100+n, 1000+n%10, now.Unix(), hash, hash, hash, hash, hash, 1000+n%10, now.Unix()-60, hash),
		fmt.Sprintf(`d:syscollector:{"type":"dbsync_packages","operation":"INSERTED","data":{"architecture":"amd64","checksum":"%s00000000","description":"simulated","format":"deb","item_id":"%s00000000","name":"pkg%d","scan_time":"%s","size":%d,"source":" ","vendor":"sim","version":"1.%d","install_time":" ","location":" ","groups":" ","multiarch":" ","priority":" "}}`,
			hash, hash, n%1000, time.UnixMilli(ms).UTC().Format("2006/01/02 15:04:05"), 1000+n, n),
	}
}
