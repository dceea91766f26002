package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// Operation is the function of one operation of the document.
type Operation struct {
	id     string
	params reflect.Type
	run    func(*Call, any) (Answer, error)
}

// Op returns the function of the operation with an id. Fields of P are the
// parameters and resources of the operation, each with one of the tags
//
//	param:"name"   a parameter: string, int, bool, []string, []int; nil if absent
//	all:"type"     a permission without a parameter: Targets of that type
//	body:"json"    the body as a struct; body:"raw" as []byte
//
// If a permission names a parameter, its field is of the type of a Kind, or
// Targets of it: the frame finds the resource and refuses the request, or lists
// it as a failed item. The frame itself reads the parameters in Common.
//
// Errors of fn that are not a *problem.Problem become a 500 that says nothing.
func Op[P any, A Answer](id string, fn func(*Call, *P) (A, error)) Operation {
	return Operation{id, reflect.TypeFor[P](), func(c *Call, p any) (Answer, error) { return fn(c, p.(*P)) }}
}

// None is for operations that take nothing but Common.
type None struct{}

// Common are the parameters that the frame reads for every operation that has
// them in the document.
type Common struct {
	Pretty          bool     `param:"pretty"`
	WaitForComplete bool     `param:"wait_for_complete"`
	Offset          int      `param:"offset"`
	Limit           int      `param:"limit"`
	Sort            string   `param:"sort"`
	Search          string   `param:"search"`
	Query           string   `param:"q"`
	Select          []string `param:"select"`
	Distinct        bool     `param:"distinct"`
}

var commonFields = func() (out []field) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Common]()) {
		out = append(out, field{index: f.Index, name: f.Tag.Get("param"), of: f.Type})
	}
	return out
}()

// field is one field of an operation's parameters.
type field struct {
	index []int
	name  string // of the parameter
	of    reflect.Type
	body  string // json or raw
	need  *need
	kind  AnyKind
	some  bool
}

// bind gives each operation its function; the two lists must agree.
func (f *Frame) bind(ops []*operation, table []Operation) error {
	var errs []error
	fns := map[string]Operation{}
	for _, fn := range table {
		if _, ok := fns[fn.id]; ok {
			errs = append(errs, fmt.Errorf("operation %s has two functions", fn.id))
		}
		fns[fn.id] = fn
	}
	for _, op := range ops {
		fn, ok := fns[op.id]
		if !ok {
			errs = append(errs, fmt.Errorf("operation %s (%s %s) has no function", op.id, op.method, op.path))
			continue
		}
		delete(fns, op.id)
		op.fn = fn
		for _, err := range f.bindParams(op) {
			errs = append(errs, fmt.Errorf("operation %s: %w", op.id, err))
		}
	}
	for id := range fns {
		errs = append(errs, fmt.Errorf("function %s has no operation in openapi.yaml", id))
	}
	return errors.Join(errs...)
}

// bindParams compares the fields of an operation's parameters with the document.
func (f *Frame) bindParams(op *operation) (errs []error) {
	left := map[string]bool{}
	for name := range op.params {
		left[name] = !slices.ContainsFunc(commonFields, func(f field) bool { return f.name == name })
	}
	needed := map[int]bool{}
	for i, n := range op.needs {
		needed[i] = n.resource != anyResource
	}
	for _, sf := range reflect.VisibleFields(op.fn.params) {
		if sf.Anonymous {
			continue
		}
		b := field{index: sf.Index, name: sf.Tag.Get("param"), of: sf.Type, body: sf.Tag.Get("body")}
		all := sf.Tag.Get("all")
		i := slices.IndexFunc(op.needs, func(n need) bool { return n.parameter == b.name && (b.name != "" || n.resource == all) })
		var err error
		switch {
		case b.body != "":
			err = op.bindBody(b)
		case i >= 0 && needed[i]:
			b.need, needed[i] = &op.needs[i], false
			if b.kind, b.some, err = f.kindOf(*b.need, sf.Type); err == nil && b.need.parameter == "" && !b.some {
				err = fmt.Errorf("all of a type are Targets")
			} else if err == nil && !b.some && !op.params[b.name].required {
				err = fmt.Errorf("the parameter may be absent, so that the field must be Targets")
			}
		case all != "":
			err = fmt.Errorf("no permission of the operation is on all of %s", all)
		case op.params[b.name] == nil:
			err = fmt.Errorf("the document has no parameter %q", b.name)
		default:
			err = op.params[b.name].fits(sf.Type)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("field %s: %w", sf.Name, err))
		}
		left[b.name] = false
		op.fields = append(op.fields, b)
	}
	for name, missing := range left {
		if missing {
			errs = append(errs, fmt.Errorf("no field has the parameter %q", name))
		}
	}
	for i, n := range op.needs {
		if needed[i] {
			errs = append(errs, fmt.Errorf("no field has the resources of the permission %s on %s", n.action, n.resource))
		}
	}
	if has := slices.ContainsFunc(op.fields, func(b field) bool { return b.body != "" }); has != (op.body != nil) {
		errs = append(errs, errors.New("a body needs a field, and a field a body"))
	}
	// Permissions are tested in the order of the document.
	slices.SortStableFunc(op.fields, func(a, b field) int { return op.rank(a) - op.rank(b) })
	return errs
}

