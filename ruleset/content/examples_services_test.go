package content_test

import (
	"fmt"
	"strings"
	"time"
)

func postgres(who, text string) []event {
	return logs(strings.Join(strings.Fields("2026-11-22 00:58:01.123 UTC [4210] "+who), " ") + " " + text)
}

func postgresRefused() []event {
	return postgres("app@app 203.0.113.7(51234)", `FATAL:  password authentication failed for user "app"`)
}

func statement(sql string) []event { return postgres("app@app", "LOG:  statement: "+sql) }

func mysqlError(code, level, text string) []event {
	return logs("2026-11-22T00:58:01.123456Z 12 [" + level + "] [MY-" + code + "] [Server] " + text)
}

func mysqlRefused(from string) []event {
	return mysqlError("010926", "Note", "Access denied for user 'root'@'"+from+"' (using password: YES)")
}

func mariadb(level, text string) []event {
	return logs("2026-11-22  0:58:01 12 [" + level + "] " + text)
}

func query(sql string) []event {
	return logs("2026-11-22T00:58:01.123456Z\t   12 Query\t" + sql)
}

func smtpd(text string) []event { return syslog("postfix/smtpd[4210]", text) }

func saslRefused(from string) []event {
	return smtpd("warning: unknown[" + from + "]: SASL LOGIN authentication failed: UGFzc3dvcmQ6")
}

func saslLogin(from string) []event {
	return smtpd("4ABC1: client=pc7[" + from + "], sasl_method=PLAIN, sasl_username=bob@example.org")
}

func mailRefused(from, code, why, to string) []event {
	return smtpd("NOQUEUE: reject: RCPT from unknown[" + from + "]: " + code + " 5.7.1 <" + to + ">: " + why + "; from=<a@example.com> to=<" + to + "> proto=ESMTP helo=<x>")
}

func unknownRecipients(from string, n int) []event {
	var out []event
	for i := range n {
		out = append(out, mailRefused(from, "550", "Recipient address rejected: User unknown in local recipient table", fmt.Sprintf("u%d@example.org", i))...)
	}
	return out
}

func imap(action, user, from string) []event {
	return syslog("dovecot", "imap-login: "+action+": user=<"+user+">, method=PLAIN, rip="+from+", lip=10.1.0.9, TLS, session=<x>")
}

const imapRefused = "Disconnected: Connection closed (auth failed, 1 attempts in 2 secs)"

func imapRefusedAs(from string, users ...string) []event {
	var out []event
	for _, u := range users {
		out = append(out, imap(imapRefused, u, from)...)
	}
	return out
}

// openvpn is a line by syslog, then the same in a file of its own.
func openvpn(text string) []event {
	return then(syslog("openvpn[4210]", text), logs("2026-11-22 00:58:01 "+text))
}

func vpnRefused(from string) []event {
	return openvpn(from + ":51234 TLS Auth Error: Auth Username/Password verification failed for peer")[:1]
}

func vpnNoise(from string) []event {
	return openvpn(from + ":51234 TLS Error: TLS handshake failed")[:1]
}

func vpnLogin(from string) []event {
	return openvpn(from + ":51234 [alice] Peer Connection Initiated with [AF_INET]" + from + ":51234")[:1]
}

func wireguard(text string) []event { return syslog("kernel", "[ 12.5] wireguard: wg0: "+text) }

