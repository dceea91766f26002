package ruleset

import (
	"strings"

	"vedette/ruleset/program"
)

// parseList reads a CDB list in its text form: `key:value` lines, either part
// in double quotes if it holds a colon. The first of equal keys counts.
//
// Source: spec/ruleset-language.md §9.
func parseList(data []byte) program.List {
	list := program.List{}
	for line := range strings.SplitSeq(string(data), "\n") {
		line = strings.ReplaceAll(line, "\r", "")
		key, value, ok := cutListLine(line)
		if !ok {
			continue
		}
		if _, twice := list[key]; !twice {
			list[key] = value
		}
	}
	return list
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
