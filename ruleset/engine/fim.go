package engine

import (
	"strconv"
	"strings"
	"time"

	"vedette/schemas"
)

// The attributes of a monitored entry, in the order in which rules' fields stand.
const (
	fimSize = iota
	fimPerm
	fimUID
	fimGID
	fimMD5
	fimSHA1
	fimSHA256
	fimUname
	fimGname
	fimMtime
	fimInode
	fimAttrs
	fimAttributes
)

// fimMembers are the attributes' names in messages, fimFields in rules.
var (
	fimMembers = [fimAttributes]string{
		"size", "perm", "uid", "gid", "hash_md5", "hash_sha1", "hash_sha256", "user_name", "group_name", "mtime", "inode", "attributes",
	}
	fimFields = [fimAttributes]string{
		"size", "perm", "uid", "gid", "md5", "sha1", "sha256", "uname", "gname", "mtime", "inode", "win_attributes",
	}
)

// fimBefore are fimFields with _before.
var fimBefore = func() (names [fimAttributes]string) {
	for i, f := range fimFields {
		names[i] = f + "_before"
	}
	return names
}()

// fimAudit are the members of who-data: their names in messages, which rules
// see too, and their paths in the alert. Equal objects are adjacent.
var fimAudit = [...]struct{ member, field, object, name string }{
	{"user_id", "user_id", "user", "id"},
	{"user_name", "user_name", "user", "name"},
	{"process_id", "process_id", "process", "id"},
	{"process_name", "process_name", "process", "name"},
	{"cwd", "cwd", "process", "cwd"},
	{"parent_name", "parent_name", "process", "parent_name"},
	{"parent_cwd", "parent_cwd", "process", "parent_cwd"},
	{"ppid", "ppid", "process", "ppid"},
	{"group_id", "group_id", "group", "id"},
	{"group_name", "group_name", "group", "name"},
	{"audit_uid", "audit_uid", "login_user", "id"},
	{"audit_name", "audit_name", "login_user", "name"},
	{"effective_uid", "effective_uid", "effective_user", "id"},
	{"effective_name", "effective_name", "effective_user", "name"},
}

// fimChange is one change that the file monitor reports.
type fimChange struct {
	kind      string // file, registry_key, registry_value
	path      string
	mode      string
	event     string // added, modified, deleted
	symbolic  string
	arch      string
	valueName string
	valueType string
	index     string
	diff      string
	tags      string
	// oldRegistry says that the agent knows keys and values as one kind.
	oldRegistry bool
	hardLinks   []string
	changed     []string
	now, old    [fimAttributes]string
	audit       [len(fimAudit)]string
}

// decodeFIM decodes `{"type":"event","data":{…}}` of the file monitor. Deltas
// carry old and new values themselves, so no state is needed. The marks of a
// scan and the text form of agents before 3.11, whose columns the specification
// does not give, are not for rules.
//
// Source: spec/ruleset-language.md §10, spec/agent-state-sync.md §3.
func (s *Keyed) decodeFIM() bool {
	msg, ok := s.json.tree(s.ev.fullLog)
	if !ok || msg.str("type") != "event" {
		return false
	}
	c := readFIM(msg.member("data"))
	if c == nil {
		return false
	}
	s.setInternal(c.decoder())
	e := &s.ev
	e.fim = c
	e.fullLog = c.text()
	e.setLog(e.fullLog)
	put := func(name, value string) {
		if value != "" {
			s.addDynamic(name, value)
		}
	}
	put("file", c.path)
	put("hard_links", compactList(c.hardLinks))
	put("mode", c.mode)
	for i := range fimAttributes {
		put(fimFields[i], c.now[i])
		put(fimBefore[i], c.old[i])
	}
	put("changed_content", c.diff)
	put("changed_fields", strings.Join(c.changed, ","))
	put("tag", c.tags)
	put("symbolic_path", c.symbolic)
	put("arch", c.arch)
	put("value_name", c.valueName)
	put("value_type", c.valueType)
	put("hash_full_path", c.index)
	put("entry_type", c.kind)
	put("event_type", c.event)
	for i := range fimAudit {
		put(fimAudit[i].field, c.audit[i])
	}
	return true
}

