package opensearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"

	"vedette/internal/qlang"
	"vedette/internal/store"
	templates "vedette/schemas/opensearch"
)

type dsl = map[string]any

// Search implements store.Store.
func (s *Store) Search(ctx context.Context, q store.Query) (store.Page, error) {
	if err := q.Normalize(); err != nil {
		return store.Page{}, err
	}
	body, err := json.Marshal(searchBody(&q))
	if err != nil {
		return store.Page{}, err
	}
	var res struct {
		Hits struct {
			Total struct {
				Value int `json:"value"`
			} `json:"total"`
			Hits []struct {
				Source json.RawMessage `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	yes := true
	err = s.do(ctx, opensearchapi.SearchRequest{
		Index: []string{templates.AlertsIndexPrefix + "*"}, Body: bytes.NewReader(body),
		IgnoreUnavailable: &yes, AllowNoIndices: &yes,
	}, &res)
	var st *statusError
	if errors.As(err, &st) && st.status == http.StatusBadRequest {
		return store.Page{}, fmt.Errorf("%w: %s", store.ErrQuery, st.reason)
	}
	if err != nil {
		return store.Page{}, fmt.Errorf("search alerts: %w", err)
	}
	page := store.Page{Total: res.Hits.Total.Value}
	for _, h := range res.Hits.Hits {
		page.Items = append(page.Items, h.Source)
	}
	return page, nil
}

func searchBody(q *store.Query) dsl {
	var filter []any
	if !q.From.IsZero() || !q.To.IsZero() {
		r := dsl{"format": "epoch_millis"}
		if !q.From.IsZero() {
			r["gte"] = millis(q.From)
		}
		if !q.To.IsZero() {
			r["lt"] = millis(q.To)
		}
		filter = append(filter, dsl{"range": dsl{store.TimeField: r}})
	}
	if q.Filter != nil {
		filter = append(filter, translate(q.Filter, q.Now))
	}
	for _, w := range q.Words() {
		if c := word(w); c != nil {
			filter = append(filter, c)
		}
	}
	var sort []any
	dir := func(desc bool) string {
		if desc {
			return "desc"
		}
		return "asc"
	}
	for _, o := range q.Sort {
		sort = append(sort, dsl{o.Field: dsl{"order": dir(o.Desc), "missing": "_last", "unmapped_type": "keyword"}})
	}
	// The alert's own id settles ties, so that pages do not overlap.
	sort = append(sort, dsl{"id": dsl{"order": dir(q.Sort[0].Desc), "missing": "_last", "unmapped_type": "keyword"}})
	return dsl{
		"query": dsl{"bool": dsl{"filter": filter}}, "sort": sort, "from": q.Offset, "size": q.Limit, "track_total_hits": true,
	}
}

func millis(t time.Time) int64 { return t.UnixMilli() }

// word asks for one word of a text search.
func word(w string) dsl {
	prefix := false
	if t, ok := strings.CutSuffix(w, "*"); ok {
		w, prefix = t, true
	}
	if strings.IndexFunc(w, func(r rune) bool { return r > 127 || unicode.IsLetter(r) || unicode.IsDigit(r) }) < 0 {
		return nil
	}
	kind := "match_phrase"
	if prefix {
		kind = "match_phrase_prefix"
	}
	return anyOf(dsl{kind: dsl{"full_log": w}}, contains("rule.description", strings.Trim(w, `"'`)))
}

func anyOf(cs ...any) dsl { return dsl{"bool": dsl{"should": cs, "minimum_should_match": 1}} }

func exists(field string) dsl { return dsl{"exists": dsl{"field": field}} }

var nothing = dsl{"match_none": dsl{}}

// wildcard escapes a value; a quotation mark stands for one character.
func wildcard(s string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `\`, `\\`, `'`, `?`, `"`, `?`).Replace(s)
}

func contains(field, value string) dsl {
	return dsl{"wildcard": dsl{field: dsl{"value": "*" + wildcard(value) + "*", "case_insensitive": true}}}
}

// translate writes a filter as a query.
func translate(x *qlang.Expr, now time.Time) dsl {
	var list []any
	for _, c := range append(append([]*qlang.Expr{}, x.And...), x.Or...) {
		list = append(list, translate(c, now))
	}
	switch {
	case x.And != nil:
		return dsl{"bool": dsl{"filter": list}}
	case x.Or != nil:
		return anyOf(list...)
	}
	c := x.Clause
	switch {
	case c.Value == qlang.Null && c.Op == qlang.Equal:
		return dsl{"bool": dsl{"must_not": exists(c.Field)}}
	case c.Value == qlang.Null && c.Op == qlang.NotEqual:
		return exists(c.Field)
	case c.Op == qlang.NotEqual:
		return dsl{"bool": dsl{"filter": exists(c.Field), "must_not": compare(c, qlang.Equal, now)}}
	}
	return compare(c, c.Op, now)
}

func compare(c *qlang.Clause, op qlang.Op, now time.Time) dsl {
	if store.DateField(c.Field) {
		return compareDate(c, op, now)
	}
	bound := map[qlang.Op]string{qlang.Less: "lt", qlang.Greater: "gt"}[op]
	switch templates.AlertFieldTypes()[c.Field] {
	case "long", "integer", "double":
		n, ok := c.Number()
		switch {
		case !ok || op == qlang.Contains:
			return nothing
		case bound != "":
			return dsl{"range": dsl{c.Field: dsl{bound: n}}}
		}
		return dsl{"term": dsl{c.Field: n}}
	case "boolean":
		if op != qlang.Equal || c.Value != "true" && c.Value != "false" {
			return nothing
		}
		return dsl{"term": dsl{c.Field: c.Value == "true"}}
	case "ip":
		if _, err := netip.ParseAddr(c.Value); err != nil || op == qlang.Contains {
			return nothing
		}
		if bound != "" {
			return dsl{"range": dsl{c.Field: dsl{bound: c.Value}}}
		}
		return dsl{"term": dsl{c.Field: c.Value}}
	case "geo_point":
		return nothing
	case "date":
		if op == qlang.Contains {
			return nothing
		}
		if bound != "" {
			return dsl{"range": dsl{c.Field: dsl{bound: c.Value}}}
		}
		return dsl{"term": dsl{c.Field: c.Value}}
	case "text":
		// Only words are indexed: a part of the text is a phrase, or stands
		// inside one word.
		switch op {
		case qlang.Equal:
			return dsl{"match_phrase": dsl{c.Field: c.Value}}
		case qlang.Contains:
			return anyOf(dsl{"match_phrase": dsl{c.Field: c.Value}}, contains(c.Field, c.Value))
		}
		return nothing
	}
	switch {
	case op == qlang.Contains:
		return contains(c.Field, c.Value)
	case bound != "":
		return dsl{"range": dsl{c.Field: dsl{bound: c.Value}}}
	case strings.ContainsAny(c.Value, `'"`):
		return dsl{"wildcard": dsl{c.Field: dsl{"value": wildcard(c.Value), "case_insensitive": true}}}
	}
	return dsl{"term": dsl{c.Field: dsl{"value": c.Value, "case_insensitive": true}}}
}

func compareDate(c *qlang.Clause, op qlang.Op, now time.Time) dsl {
	m, err := c.Date(now)
	if err != nil {
		return nothing // Normalize has refused it
	}
	bound := map[qlang.Op]string{qlang.Less: "lt", qlang.Greater: "gt"}[op]
	if m.Period {
		bound = map[qlang.Op]string{qlang.Less: "gt", qlang.Equal: "gt", qlang.Greater: "lt"}[op]
	}
	switch {
	case op == qlang.Contains:
		return nothing
	case bound != "":
		return dsl{"range": dsl{store.TimeField: dsl{bound: millis(m.Time), "format": "epoch_millis"}}}
	}
	return dsl{"range": dsl{store.TimeField: dsl{"gte": millis(m.Time), "lte": millis(m.Time), "format": "epoch_millis"}}}
}
