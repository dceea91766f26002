// Package inventory reads the messages of the inventory: changes of single rows,
// and the whole scans of agents before 4.2.
//
// Source: spec/agent-state-sync.md §4, spec/state-gaps.md §3.
package inventory

import (
	"strings"

	"vedette/agentmsg/laxjson"
)

// Operations of a change.
const (
	Inserted = "INSERTED"
	Modified = "MODIFIED"
	Deleted  = "DELETED"
)

// Table is a table of the inventory.
type Table struct {
	Name string
	// Members are the columns as messages name them. A dot leads into an object.
	Members []string
}

func table(name, members string) *Table { return &Table{name, strings.Fields(members)} }

func byName(tables ...*Table) map[string]*Table {
	m := map[string]*Table{}
	for _, t := range tables {
		m[t.Name] = t
	}
	return m
}

// Tables are the tables whose changes agents report, by name.
var Tables = byName(
	table("osinfo", "hostname architecture os_name os_version os_codename os_major os_minor os_patch os_build os_platform sysname release version "+
		"os_release os_display_version"),
	table("hwinfo", "board_serial cpu_name cpu_cores cpu_mhz ram_total ram_free ram_usage"),
	table("hotfixes", "hotfix"),
	table("packages", "name version vendor install_time location architecture groups description size priority multiarch source format"),
	table("processes", "pid name state ppid utime stime cmd argvs euser ruser suser egroup rgroup sgroup fgroup priority nice size vm_size "+
		"resident share start_time pgrp session nlwp tgid tty processor"),
	table("ports", "protocol local_ip local_port remote_ip remote_port tx_queue rx_queue inode state pid process"),
	table("network_iface", "name adapter type state mtu mac tx_packets rx_packets tx_bytes rx_bytes tx_errors rx_errors tx_dropped rx_dropped"),
	table("network_protocol", "iface type gateway dhcp metric"),
	table("network_address", "iface proto address netmask broadcast"),
	table("users", "user_name user_full_name user_home user_id user_uid_signed user_uuid user_groups user_group_id user_group_id_signed user_created "+
		"user_roles user_shell user_type user_is_hidden user_is_remote user_last_login user_auth_failed_count user_auth_failed_timestamp user_password_last_change "+
		"user_password_expiration_date user_password_hash_algorithm user_password_inactive_days user_password_max_days_between_changes "+
		"user_password_min_days_between_changes user_password_status user_password_warning_days_before_expiration process_pid host_ip login_status login_tty login_type"),
	table("groups", "group_id group_name group_description group_id_signed group_uuid group_is_hidden group_users"),
	table("services", "service_id service_name service_description service_type service_state service_sub_state service_enabled service_start_type "+
		"service_restart service_frequency service_starts_on_mount service_starts_on_path_modified service_starts_on_not_empty_directory service_inetd_compatibility "+
		"process_pid process_executable process_args process_user_name process_group_name process_working_dir process_root_dir file_path service_address "+
		"log_file_path error_log_file_path service_exit_code service_win32_exit_code service_following service_object_path service_target_ephemeral_id "+
		"service_target_type service_target_address"),
	table("browser_extensions", "browser_name user_id package_name package_id package_version package_description package_vendor package_build_version package_path "+
		"browser_profile_name browser_profile_path package_reference package_permissions package_type package_enabled package_visible package_autoupdate "+
		"package_persistent package_from_webstore browser_profile_referenced package_installed file_hash_sha256"),
)

// Scans are the kinds of rows that agents before 4.2 send, by their type. Their
// members are found without regard to case.
var Scans = byName(
	table("program", "format name priority section size vendor install_time version architecture multiarch source description location"),
	&Table{"process", Tables["processes"].Members},
	&Table{"port", Tables["ports"].Members},
	&Table{"hardware", Tables["hwinfo"].Members},
	&Table{"OS", Tables["osinfo"].Members},
	&Table{"hotfix", Tables["hotfixes"].Members},
	table("network", "name adapter type state mtu mac tx_packets rx_packets tx_bytes rx_bytes tx_errors rx_errors tx_dropped rx_dropped "+
		"ipv4.address ipv4.netmask ipv4.broadcast ipv4.gateway ipv4.dhcp ipv4.metric ipv6.address ipv6.netmask ipv6.broadcast ipv6.gateway ipv6.dhcp ipv6.metric"),
)

