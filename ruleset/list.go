package ruleset

import (
	"iter"
	"strings"

	"vedette/ruleset/program"
)

// parseList reads a CDB list in its text form: `key:value` lines, either part
// in double quotes if it holds a colon. The first of equal keys counts.
//
// Source: spec/ruleset-language.md §9.
func parseList(data []byte) program.List {
	list := program.List{}
	for key, value := range ListEntries(data) {
		if _, twice := list[key]; !twice {
			list[key] = value
		}
	}
	return list
}

// ListEntries returns the keys and values of a CDB list in its text form, in the
// order of its lines. Lines that are none are passed over.
func ListEntries(data []byte) iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for line := range strings.SplitSeq(string(data), "\n") {
			if key, value, ok := cutListLine(strings.ReplaceAll(line, "\r", "")); ok && !yield(key, value) {
				return
			}
		}
	}
}

func cutListLine(line string) (key, value string, ok bool) {
	if strings.HasPrefix(line, `"`) {
		end := strings.IndexByte(line[1:], '"')
		if end < 0 || !strings.HasPrefix(line[end+2:], ":") {
			return "", "", false
		}
		key, value = line[1:end+1], line[end+3:]
	} else if key, value, ok = strings.Cut(line, ":"); !ok {
		return "", "", false
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return key, value, true
}
