package api

import (
	"context"
	_ "embed" // the document
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"vedette/api/rbac"
)

//go:embed openapi.yaml
var document []byte

// Document returns openapi.yaml.
func Document() []byte { return document }

// opFunc answers one operation: a *list, a *plain or a *text. Errors that are
// not a *problem.Problem become a 500 that says nothing.
type opFunc func(*call) (any, error)

// operation is what the document says of one operation.
type operation struct {
	id, method, path string
	ginPath          string
	action, resource string
	probe            bool // neither token nor request limit
	basic            bool // logs in
	params           map[string]*param
	body             *openapi3.Schema // nil: a body is ignored
	bodyType         string
	deprecated       bool
	fn               opFunc
}

// xmlBody is the type of bodies that are files.
const xmlBody = "application/xml"

// param is one query parameter.
type param struct {
	name     string
	required bool
	lower    bool
	schema   *openapi3.Schema
}

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

// loadOperations reads and checks the document; all problems come at once.
func loadOperations() ([]*operation, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	var ops []*operation
	var errs []error
	seen := map[string]bool{}
	actions := rbac.Actions()
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			op, err := newOperation(method, path, o)
			if err != nil {
				errs = append(errs, fmt.Errorf("openapi.yaml: %s %s: %w", method, path, err))
				continue
			}
			if seen[op.id] {
				errs = append(errs, fmt.Errorf("openapi.yaml: two operations are named %q", op.id))
			}
			if op.action != "" && !actions[op.action] {
				errs = append(errs, fmt.Errorf("openapi.yaml: %s: there is no action %q", op.id, op.action))
			}
			seen[op.id] = true
			ops = append(ops, op)
		}
	}
	slices.SortFunc(ops, func(a, b *operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return ops, errors.Join(errs...)
}

func newOperation(method, path string, o *openapi3.Operation) (*operation, error) {
	op := &operation{
		id: o.OperationID, method: method, path: path, ginPath: pathParam.ReplaceAllString(path, ":$1"),
		params: map[string]*param{}, deprecated: o.Deprecated,
	}
	if op.id == "" {
		return nil, errors.New("no operationId")
	}
	var ok bool
	if op.action, ok = o.Extensions["x-vedette-action"].(string); !ok {
		return nil, errors.New("no x-vedette-action")
	}
	op.resource, _ = o.Extensions["x-vedette-resource"].(string)
	if (op.action == "") != (op.resource == "") {
		return nil, errors.New("x-vedette-action and x-vedette-resource need one another")
	}
	op.probe = o.Extensions["x-vedette-auth"] == "none"
	if o.Security != nil {
		for _, s := range *o.Security {
			if _, ok := s["basic"]; ok {
				op.basic = true
			}
		}
		if !op.probe && !op.basic {
			return nil, errors.New("security is neither basic nor left out, and x-vedette-auth is not none")
		}
	}
	for _, ref := range o.Parameters {
		p := ref.Value
		if p.In != "query" {
			continue
		}
		if p.Description == "" {
			return nil, fmt.Errorf("parameter %s has no description", p.Name)
		}
		q := &param{name: p.Name, required: p.Required, lower: p.Extensions["x-vedette-lower"] == true, schema: p.Schema.Value}
		if err := q.check(); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", p.Name, err)
		}
		op.params[p.Name] = q
	}
	if o.RequestBody != nil {
		op.bodyType = "application/json"
		if o.RequestBody.Value.Content[op.bodyType] == nil {
			op.bodyType = xmlBody
		}
		if !o.RequestBody.Value.Required {
			return nil, errors.New("a body that may be left out is not supported yet")
		}
		m := o.RequestBody.Value.Content[op.bodyType]
		if m == nil || m.Schema == nil {
			return nil, errors.New("a body that is neither application/json nor application/xml is not supported yet")
		}
		op.body = m.Schema.Value
	}
	return op, nil
}
