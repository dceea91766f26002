package fim

import (
	"strings"

	"vedette/agentmsg"
	"vedette/agentmsg/laxjson"
)

// Account holds the rights of one Windows account.
type Account struct {
	SID             string // empty if read from text
	Name            string
	Allowed, Denied []string
}

// Accounts are the Windows permissions of an entry.
type Accounts []Account

// Marks between an account's name and its rights.
const (
	allowedMark = " (allowed): "
	deniedMark  = " (denied): "
)

// permissions reads the text of Unix permissions, or the list of Windows.
func permissions(n *laxjson.Node) (text string, list Accounts) {
	switch {
	case n == nil:
		return "", nil
	case n.Kind != laxjson.Object:
		return n.Text, nil
	}
	for i := range n.Kids {
		k := &n.Kids[i]
		list = append(list, Account{SID: k.Name, Name: k.Value("name"), Allowed: k.Member("allowed").Values(), Denied: k.Member("denied").Values()})
	}
	return list.Text(), list
}

// Text prints permissions as `name (allowed): A|B, name (denied): C`, with the rights
// in capitals as alerts of 4.14 show them. An account without a name has its SID.
func (a Accounts) Text() string {
	var b strings.Builder
	for i := range a {
		name := a[i].Name
		if name == "" {
			name = a[i].SID
		}
		appendRights(&b, name, allowedMark, a[i].Allowed)
		appendRights(&b, name, deniedMark, a[i].Denied)
	}
	return b.String()
}

func appendRights(b *strings.Builder, name, mark string, rights []string) {
	if len(rights) == 0 {
		return
	}
	if b.Len() > 0 {
		b.WriteString(", ")
	}
	b.WriteString(name)
	b.WriteString(mark)
	b.WriteString(strings.ToUpper(strings.Join(rights, "|")))
}

// ParseAccounts reads the text that Text prints. Older agents send this text
// themselves. It stops where the text has another form.
func ParseAccounts(s string) Accounts {
	var out Accounts
	for s != "" {
		at, size, deny := nextMark(s)
		if at < 0 {
			return out
		}
		name := s[:at]
		list, rest, _ := strings.Cut(s[at+size:], ", ")
		s = rest
		var p *Account
		if n := len(out); n > 0 && out[n-1].Name == name {
			p = &out[n-1]
		}
		if p == nil || !deny && p.Allowed != nil || deny && p.Denied != nil {
			out = append(out, Account{Name: name})
			p = &out[len(out)-1]
		}
		rights := agentmsg.SplitList(list, "|")
		if deny {
			p.Denied = rights
		} else {
			p.Allowed = rights
		}
	}
	return out
}

// nextMark finds the first mark, which ends an account's name; at is -1 if there
// is none.
func nextMark(s string) (at, size int, deny bool) {
	for i := 0; ; i += 2 {
		n := strings.Index(s[i:], " (")
		if n < 0 {
			return -1, 0, false
		}
		i += n
		switch {
		case strings.HasPrefix(s[i:], allowedMark):
			return i, len(allowedMark), false
		case strings.HasPrefix(s[i:], deniedMark):
			return i, len(deniedMark), true
		}
	}
}
