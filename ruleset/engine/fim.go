package engine

import (
	"strconv"
	"strings"
	"time"

	"vedette/agentmsg"
	"vedette/agentmsg/fim"
	"vedette/schemas"
)

// fimFields are the attributes as rules see them.
var fimFields = [fim.NumAttributes]string{
	"size", "perm", "uid", "gid", "md5", "sha1", "sha256", "uname", "gname", "mtime", "inode", "win_attributes",
}

// fimBefore are fimFields with _before.
var fimBefore = func() (names [fim.NumAttributes]string) {
	for i, f := range fimFields {
		names[i] = f + "_before"
	}
	return names
}()

// fimAudit are the paths of who-data in the alert. Equal objects are adjacent.
var fimAudit = [fim.NumAudit]struct{ object, name string }{
	fim.AuditUserID:        {"user", "id"},
	fim.AuditUserName:      {"user", "name"},
	fim.AuditProcessID:     {"process", "id"},
	fim.AuditProcessName:   {"process", "name"},
	fim.AuditCWD:           {"process", "cwd"},
	fim.AuditParentName:    {"process", "parent_name"},
	fim.AuditParentCWD:     {"process", "parent_cwd"},
	fim.AuditPPID:          {"process", "ppid"},
	fim.AuditGroupID:       {"group", "id"},
	fim.AuditGroupName:     {"group", "name"},
	fim.AuditLoginID:       {"login_user", "id"},
	fim.AuditLoginName:     {"login_user", "name"},
	fim.AuditEffectiveID:   {"effective_user", "id"},
	fim.AuditEffectiveName: {"effective_user", "name"},
}

// decodeFIM decodes `{"type":"event","data":{…}}` of the file monitor. Deltas
// carry old and new values themselves, so no state is needed. The marks of a
// scan and the text form of agents before 3.11, whose columns the specification
// does not give, are not for rules.
//
// Source: spec/ruleset-language.md §10, spec/agent-state-sync.md §3.
func (s *modules) decodeFIM() bool {
	msg, ok := s.json.Tree(s.ev.fullLog)
	if !ok {
		return false
	}
	c := fim.Parse(msg)
	if c == nil {
		return false
	}
	s.setInternal(fimDecoder(c))
	e := &s.ev
	e.fim = c
	e.fullLog = fimText(c)
	e.setLog(e.fullLog)
	s.addSet("file", c.Path)
	s.addSet("hard_links", compactList(c.HardLinks))
	s.addSet("mode", c.Mode)
	for i := range fimFields {
		s.addSet(fimFields[i], c.Now[i])
		s.addSet(fimBefore[i], c.Old[i])
	}
	s.addSet("changed_content", c.Diff)
	s.addSet("changed_fields", strings.Join(c.Changed, ","))
	s.addSet("tag", c.Tags)
	s.addSet("symbolic_path", c.Symlink)
	s.addSet("arch", c.Arch)
	s.addSet("value_name", c.ValueName)
	s.addSet("value_type", c.ValueType)
	s.addSet("hash_full_path", c.Index)
	s.addSet("entry_type", c.Kind)
	s.addSet("event_type", c.Event)
	for i, name := range fim.AuditMembers {
		s.addSet(name, c.Audit[i])
	}
	return true
}

// fimDecoder is the name of the decoder that 4.14 shows for a change.
func fimDecoder(c *fim.Change) string {
	if c.Kind != fim.File {
		return "syscheck_" + c.Kind + "_" + c.Event
	}
	switch c.Event {
	case fim.Added:
		return "syscheck_new_entry"
	case fim.Deleted:
		return "syscheck_deleted"
	}
	return "syscheck_integrity_changed"
}

// Bounds of the readable text in bytes: of a path, and of lines. A line that is
// longer is cut and lacks its newline, so the next one follows directly.
const (
	fimPathMax  = 756
	fimPathGap  = " [...] "
	fimListMax  = 255
	fimLineMax  = 256
	fimArchSize = len("[x64] ")
)

