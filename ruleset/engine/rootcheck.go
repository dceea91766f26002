package engine

import "strings"

// decodeRootcheck decodes a finding of the rootkit detector. Whether it was
// seen before is known to the state data base only: without it, every finding
// counts as seen for the first time (Keyed.firstSeen).
//
// Source: spec/state-gaps.md §6.
func (s *Keyed) decodeRootcheck() bool {
	s.setInternal("rootcheck")
	s.putSet("title", rootcheckTitle(s.ev.fullLog))
	s.putSet("file", rootcheckFile(s.ev.fullLog))
	return true
}

// rootcheckTitle is the first sentence of a finding without the file it names, so
// that one title stands for all files: `Trojaned version of file detected.`
func rootcheckTitle(text string) string {
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

// rootcheckFile is the file that a finding names, or empty.
func rootcheckFile(text string) string {
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

// quotedFile is where the path in quotes begins that follows the word file, or -1.
func quotedFile(text string) int {
	for _, word := range [...]string{"File '", "file '"} {
		if i := strings.Index(text, word); i >= 0 {
			return i + len(word)
		}
	}
	return -1
}
