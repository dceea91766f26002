package all

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"vedette/forward"
	"vedette/forward/alertsfile"
	"vedette/forward/route"
	"vedette/forward/webhook"
)

func TestEveryTypeCanBeConfigured(t *testing.T) {
	t.Parallel()
	// Keys that entries of every type have; a type's own would hide them.
	shared := map[string]bool{"name": true, "type": true}
	for i := range reflect.TypeFor[route.Config]().NumField() {
		shared[reflect.TypeFor[route.Config]().Field(i).Tag.Get("mapstructure")] = true
	}
	key := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	example, err := os.ReadFile("../../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range Types() {
		if !key.MatchString(f.Name) || seen[f.Name] {
			t.Errorf("type %q: a type needs a name of its own of the form %s", f.Name, key)
		}
		seen[f.Name] = true
		if !strings.Contains(string(example), "Type "+f.Name+":") {
			t.Errorf("type %s: config.example.yaml has no \"Type %s:\" with its settings", f.Name, f.Name)
		}
		s := f.Default()
		if reflect.ValueOf(s).Kind() != reflect.Pointer || s == f.Default() {
			t.Errorf("type %s: Default must return a pointer to new settings each time", f.Name)
			continue
		}
		var walk func(reflect.Type)
		walk = func(typ reflect.Type) {
			for i := range typ.NumField() {
				field := typ.Field(i)
				tag := field.Tag.Get("mapstructure")
				switch {
				case tag == ",squash":
					walk(field.Type)
				case !key.MatchString(tag) || shared[tag]:
					t.Errorf("type %s: the field %s has the tag mapstructure:%q; it needs a key of the form %s that is not one of every entry", f.Name, field.Name, tag, key)
				case !strings.Contains(string(example), tag):
					t.Errorf("type %s: config.example.yaml does not name the key %s", f.Name, tag)
				}
			}
		}
		walk(reflect.TypeOf(s).Elem())
	}
}

func TestOpenOpensEveryEntryOrNone(t *testing.T) {
	t.Parallel()
	env := forward.Env{DataDir: t.TempDir(), Zone: time.UTC}
	hook := webhook.Default()
	hook.URL = "https://example.com"
	good := []forward.Entry{
		{Name: "f", Type: "file", Settings: &alertsfile.Config{}, Route: route.Config{MinLevel: 5}},
		{Name: "h", Type: "webhook", Settings: &hook},
	}
	targets, err := Open(good, env)
	if err != nil || len(targets) != 2 || targets[0].Name != "f" || targets[1].Name != "h" || targets[0].Route == nil {
		t.Fatalf("Open returned %+v, %v", targets, err)
	}
	if err := Close(targets); err != nil {
		t.Errorf("Close returned %v", err)
	}
	lost := webhook.Default()
	lost.URLFile = "/no/such"
	targets, err = Open(append(good, forward.Entry{Name: "x", Type: "webhook", Settings: &lost}, forward.Entry{Name: "y", Type: "pigeon"},
		forward.Entry{Name: "z", Type: "file", Settings: &alertsfile.Config{}, Route: route.Config{MinLevel: 99}}), env)
	if targets != nil {
		t.Errorf("Open returned %d destinations beside an error", len(targets))
	}
	for _, want := range []string{"destination x: url_file: open /no/such", `destination y: no type "pigeon"`, "destination z: min_level: 99"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
