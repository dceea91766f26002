package engine

import (
	"strconv"
	"strings"

	"vedette/schemas"
)

// inventoryField is a member of a row and the field that rules see it as.
type inventoryField struct{ member, field string }

// inventoryFields reads a list of members; `member=field` renames one. A dot
// in a member leads into an object.
func inventoryFields(prefix, list string) []inventoryField {
	var out []inventoryField
	for m := range strings.FieldsSeq(list) {
		member, field, ok := strings.Cut(m, "=")
		if !ok {
			field = strings.ToLower(member)
		}
		out = append(out, inventoryField{member, prefix + field})
	}
	return out
}

// inventoryDeltas are the tables of dbsync_<table> messages. `version` of osinfo,
// the kernel's, gives the same field as `os_version`, which stands before it:
// rules see the first, alerts the first that is not empty.
//
// Source: spec/agent-state-sync.md §4, spec/state-gaps.md §3.
var inventoryDeltas = map[string][]inventoryField{
	"osinfo": inventoryFields("os.", "hostname architecture os_name=name os_version=version os_codename=codename os_major=major os_minor=minor "+
		"os_patch=patch os_build=build os_platform=platform sysname release version os_release=os_release os_display_version=display_version"),
	"hwinfo":   inventoryFields("hardware.", "board_serial=serial cpu_name cpu_cores cpu_mhz ram_total ram_free ram_usage"),
	"hotfixes": inventoryFields("", "hotfix"),
	"packages": inventoryFields("program.", "name version vendor install_time location architecture groups=section description size priority multiarch source format"),
	"processes": inventoryFields("process.", "pid name state ppid utime stime cmd argvs=args euser ruser suser egroup rgroup sgroup fgroup priority nice size vm_size "+
		"resident share start_time pgrp session nlwp tgid tty processor"),
	"ports": inventoryFields("port.", "protocol local_ip local_port remote_ip remote_port tx_queue rx_queue inode state pid process"),
	"network_iface": inventoryFields("netinfo.iface.", "name adapter type state mtu mac tx_packets rx_packets tx_bytes rx_bytes tx_errors rx_errors "+
		"tx_dropped rx_dropped"),
	"network_protocol": inventoryFields("netinfo.proto.", "iface type gateway dhcp metric"),
	"network_address":  inventoryFields("netinfo.addr.", "iface proto address netmask broadcast"),
	"users": inventoryFields("user.", "user_name user_full_name user_home user_id user_uid_signed user_uuid user_groups user_group_id user_group_id_signed user_created "+
		"user_roles user_shell user_type user_is_hidden user_is_remote user_last_login user_auth_failed_count user_auth_failed_timestamp user_password_last_change "+
		"user_password_expiration_date user_password_hash_algorithm user_password_inactive_days user_password_max_days_between_changes "+
		"user_password_min_days_between_changes user_password_status user_password_warning_days_before_expiration process_pid host_ip login_status login_tty login_type"),
	"groups": inventoryFields("group.", "group_id group_name group_description group_id_signed group_uuid group_is_hidden group_users"),
	"services": inventoryFields("service.", "service_id service_name service_description service_type service_state service_sub_state service_enabled service_start_type "+
		"service_restart service_frequency service_starts_on_mount service_starts_on_path_modified service_starts_on_not_empty_directory service_inetd_compatibility "+
		"process_pid process_executable process_args process_user_name process_group_name process_working_dir process_root_dir file_path service_address "+
		"log_file_path error_log_file_path service_exit_code service_win32_exit_code service_following service_object_path service_target_ephemeral_id "+
		"service_target_type service_target_address"),
	"browser_extensions": inventoryFields("browser_extension.", "browser_name user_id package_name package_id package_version package_description package_vendor "+
		"package_build_version package_path browser_profile_name browser_profile_path package_reference package_permissions package_type package_enabled "+
		"package_visible package_autoupdate package_persistent package_from_webstore browser_profile_referenced package_installed file_hash_sha256"),
}

// inventoryScans are the rows of agents before 4.2, which send whole scans; the
// fields are those of the index template. Members are found without regard to case.
var inventoryScans = map[string][]inventoryField{
	"program":  inventoryFields("program.", "format name priority section size vendor install_time version architecture multiarch source description location"),
	"process":  inventoryDeltas["processes"],
	"port":     inventoryFields("port.", "protocol local_ip local_port remote_ip remote_port tx_queue rx_queue inode state pid process"),
	"hardware": inventoryDeltas["hwinfo"],
	"OS":       inventoryDeltas["osinfo"],
	"network": inventoryFields("netinfo.iface.", "name adapter type state mtu mac tx_packets rx_packets tx_bytes rx_bytes tx_errors rx_errors tx_dropped rx_dropped "+
		"ipv4.address ipv4.netmask ipv4.broadcast ipv4.gateway ipv4.dhcp ipv4.metric ipv6.address ipv6.netmask ipv6.broadcast ipv6.gateway ipv6.dhcp ipv6.metric"),
}

