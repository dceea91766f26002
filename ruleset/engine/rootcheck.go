package engine

import "strings"

// decodeRootcheck decodes a finding of the rootkit detector. Whether it was
// seen before is known to the state data base only: without it, every finding
// counts as seen for the first time (Keyed.firstSeen).
//
// Source: spec/ruleset-language.md §10, spec/agent-state-sync.md §6.
func (s *Keyed) decodeRootcheck() bool {
	s.setInternal("rootcheck")
	title, file := rootcheckFields(s.ev.fullLog)
	if title != "" {
		s.addDynamic("title", title)
	}
	if file != "" {
		s.addDynamic("file", file)
	}
	return true
}

// rootcheckFields finds the title, which is the text without a leading
// `… Audit:` and cut before `File:`, and the file, which stands behind `File: `
// or in quotes.
//
// 4.14 leaves the quoted path, and what follows the first sentence, out of the
// titles of texts that name a file first, so that one title stands for all
// files: `Trojaned version of file detected.`
func rootcheckFields(text string) (title, file string) {
	text = strings.TrimSpace(text)
	title = text
	if head, rest, ok := strings.Cut(title, "Audit: "); ok && strings.Count(head, " ") <= 1 && (head == "" || strings.HasSuffix(head, " ")) {
		title = rest
	}
	if before, after, ok := strings.Cut(title, "File: "); ok {
		file, _, _ = strings.Cut(after, ". Reference:")
		return strings.TrimRight(before, " "), strings.TrimRight(file, " .")
	}
	from, to := quotedPath(title)
	if from < 0 {
		return title, ""
	}
	file = title[from:to]
	switch head := title[:from-1]; head {
	case "File ", "Trojaned version of file ":
		rest := title[to+1:]
		if i := strings.Index(rest, ". "); i >= 0 {
			rest = rest[:i+1]
		}
		title = strings.TrimRight(head, " ") + rest
	}
	return title, file
}

// quotedPath finds the first path in single quotes; from is -1 if there is none.
func quotedPath(s string) (from, to int) {
	for at := 0; ; {
		i := strings.IndexByte(s[at:], '\'')
		if i < 0 {
			return -1, -1
		}
		from = at + i + 1
		i = strings.IndexByte(s[from:], '\'')
		if i < 0 {
			return -1, -1
		}
		to = from + i
		p := s[from:to]
		if strings.HasPrefix(p, "/") || strings.HasPrefix(p, `\`) || len(p) > 2 && p[1] == ':' && (p[2] == '\\' || p[2] == '/') {
			return from, to
		}
		at = to + 1
	}
}
