package rest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"vedette/api/rbac"
)

// operation is the document's entry for one operation and its function.
type operation struct {
	id, method, path string
	ginPath          string
	needs            []need
	probe            bool // neither token nor request limit
	basic            bool // logs in
	params           map[string]*param
	order            []*param         // as in the document
	body             *openapi3.Schema // nil: a body is ignored
	bodyType         string
	deprecated       bool
	fn               Operation
	fields           []field
}

// need is one permission that an operation needs.
type need struct {
	action, resource string
	// parameter names the resources; empty: all of that type.
	parameter string
}

// xmlBody is the type of bodies that are files.
const xmlBody = "application/xml"

// param is one parameter of the path or the query.
type param struct {
	name     string
	path     bool
	required bool
	lower    bool
	schema   *openapi3.Schema
}

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

// loadOperations reads and checks a document; all problems come at once.
func loadOperations(document []byte) ([]*operation, openapi3.Schemas, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	var schemas openapi3.Schemas
	if doc.Components != nil {
		schemas = doc.Components.Schemas
	}
	var ops []*operation
	var errs []error
	seen := map[string]bool{}
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
			seen[op.id] = true
			ops = append(ops, op)
		}
	}
	slices.SortFunc(ops, func(a, b *operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return ops, schemas, errors.Join(errs...)
}

func newOperation(method, path string, o *openapi3.Operation) (*operation, error) {
	op := &operation{
		id: o.OperationID, method: method, path: path, ginPath: pathParam.ReplaceAllString(path, ":$1"),
		params: map[string]*param{}, deprecated: o.Deprecated,
	}
	if op.id == "" {
		return nil, errors.New("no operationId")
	}
	for _, ref := range o.Parameters {
		if err := op.addParam(ref.Value); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", ref.Value.Name, err)
		}
	}
	return op, errors.Join(op.setNeeds(o), op.setSecurity(o), op.setBody(o))
}

func (op *operation) addParam(p *openapi3.Parameter) error {
	if p.Description == "" {
		return errors.New("it has no description")
	}
	q := &param{name: p.Name, path: p.In == "path", required: p.Required, lower: p.Extensions["x-vedette-lower"] == true, schema: p.Schema.Value}
	op.params[p.Name] = q
	op.order = append(op.order, q)
	return q.check()
}

// setNeeds reads the permissions, which every operation must declare.
func (op *operation) setNeeds(o *openapi3.Operation) error {
	declared, ok := o.Extensions["x-vedette-permissions"].([]any)
	if !ok {
		return errors.New("no x-vedette-permissions")
	}
	actions := rbac.Actions()
	for _, d := range declared {
		m, _ := d.(map[string]any)
		text := func(key string) string { s, _ := m[key].(string); return s }
		n := need{text("action"), text("resource"), text("parameter")}
		switch {
		case !slices.Contains(actions[n.action], n.resource):
			return fmt.Errorf("x-vedette-permissions: there is no action %q on %q", n.action, n.resource)
		case n.parameter != "" && op.params[n.parameter] == nil:
			return fmt.Errorf("x-vedette-permissions: there is no parameter %q", n.parameter)
		}
		op.needs = append(op.needs, n)
	}
	return nil
}

func (op *operation) setSecurity(o *openapi3.Operation) error {
	op.probe = o.Extensions["x-vedette-auth"] == "none"
	if o.Security == nil {
		return nil
	}
	for _, s := range *o.Security {
		if _, ok := s["basic"]; ok {
			op.basic = true
		}
	}
	switch {
	case !op.probe && !op.basic:
		return errors.New("security is neither basic nor left out, and x-vedette-auth is not none")
	case len(op.needs) > 0:
		return errors.New("permissions need a token")
	}
	return nil
}

func (op *operation) setBody(o *openapi3.Operation) error {
	if o.RequestBody == nil {
		return nil
	}
	op.bodyType = jsonBody
	if o.RequestBody.Value.Content[op.bodyType] == nil {
		op.bodyType = xmlBody
	}
	m := o.RequestBody.Value.Content[op.bodyType]
	switch {
	case !o.RequestBody.Value.Required:
		return errors.New("a body that may be left out is not supported yet")
	case m == nil || m.Schema == nil:
		return errors.New("a body that is neither application/json nor application/xml is not supported yet")
	}
	op.body = m.Schema.Value
	return nil
}
