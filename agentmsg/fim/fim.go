// Package fim reads the messages of the file monitor.
//
// Source: spec/ruleset-language.md §10, spec/agent-state-sync.md §3.
package fim

import (
	"strconv"

	"vedette/agentmsg/laxjson"
)

// Attribute numbers the attributes of a monitored entry.
type Attribute int

// The attributes, in the order in which rules' fields follow each other.
const (
	Size Attribute = iota
	Perm
	UID
	GID
	MD5
	SHA1
	SHA256
	UserName
	GroupName
	MTime
	Inode
	WinAttributes
	NumAttributes
)

// attributeMembers are the attributes' names in messages.
var attributeMembers = [NumAttributes]string{
	"size", "perm", "uid", "gid", "hash_md5", "hash_sha1", "hash_sha256", "user_name", "group_name", "mtime", "inode", "attributes",
}

// Audit numbers the members of who-data.
type Audit int

// The members of who-data.
const (
	AuditUserID Audit = iota
	AuditUserName
	AuditProcessID
	AuditProcessName
	AuditCWD
	AuditParentName
	AuditParentCWD
	AuditPPID
	AuditGroupID
	AuditGroupName
	AuditLoginID
	AuditLoginName
	AuditEffectiveID
	AuditEffectiveName
	NumAudit
)

// AuditMembers are the names of who-data in messages.
var AuditMembers = [NumAudit]string{
	"user_id", "user_name", "process_id", "process_name", "cwd", "parent_name", "parent_cwd", "ppid", "group_id", "group_name",
	"audit_uid", "audit_name", "effective_uid", "effective_name",
}

// Kinds of entries.
const (
	File          = "file"
	RegistryKey   = "registry_key"
	RegistryValue = "registry_value"
)

// Events of an entry.
const (
	Added    = "added"
	Modified = "modified"
	Deleted  = "deleted"
)

// Change is one change that the file monitor reports. It carries old and new values
// itself. Values are as the agent sent them; an absent one is empty.
type Change struct {
	Kind  string // File, RegistryKey or RegistryValue
	Path  string
	Event string // Added, Modified or Deleted
	// Mode is scheduled, realtime or whodata; Timestamp are seconds.
	Mode, Timestamp string
	Version         string
	// Symlink is the link by which the agent found the entry.
	Symlink              string
	Arch                 string // of a registry entry, [x32] or [x64]
	ValueName, ValueType string
	// Index is the key of a registry entry, a hash of its full path.
	Index string
	// Diff is the change of the content, Tags a list with commas.
	Diff, Tags string
	// OldRegistry says that the agent knows keys and values as one kind.
	OldRegistry bool
	HardLinks   []string
	// Changed are the names of the attributes that changed.
	Changed []string
	// Now and Old are the attributes. Permissions of Windows are as Text prints them.
	Now, Old [NumAttributes]string
	// NowAccounts and OldAccounts are the permissions of Windows, where the agent
	// sends them as a list.
	NowAccounts, OldAccounts Accounts
	// Checksum is the agent's checksum of the row.
	Checksum string
	Audit    [NumAudit]string
}

// Parse reads `{"type":"event","data":{…}}`. It returns nil for every other message,
// such as the marks of a scan, and if a required member is missing.
func Parse(msg *laxjson.Node) *Change {
	if msg.Value("type") != "event" {
		return nil
	}
	data := msg.Member("data")
	attrs, old := data.Member("attributes"), data.Member("old_attributes")
	c := &Change{
		Kind: attrs.Value("type"), Path: data.Value("path"), Event: data.Value("type"), Mode: data.Value("mode"),
		Timestamp: data.Value("timestamp"), Version: data.Value("version"), Symlink: attrs.Value("symlink_path"),
		Arch: data.Value("arch"), ValueName: data.Value("value_name"), Index: data.Value("index"),
		Diff: data.Value("content_changes"), Tags: data.Value("tags"), Checksum: attrs.Value("checksum"),
		HardLinks: data.Member("hard_links").Values(), Changed: data.Member("changed_attributes").Values(),
	}
	if c.Path == "" || c.Event != Added && c.Event != Modified && c.Event != Deleted || !c.known() {
		return nil
	}
	for i, name := range attributeMembers {
		c.Now[i], c.Old[i] = attrs.Value(name), old.Value(name)
	}
	c.Now[Perm], c.NowAccounts = permissions(attrs.Member("perm"))
	c.Old[Perm], c.OldAccounts = permissions(old.Member("perm"))
	c.ValueType = valueType(data)
	audit := data.Member("audit")
	for i, name := range AuditMembers {
		c.Audit[i] = audit.Value(name)
	}
	return c
}

// known reports whether the kind of the entry is known and it has the members of
// that kind.
func (c *Change) known() bool {
	switch c.Kind {
	case File:
	case RegistryKey, RegistryValue:
		version, err := strconv.ParseFloat(c.Version, 64)
		return err != nil || version < 3 || c.Index != ""
	case "registry": // older agents; an entry with a value's name is a value
		c.OldRegistry = true
		c.Kind = RegistryKey
		if c.ValueName != "" {
			c.Kind = RegistryValue
		}
	default:
		return false
	}
	return true
}

// valueType finds the type of a registry value, which is in either of two objects.
// The later one counts.
func valueType(data *laxjson.Node) (found string) {
	for i := range data.Kids {
		if k := &data.Kids[i]; k.Name == "attributes" || k.Name == "old_attributes" {
			if t := k.Value("value_type"); t != "" {
				found = t
			}
		}
	}
	return found
}
