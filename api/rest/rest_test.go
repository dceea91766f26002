package rest

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"vedette/api/problem"
)

// document returns a document of one operation, with lines of its own.
func document(lines string) []byte {
	return []byte(`
openapi: 3.0.0
info: {title: T, version: "1"}
paths:
  /things/{thing}:
    put:
      operationId: change_thing
      responses: {"200": {description: Done.}}
` + lines)
}

type thing struct{ name string }

func build(doc string, table ...Operation) error {
	kind := &Kind[thing]{Resource: "group:id", All: func() []thing { return nil }, ID: func(x thing) string { return x.name }, Missing: problem.NoGroup}
	_, err := New(Config{}, document(doc), nil, []Part{{Operations: table, Kinds: []AnyKind{kind}}}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	return err
}

func change[P any](*Call, *P) (Answer, error) { return nil, nil }

type good struct {
	Thing thing  `param:"thing"`
	Level int    `param:"level"`
	Color string `param:"color"`
	Body  struct {
		Name string `json:"name"`
	} `body:"json"`
}

const (
	parameters = `
      parameters:
        - {name: thing, in: path, required: true, description: A thing., schema: {type: string}}
        - {name: level, in: query, description: A level., schema: {type: integer}}
        - {name: color, in: query, description: A color., schema: {type: string}}
        - {name: limit, in: query, description: How many., schema: {type: integer}}
`
	permission = "      x-vedette-permissions: [{action: group:read, resource: group:id, parameter: thing}]\n"
	body       = "      requestBody: {required: true, content: {application/json: {schema: {type: object, properties: {name: {type: string}}}}}}\n"
)

func TestTheDocumentAndItsFunctionsMustAgree(t *testing.T) {
	t.Parallel()
	if err := build(permission+body+parameters, Op("change_thing", change[good])); err != nil {
		t.Fatalf("a document and functions that agree are refused: %v", err)
	}
	refused := func(doc, want string, table ...Operation) {
		t.Helper()
		if err := build(doc, table...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New returns %v, want an error with %q", err, want)
		}
	}
	op := Op("change_thing", change[good])
	refused(body+parameters, "no x-vedette-permissions", op)
	refused(permission+body+parameters, "operation change_thing (PUT /things/{thing}) has no function")
	refused(permission+body+parameters, "function other has no operation", op, Op("other", change[None]))
	refused(permission+body+parameters, "operation change_thing has two functions", op, op)
	refused(strings.Replace(permission, "group:read", "group:paint", 1)+body+parameters, `there is no action "group:paint"`, op)
	refused(strings.Replace(permission, "group:id", "agent:id", 1)+body+parameters, `there is no action "group:read" on "agent:id"`, op)
	refused(strings.Replace(permission, "parameter: thing", "parameter: nothing", 1)+body+parameters, `there is no parameter "nothing"`, op)
	refused(permission+body+parameters+"      security: []\n      x-vedette-auth: none\n", "permissions need a token", op)
	refused(permission+parameters, "the document has no body", op)

	type lacksLevel struct {
		Thing thing  `param:"thing"`
		Color string `param:"color"`
		Body  any    `body:"json"`
	}
	refused(permission+body+parameters, `no field has the parameter "level"`, Op("change_thing", change[lacksLevel]))
	type ignoresThing struct {
		good
		Thing string `param:"thing"`
	}
	refused(permission+body+parameters, "there is no kind of group:id with the type string", Op("change_thing", change[ignoresThing]))
	type wrongType struct {
		good
		Level string `param:"level"`
	}
	refused(permission+body+parameters, "the parameter is of the type integer, and the field a string", Op("change_thing", change[wrongType]))
	type more struct {
		good
		Size int `param:"size"`
	}
	refused(permission+body+parameters, `the document has no parameter "size"`, Op("change_thing", change[more]))
	type otherBody struct {
		Thing thing  `param:"thing"`
		Level int    `param:"level"`
		Color string `param:"color"`
		Body  struct {
			Title string `json:"title"`
		} `body:"json"`
	}
	refused(permission+body+parameters, `the document has no member "title"`, Op("change_thing", change[otherBody]))
	type all struct {
		Things Targets[thing] `all:"group:id"`
		Thing  string         `param:"thing"`
		Level  int            `param:"level"`
		Color  string         `param:"color"`
		Body   any            `body:"json"`
	}
	without := strings.Replace(permission, ", parameter: thing", "", 1)
	if err := build(without+body+parameters, Op("change_thing", change[all])); err != nil {
		t.Errorf("an operation on all of a type is refused: %v", err)
	}
	refused(without+body+parameters, "no field has the resources of the permission group:read on group:id", Op("change_thing", change[struct {
		Thing string `param:"thing"`
		Level int    `param:"level"`
		Color string `param:"color"`
		Body  any    `body:"json"`
	}]))
}

func TestItemsMustEqualTheirSchemas(t *testing.T) {
	t.Parallel()
	schema := func(properties string) []byte {
		return []byte("openapi: 3.0.0\ninfo: {title: T, version: \"1\"}\npaths: {}\ncomponents: {schemas: {Thing: {type: object, properties: {" + properties + "}}}}\n")
	}
	type inner struct {
		Size int `json:"size"`
	}
	type item struct {
		Name string `json:"name,omitempty"`
		Made Date   `json:"made,omitzero"`
		In   inner  `json:"in"`
	}
	check := func(properties, name, want string) {
		t.Helper()
		_, err := New(Config{}, schema(properties), nil, []Part{{Items: []Item{ItemOf[item](name)}}}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("{%s}: New returns %v, want an error with %q", properties, err, want)
		}
	}
	const in = ", in: {type: object, properties: {size: {type: integer}}}"
	check("name: {type: string}, made: {type: string}"+in, "Thing", "")
	check("name: {type: string}, made: {type: string}"+in, "Other", "it is not in the document")
	check("name: {type: string}"+in, "Thing", `the document has no member "made"`)
	check("name: {type: string}, made: {type: string}, age: {type: integer}"+in, "Thing", `has no member "age"`)
	check("name: {type: integer}, made: {type: string}"+in, "Thing", "name: the document has the type integer, and the struct a string")
	check("name: {type: string}, made: {type: string}, in: {type: object, properties: {size: {type: string}}}", "Thing", "size: the document has the type string")
}
