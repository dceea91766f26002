package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/ruleset/program"
)

const invPackage = `{"type":"dbsync_packages","operation":"INSERTED","data":{"name":"nmap","version":"7.93","vendor":"Debian","architecture":"amd64","groups":"net",` +
	`"size":4503,"format":"deb","location":" ","item_id":"ab","checksum":"cd","scan_time":"2026/11/22 00:00:00"}}`

const invPort = `{"type":"dbsync_ports","operation":"DELETED","data":{"inode":123,"protocol":"tcp","local_ip":"0.0.0.0","local_port":4444,"scan_time":"x"}}`

const invOS = `{"type":"dbsync_osinfo","operation":"MODIFIED","data":{"hostname":"h","architecture":"x86_64","os_name":"Debian GNU/Linux","os_version":"12","os_major":"12",` +
	`"os_platform":"debian","sysname":"Linux","release":"6.1.0","version":"#1 SMP","os_release":"r","os_display_version":"d","checksum":"1795309100000000000"}}`

const invNetwork = `{"type":"network","ID":5,"timestamp":"2026/11/22 00:00:00","iface":{"name":"eth0","type":"ethernet","state":"up","MAC":"aa:bb","MTU":1500,"tx_bytes":9007199254740993,` +
	`"IPv4":{"address":["10.0.0.1","10.0.0.2"],"netmask":["255.0.0.0"],"gateway":"10.0.0.254","DHCP":"enabled"}}}`

