package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"gopkg.in/yaml.v3"

	"vedette/forward"
	"vedette/forward/alertsfile"
	"vedette/forward/all"
	"vedette/forward/route"
)

const (
	destinationsKey = "forward.destinations"
	// squash is the tag of an embedded struct whose keys stand beside the others.
	squash = ",squash"
	// destinationsMax bounds the entries: each reads the topic of alerts for itself.
	destinationsMax = 64
)

// AlertsFile is the destination that versions before forward.destinations had.
type AlertsFile struct {
	Enabled bool   `mapstructure:"enabled"`
	Dir     string `mapstructure:"dir"`
}

// alertsFileName is the name of that destination, and of its consumer group.
const alertsFileName = "alerts_file"

// common are the keys that entries of every type have.
type common struct {
	Name         string `mapstructure:"name"`
	Type         string `mapstructure:"type"`
	route.Config `mapstructure:",squash"`
}

// All returns the destinations: the entries, and the one in the earlier form.
func (f Forward) All() []forward.Entry {
	list := slices.Clone(f.Destinations)
	if f.AlertsFile.Enabled {
		list = append(list, forward.Entry{Name: alertsFileName, Type: alertsfile.Type, Settings: &alertsfile.Config{Dir: f.AlertsFile.Dir}})
	}
	return list
}

// takeDestinations takes the entries out of a file's tree: viper would change the
// case of the keys below, which may be names of headers.
func takeDestinations(tree map[string]any) any {
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		section, ok := tree[k].(map[string]any)
		if !ok || !strings.EqualFold(k, "forward") {
			continue
		}
		for name, value := range section {
			if !strings.EqualFold(name, "destinations") {
				continue
			}
			delete(section, name)
			if len(section) == 0 {
				delete(tree, k)
			}
			return value
		}
	}
	return nil
}

// decodeDestinations reads a list of entries, or the text of one. Entries that
// cannot be read have no Settings.
func decodeDestinations(value any) ([]forward.Entry, []error) {
	if text, ok := value.(string); ok {
		var list any
		if err := yaml.Unmarshal([]byte(text), &list); err != nil {
			return nil, []error{fmt.Errorf("%s: no list of destinations: %w", destinationsKey, err)}
		}
		value = list
	}
	if value == nil {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, []error{fmt.Errorf("%s: a list is expected, such as [{name: soc, type: webhook, url: \"https://example.com/in\"}]", destinationsKey)}
	}
	var entries []forward.Entry
	var errs []error
	for i, v := range list {
		e, problems := decodeDestination(v)
		for _, err := range problems {
			errs = append(errs, fmt.Errorf("%s[%d]%w", destinationsKey, i, err))
		}
		if len(problems) > 0 {
			e = forward.Entry{} // it keeps the places of the others
		}
		entries = append(entries, e)
	}
	return entries, errs
}

// decodeDestination reads one entry. Each error goes on behind the entry's place.
func decodeDestination(value any) (forward.Entry, []error) {
	keys, ok := value.(map[string]any)
	if !ok {
		return forward.Entry{}, []error{errors.New(": an entry with name, type and settings is expected")}
	}
	var errs []error
	var c common
	rest, err := decodeKeys(keys, &c)
	errs = append(errs, keyed(err)...)
	factory, ok := all.Type(c.Type)
	if !ok {
		var types []string
		for _, f := range all.Types() {
			types = append(types, f.Name)
		}
		hint := ""
		if t := closest(c.Type, types); t != "" {
			hint = " (did you mean " + t + "?)"
		}
		return forward.Entry{}, append(errs, fmt.Errorf(".type: there is no type %q%s; the types are %s", c.Type, hint, strings.Join(types, ", ")))
	}
	settings, err := factory.Decode(func(to any) (err error) {
		rest, err = decodeKeys(rest, to)
		return err
	})
	errs = append(errs, keyed(err)...)
	known := append(keysOf(reflect.TypeFor[common]()), keysOf(reflect.TypeOf(settings).Elem())...)
	for _, k := range slices.Sorted(maps.Keys(rest)) {
		if near := closest(k, known); near != "" {
			errs = append(errs, fmt.Errorf(".%s: unknown key (did you mean %s?)", k, near))
			continue
		}
		errs = append(errs, fmt.Errorf(".%s: unknown key; the keys of a %s are %s", k, c.Type, strings.Join(known, ", ")))
	}
	return forward.Entry{Name: c.Name, Type: c.Type, Route: c.Config, Settings: settings}, errs
}

