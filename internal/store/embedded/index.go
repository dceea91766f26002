package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strings"

	"vedette/internal/qlang"
)

// indexed are the fields beside columns whose values are kept apart, so that a
// query by one of them reads no documents.
var indexed = func() map[string]bool {
	m := map[string]bool{}
	for _, f := range []string{
		"id", "location", "agent.name", "agent.ip", "manager.name", "cluster.node", "input.type",
		"rule.groups", "rule.description", "rule.mitre.id", "rule.mitre.tactic", "rule.mitre.technique",
		"rule.pci_dss", "rule.gdpr", "rule.hipaa", "rule.nist_800_53", "rule.tsc", "rule.gpg13", "rule.cis",
		"decoder.parent", "predecoder.program_name", "predecoder.hostname",
		"data.srcip", "data.dstip", "data.srcport", "data.dstport", "data.srcuser", "data.dstuser", "data.user", "data.protocol", "data.action", "data.status",
		"data.id", "data.url", "data.system_name", "data.type", "data.command", "data.uid", "data.title", "data.file",
		"data.win.system.eventID", "data.win.system.channel", "data.win.system.providerName", "data.win.system.computer", "data.win.system.severityValue",
		"data.win.eventdata.targetUserName", "data.win.eventdata.subjectUserName", "data.win.eventdata.ipAddress", "data.win.eventdata.workstationName",
		"data.win.eventdata.logonType", "data.win.eventdata.image", "data.win.eventdata.parentImage", "data.win.eventdata.user",
		"data.vulnerability.cve", "data.vulnerability.severity", "data.vulnerability.package.name", "data.sca.policy", "data.sca.check.id", "data.sca.check.result",
		"data.aws.source", "data.aws.eventName", "data.aws.sourceIPAddress", "data.office365.Operation", "data.office365.UserId", "data.audit.key", "data.audit.exe",
		"syscheck.path", "syscheck.event", "syscheck.uname_after", "syscheck.md5_after", "syscheck.sha1_after", "syscheck.sha256_after", "syscheck.audit.user.name",
	} {
		m[f] = true
	}
	return m
}()

// Kinds of terms.
const (
	termText   = 0 // the text in lower case, as comparisons ignore case
	termNumber = 1 // a JSON number as the document writes it
	// termLong says that a document has a longer text than is kept: then the field
	// is looked up in documents.
	termLong = 2
	// termMany says that a document has several values of the field.
	termMany = 3
	// termAbsent says that a document lacks the field, one of usual.
	termAbsent = 4
)

// usual are the fields that nearly all alerts have. Of these the documents
// without them are kept, because there are fewer.
var usual = []string{"agent.name", "location", "manager.name", "rule.description", "rule.groups"}

// termBytesMax bounds the texts that are kept.
const termBytesMax = 1 << 10

// termsCached bounds the numbers of terms that a writer remembers per day.
const termsCached = 1 << 16

// term is a value of a field.
type term struct {
	field string
	kind  int
	value string
}