var servicesExamples = []example{
	// PostgreSQL
	eg(904000, postgres("app@app", "LOG:  connection received: host=203.0.113.7 port=51234"), logs("2026-11-22 00:58:01.123 UTC [4210] app@app done")),
	eg(904001, syslog("postgres[4210]", "[3-1] app@app LOG:  checkpoint starting: time"), syslog("postgrey[4210]", "[3-1] app@app LOG:  checkpoint starting: time")),
	eg(904002, then(postgresRefused(), postgres("", `FATAL:  no pg_hba.conf entry for host "203.0.113.7", user "app", database "app", no encryption`), syslog("postgres[4210]", `[3-1] app@app FATAL:  password authentication failed for user "app"`)), postgres("app@app", `FATAL:  database "x" does not exist`)),
	{904003, [][]event{times(8, postgresRefused())}, [][]event{times(7, postgresRefused()), slowly(20*time.Second, times(8, postgresRefused()))}},
	eg(904004, postgres("app@app", "LOG:  connection authorized: user=app database=app application_name=psql"), postgres("app@app", "LOG:  connection authenticated: identity=\"app\"")),
	eg(904005, postgres("app@app", "ERROR:  permission denied for table users"), postgres("app@app", "ERROR:  deadlock detected")),
	eg(904006, postgres("app@app", `ERROR:  syntax error at or near "'" at character 40`), postgres("app@app", "ERROR:  deadlock detected")),
	{904007, [][]event{times(12, postgres("app@app", `ERROR:  syntax error at or near "'" at character 40`))}, [][]event{times(11, postgres("app@app", `ERROR:  syntax error at or near "'" at character 40`)), slowly(10*time.Second, times(12, postgres("app@app", `ERROR:  syntax error at or near "'" at character 40`)))}},
	eg(904008, statement("COPY x FROM PROGRAM 'id'"), statement("COPY x FROM '/srv/x.csv'")),
	eg(904009, statement("SELECT pg_read_file('/etc/passwd')"), statement("SELECT pg_relation_size('x')")),
	eg(904010, statement("ALTER ROLE app SUPERUSER"), statement("ALTER ROLE app SET search_path TO app")),
	eg(904011, statement("CREATE ROLE reports LOGIN"), statement("CREATE TABLE reports ()")),
	eg(904012, postgres("", "LOG:  server process (PID 4210) was terminated by signal 11: Segmentation fault"), postgres("", "LOG:  server process (PID 4210) exited with exit code 0")),
	eg(904013, postgres("app@app", "FATAL:  sorry, too many clients already"), postgres("app@app", "FATAL:  terminating connection due to administrator command")),
	eg(904014, postgres("", "LOG:  database system is ready to accept connections"), postgres("", "LOG:  listening on IPv4 address \"0.0.0.0\", port 5432")),

	// MySQL
	eg(904100, mysqlError("010068", "Warning", "CA certificate ca.pem is self signed."), logs("2026-11-22T00:58:01.123456Z 12 [Loud] CA certificate ca.pem is self signed.")),
	eg(904101, query("SELECT 1"), logs("2026-11-22T00:58:01.123456Z\t   12 Ping\t")),
	eg(904102, then(mysqlRefused("203.0.113.7"), mariadb("Warning", "Access denied for user 'root'@'203.0.113.7' (using password: YES)")), mysqlError("010914", "Note", "Aborted connection 12 to db: 'app' user: 'app' host: '10.1.0.5' (Got timeout reading communication packets).")),
	{904103, [][]event{times(8, mysqlRefused("203.0.113.7"))}, [][]event{times(7, mysqlRefused("203.0.113.7")), then(times(7, mysqlRefused("203.0.113.7")), mysqlRefused("203.0.113.8"))}},
	eg(904104, logs("2026-11-22T00:58:01.123456Z\t   12 Connect\tAccess denied for user 'root'@'203.0.113.7' (using password: YES)"), logs("2026-11-22T00:58:01.123456Z\t   12 Connect\tapp@10.1.0.5 on app using TCP/IP")),
	eg(904105, mysqlError("010914", "Note", "Aborted connection 12 to db: 'app' user: 'app' host: '10.1.0.5' (Got timeout reading communication packets)."), mysqlError("010915", "Note", "Got an error")),
	eg(904106, mysqlError("010931", "System", "/usr/sbin/mysqld: ready for connections. Version: '8.4.3'"), mysqlError("010116", "System", "/usr/sbin/mysqld (mysqld 8.4.3) starting as process 612")),
	eg(904107, mysqlError("012345", "ERROR", "InnoDB: Database page corruption on disk"), mysqlError("012345", "ERROR", "InnoDB: Unable to lock ./ibdata1")),
	eg(904110, then(query("SELECT '<?php' INTO OUTFILE '/var/www/x.php'"), query("SELECT load_file('/etc/passwd')")), query("SELECT name INTO @x FROM files")),
	eg(904111, query("CREATE USER reports IDENTIFIED BY <secret>"), query("CREATE TABLE users (id INT)")),
	eg(904112, query("GRANT ALL PRIVILEGES ON *.* TO 'app'@'%'"), query("GRANT ALL PRIVILEGES ON app.* TO 'app'@'%'")),
	eg(904113, query("SET GLOBAL general_log = 'OFF'"), query("SET GLOBAL max_connections = 200")),

	// Postfix and Dovecot
	eg(904200, smtpd("connect from mail.example.com[203.0.113.7]"), syslog("postfixadmin[4210]", "connect from mail.example.com[203.0.113.7]")),
	eg(904201, saslRefused("203.0.113.7"), smtpd("warning: hostname x.example.com does not resolve to address 203.0.113.7")),
	{904202, [][]event{times(8, saslRefused("203.0.113.7"))}, [][]event{times(7, saslRefused("203.0.113.7")), then(times(7, saslRefused("203.0.113.7")), saslRefused("203.0.113.8"))}},
	eg(904203, saslLogin("203.0.113.7"), smtpd("4ABC1: client=mail.example.com[203.0.113.7]")),
	{904204, [][]event{then(times(8, saslRefused("203.0.113.7")), saslLogin("203.0.113.7"))}, [][]event{then(times(7, saslRefused("203.0.113.7")), saslLogin("203.0.113.7")), then(times(8, saslRefused("203.0.113.7")), saslLogin("203.0.113.8"))}},
	eg(904205, mailRefused("203.0.113.7", "450", "Client host rejected: cannot find your hostname", "bob@example.org"), mailRefused("203.0.113.7", "554", "Relay access denied", "x@example.net")),
	eg(904206, mailRefused("203.0.113.7", "554", "Relay access denied", "x@example.net"), mailRefused("203.0.113.7", "450", "Client host rejected: cannot find your hostname", "bob@example.org")),
	{904207, [][]event{times(8, mailRefused("203.0.113.7", "554", "Relay access denied", "x@example.net"))}, [][]event{times(7, mailRefused("203.0.113.7", "554", "Relay access denied", "x@example.net")), then(times(7, mailRefused("203.0.113.7", "554", "Relay access denied", "x@example.net")), mailRefused("203.0.113.8", "554", "Relay access denied", "x@example.net"))}},
	{904208, [][]event{times(12, mailRefused("203.0.113.7", "450", "Client host rejected", "bob@example.org"))}, [][]event{times(11, mailRefused("203.0.113.7", "450", "Client host rejected", "bob@example.org")), slowly(10*time.Second, times(12, mailRefused("203.0.113.7", "450", "Client host rejected", "bob@example.org")))}},
	eg(904209, unknownRecipients("203.0.113.7", 1), mailRefused("203.0.113.7", "450", "Client host rejected", "bob@example.org")),
	{904210, [][]event{unknownRecipients("203.0.113.7", 10)}, [][]event{unknownRecipients("203.0.113.7", 9), times(10, unknownRecipients("203.0.113.7", 1))}},
	eg(904211, then(smtpd("too many errors after AUTH from unknown[203.0.113.7]"), syslog("postfix/postscreen[4210]", "PREGREET 14 after 0.1 from [203.0.113.7]:1234: EHLO x\\r\\n")), smtpd("lost connection after CONNECT from unknown[203.0.113.7]")),
	eg(904212, syslog("postfix/master[4210]", "fatal: bind 0.0.0.0 port 25: Address already in use"), syslog("postfix/master[4210]", "daemon started -- version 3.9.0")),
	eg(904213, syslog("postfix/smtp[4210]", "4ABC1: to=<x@example.net>, relay=mx[203.0.113.7]:25, delay=1, dsn=5.1.1, status=bounced (host said: 550)"), syslog("postfix/smtp[4210]", "4ABC1: to=<x@example.net>, relay=mx[203.0.113.7]:25, delay=1, dsn=2.0.0, status=sent (250 ok)")),
	eg(904300, syslog("dovecot", "imap(bob)<4210><x>: Disconnected: Logged out in=1 out=2"), syslog("dovecots", "imap(bob)<4210><x>: Disconnected: Logged out in=1 out=2")),
	eg(904301, imap("Login", "bob", "10.1.0.5"), imap(imapRefused, "bob", "10.1.0.5")),
	eg(904302, then(imap(imapRefused, "bob", "10.1.0.5"), imap("Aborted login (auth failed, 1 attempts in 2 secs)", "bob", "10.1.0.5")), imap("Disconnected (no auth attempts in 0 secs)", "", "10.1.0.5")),
	{904303, [][]event{times(6, imap(imapRefused, "bob", "10.1.0.5"))}, [][]event{times(5, imap(imapRefused, "bob", "10.1.0.5")), then(times(5, imap(imapRefused, "bob", "10.1.0.5")), imap(imapRefused, "bob", "10.1.0.6"))}},
	{904304, [][]event{imapRefusedAs("10.1.0.5", users(5)...)}, [][]event{imapRefusedAs("10.1.0.5", users(4)...), times(5, imap(imapRefused, "bob", "10.1.0.5"))}},
	{904305, [][]event{then(times(6, imap(imapRefused, "bob", "10.1.0.5")), imap("Login", "bob", "10.1.0.5"))}, [][]event{then(times(5, imap(imapRefused, "bob", "10.1.0.5")), imap("Login", "bob", "10.1.0.5")), then(times(6, imap(imapRefused, "bob", "10.1.0.5")), imap("Login", "bob", "10.1.0.6"))}},
	eg(904306, syslog("dovecot", "auth: passwd-file(bob,10.1.0.5,<x>): Password mismatch", "auth-worker(4211): conn unix:auth-worker (pid=4210,uid=100): auth-worker<7>: sql(bob,10.1.0.5): unknown user"), syslog("dovecot", "auth: Debug: client passdb out: OK")),
	eg(904307, syslog("dovecot", "master: Fatal: Can't open log file", "imap(bob)<4210><x>: Panic: file x.c: line 7: assertion failed"), syslog("dovecot", "master: Warning: Killed with signal 15")),

	// OpenVPN and WireGuard
	eg(904400, syslog("ovpn-server[4210]", "MULTI: multi_create_instance called"), syslog("openvpnd[4210]", "MULTI: multi_create_instance called")),
	eg(904401, logs("2026-11-22 00:58:01 MULTI: multi_create_instance called"), logs("2026-11-22 00:58:01 multi_create_instance called")),
	eg(904402, openvpn("203.0.113.7:51234 [alice] Peer Connection Initiated with [AF_INET]203.0.113.7:51234"), openvpn("203.0.113.7:51234 TLS: Initial packet from [AF_INET]203.0.113.7:51234")),
	eg(904403, openvpn("203.0.113.7:51234 TLS Auth Error: Auth Username/Password verification failed for peer"), openvpn("203.0.113.7:51234 TLS: Username/Password authentication succeeded for username 'alice'")),
	{904404, [][]event{times(6, vpnRefused("203.0.113.7"))}, [][]event{times(5, vpnRefused("203.0.113.7")), then(times(5, vpnRefused("203.0.113.7")), vpnRefused("203.0.113.8"))}},
	{904405, [][]event{then(times(6, vpnRefused("203.0.113.7")), vpnLogin("203.0.113.7"))}, [][]event{then(times(5, vpnRefused("203.0.113.7")), vpnLogin("203.0.113.7")), then(times(6, vpnRefused("203.0.113.7")), vpnLogin("203.0.113.8"))}},
	eg(904406, openvpn("203.0.113.7:51234 VERIFY ERROR: depth=0, error=certificate has expired: CN=alice"), then(openvpn("203.0.113.7:51234 VERIFY OK: depth=0, CN=alice"), openvpn("203.0.113.7:51234 VERIFY ERROR: depth=0, error=certificate revoked: CN=alice"))),
	eg(904407, openvpn("203.0.113.7:51234 VERIFY ERROR: depth=0, error=certificate revoked: CN=alice"), openvpn("203.0.113.7:51234 VERIFY ERROR: depth=0, error=certificate has expired: CN=alice")),
	eg(904408, openvpn("203.0.113.7:51234 TLS Error: TLS handshake failed"), openvpn("203.0.113.7:51234 TLS: soft reset sec=3600")),
	{904409, [][]event{times(15, vpnNoise("203.0.113.7"))}, [][]event{times(14, vpnNoise("203.0.113.7")), slowly(10*time.Second, times(15, vpnNoise("203.0.113.7")))}},
	eg(904410, openvpn("Initialization Sequence Completed"), openvpn("OpenVPN 2.6.12 x86_64-pc-linux-gnu")),
	eg(904450, wireguard("Keypair 5 created for peer 3"), syslog("kernel", "[ 12.5] wireguarding: Keypair 5 created for peer 3")),
	eg(904451, wireguard("Receiving handshake initiation from peer 3 (203.0.113.7:51820)"), wireguard("Sending handshake response to peer 3 (203.0.113.7:51820)")),
	eg(904452, wireguard("Invalid handshake initiation from 203.0.113.7:51820"), wireguard("Handshake for peer 3 (203.0.113.7:51820) did not complete after 5 seconds, retrying (try 2)")),
	{904453, [][]event{times(10, wireguard("Invalid handshake initiation from 203.0.113.7:51820"))}, [][]event{times(9, wireguard("Invalid handshake initiation from 203.0.113.7:51820")), then(times(9, wireguard("Invalid handshake initiation from 203.0.113.7:51820")), wireguard("Invalid handshake initiation from 203.0.113.8:51820"))}},
	eg(904454, wireguard("Packet has unallowed src IP (10.9.0.9) from peer 3 (203.0.113.7:51820)"), wireguard("Receiving keepalive packet from peer 3 (203.0.113.7:51820)")),
}
