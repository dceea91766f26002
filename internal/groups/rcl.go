package groups

import (
	"regexp"
	"strings"
)

// AuditList is a list of settings that agents check, as clients of the API get it.
//
// Source: spec/wazuh-api-4.14.yaml, GET /groups/{group_id}/files/{file_name}.
type AuditList struct {
	// Vars are the variables without their `$`; values keep their semicolon.
	Vars     map[string]string `json:"vars"`
	Controls []AuditControl    `json:"controls"`
}

// AuditControl is one entry of an AuditList.
type AuditControl struct {
	Name      string   `json:"name"`
	CIS       []string `json:"cis"`
	PCI       []string `json:"pci"`
	Condition string   `json:"condition"`
	Reference string   `json:"reference"`
	Checks    []string `json:"checks"`
}

var (
	auditFile    = regexp.MustCompile(`^(system_audit_\w+|\w+_rcl)\.txt$`)
	auditControl = regexp.MustCompile(`^\[([^\]]*)\]\s*\[([^\]]*)\]\s*\[([^\]]*)\]`)
	auditTag     = regexp.MustCompile(`\s*\{(\w+): ([^}]*)\}`)
)

// ParseAuditList takes a list apart. ok is false for files of other names.
// Lines that have no known form are left out.
func ParseAuditList(name string, data []byte) (list AuditList, ok bool) {
	if !auditFile.MatchString(name) {
		return list, false
	}
	list = AuditList{Vars: map[string]string{}, Controls: []AuditControl{}}
	for line := range strings.Lines(strings.ToValidUTF8(string(data), "\ufffd")) {
		line = strings.TrimSpace(line)
		n := len(list.Controls)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '$':
			if key, value, ok := strings.Cut(line[1:], "="); ok {
				list.Vars[key] = value
			}
		case line[0] == '[':
			m := auditControl.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			c := AuditControl{Name: auditTag.ReplaceAllString(m[1], ""), CIS: []string{}, PCI: []string{}, Condition: m[2], Reference: m[3], Checks: []string{}}
			for _, tag := range auditTag.FindAllStringSubmatch(m[1], -1) {
				switch tag[1] {
				case "CIS":
					c.CIS = append(c.CIS, tag[2])
				case "PCI_DSS":
					c.PCI = append(c.PCI, tag[2])
				}
			}
			list.Controls = append(list.Controls, c)
		case n > 0:
			list.Controls[n-1].Checks = append(list.Controls[n-1].Checks, line)
		}
	}
	return list, true
}