// termsOf returns the terms of a document, each once.
func termsOf(doc []byte) []term {
	var out []term
	add := func(t term) {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	qlang.Raw(doc).Each(func(path []byte) bool { return indexed[string(path)] }, func(path []byte, v any) {
		t := term{field: string(path), kind: termText}
		switch v := v.(type) {
		case json.Number:
			t.kind, t.value = termNumber, v.String()
		default:
			t.value = strings.ToLower(qlang.Text(v))
		}
		if len(t.value) > termBytesMax {
			t.kind, t.value = termLong, ""
		}
		other := slices.ContainsFunc(out, func(have term) bool { return have.field == t.field && have != t && have.kind != termMany })
		add(t)
		if other {
			add(term{t.field, termMany, ""})
		}
	})
	for _, f := range usual {
		if !slices.ContainsFunc(out, func(t term) bool { return t.field == f }) {
			add(term{f, termAbsent, ""})
		}
	}
	return out
}

// Values implements qlang.Item: the term as a document of one value.
func (t *term) Values(string) []any {
	if t.kind == termNumber {
		return []any{json.Number(t.value)}
	}
	return []any{t.value}
}

const indexSchema = `
CREATE TABLE IF NOT EXISTS term (
	id INTEGER PRIMARY KEY,
	field TEXT NOT NULL,
	kind INTEGER NOT NULL,
	value TEXT NOT NULL,
	UNIQUE (field, kind, value)
);
CREATE TABLE IF NOT EXISTS posting (
	term INTEGER NOT NULL,
	time INTEGER NOT NULL,
	n INTEGER NOT NULL,
	PRIMARY KEY (term, time, n)
) WITHOUT ROWID;
`

// terms are the numbers of terms that a day's writer has committed.
type terms map[term]int64

// indexer writes terms within one transaction.
type indexer struct {
	find, add, post, unpost *sql.Stmt

	known    terms // committed, read only
	found    terms // of this transaction
	postings []posting
}

type posting struct{ term, time, n int64 }

func newIndexer(ctx context.Context, tx *sql.Tx, known terms) (*indexer, error) {
	x := &indexer{known: known, found: terms{}}
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&x.find, `SELECT id FROM term WHERE field = ? AND kind = ? AND value = ?`},
		{&x.add, `INSERT INTO term (field, kind, value) VALUES (?, ?, ?)`},
		{&x.post, `INSERT OR IGNORE INTO posting (term, time, n) VALUES (?, ?, ?)`},
		{&x.unpost, `DELETE FROM posting WHERE term = ? AND time = ? AND n = ?`},
	} {
		var err error
		if *p.to, err = tx.PrepareContext(ctx, p.sql); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (x *indexer) id(ctx context.Context, t term) (int64, error) {
	if id, ok := x.known[t]; ok {
		return id, nil
	}
	if id, ok := x.found[t]; ok {
		return id, nil
	}
	var id int64
	err := x.find.QueryRowContext(ctx, t.field, t.kind, t.value).Scan(&id)
	if err == sql.ErrNoRows { //nolint:errorlint // Scan returns it as it is
		var res sql.Result
		if res, err = x.add.ExecContext(ctx, t.field, t.kind, t.value); err == nil {
			id, err = res.LastInsertId()
		}
	}
	if err != nil {
		return 0, err
	}
	x.found[t] = id
	return id, nil
}

// put notes the terms of a document; flush writes them.
func (x *indexer) put(ctx context.Context, n, millis int64, doc []byte) error {
	for _, t := range termsOf(doc) {
		id, err := x.id(ctx, t)
		if err != nil {
			return err
		}
		x.postings = append(x.postings, posting{id, millis, n})
	}
	return nil
}

// remove takes away the terms of a document that is replaced.
func (x *indexer) remove(ctx context.Context, n, millis int64, doc []byte) error {
	if err := x.flush(ctx); err != nil { // it may be of this transaction
		return err
	}
	for _, t := range termsOf(doc) {
		id, err := x.id(ctx, t)
		if err != nil {
			return err
		}
		if _, err := x.unpost.ExecContext(ctx, id, millis, n); err != nil {
			return err
		}
	}
	return nil
}

// flush writes the terms that put noted, sorted, because neighbors share pages.
func (x *indexer) flush(ctx context.Context) error {
	slices.SortFunc(x.postings, func(a, b posting) int {
		switch {
		case a.term != b.term:
			return int(min(1, max(-1, a.term-b.term)))
		case a.time != b.time:
			return int(min(1, max(-1, a.time-b.time)))
		}
		return int(min(1, max(-1, a.n-b.n)))
	})
	for _, p := range x.postings {
		if _, err := x.post.ExecContext(ctx, p.term, p.time, p.n); err != nil {
			return err
		}
	}
	x.postings = x.postings[:0]
	return nil
}

// daysCached bounds the days whose terms are remembered.
const daysCached = 4

// termsOf returns the terms that are known of a day. The caller holds write.
func (s *Store) termsOf(d day) terms {
	t := s.terms[d]
	if t == nil {
		if len(s.terms) >= daysCached {
			clear(s.terms)
		}
		t = terms{}
		s.terms[d] = t
	}
	return t
}

// committed takes over the numbers of a transaction that was committed.
func (t terms) committed(found terms) {
	for k, id := range found {
		if len(t) >= termsCached {
			clear(t)
		}
		t[k] = id
	}
}
