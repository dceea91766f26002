package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"gopkg.in/yaml.v3"
)

// isList reports whether t is a list of settings that have names of their own.
func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// yamlList lets the environment give such a list as YAML: [{topic: a}, {topic: b}].
func yamlList(from, to reflect.Type, data any) (any, error) {
	if from.Kind() != reflect.String || !isList(to) {
		return data, nil
	}
	var list []map[string]any
	if err := yaml.Unmarshal([]byte(data.(string)), &list); err != nil {
		return nil, fmt.Errorf("%q is no list of settings: %w", data, err)
	}
	return list, nil
}

// unknownInLists names the keys in the entries of lists that are no setting.
func unknownInLists(v *viper.Viper) []error {
	var errs []error
	var walk func(t reflect.Type, prefix string)
	walk = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			f := t.Field(i)
			key := prefix + f.Tag.Get("mapstructure")
			switch {
			case f.Tag.Get("mapstructure") == "-":
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, key+".")
			case isList(f.Type):
				errs = append(errs, unknownEntries(v.Get(key), f.Type, key)...)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	return errs
}

func unknownEntries(value any, t reflect.Type, key string) []error {
	if text, ok := value.(string); ok {
		if value, _ = yamlList(reflect.TypeOf(text), t, text); value == nil {
			return nil // the decoder says so
		}
	}
	rv := reflect.ValueOf(value)
	if !rv.IsValid() || rv.Kind() != reflect.Slice {
		return nil
	}
	var known []string
	for i := range t.Elem().NumField() {
		known = append(known, t.Elem().Field(i).Tag.Get("mapstructure"))
	}
	var errs []error
	for i := range rv.Len() {
		entry, ok := rv.Index(i).Interface().(map[string]any)
		if !ok {
			continue
		}
		for k := range entry {
			if !slices.Contains(known, strings.ToLower(k)) {
				errs = append(errs, fmt.Errorf("%s[%d].%s: unknown key; the keys are %s", key, i, k, strings.Join(known, ", ")))
			}
		}
	}
	return errs
}