// fimShownPath is the path as the text shows it: the first and the last part of a
// long one.
//
// Source: spec/state-gaps.md §2.2.
func fimShownPath(c *fim.Change) string {
	p, arch := c.Path, ""
	if c.Arch != "" {
		arch = c.Arch + " "
	}
	switch {
	case c.Kind == fim.File || c.OldRegistry:
		if len(p) > fimPathMax {
			p = p[:719] + fimPathGap + p[len(p)-30:]
		}
		return p
	case c.Kind == fim.RegistryKey:
		if len(p)+fimArchSize > fimPathMax {
			p = p[:713] + fimPathGap + p[len(p)-24:]
		}
		return arch + p
	case c.ValueName == "":
		return "Unknown key:Unknown Value"
	case fimArchSize+len(p)+len(c.ValueName) > fimPathMax:
		p = arch + p[:min(len(p), max(0, 751-len(c.ValueName)))] + fimPathGap + `\` + c.ValueName
		return p[:min(len(p), fimPathMax)]
	}
	return arch + p + `\` + c.ValueName
}

// compactList is a list as JSON text; an empty one is the empty text.
func compactList(list []string) string {
	if len(list) == 0 {
		return ""
	}
	b := []byte{'['}
	for i, t := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = schemas.AppendJSONString(b, t)
	}
	return string(append(b, ']'))
}

// fimLines are the sentences of a change, in the order of the text. Each has the
// words before the old value, between the values, and after the new value.
var fimLines = [...]struct {
	attr           fim.Attribute
	before, middle string
}{
	{fim.Size, "Size changed from '", "' to '"},
	{fim.Perm, "Permissions changed from '", "' to '"},
	{fim.UID, "Ownership was '", "', now it is '"},
	{fim.UserName, "User name was '", "', now it is '"},
	{fim.GID, "Group ownership was '", "', now it is '"},
	{fim.GroupName, "Group name was '", "', now it is '"},
	{fim.MTime, "Old modification time was: '", "', now it is '"},
	{fim.Inode, "Old inode was: '", "', now it is '"},
	{fim.MD5, "Old md5sum was: '", "'\nNew md5sum is : '"},
	{fim.SHA1, "Old sha1sum was: '", "'\nNew sha1sum is : '"},
	{fim.SHA256, "Old sha256sum was: '", "'\nNew sha256sum is : '"},
	{fim.WinAttributes, "Old attributes were: '", "'\nNow they are '"},
}

// fimText is the readable form that replaces the log. Each line ends in a newline,
// and times are seconds, as in alerts of 4.14. An absent old value counts as
// the empty text.
func fimText(c *fim.Change) string {
	var b strings.Builder
	switch c.Kind {
	case fim.File:
		b.WriteString("File '")
	case fim.RegistryKey:
		b.WriteString("Registry Key '")
	default:
		b.WriteString("Registry Value '")
	}
	b.WriteString(fimShownPath(c) + "' " + c.Event + "\n")
	line := func(most int, parts ...string) {
		text := strings.Join(parts, "") + "\n"
		b.WriteString(text[:min(len(text), most)])
	}
	if len(c.HardLinks) > 0 {
		line(fimListMax, "Hard links: ", strings.Join(c.HardLinks, ","))
	}
	mode := c.Mode
	if mode == "" {
		mode = "(null)"
	}
	b.WriteString("Mode: " + mode + "\n")
	if len(c.Changed) > 0 {
		line(fimListMax, "Changed attributes: ", strings.Join(c.Changed, ","))
	}
	if c.Event != fim.Modified {
		return b.String()
	}
	for _, l := range fimLines {
		old, now := c.Old[l.attr], c.Now[l.attr]
		switch {
		case old == now:
		case l.attr == fim.Perm && len(l.before)+len(old)+len(l.middle)+len(now)+len("'\n") > fimLineMax:
			b.WriteString("Permissions changed.\n")
		default:
			line(fimLineMax, l.before, old, l.middle, now, "'")
		}
	}
	return b.String()
}

// fimAlert are the attributes in the order of the alert.
var fimAlert = [...]struct {
	attr          fim.Attribute
	before, after string
}{
	{fim.Size, "size_before", "size_after"},
	{fim.Perm, "perm_before", "perm_after"},
	{fim.UID, "uid_before", "uid_after"},
	{fim.GID, "gid_before", "gid_after"},
	{fim.MD5, "md5_before", "md5_after"},
	{fim.SHA1, "sha1_before", "sha1_after"},
	{fim.SHA256, "sha256_before", "sha256_after"},
	{fim.WinAttributes, "attrs_before", "attrs_after"},
	{fim.UserName, "uname_before", "uname_after"},
	{fim.GroupName, "gname_before", "gname_after"},
	{fim.MTime, "mtime_before", "mtime_after"},
	{fim.Inode, "inode_before", "inode_after"},
}

// fimWriter writes the part of a document that tells of a change of a file.
type fimWriter struct{ *writer }

// syscheck writes the member of that name (spec/alert-format.md §2).
func (w fimWriter) syscheck(c *fim.Change) {
	w.member("syscheck")
	w.raw(`{"path":`)
	w.value(c.Path)
	w.fimList("hard_links", c.HardLinks)
	w.fimText("mode", c.Mode)
	w.fimText("symbolic_path", c.Symlink)
	w.fimText("arch", c.Arch)
	w.fimText("value_name", c.ValueName)
	w.fimText("value_type", c.ValueType)
	for i := range fimAlert {
		a := &fimAlert[i]
		now, old := c.Now[a.attr], c.Old[a.attr]
		if old != now {
			w.fimAttribute(a.attr, a.before, old, false)
		}
		w.fimAttribute(a.attr, a.after, now, true)
	}
	w.fimText("diff", c.Diff)
	w.fimList("tags", agentmsg.SplitList(c.Tags, ","))
	w.fimList("changed_attributes", c.Changed)
	w.fimText("event", c.Event)
	w.fimWhoData(c)
	w.raw(`}`)
}

// fimAttribute writes an attribute that is not empty, most as they are; now tells
// the new value from the old one.
func (w fimWriter) fimAttribute(attr fim.Attribute, name, value string, now bool) {
	switch {
	case value == "":
	case attr == fim.Perm:
		w.fimPerm(name, value)
	case attr == fim.WinAttributes:
		list := commaList(value)
		for i := range list {
			list[i] = strings.TrimLeft(list[i], " ")
		}
		w.fimList(name, list)
	case attr == fim.MTime:
		w.fimTime(name, value)
	case attr == fim.Inode:
		w.fimInode(name, value, now)
	default:
		w.fimText(name, value)
	}
}

func (w fimWriter) fimText(name, value string) {
	if value != "" {
		w.member(name)
		w.value(value)
	}
}

func (w fimWriter) fimList(name string, list []string) {
	if len(list) > 0 {
		w.member(name)
		w.list(list)
	}
}

func (w fimWriter) list(list []string) {
	w.raw(`[`)
	for i, t := range list {
		if i > 0 {
			w.raw(`,`)
		}
		w.value(t)
	}
	w.raw(`]`)
}

// fimPerm writes Windows permissions, known by their `|`, as a list.
func (w fimWriter) fimPerm(name, value string) {
	if strings.IndexByte(value, '|') < 0 {
		w.fimText(name, value)
		return
	}
	perms := fim.ParseAccounts(value)
	if len(perms) == 0 {
		w.fimText(name, value)
		return
	}
	w.member("win_" + name)
	w.raw(`[`)
	for i := range perms {
		if i > 0 {
			w.raw(`,`)
		}
		w.raw(`{"name":`)
		w.value(perms[i].Name)
		w.fimList("allowed", perms[i].Allowed)
		w.fimList("denied", perms[i].Denied)
		w.raw(`}`)
	}
	w.raw(`]`)
}

// fimTimeMax is the last second of year 9999.
const fimTimeMax = 253402300799

// fimTime writes seconds as local time without a zone. It leaves out a value that
// is not such a number.
func (w fimWriter) fimTime(name, value string) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > fimTimeMax {
		return
	}
	b := time.Unix(n, 0).In(w.r.s.eng.c.Timezone).AppendFormat(nil, "2006-01-02T15:04:05")
	w.fimText(name, string(b[:min(len(b), len("2006-01-02T15:04:05"))]))
}

// fimInode writes the number's low 32 bits, signed, as 4.14 does. It leaves out a
// value that is not a number, and a new number whose low bits are 0.
func (w fimWriter) fimInode(name, value string, now bool) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || now && uint32(n) == 0 { //nolint:gosec // the wrap is meant
		return
	}
	w.member(name)
	w.b = strconv.AppendInt(w.b, int64(int32(uint32(n))), 10) //nolint:gosec // the wrap is meant
}

func (w fimWriter) fimWhoData(c *fim.Change) {
	object := ""
	for i := range fimAudit {
		a := &fimAudit[i]
		if c.Audit[i] == "" {
			continue
		}
		switch {
		case object == a.object:
			w.raw(`,"`)
		case object == "":
			w.member("audit")
			w.raw(`{"` + a.object + `":{"`)
		default:
			w.raw(`},"` + a.object + `":{"`)
		}
		object = a.object
		w.raw(a.name + `":`)
		w.value(c.Audit[i])
	}
	if object != "" {
		w.raw(`}}`)
	}
}