// addressProtocols are the numbers of network_address.proto.
var addressProtocols = map[string]string{"0": "ipv4", "1": "ipv6"}

// decodeSyscollector decodes a delta of the inventory, or a row of a scan. Each
// is judged by itself; nothing of the stored tables is needed. Every field of
// the kind is set, absent members to the empty text.
//
// Source: spec/ruleset-language.md §10, spec/agent-state-sync.md §4.
func (s *Keyed) decodeSyscollector() bool {
	msg, ok := s.json.tree(s.ev.fullLog)
	if !ok || s.ev.in.Location != "syscollector" {
		return false
	}
	kind := msg.str("type")
	if table, ok := strings.CutPrefix(kind, "dbsync_"); ok {
		return s.inventoryDelta(kind, inventoryDeltas[table], msg)
	}
	return s.inventoryScan(kind, msg)
}

func (s *Keyed) inventoryDelta(kind string, fields []inventoryField, msg *jsonNode) bool {
	op, row := msg.str("operation"), msg.member("data")
	switch {
	case fields == nil || row == nil || row.kind != jsonObject:
		return false
	case op != "INSERTED" && op != "MODIFIED" && op != "DELETED":
		return false
	}
	s.setInternal("syscollector")
	s.addDynamic("type", kind)
	for _, f := range fields {
		v := s.inventoryText(row.member(f.member))
		switch f.field {
		case "netinfo.addr.proto":
			if p := addressProtocols[v]; p != "" {
				v = p
			}
		case "service.process_working_dir":
			if v == "" {
				v = row.str("process_working_directory")
			}
		case "service.process_root_dir":
			if v == "" {
				v = row.str("process_root_directory")
			}
		}
		s.addDynamic(f.field, v)
	}
	s.addDynamic("operation_type", op)
	return true
}

func (s *Keyed) inventoryScan(kind string, msg *jsonNode) bool {
	switch kind {
	case "hotfix":
		s.setInternal("syscollector")
		s.addDynamic("type", kind)
		s.addDynamic("hotfix", s.inventoryText(msg.member("hotfix")))
		return true
	case "program_end", "port_end", "process_end", "hotfix_end", "network_end":
		s.setInternal("syscollector")
		s.addDynamic("type", kind)
		return true
	}
	fields := inventoryScans[kind]
	if fields == nil {
		return false
	}
	// The row stands under the kind's name; which name hardware, OS and network
	// use the specification leaves open.
	var row *jsonNode
	for _, n := range [...]string{kind, "inventory", "iface"} {
		if row = msg.member(n); row != nil && row.kind == jsonObject {
			break
		}
	}
	if row == nil || row.kind != jsonObject {
		return false
	}
	s.setInternal("syscollector")
	s.addDynamic("type", kind)
	for _, f := range fields {
		at := row
		for name := range strings.SplitSeq(f.member, ".") {
			at = at.fold(name)
		}
		s.addDynamic(f.field, s.inventoryText(at))
	}
	return true
}

// fold finds a member without regard to case.
func (n *jsonNode) fold(name string) *jsonNode {
	if n == nil || n.kind != jsonObject {
		return nil
	}
	for i := range n.kids {
		if strings.EqualFold(n.kids[i].name, name) {
			return &n.kids[i]
		}
	}
	return nil
}

// inventoryText is a value as a field: lists become arrays, numbers that are not
// whole have six decimals, and a value of another kind is empty.
func (s *Keyed) inventoryText(n *jsonNode) string {
	if n == nil {
		return ""
	}
	switch n.kind {
	case jsonArray:
		return s.arrayText(n.texts())
	case jsonText:
		return n.text
	case jsonNumber:
		if f, err := strconv.ParseFloat(n.text, 64); err == nil && strings.Contains(n.text, ".") {
			return strconv.FormatFloat(f, 'f', 6, 64)
		}
		return n.text
	}
	return ""
}

// arrayText prints a list as patterns see arrays (spec/ruleset-language.md
// §5.5); the alert shows an array. An empty list is the empty text.
func (s *Keyed) arrayText(list []string) string {
	if len(list) == 0 {
		return ""
	}
	b := append(s.buf[:0], '[')
	for i, t := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = schemas.AppendJSONString(b, t)
	}
	s.buf = append(b, ']')
	return string(s.buf)
}
