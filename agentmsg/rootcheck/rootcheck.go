// Package rootcheck reads the findings of the rootkit detector, which are plain
// text.
//
// Source: spec/state-gaps.md §6.
package rootcheck

import "strings"

// Finding is the content of one finding.
type Finding struct {
	// Title is the first sentence without the file it names, so that one title is
	// the same for all files: `Trojaned version of file detected.`
	Title string
	// File is the file that the finding names, or empty.
	File string
}

// Parse reads a finding. Every text is one; most members of an unusual one are
// empty.
func Parse(text string) Finding { return Finding{Title: title(text), File: file(text)} }

func title(text string) string {
	text, _, _ = strings.Cut(text, " {")
	if head, rest, ok := strings.Cut(text, "System Audit: "); ok && !strings.Contains(head, " - ") {
		text = rest
	}
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i+1]
	}
	if quote := quotedFile(text); quote >= 0 {
		if end := strings.Index(text[quote:], "' "); end >= 0 {
			text = text[:quote-1] + text[quote+end+len("' "):]
		}
	}
	return text
}

func file(text string) string {
	if _, rest, ok := strings.Cut(text, "File: "); ok {
		if file, _, ok := strings.Cut(rest, ". "); ok {
			return file
		}
		if file, ok := strings.CutSuffix(rest, "."); ok {
			return file
		}
		return ""
	}
	quote := quotedFile(text)
	if quote < 0 {
		return ""
	}
	if file, _, ok := strings.Cut(text[quote:], "' "); ok {
		return file
	}
	if file, ok := strings.CutSuffix(text[quote:], "'"); ok {
		return file
	}
	return ""
}

// quotedFile is the position of the path in quotes behind the word file, or -1.
func quotedFile(text string) int {
	for _, word := range [...]string{"File '", "file '"} {
		if i := strings.Index(text, word); i >= 0 {
			return i + len(word)
		}
	}
	return -1
}
