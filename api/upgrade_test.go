package api

import (
	"context"
	"crypto/sha1" //nolint:gosec // agents compare it
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vedette/api/upgrades"

	"vedette/internal/commands"
	"vedette/schemas"
)

// fakePackages remembers what was put.
type fakePackages struct {
	mu  sync.Mutex
	put []string
	err error
}

func (f *fakePackages) Put(_ context.Context, file string, data []byte) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put = append(f.put, file)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), f.err
}

const (
	debPackage = "wazuh_agent_v4.14.7_linux_amd64.deb.wpk"
	winPackage = "wazuh_agent_v4.14.7_windows.wpk"
)

// upgradeServer has packages, and agents of several systems.
func upgradeServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		debPackage, "wazuh_agent_v4.14.7_linux_x86_64.rpm.wpk", "wazuh_agent_v4.9.0_linux_amd64.deb.wpk", "wazuh_agent_v4.15.0_linux_amd64.deb.wpk",
		winPackage, "own.wpk", "notes.txt", "wazuh_agent_vX_linux.wpk",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "empty.wpk"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link.wpk")); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(c *Config) { c.PackagesDir = dir })
	agent := func(id, version, platform, arch string) *Agent {
		return &Agent{ID: id, Name: "a" + id, Status: "active", Version: version, OS: AgentOS{Platform: platform, Arch: arch}, Groups: []string{"default"}}
	}
	s.fakes.list = []*Agent{
		agent("001", "Wazuh v4.9.2", "ubuntu", "x86_64"), agent("002", "Wazuh v4.14.7", "ubuntu", "x86_64"), agent("003", "Wazuh v4.9.2", "windows", "AMD64"),
		agent("004", "Wazuh v4.0.4", "ubuntu", "x86_64"), agent("005", "Wazuh v4.9.2", "rhel", "aarch64"), agent("006", "Wazuh v4.9.2", "freebsd", "amd64"),
		{ID: "007", Name: "gone", Status: "disconnected", Version: "Wazuh v4.9.2"},
	}
	return s
}

// ordered returns agent, package, installer of the upgrades ordered since the last call.
func (f *fakeOrders) upgrades() (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.given {
		u := c.Upgrade
		content := []byte("content of " + u.File)
		long, short := sha256.Sum256(content), sha1.Sum(content)
		if u.SHA256 != hex.EncodeToString(long[:]) || u.SHA1 != hex.EncodeToString(short[:]) || u.Size != int64(len(content)) || u.ChunkBytes != 32768 {
			out = append(out, fmt.Sprintf("a wrong package: %+v", u))
		}
		out = append(out, c.AgentID+" "+u.File+" "+u.Installer)
	}
	f.given = nil
	return out
}

// failures writes the failed items of an answer.
func failures(r reply) (out []string) {
	failed, _ := dug(r.json, "data.failed_items").([]any)
	for _, x := range failed {
		out = append(out, fmt.Sprintf("%v:%v", dug(x.(map[string]any), "error.code"), dug(x.(map[string]any), "id")))
	}
	return out
}