// readFIM reads the data of an event; nil if a required member is missing.
func readFIM(data *jsonNode) *fimChange {
	attrs, old := data.member("attributes"), data.member("old_attributes")
	c := &fimChange{
		kind: attrs.str("type"), path: data.str("path"), mode: data.str("mode"), event: data.str("type"),
		symbolic: attrs.str("symlink_path"), arch: data.str("arch"), valueName: data.str("value_name"),
		index: data.str("index"), diff: data.str("content_changes"), tags: data.str("tags"),
		hardLinks: data.member("hard_links").texts(), changed: data.member("changed_attributes").texts(),
	}
	switch {
	case c.path == "":
		return nil
	case c.event != "added" && c.event != "modified" && c.event != "deleted":
		return nil
	}
	switch c.kind {
	case "file":
	case "registry_key", "registry_value":
		version, err := strconv.ParseFloat(data.str("version"), 64)
		if err == nil && version >= 3 && c.index == "" {
			return nil
		}
	case "registry": // older agents; an entry with a value's name is a value
		c.oldRegistry = true
		c.kind = "registry_key"
		if c.valueName != "" {
			c.kind = "registry_value"
		}
	default:
		return nil
	}
	for i, name := range fimMembers {
		c.now[i], c.old[i] = attrs.str(name), old.str(name)
	}
	c.now[fimPerm], c.old[fimPerm] = permissions(attrs.member("perm")), permissions(old.member("perm"))
	// The type of a value stands in either, the later one counts.
	for i := range data.kids {
		if k := &data.kids[i]; k.name == "attributes" || k.name == "old_attributes" {
			if t := k.str("value_type"); t != "" {
				c.valueType = t
			}
		}
	}
	audit := data.member("audit")
	for i := range fimAudit {
		c.audit[i] = audit.str(fimAudit[i].member)
	}
	return c
}

func (c *fimChange) decoder() string {
	if c.kind != "file" {
		return "syscheck_" + c.kind + "_" + c.event
	}
	switch c.event {
	case "added":
		return "syscheck_new_entry"
	case "deleted":
		return "syscheck_deleted"
	}
	return "syscheck_integrity_changed"
}