// Row is a change of a row, a row of a scan, or the end of a scan.
type Row struct {
	// Type is the type of the message, such as dbsync_packages, program, program_end.
	Type string
	// Table is nil at the end of a scan.
	Table *Table
	// Values belong to Table.Members; nil is an absent member.
	Values []*laxjson.Node
	// Operation is empty in a scan.
	Operation string
	// Checksum and ScanTime belong to a change, and are as the agent sent them.
	Checksum, ScanTime string
	// ScanID is the number of a scan.
	ScanID string
}

// Parse reads a message; ok is false if it is malformed or of an unknown kind.
func Parse(msg *laxjson.Node) (r Row, ok bool) {
	r.Type = msg.Value("type")
	if name, ok := strings.CutPrefix(r.Type, "dbsync_"); ok {
		return r, r.change(Tables[name], msg)
	}
	return r, r.scan(msg)
}

// addressProtocols are the numbers of network_address.proto.
var addressProtocols = map[string]string{"0": "ipv4", "1": "ipv6"}

// otherNames are the names under which servers of 4.14 look for members.
var otherNames = map[string]string{
	"process_working_dir": "process_working_directory",
	"process_root_dir":    "process_root_directory",
}

func (r *Row) change(t *Table, msg *laxjson.Node) bool {
	r.Operation = msg.Value("operation")
	row := msg.Member("data")
	if t == nil || !row.Is(laxjson.Object) {
		return false
	}
	if r.Operation != Inserted && r.Operation != Modified && r.Operation != Deleted {
		return false
	}
	r.Table, r.Checksum, r.ScanTime = t, row.Value("checksum"), row.Value("scan_time")
	r.Values = make([]*laxjson.Node, len(t.Members))
	for i, name := range t.Members {
		v := row.Member(name)
		if other := otherNames[name]; other != "" && t.Name == "services" && empty(v) {
			v = text(row.Value(other))
		}
		if name == "proto" && v != nil && addressProtocols[v.Text] != "" {
			v = text(addressProtocols[v.Text])
		}
		r.Values[i] = v
	}
	return true
}

func text(s string) *laxjson.Node { return &laxjson.Node{Kind: laxjson.Text, Text: s} }

// empty reports whether a value is no text, number or list, or an empty one.
func empty(n *laxjson.Node) bool {
	return n == nil || n.Kind == laxjson.Bool || n.Text == "" && len(n.Values()) == 0
}

func (r *Row) scan(msg *laxjson.Node) bool {
	r.ScanID = msg.Value("ID")
	switch r.Type {
	case "program_end", "port_end", "process_end", "hotfix_end", "network_end":
		return true
	}
	t := Scans[r.Type]
	if t == nil {
		return false
	}
	r.Values = make([]*laxjson.Node, len(t.Members))
	if r.Type == "hotfix" {
		r.Table, r.Values[0] = t, msg.Member("hotfix")
		return true
	}
	row := scanRow(t, msg)
	if row == nil {
		return false
	}
	r.Table = t
	for i, path := range t.Members {
		v := row
		for name := range strings.SplitSeq(path, ".") {
			v = v.Fold(name)
		}
		r.Values[i] = v
	}
	return true
}

// scanRow finds the object that holds a row, nil if it is missing.
func scanRow(t *Table, msg *laxjson.Node) *laxjson.Node {
	// The row has the name of its kind. The specification leaves open which name
	// hardware, OS and network use.
	for _, name := range [...]string{t.Name, "inventory", "iface"} {
		if row := msg.Member(name); row.Is(laxjson.Object) {
			return row
		}
	}
	return nil
}
