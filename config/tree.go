package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkTree names the keys of a file that do not exist, with any value, and
// takes out the keys without a value: a key whose value, or a section whose keys,
// are all commented out has its default.
func checkTree(tree map[string]any, prefix string) []error {
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		key, value := prefix+strings.ToLower(k), tree[k]
		leaf := slices.Contains(Keys(), key)
		section := slices.ContainsFunc(Keys(), func(have string) bool { return strings.HasPrefix(have, key+".") })
		sub, isMap := value.(map[string]any)
		switch {
		case !leaf && !section:
			errs = append(errs, fmt.Errorf("%s: unknown key%s", key, suggest(key)))
		case value == nil:
			delete(tree, k)
		case section && isMap:
			errs = append(errs, checkTree(sub, key+".")...)
			if len(sub) == 0 {
				delete(tree, k)
			}
		case section:
			errs = append(errs, fmt.Errorf("%s: a section with keys of its own is expected, such as %s", key, firstBelow(key)))
			delete(tree, k)
		}
	}
	return errs
}

func firstBelow(section string) string {
	i := slices.IndexFunc(Keys(), func(k string) bool { return strings.HasPrefix(k, section+".") })
	return Keys()[i]
}

// suggest finds the key that a wrong one was meant for, if one is close.
func suggest(key string) string {
	best, least := "", 3 // two letters at most
	for _, k := range Keys() {
		if d := distance(key, k); d < least && d < len(k)/2 {
			best, least = k, d
		}
		// A section may be wrong, too.
		for i, c := range k {
			if c != '.' {
				continue
			}
			if d := distance(key, k[:i]); d < least && d < i/2 {
				best, least = k[:i], d
			}
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance is how many letters must be changed, added or taken away to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// long are the units that time.ParseDuration lacks.
var long = regexp.MustCompile(`(\d+(?:\.\d+)?)([dw])`)

// durations reads times, also in days and weeks.
func durations(from, to reflect.Type, data any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return data, nil
	}
	if from.Kind() != reflect.String {
		if n := fmt.Sprint(data); n != "0" {
			return nil, fmt.Errorf("%s has no unit; write it as 30s, 15m, 12h, 7d or 2w", n)
		}
		return time.Duration(0), nil
	}
	text := strings.TrimSpace(data.(string))
	hours := long.ReplaceAllStringFunc(text, func(m string) string {
		n, err := strconv.ParseFloat(m[:len(m)-1], 64)
		if err != nil || math.IsInf(n, 0) {
			return m
		}
		if n *= 24; m[len(m)-1] == 'w' {
			n *= 7
		}
		return strconv.FormatFloat(n, 'f', -1, 64) + "h"
	})
	d, err := time.ParseDuration(hours)
	if err != nil {
		return nil, fmt.Errorf("%q is no time; write it as 30s, 15m, 12h, 7d or 2w", text)
	}
	return d, nil
}

// decoding are the decoder's words about one key.
var decoding = regexp.MustCompile(`(?s)^'([\w.\[\]-]+)' (.*)$`)

// plainly describes a fault of a value in words that need no knowledge of Go.
func plainly(err error) error {
	text := strings.TrimPrefix(err.Error(), "decoding failed due to the following error(s):\n\n")
	m := decoding.FindStringSubmatch(text)
	if m == nil {
		return errors.New(text)
	}
	key, why := m[1], m[2]
	switch {
	case strings.HasPrefix(why, "expected type 'map["):
		why = "names with values are expected"
	case strings.Contains(why, "as 'bool'") || strings.Contains(why, "as bool") || strings.Contains(why, "type 'bool'"):
		why = "true or false is expected"
	case strings.Contains(why, "as 'int") || strings.Contains(why, "as int") || strings.Contains(why, "as 'uint") || strings.Contains(why, "type 'int"):
		why = "a whole number is expected"
	case strings.Contains(why, "as 'float") || strings.Contains(why, "as float") || strings.Contains(why, "type 'float"):
		why = "a number is expected"
	case strings.Contains(why, "type 'string'") || strings.Contains(why, "type 'secret.String'"):
		why = "a text is expected"
	}
	return fmt.Errorf("%s: %s", key, why)
}