// permissions are the text of Unix permissions, or the list of Windows as
// `name (allowed): A|B, name (denied): C`, its rights in capitals as alerts of
// 4.14 show them.
func permissions(n *jsonNode) string {
	if n == nil {
		return ""
	}
	if n.kind != jsonObject {
		return n.text
	}
	var b strings.Builder
	for i := range n.kids {
		k := &n.kids[i]
		name := k.str("name")
		if name == "" {
			name = k.name // the SID
		}
		for _, l := range [...]struct{ member, mark string }{{"allowed", winAllowed}, {"denied", winDenied}} {
			rights := k.member(l.member).texts()
			if len(rights) == 0 {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(name)
			b.WriteString(l.mark)
			b.WriteString(strings.ToUpper(strings.Join(rights, "|")))
		}
	}
	return b.String()
}

// winPerm is one account's rights.
type winPerm struct {
	name            string
	allowed, denied []string
}

// Marks between an account's name and its rights.
const (
	winAllowed = " (allowed): "
	winDenied  = " (denied): "
)

// parsePermissions reads the text that permissions makes; older agents send it
// so themselves.
func parsePermissions(s string) []winPerm {
	var out []winPerm
	for s != "" {
		// The name ends at the first mark that is followed by rights.
		at, size, deny := -1, 0, false
		for i := 0; at < 0; {
			n := strings.Index(s[i:], " (")
			if n < 0 {
				return out
			}
			i += n
			switch {
			case strings.HasPrefix(s[i:], winAllowed):
				at, size = i, len(winAllowed)
			case strings.HasPrefix(s[i:], winDenied):
				at, size, deny = i, len(winDenied), true
			}
			i += 2
		}
		name := s[:at]
		list, rest, _ := strings.Cut(s[at+size:], ", ")
		s = rest
		var p *winPerm
		if n := len(out); n > 0 && out[n-1].name == name {
			p = &out[n-1]
		}
		if p == nil || !deny && p.allowed != nil || deny && p.denied != nil {
			out = append(out, winPerm{name: name})
			p = &out[len(out)-1]
		}
		rights := splitList(list, "|")
		if deny {
			p.denied = rights
		} else {
			p.allowed = rights
		}
	}
	return out
}

// splitList cuts a list and trims its elements; empty ones are dropped.
func splitList(s, sep string) []string {
	var out []string
	for t := range strings.SplitSeq(s, sep) {
		if t = strings.TrimSpace(t); t != "" {
			out = append(out, t)
		}
	}
	return out
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

// shownPath is the path as the text shows it: the first and the last part of a
// long one.
//
// Source: spec/state-gaps.md §2.2.
func (c *fimChange) shownPath() string {
	p, arch := c.path, ""
	if c.arch != "" {
		arch = c.arch + " "
	}
	switch {
	case c.kind == "file" || c.oldRegistry:
		if len(p) > fimPathMax {
			p = p[:719] + fimPathGap + p[len(p)-30:]
		}
		return p
	case c.kind == "registry_key":
		if len(p)+fimArchSize > fimPathMax {
			p = p[:713] + fimPathGap + p[len(p)-24:]
		}
		return arch + p
	case c.valueName == "":
		return "Unknown key:Unknown Value"
	case fimArchSize+len(p)+len(c.valueName) > fimPathMax:
		p = arch + p[:min(len(p), max(0, 751-len(c.valueName)))] + fimPathGap + `\` + c.valueName
		return p[:min(len(p), fimPathMax)]
	}
	return arch + p + `\` + c.valueName
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
	attr           int
	before, middle string
}{
	{fimSize, "Size changed from '", "' to '"},
	{fimPerm, "Permissions changed from '", "' to '"},
	{fimUID, "Ownership was '", "', now it is '"},
	{fimUname, "User name was '", "', now it is '"},
	{fimGID, "Group ownership was '", "', now it is '"},
	{fimGname, "Group name was '", "', now it is '"},
	{fimMtime, "Old modification time was: '", "', now it is '"},
	{fimInode, "Old inode was: '", "', now it is '"},
	{fimMD5, "Old md5sum was: '", "'\nNew md5sum is : '"},
	{fimSHA1, "Old sha1sum was: '", "'\nNew sha1sum is : '"},
	{fimSHA256, "Old sha256sum was: '", "'\nNew sha256sum is : '"},
	{fimAttrs, "Old attributes were: '", "'\nNow they are '"},
}

// text is the readable form that replaces the log. Each line ends in a newline,
// and times are seconds, as in alerts of 4.14. An absent old value counts as
// the empty text.
func (c *fimChange) text() string {
	var b strings.Builder
	switch c.kind {
	case "file":
		b.WriteString("File '")
	case "registry_key":
		b.WriteString("Registry Key '")
	default:
		b.WriteString("Registry Value '")
	}
	b.WriteString(c.shownPath() + "' " + c.event + "\n")
	line := func(most int, parts ...string) {
		text := strings.Join(parts, "") + "\n"
		b.WriteString(text[:min(len(text), most)])
	}
	if len(c.hardLinks) > 0 {
		line(fimListMax, "Hard links: ", strings.Join(c.hardLinks, ","))
	}
	mode := c.mode
	if mode == "" {
		mode = "(null)"
	}
	b.WriteString("Mode: " + mode + "\n")
	if len(c.changed) > 0 {
		line(fimListMax, "Changed attributes: ", strings.Join(c.changed, ","))
	}
	if c.event != "modified" {
		return b.String()
	}
	for _, l := range fimLines {
		old, now := c.old[l.attr], c.now[l.attr]
		switch {
		case old == now:
		case l.attr == fimPerm && len(l.before)+len(old)+len(l.middle)+len(now)+len("'\n") > fimLineMax:
			b.WriteString("Permissions changed.\n")
		default:
			line(fimLineMax, l.before, old, l.middle, now, "'")
		}
	}
	return b.String()
}

// fimAlert are the attributes in the order of the alert.
var fimAlert = [...]struct {
	attr          int
	before, after string
}{
	{fimSize, "size_before", "size_after"},
	{fimPerm, "perm_before", "perm_after"},
	{fimUID, "uid_before", "uid_after"},
	{fimGID, "gid_before", "gid_after"},
	{fimMD5, "md5_before", "md5_after"},
	{fimSHA1, "sha1_before", "sha1_after"},
	{fimSHA256, "sha256_before", "sha256_after"},
	{fimAttrs, "attrs_before", "attrs_after"},
	{fimUname, "uname_before", "uname_after"},
	{fimGname, "gname_before", "gname_after"},
	{fimMtime, "mtime_before", "mtime_after"},
	{fimInode, "inode_before", "inode_after"},
}

// syscheck writes the member of that name (spec/alert-format.md §2).
func (w *writer) syscheck(c *fimChange) {
	w.member("syscheck")
	w.raw(`{"path":`)
	w.value(c.path)
	w.fimList("hard_links", c.hardLinks)
	w.fimText("mode", c.mode)
	w.fimText("symbolic_path", c.symbolic)
	w.fimText("arch", c.arch)
	w.fimText("value_name", c.valueName)
	w.fimText("value_type", c.valueType)
	for i := range fimAlert {
		a := &fimAlert[i]
		now, old := c.now[a.attr], c.old[a.attr]
		if old != now {
			w.fimAttribute(a.attr, a.before, old, false)
		}
		w.fimAttribute(a.attr, a.after, now, true)
	}
	w.fimText("diff", c.diff)
	w.fimList("tags", splitList(c.tags, ","))
	w.fimList("changed_attributes", c.changed)
	w.fimText("event", c.event)
	w.fimWhoData(c)
	w.raw(`}`)
}

// fimAttribute writes an attribute that is not empty, most as they are; now tells
// the new value from the old one.
func (w *writer) fimAttribute(attr int, name, value string, now bool) {
	switch {
	case value == "":
	case attr == fimPerm:
		w.fimPerm(name, value)
	case attr == fimAttrs:
		list := commaList(value)
		for i := range list {
			list[i] = strings.TrimLeft(list[i], " ")
		}
		w.fimList(name, list)
	case attr == fimMtime:
		w.fimTime(name, value)
	case attr == fimInode:
		w.fimInode(name, value, now)
	default:
		w.fimText(name, value)
	}
}

func (w *writer) fimText(name, value string) {
	if value != "" {
		w.member(name)
		w.value(value)
	}
}

func (w *writer) fimList(name string, list []string) {
	if len(list) > 0 {
		w.member(name)
		w.list(list)
	}
}

func (w *writer) list(list []string) {
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
func (w *writer) fimPerm(name, value string) {
	if strings.IndexByte(value, '|') < 0 {
		w.fimText(name, value)
		return
	}
	perms := parsePermissions(value)
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
		w.value(perms[i].name)
		w.fimList("allowed", perms[i].allowed)
		w.fimList("denied", perms[i].denied)
		w.raw(`}`)
	}
	w.raw(`]`)
}

// fimTimeMax is the last second of year 9999.
const fimTimeMax = 253402300799

// fimTime writes seconds as local time without a zone. It leaves out a value that
// is not such a number.
func (w *writer) fimTime(name, value string) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > fimTimeMax {
		return
	}
	b := time.Unix(n, 0).In(w.r.s.eng.c.Timezone).AppendFormat(nil, "2006-01-02T15:04:05")
	w.fimText(name, string(b[:min(len(b), len("2006-01-02T15:04:05"))]))
}

// fimInode writes the number's low 32 bits, signed, as 4.14 does. It leaves out a
// value that is not a number, and a new number whose low bits are 0.
func (w *writer) fimInode(name, value string, now bool) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || now && uint32(n) == 0 { //nolint:gosec // the wrap is meant
		return
	}
	w.member(name)
	w.b = strconv.AppendInt(w.b, int64(int32(uint32(n))), 10) //nolint:gosec // the wrap is meant
}

func (w *writer) fimWhoData(c *fimChange) {
	object := ""
	for i := range fimAudit {
		a := &fimAudit[i]
		if c.audit[i] == "" {
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
		w.value(c.audit[i])
	}
	if object != "" {
		w.raw(`}}`)
	}
}