func (op *operation) rank(b field) int {
	for i := range op.needs {
		if b.need == &op.needs[i] {
			return i + 1
		}
	}
	return 0
}

func (op *operation) bindBody(b field) error {
	switch {
	case op.body == nil:
		return errors.New("the document has no body")
	case b.body == "raw" && op.bodyType == xmlBody && b.of == reflect.TypeFor[[]byte]():
		return nil
	case b.body == "json" && op.bodyType == jsonBody:
		return sameMembers(b.of, op.body)
	}
	return fmt.Errorf("a body of the type %s cannot be a %s", op.bodyType, b.of)
}

// check compares an item with its schema.
func (it Item) check(schemas openapi3.Schemas) error {
	s := schemas[it.schema]
	if s == nil {
		return errors.New("it is not in the document")
	}
	return sameMembers(it.of, s.Value)
}

// sameMembers compares the members of a struct's JSON with an object's schema.
func sameMembers(of reflect.Type, s *openapi3.Schema) error {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || s.Properties == nil {
		return nil // of any form
	}
	left := map[string]bool{}
	for name := range s.Properties {
		left[name] = true
	}
	for _, sf := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		switch {
		case sf.Anonymous && name == "", name == "-", !sf.IsExported():
			continue
		case s.Properties[name] == nil:
			return fmt.Errorf("the document has no member %q", name)
		}
		if err := sameType(sf.Type, s.Properties[name].Value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		delete(left, name)
	}
	for name := range left {
		return fmt.Errorf("%s has no member %q, which is in the document", of, name)
	}
	return nil
}

func sameType(of reflect.Type, s *openapi3.Schema) error {
	switch {
	case s.Type.Is("object"):
		return sameMembers(of, s)
	case s.Type.Is("array") && of.Kind() == reflect.Slice && s.Items != nil && s.Items.Value.Type != nil:
		return sameType(of.Elem(), s.Items.Value)
	case s.Type.Is("array"), of.Kind() == reflect.Interface:
		return nil
	}
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	_, date := reflect.Zero(of).Interface().(interface{ UTC() time.Time })
	if kinds, ok := jsonTypes[s.Type.Slice()[0]]; ok && !slices.Contains(kinds, of.Kind()) && !(date && s.Type.Is("string")) {
		return fmt.Errorf("the document has the type %s, and the struct a %s", s.Type.Slice()[0], of)
	}
	return nil
}

var jsonTypes = map[string][]reflect.Kind{
	"string": {reflect.String}, "integer": {reflect.Int}, "boolean": {reflect.Bool},
}

// fits compares a field with the parameter's schema.
func (p *param) fits(of reflect.Type) error {
	s := p.schema
	if s.Type.Is("array") {
		if of.Kind() != reflect.Slice {
			return fmt.Errorf("the parameter is an array, and the field a %s", of)
		}
		s, of = s.Items.Value, of.Elem()
	}
	if !slices.Contains(jsonTypes[s.Type.Slice()[0]], of.Kind()) {
		return fmt.Errorf("the parameter is of the type %s, and the field a %s", s.Type.Slice()[0], of)
	}
	return nil
}

// fill makes the operation's parameters of checked values.
func (c *Call) fill(values map[string]any, body []byte) (any, error) {
	out := reflect.New(c.op.fn.params)
	for _, f := range c.op.fields {
		to := out.Elem().FieldByIndex(f.index)
		switch {
		case f.body == "json":
			if err := json.Unmarshal(body, to.Addr().Interface()); err != nil {
				return nil, err
			}
		case f.body == "raw":
			to.SetBytes(body)
		case f.need != nil:
			x, err := f.find(c, values[f.name])
			if err != nil {
				return nil, err
			}
			to.Set(reflect.ValueOf(x))
		default:
			assign(to, values[f.name])
		}
	}
	return out.Interface(), nil
}

// find gives a permission's resources as the value of its field.
func (f *field) find(c *Call, value any) (any, error) {
	if err := f.kind.refused(); err != nil {
		return nil, err
	}
	id, single := value.(string)
	switch {
	case !f.some:
		return f.kind.one(c, *f.need, id)
	case single:
		return f.kind.some(c, *f.need, []string{id})
	}
	var ids []string
	if vs, ok := value.([]any); ok {
		ids = make([]string, len(vs))
		for i, v := range vs {
			ids[i] = fmt.Sprint(v)
		}
	}
	return f.kind.some(c, *f.need, ids)
}

// assign sets a field to a checked value; nil leaves it as it is.
func assign(to reflect.Value, v any) {
	switch v := v.(type) {
	case nil:
	case []any:
		out := reflect.MakeSlice(to.Type(), len(v), len(v))
		for i, e := range v {
			assign(out.Index(i), e)
		}
		to.Set(out)
	default:
		to.Set(reflect.ValueOf(v).Convert(to.Type()))
	}
}
