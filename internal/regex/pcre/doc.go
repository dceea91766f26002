// Package pcre matches PCRE2 patterns over bytes, the way the 8-bit library does
// with compile options 0: case-sensitive, no UTF unless the pattern begins with
// (*UTF), `$` also before a final newline, `\s` with VT.
//
// It is a backtracking matcher with an explicit stack. Every match has a budget
// of steps; a match that runs out of it is no match and says so, so that no
// pattern and no subject can hold up the caller.
//
// Not supported, and refused by Compile: conditional groups, recursion and
// subroutine calls, callouts, backtracking verbs but (*FAIL), `\C` and `\X`.
//
// Source: spec/ruleset-language.md §4.4 and the pcre2pattern manual page.
package pcre