func TestInventoryFieldsForRules(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	for _, tc := range []struct{ name, log, fields string }{
		{
			"package", invPackage, "type=dbsync_packages program.name=nmap program.version=7.93 program.vendor=Debian program.install_time= " +
				"program.location=  program.architecture=amd64 program.section=net program.description= program.size=4503 program.priority= program.multiarch= program.source= " +
				"program.format=deb operation_type=INSERTED",
		},
		{
			"port", invPort, "type=dbsync_ports port.protocol=tcp port.local_ip=0.0.0.0 port.local_port=4444 port.remote_ip= port.remote_port= port.tx_queue= " +
				"port.rx_queue= port.inode=123 port.state= port.pid= port.process= operation_type=DELETED",
		},
		{
			"os", invOS, "type=dbsync_osinfo os.hostname=h os.architecture=x86_64 os.name=Debian GNU/Linux os.version=12 os.codename= os.major=12 os.minor= " +
				"os.patch= os.build= os.platform=debian os.sysname=Linux os.release=6.1.0 os.version=#1 SMP os.os_release=r os.display_version=d operation_type=MODIFIED",
		},
		{
			"address", `{"type":"dbsync_network_address","operation":"INSERTED","data":{"iface":"eth0","proto":1,"address":"fe80::1","checksum":"c"}}`,
			"type=dbsync_network_address netinfo.addr.iface=eth0 netinfo.addr.proto=ipv6 netinfo.addr.address=fe80::1 netinfo.addr.netmask= " +
				"netinfo.addr.broadcast= operation_type=INSERTED",
		},
		{"hotfix", `{"type":"dbsync_hotfixes","operation":"INSERTED","data":{"hotfix":"KB1","checksum":"c"}}`, "type=dbsync_hotfixes hotfix=KB1 operation_type=INSERTED"},
		{
			"no checksum, values that are no texts", `{"type":"dbsync_hwinfo","operation":"INSERTED","data":{"board_serial":true,"cpu_name":null,"cpu_cores":4.0,"cpu_mhz":2400.25,"ram_total":{}}}`,
			"type=dbsync_hwinfo hardware.serial= hardware.cpu_name= hardware.cpu_cores=4 hardware.cpu_mhz=2400.250000 hardware.ram_total= hardware.ram_free= hardware.ram_usage= " +
				"operation_type=INSERTED",
		},
		{
			"group", `{"type":"dbsync_groups","operation":"INSERTED","data":{"group_name":"adm","group_id":4,"group_is_hidden":0,"checksum":"c"}}`,
			"type=dbsync_groups group.group_id=4 group.group_name=adm group.group_description= group.group_id_signed= group.group_uuid= " +
				"group.group_is_hidden=0 group.group_users= operation_type=INSERTED",
		},
		{
			"scan: network", invNetwork, "type=network netinfo.iface.name=eth0 netinfo.iface.adapter= netinfo.iface.type=ethernet netinfo.iface.state=up netinfo.iface.mtu=1500 " +
				"netinfo.iface.mac=aa:bb netinfo.iface.tx_packets= netinfo.iface.rx_packets= netinfo.iface.tx_bytes=9007199254740993 netinfo.iface.rx_bytes= netinfo.iface.tx_errors= " +
				"netinfo.iface.rx_errors= netinfo.iface.tx_dropped= netinfo.iface.rx_dropped= " +
				`netinfo.iface.ipv4.address=["10.0.0.1", "10.0.0.2"] netinfo.iface.ipv4.netmask=["255.0.0.0"] netinfo.iface.ipv4.broadcast= netinfo.iface.ipv4.gateway=10.0.0.254 ` +
				"netinfo.iface.ipv4.dhcp=enabled netinfo.iface.ipv4.metric= netinfo.iface.ipv6.address= netinfo.iface.ipv6.netmask= netinfo.iface.ipv6.broadcast= " +
				"netinfo.iface.ipv6.gateway= netinfo.iface.ipv6.dhcp= netinfo.iface.ipv6.metric=",
		},
		{
			"scan: hardware", `{"type":"hardware","ID":5,"timestamp":"x","inventory":{"board_serial":"s","cpu_cores":4,"cpu_mhz":2400.5}}`,
			"type=hardware hardware.serial=s hardware.cpu_name= hardware.cpu_cores=4 hardware.cpu_mhz=2400.500000 hardware.ram_total= hardware.ram_free= hardware.ram_usage=",
		},
		{"scan: hotfix", `{"type":"hotfix","ID":5,"timestamp":"x","hotfix":"KB2"}`, "type=hotfix hotfix=KB2"},
		{"scan: end", `{"type":"program_end","ID":5,"timestamp":"x"}`, "type=program_end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := e.NewState()
			res := e.Process(s, agentEvent('d', "syscollector", tc.log))
			name, fields := decoded(s)
			if !res.Alert || name != "syscollector" || s.scratch.ev.category != program.Ossec {
				t.Errorf("alert %v, decoder %q", res.Alert, name)
			}
			if diff := cmp.Diff(tc.fields, strings.Join(fields, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			checkAlert(t, res.AppendAlert(nil, "1.0", nil))
		})
	}
}

// Two members give os.version: rules see the first, alerts the first with a value.
func TestInventoryVersions(t *testing.T) {
	t.Parallel()
	e := New(ossecProgram(t, anyRule()), Config{})
	for log, want := range map[string]string{
		`{"os_version":"12","version":"#1 SMP"}`: `"version":"12"`,
		`{"version":"#1 SMP"}`:                   `"version":"#1 SMP"`,
	} {
		res := e.Process(e.NewState(), agentEvent('d', "syscollector", `{"type":"dbsync_osinfo","operation":"INSERTED","data":`+log+`}`))
		alert := res.AppendAlert(nil, "1.0", nil)
		checkAlert(t, alert)
		if data := member(t, alert, "data"); !strings.Contains(data, want) || strings.Count(data, `"version"`) != 1 {
			t.Errorf("%s: data %s, want %s once", log, data, want)
		}
	}
}

func TestInventoryKindsFitTheBoundOfFields(t *testing.T) {
	t.Parallel()
	for table, fields := range inventoryFields {
		seen := map[string]bool{}
		for _, f := range fields {
			if seen[f] && f != "os.version" || f == "" {
				t.Errorf("%s: field %q twice or without a name", table.Name, f)
			}
			seen[f] = true
		}
		if len(fields)+2 > program.OrderMax {
			t.Errorf("%s has %d fields", table.Name, len(fields))
		}
		if _, ok := inventoryPrefixes[table.Name]; !ok {
			t.Errorf("%s has no prefix for its fields", table.Name)
		}
	}
	if len(inventoryPrefixes) != len(inventoryFields) {
		t.Errorf("%d prefixes for %d tables", len(inventoryPrefixes), len(inventoryFields))
	}
}

func FuzzSyscollector(f *testing.F) {
	fuzzQueue(f, 'd', "syscollector", invPackage, invPort, invOS, invNetwork)
}
