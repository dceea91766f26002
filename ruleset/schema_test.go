package ruleset_test

import (
	"bytes"
	"sync"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"vedette/schemas/jsonschema"
)

var alertSchema = sync.OnceValues(func() (*validator.Schema, error) {
	doc, err := validator.UnmarshalJSON(bytes.NewReader(jsonschema.Alert()))
	if err != nil {
		return nil, err
	}
	c := validator.NewCompiler()
	if err := c.AddResource(jsonschema.Base+jsonschema.AlertName, doc); err != nil {
		return nil, err
	}
	return c.Compile(jsonschema.Base + jsonschema.AlertName)
})

// checkAlert fails the test if raw is no alert as our JSON Schema has it.
func checkAlert(t testing.TB, raw []byte) {
	t.Helper()
	s, err := alertSchema()
	if err != nil {
		t.Fatal(err)
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(raw))
	if err == nil {
		err = s.Validate(v)
	}
	if err != nil {
		t.Errorf("alert against the schema: %v\n%s", err, raw)
	}
}
