package rest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"vedette/internal/qlang"
)

// Date is a time as most lists show it; none is left out with omitzero.
type Date struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (d Date) MarshalJSON() ([]byte, error) {
	return json.Marshal(d.UTC().Format("2006-01-02T15:04:05+00:00"))
}

// ZuluDate is a time as lists of tasks show it.
type ZuluDate struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (d ZuluDate) MarshalJSON() ([]byte, error) {
	return json.Marshal(d.UTC().Format("2006-01-02T15:04:05Z"))
}

// shape is the fields of a struct by the dotted names of its JSON.
type shape struct {
	names  []string // as requests have them, in order
	owns   map[string]string
	fields map[string]shapeField
}

type shapeField struct {
	index []int
	omit  bool // an empty value is left out
	date  bool
}

func shapeOf[T any](renamed map[string]string, shownOnly []string) shape {
	s := shape{fields: map[string]shapeField{}, owns: map[string]string{}}
	s.add(reflect.TypeFor[T](), nil, "")
	for asked, own := range renamed {
		s.owns[asked] = own
		if i := slices.Index(s.names, own); i >= 0 {
			s.names[i] = asked
		}
	}
	s.names = slices.DeleteFunc(s.names, func(name string) bool { return slices.Contains(shownOnly, name) })
	return s
}

func (s *shape) add(of reflect.Type, index []int, prefix string) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		at := append(slices.Clone(index), i)
		_, date := reflect.Zero(f.Type).Interface().(interface{ UTC() time.Time })
		if f.Type.Kind() == reflect.Struct && !date {
			s.add(f.Type, at, prefix+name+".")
			continue
		}
		s.names = append(s.names, prefix+name)
		s.fields[prefix+name] = shapeField{at, strings.HasPrefix(options, "omit"), date}
	}
}

// own returns a field's name in the JSON by its name in requests.
func (s *shape) own(name string) string {
	if own, ok := s.owns[name]; ok {
		return own
	}
	return name
}

func (s *shape) date(name string) bool { return s.fields[s.own(name)].date }

// values implements qlang.Item for a struct. An empty value that the JSON leaves
// out is none, and in database-backed lists any empty text.
func (s *shape) values(v reflect.Value, path string, database bool) []any {
	path = s.own(path)
	f, ok := s.fields[path]
	rest := ""
	if !ok { // a member of a field that is an object
		var top string
		top, rest, _ = strings.Cut(path, ".")
		if f, ok = s.fields[top]; !ok {
			return nil
		}
	}
	x := v.FieldByIndex(f.index)
	if (f.omit || database && x.Kind() == reflect.String) && x.IsZero() {
		return nil
	}
	switch x := x.Interface().(type) {
	case map[string]any:
		return qlang.Object(x).Values(rest)
	case []any: // objects
		return qlang.Object{"items": x}.Values(strings.TrimSuffix("items."+rest, "."))
	case []string:
		if rest != "" {
			return nil
		}
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = e
		}
		return out
	case Date:
		return []any{x.Time}
	case ZuluDate:
		return []any{x.Time}
	default:
		if rest != "" {
			return nil
		}
		return []any{x}
	}
}

// holds reports whether a field of a struct contains the text (lower case).
func (s *shape) holds(v reflect.Value, name, text string) bool {
	switch x := v.FieldByIndex(s.fields[s.own(name)].index).Interface().(type) {
	case Date:
		return !x.IsZero() && Holds(x.Time, text)
	case ZuluDate:
		return !x.IsZero() && Holds(x.Time, text)
	default:
		return Holds(x, text)
	}
}
