// Package qlang is the query language of the API's `q` parameter: a bounded
// parser and an evaluator over items of any shape.
//
//	query  := clause (sep clause)*         sep := ';' (AND) | ',' (OR)
//	clause := '('* field op value ')'*
//	op     := '=' | '!=' | '<' | '>' | '~'
//
// ';' binds tighter than ','. What is stored elsewhere (SQLite, OpenSearch)
// translates the tree itself, with Clause.Number and Clause.Date.
//
// Source: spec/api.md §6.
package qlang