// decodeKeys decodes the keys that a struct has, and returns the others. A key
// without a value keeps its default.
func decodeKeys(keys map[string]any, to any) (rest map[string]any, err error) {
	var meta mapstructure.Metadata
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		DecodeHook: mapstructure.ComposeDecodeHookFunc(durations, commaList), WeaklyTypedInput: true, Metadata: &meta, Result: to,
	})
	if err != nil {
		return nil, err
	}
	given := maps.Clone(keys)
	maps.DeleteFunc(given, func(_ string, v any) bool { return v == nil })
	err = dec.Decode(given)
	rest = map[string]any{}
	known := keysOf(reflect.TypeOf(to).Elem())
	for k, v := range keys {
		if !slices.ContainsFunc(known, func(have string) bool { return strings.EqualFold(have, k) }) {
			rest[k] = v
		}
	}
	return rest, err
}

// keyed puts the errors of a decoder behind the place of an entry.
func keyed(err error) []error {
	if err == nil {
		return nil
	}
	var out []error
	for _, e := range single(err) {
		out = append(out, fmt.Errorf(".%w", plainly(e)))
	}
	return out
}

// keysOf returns the keys of a struct, in its order.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		switch tag := f.Tag.Get("mapstructure"); tag {
		case squash:
			keys = append(keys, keysOf(f.Type)...)
		case "-":
		default:
			keys = append(keys, tag)
		}
	}
	return keys
}

// closest returns the name that a wrong one was meant for; empty if none is close.
func closest(name string, names []string) string {
	best, least := "", 3 // two letters at most
	for _, n := range names {
		if d := distance(strings.ToLower(name), n); d < least && 2*d <= len(n) {
			best, least = n, d
		}
	}
	return best
}

// validateDestinations looks at the files of destinations only in a process that
// forwards.
func (f Forward) validateDestinations(forwards bool) []error {
	var errs []error
	if f.AlertsFile.Dir != "" && !f.AlertsFile.Enabled {
		errs = append(errs, errors.New("forward.alerts_file.dir: given, but forward.alerts_file.enabled is false"))
	}
	if n := len(f.Destinations); n > destinationsMax {
		errs = append(errs, fmt.Errorf("%s: %d entries; at most %d", destinationsKey, n, destinationsMax))
	}
	names := map[string]bool{}
	for i, e := range f.Destinations {
		if e.Settings == nil {
			continue // its errors were reported
		}
		at := fmt.Sprintf("%s[%d].", destinationsKey, i)
		if err := forward.CheckName(e.Name); err != nil {
			errs = append(errs, fmt.Errorf("%sname: %w", at, err))
		} else if names[e.Name] {
			errs = append(errs, fmt.Errorf("%sname: another destination is called %q too", at, e.Name))
		}
		names[e.Name] = true
		_, err := e.Route.Compile()
		for _, err := range single(errors.Join(err, e.Settings.Validate(forwards))) {
			if err != nil {
				errs = append(errs, fmt.Errorf("%s%w", at, err))
			}
		}
	}
	if f.AlertsFile.Enabled && names[alertsFileName] {
		errs = append(errs, fmt.Errorf("forward.alerts_file: %s has an entry called %q too; leave forward.alerts_file out", destinationsKey, alertsFileName))
	}
	return errs
}

// warnings returns the settings of destinations that are allowed but unwise.
func (f Forward) warnings() []string {
	var w []string
	if f.AlertsFile.Enabled {
		dir := ""
		if f.AlertsFile.Dir != "" {
			dir = fmt.Sprintf(", dir: %q", f.AlertsFile.Dir)
		}
		w = append(w, fmt.Sprintf("forward.alerts_file is the form of earlier versions, and still works; write %s: [{name: %s, type: %s%s}] instead, with this name, so that it goes on where it is",
			destinationsKey, alertsFileName, alertsfile.Type, dir))
	}
	for i, e := range f.Destinations {
		for _, text := range e.Settings.Warnings() {
			w = append(w, fmt.Sprintf("%s[%d].%s", destinationsKey, i, text))
		}
	}
	return w
}
