package engine

import (
	"strconv"
	"strings"

	"vedette/agentmsg/inventory"
	"vedette/agentmsg/laxjson"
	"vedette/schemas"
)

// inventoryPrefixes begin the fields of a table's members.
var inventoryPrefixes = map[string]string{
	"osinfo": "os.", "hwinfo": "hardware.", "hotfixes": "", "packages": "program.", "processes": "process.", "ports": "port.",
	"network_iface": "netinfo.iface.", "network_protocol": "netinfo.proto.", "network_address": "netinfo.addr.",
	"users": "user.", "groups": "group.", "services": "service.", "browser_extensions": "browser_extension.",
	"program": "program.", "process": "process.", "port": "port.", "hardware": "hardware.", "OS": "os.", "network": "netinfo.iface.", "hotfix": "",
}

// inventoryRenamed are the members that rules see under another name. `version` of
// osinfo, the kernel's, gives the same field as `os_version`, which comes before
// it: rules see the first, alerts the first that is not empty.
var inventoryRenamed = map[string]string{
	"os_name": "name", "os_version": "version", "os_codename": "codename", "os_major": "major", "os_minor": "minor", "os_patch": "patch",
	"os_build": "build", "os_platform": "platform", "os_display_version": "display_version",
	"board_serial": "serial", "argvs": "args", "groups": "section",
}

// inventoryFields are the fields of a table's members, in their order.
var inventoryFields = func() map[*inventory.Table][]string {
	all := map[*inventory.Table][]string{}
	for _, tables := range []map[string]*inventory.Table{inventory.Tables, inventory.Scans} {
		for _, t := range tables {
			for _, m := range t.Members {
				field := m
				if as := inventoryRenamed[m]; as != "" {
					field = as
				}
				all[t] = append(all[t], inventoryPrefixes[t.Name]+field)
			}
		}
	}
	return all
}()

// decodeSyscollector decodes a delta of the inventory, or a row of a scan. Each
// is judged by itself; nothing of the stored tables is needed. Every field of
// the kind is set, absent members to the empty text.
//
// Source: spec/ruleset-language.md §10, spec/agent-state-sync.md §4.
func (s *modules) decodeSyscollector() bool {
	msg, ok := s.json.Tree(s.ev.fullLog)
	if !ok || s.ev.in.Location != "syscollector" {
		return false
	}
	row, ok := inventory.Parse(msg)
	if !ok {
		return false
	}
	s.setInternal("syscollector")
	s.add("type", row.Type)
	if row.Table != nil {
		for i, field := range inventoryFields[row.Table] {
			s.add(field, s.inventoryText(row.Values[i]))
		}
	}
	if row.Operation != "" {
		s.add("operation_type", row.Operation)
	}
	return true
}

// inventoryText is a value as a field: lists become arrays, numbers that are not
// whole have six decimals, and a value of another kind is empty.
func (s *modules) inventoryText(n *laxjson.Node) string {
	if n == nil {
		return ""
	}
	switch n.Kind {
	case laxjson.Array:
		return s.arrayText(n.Values())
	case laxjson.Text:
		return n.Text
	case laxjson.Number:
		if f, err := strconv.ParseFloat(n.Text, 64); err == nil && strings.Contains(n.Text, ".") {
			return strconv.FormatFloat(f, 'f', 6, 64)
		}
		return n.Text
	}
	return ""
}

// arrayText prints a list as patterns see arrays (spec/ruleset-language.md
// §5.5); the alert shows an array. An empty list is the empty text.
func (s *modules) arrayText(list []string) string {
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
