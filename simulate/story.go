package simulate

import (
	"crypto/md5"  //nolint:gosec // the protocol's
	"crypto/sha1" //nolint:gosec // the protocol's
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// attacker is an address that belongs to nobody (RFC 5737).
const attacker = "203.0.113.66"

// story returns the payloads of a small attack on host: a scan of the web site,
// guessed passwords of which one is right, a shell of root, logs removed, and
// files left behind, through which commands come. Only the times depend on now.
func story(host string, now time.Time) []string {
	now = now.UTC()
	stamp, clf := now.Format(time.Stamp), now.Format("02/Jan/2006:15:04:05 -0700")
	var out []string
	line := func(location, format string, a ...any) {
		out = append(out, "1:"+location+":"+fmt.Sprintf(format, a...))
	}
	auth := func(format string, a ...any) { line("/var/log/auth.log", stamp+" "+host+" "+format, a...) }
	web := func(request string, status, bytes int, agent string) {
		line("/var/log/nginx/access.log", `%s - - [%s] "%s" %d %d "-" "%s"`, attacker, clf, request, status, bytes, agent)
	}
	for _, path := range []string{"/admin/", "/backup.zip", "/phpmyadmin/", "/test/", "/old/", "/wp-admin/", "/server-info", "/console/", "/manager/html"} {
		web("GET "+path+" HTTP/1.1", 404, 153, "Mozilla/5.00 (Nikto/2.5.0)")
	}
	for i := range 10 {
		auth("sshd[4242]: Failed password for deploy from %s port %d ssh2", attacker, 40100+i)
	}
	auth("sshd[4242]: Accepted password for deploy from %s port 40110 ssh2", attacker)
	auth("sshd[4242]: pam_unix(sshd:session): session opened for user deploy(uid=1001) by (uid=0)")
	auth("sudo:   deploy : TTY=pts/0 ; PWD=/home/deploy ; USER=root ; COMMAND=/bin/bash")
	auth("sudo:   deploy : TTY=pts/0 ; PWD=/root ; USER=root ; COMMAND=/usr/bin/rm -f /var/log/auth.log.1")
	out = append(out,
		added("/var/www/html/uploads/cmd.php", "www-data", "rw-r--r--", "a web shell, as far as anybody can tell\n", now),
		added("/etc/ld.so.preload", "root", "rw-r--r--", "/usr/local/lib/libhide.so\n", now))
	web("GET /uploads/cmd.php?cmd=id HTTP/1.1", 200, 54, "curl/8.5.0")
	return out
}

// added is the message of file integrity monitoring about a new file.
func added(path, owner, perm, content string, now time.Time) string {
	m, s1, s256 := md5.Sum([]byte(content)), sha1.Sum([]byte(content)), sha256.Sum256([]byte(content)) //nolint:gosec // the protocol's
	return fmt.Sprintf(`8:syscheck:{"type":"event","data":{"path":%q,"version":2,"mode":"realtime","type":"added","timestamp":%d,"attributes":{"type":"file","size":%d,"perm":%q,"uid":"0","gid":"0","user_name":%q,"group_name":%q,"inode":4711,"mtime":%d,"hash_md5":"%s","hash_sha1":"%s","hash_sha256":"%s","checksum":"%s"}}}`,
		path, now.Unix(), len(content), perm, owner, owner, now.Unix(), hex.EncodeToString(m[:]), hex.EncodeToString(s1[:]), hex.EncodeToString(s256[:]), hex.EncodeToString(s1[:]))
}