func TestEachAgentIsUpgradedByThePackageThatFits(t *testing.T) {
	t.Parallel()
	s := upgradeServer(t)
	f := func(query, failed string, want ...string) {
		t.Helper()
		r := s.do("PUT", "/agents/upgrade?"+query, "{}")
		if r.status != 200 || strings.Join(failures(r), " ") != failed {
			t.Errorf("%s: %d %q", query, r.status, failures(r))
		}
		if got := s.fakes.orders.upgrades(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: %q", query, got)
		}
	}
	deb, win := "001 "+debPackage+" upgrade.sh", "003 "+winPackage+" upgrade.bat"
	f("agents_list=all", "1707:[007] 1819:[005 006] 1821:[004] 1822:[002]", deb, win)
	f("agents_list=000,001,003,999&os.platform=ubuntu", "1701:[999] 1703:[000] 1731:[003]", deb)
	f("agents_list=all&q=os.platform=windows", "", win)
	f("agents_list=002&force=true", "", "002 "+debPackage+" upgrade.sh")
	f("agents_list=002&upgrade_version=4.9.0", "1822:[002]")
	f("agents_list=002&upgrade_version=v4.9.0&force=true", "", "002 wazuh_agent_v4.9.0_linux_amd64.deb.wpk upgrade.sh")
	f("agents_list=001&upgrade_version=4.15.0", "1823:[001]")
	f("agents_list=001&upgrade_version=4.15.0&force=true", "", "001 wazuh_agent_v4.15.0_linux_amd64.deb.wpk upgrade.sh")
	f("agents_list=001&upgrade_version=4.10.0", "1819:[001]")
	f("agents_list=001&package_type=rpm", "", "001 wazuh_agent_v4.14.7_linux_x86_64.rpm.wpk upgrade.sh")
	if n := len(s.fakes.packages.put); n != 8 {
		t.Errorf("%d packages put: %q", n, s.fakes.packages.put)
	}
	s.fakes.orders.recent = []commands.Order{{ID: "x", Kind: schemas.CommandUpgrade, AgentID: "001", Given: now, Expires: now.Add(24 * time.Hour)}}
	f("agents_list=001", "1820:[001]")
	r := s.do("PUT", "/agents/upgrade?agents_list=001&wpk_repo=packages.example.org", "")
	s.refused(r, 400, "Bad Request", 1819, "packages_dir")
	s.fakes.packages.err = errors.New("no broker")
	s.refused(s.do("PUT", "/agents/upgrade?agents_list=003", ""), 500, "Wazuh Internal Error", 1014, "")
	s.as("reader")
	s.refused(s.do("PUT", "/agents/upgrade?agents_list=001", ""), 403, "Permission Denied", 4000, "")
}

