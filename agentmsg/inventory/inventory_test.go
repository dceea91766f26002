package inventory_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vedette/agentmsg/inventory"
	"vedette/agentmsg/laxjson"
)

const service = `{"type":"dbsync_services","operation":"MODIFIED","data":{"service_id":"s","process_working_directory":"/w","process_root_dir":"/r",` +
	`"process_root_directory":"/x","process_pid":7,"checksum":"cc","scan_time":"2026/11/22 00:00:00"}}`

const network = `{"type":"network","ID":5,"timestamp":"x","iface":{"name":"eth0","MAC":"aa:bb","IPv4":{"address":["10.0.0.1","10.0.0.2"],"DHCP":"enabled"}}}`

func parse(t testing.TB, s string) (inventory.Row, bool) {
	t.Helper()
	var r laxjson.Reader
	n, ok := r.Tree(s)
	if !ok {
		t.Fatalf("no JSON: %s", s)
	}
	return inventory.Parse(n)
}

// values lists the members that are present.
func values(r inventory.Row) map[string]string {
	m := map[string]string{}
	for i, v := range r.Values {
		if v == nil {
			continue
		}
		m[r.Table.Members[i]] = v.Text
		for _, x := range v.Values() {
			m[r.Table.Members[i]] += "|" + x
		}
	}
	return m
}

func TestRows(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, msg string
		want      inventory.Row // without values
		table     string
		values    map[string]string
	}{
		{
			"change with other names of members", service,
			inventory.Row{Type: "dbsync_services", Operation: inventory.Modified, Checksum: "cc", ScanTime: "2026/11/22 00:00:00"}, "services",
			map[string]string{"service_id": "s", "process_working_dir": "/w", "process_root_dir": "/r", "process_pid": "7"},
		},
		{
			"protocol by number", `{"type":"dbsync_network_address","operation":"INSERTED","data":{"proto":1,"iface":"e"}}`,
			inventory.Row{Type: "dbsync_network_address", Operation: inventory.Inserted}, "network_address", map[string]string{"proto": "ipv6", "iface": "e"},
		},
		{
			"protocol by name", `{"type":"dbsync_network_address","operation":"DELETED","data":{"proto":"ipv4"}}`,
			inventory.Row{Type: "dbsync_network_address", Operation: inventory.Deleted}, "network_address", map[string]string{"proto": "ipv4"},
		},
		{
			"scan, members in any case", network, inventory.Row{Type: "network", ScanID: "5"}, "network",
			map[string]string{"name": "eth0", "mac": "aa:bb", "ipv4.address": "|10.0.0.1|10.0.0.2", "ipv4.dhcp": "enabled"},
		},
		{
			"scan, row of any name", `{"type":"hardware","ID":5,"inventory":{"board_serial":"s"}}`,
			inventory.Row{Type: "hardware", ScanID: "5"}, "hardware", map[string]string{"board_serial": "s"},
		},
		{"scan, hotfix", `{"type":"hotfix","ID":5,"hotfix":"KB2"}`, inventory.Row{Type: "hotfix", ScanID: "5"}, "hotfix", map[string]string{"hotfix": "KB2"}},
		{"end of a scan", `{"type":"port_end","ID":5}`, inventory.Row{Type: "port_end", ScanID: "5"}, "", map[string]string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, ok := parse(t, tc.msg)
			if !ok {
				t.Fatalf("%s was refused", tc.msg)
			}
			if diff := cmp.Diff(tc.values, values(got)); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			table := ""
			if got.Table != nil {
				table = got.Table.Name
			}
			if table != tc.table {
				t.Errorf("table %q, want %q", table, tc.table)
			}
			got.Table, got.Values = nil, nil
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	for _, msg := range []string{
		`{}`, `{"type":"dbsync_x","operation":"INSERTED","data":{}}`, `{"type":"dbsync_ports","operation":"X","data":{}}`, `{"type":"dbsync_ports","operation":"DELETED"}`,
		`{"type":"dbsync_ports","operation":"DELETED","data":[]}`, `{"type":"program","ID":1}`, `{"type":"program","program":1}`, `{"type":"x_end"}`, `{"type":"ports"}`,
	} {
		if r, ok := parse(t, msg); ok {
			t.Errorf("%s was taken: %+v", msg, r)
		}
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	if len(inventory.Tables) != 13 || len(inventory.Scans) != 7 {
		t.Errorf("%d tables and %d kinds of scans, want 13 and 7", len(inventory.Tables), len(inventory.Scans))
	}
	for _, tables := range []map[string]*inventory.Table{inventory.Tables, inventory.Scans} {
		for name, table := range tables {
			seen := map[string]bool{}
			for _, m := range table.Members {
				if seen[m] {
					t.Errorf("%s has the member %s twice", name, m)
				}
				seen[m] = true
			}
			if table.Name != name || len(seen) == 0 {
				t.Errorf("table %s has the name %s and %d members", name, table.Name, len(seen))
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(service)
	f.Add(network)
	f.Add(`{"type":"dbsync_network_address","operation":"INSERTED","data":{"proto":1}}`)
	f.Fuzz(func(t *testing.T, s string) {
		var r laxjson.Reader
		n, ok := r.Tree(s)
		if !ok {
			return
		}
		row, ok := inventory.Parse(n)
		if !ok {
			return
		}
		if row.Table != nil && len(row.Values) != len(row.Table.Members) || row.Table == nil && row.Values != nil {
			t.Errorf("%s: %d values", row.Type, len(row.Values))
		}
	})
}