func TestANamedPackageComesFromTheConfiguredDirectoryOnly(t *testing.T) {
	t.Parallel()
	s := upgradeServer(t)
	put := func(query string) reply {
		t.Helper()
		return s.do("PUT", "/agents/upgrade_custom?agents_list=001,003&"+query, "")
	}
	if r := put("file_path=own.wpk"); r.status != 200 || r.json["error"] != 0.0 || dug(r.json, "data.total_affected_items") != 2.0 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if got := s.fakes.orders.upgrades(); fmt.Sprint(got) != "[001 own.wpk upgrade.sh 003 own.wpk upgrade.bat]" {
		t.Errorf("%q", got)
	}
	if r := put("installer=mine.sh&file_path=" + s.cfg.PackagesDir + "/own.wpk"); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if got := s.fakes.orders.upgrades(); fmt.Sprint(got) != "[001 own.wpk mine.sh 003 own.wpk mine.sh]" {
		t.Errorf("%q", got)
	}
	f := func(query string, code int) {
		t.Helper()
		s.refused(put(query), 400, "Bad Request", code, "")
	}
	f("file_path=none.wpk", 1819)
	f("file_path=link.wpk", 1819)
	f("file_path=empty.wpk", 1819)
	f("file_path=/etc/x.wpk", 1819)
	f("file_path=../own.wpk", 0)
	f("file_path=notes.txt", 0)
	f("file_path=.hidden.wpk", 0)
	f("file_path=own.wpk&installer=a+b", 0)
	f("", 0)
	if got := s.fakes.orders.upgrades(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	s.cfg.PackagesDir = ""
	s.rebuild()
	f("file_path=own.wpk", 1819)
}

func TestUpgradesAreFollowedToTheirEnd(t *testing.T) {
	t.Parallel()
	s := upgradeServer(t)
	order := func(id, agent string, status schemas.ReplyStatus, text string) commands.Order {
		return commands.Order{
			ID: id, Kind: schemas.CommandUpgrade, AgentID: agent, Status: status, Text: text, Node: "gw1", Response: "upgrade_custom", Package: "own.wpk",
			Given: now, Expires: now.Add(24 * time.Hour), Changed: now,
		}
	}
	late, stuck := order("4", "004", "", ""), order("5", "005", schemas.ReplyProgress, "1 of 2 bytes")
	late.Expires, stuck.Changed = now.Add(-time.Second), now.Add(-time.Hour)
	s.fakes.orders.recent = []commands.Order{
		order("1", "001", schemas.ReplyProgress, "1 of 2 bytes"), order("0", "001", schemas.ReplyDone, ""), order("2", "002", schemas.ReplyDone, ""),
		order("3", "003", schemas.ReplyFailed, "no room"), late, stuck, order("6", "006", "", ""),
	}
	got, _ := s.items("/agents/upgrade_result", "status")
	if want := []string{"In progress", "Done", "Failed", "Timeout", "Timeout", "In queue"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
	r := s.do("GET", "/agents/upgrade_result?agents_list=003,007", "")
	item := dug(r.json, "data.affected_items").([]any)[0].(map[string]any)
	for k, v := range map[string]any{
		"agent": "003", "message": "no room", "error_message": "no room", "node": "gw1", "module": "upgrade_module", "command": "upgrade_custom",
		"task_id": float64(upgrades.TaskID("3")), "create_time": now.Format("2006-01-02T15:04:05Z"), "file": "own.wpk",
	} {
		if item[k] != v {
			t.Errorf("%s is %v", k, item[k])
		}
	}
	if f := failures(r); fmt.Sprint(f) != "[1813:[007]]" || r.json["error"] != 2.0 {
		t.Errorf("%q", f)
	}

	// The same as tasks, the oldest first, with all upgrades of an agent.
	f := func(query, want string) {
		t.Helper()
		r := s.do("GET", "/tasks/status"+query, "")
		items, _ := dug(r.json, "data.affected_items").([]any)
		var got []string
		for _, x := range items {
			m := x.(map[string]any)
			got = append(got, fmt.Sprint(m["agent"], " ", m["status"]))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, want %s: %s", query, got, want, r.body)
		}
	}
	f("", "006 In queue, 005 Timeout, 004 Timeout, 003 Failed, 002 Done, 001 Done, 001 In progress")
	f("?status=in%20progress", "001 In progress")
	f("?command=upgrade_custom&status=Done&limit=1&offset=1", "001 Done")
	f("?command=upgrade", "")
	f("?node=gw1&module=upgrade_module&agents_list=001", "001 Done, 001 In progress")
	f(fmt.Sprintf("?tasks_list=%d,7", upgrades.TaskID("3")), "003 Failed")
	f("?q=(status=failed;error_message~room),agent_id=002", "003 Failed, 002 Done")
	f("?q=last_update_time%3E"+now.Add(-time.Minute).UTC().Format("2006-01-02T15:04:05Z")+";status=timeout", "004 Timeout")
	f("?sort=-agent_id&limit=2", "006 In queue, 005 Timeout")
	f("?search=no+room", "003 Failed")
	r = s.do("GET", "/tasks/status?select=agent_id,last_update_time&agents_list=002", "")
	if got := fmt.Sprint(dug(r.json, "data.affected_items")); got != fmt.Sprintf("[map[agent:002 task_id:%v update_time:%s]]", float64(upgrades.TaskID("2")), now.UTC().Format("2006-01-02T15:04:05Z")) {
		t.Error(got)
	}
	s.refused(s.do("GET", "/tasks/status?q=agent=1", ""), 400, "Bad Request", 1408, "")
	s.refused(s.do("GET", "/tasks/status?sort=agent", ""), 400, "Bad Request", 1403, "")
	s.as("nobody")
	s.refused(s.do("GET", "/tasks/status", ""), 403, "Permission Denied", 4000, "")
}
