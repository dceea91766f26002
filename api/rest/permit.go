package rest

import (
	"fmt"
	"reflect"
	"slices"

	"vedette/api/problem"
	"vedette/api/rbac"
)

// anyResource is the type in the document of actions that have no resource.
const anyResource = "*:*"

// Kind tells the frame about one type of resource that permissions name. T is
// the type under which functions of operations get the resources.
type Kind[T any] struct {
	// Resource is the type as permissions have it, such as group:id.
	Resource string
	// All returns every resource in the order of lists, in a slice that the
	// caller may change.
	All func() []T
	// ID returns the id under which requests name a resource.
	ID func(T) string
	// Names returns the names of a resource in permissions, such as group:id:web.
	// Nil: its type and its id.
	Names func(T) []string
	// Missing is the error for an id that no resource has.
	Missing problem.Code
	// Refused returns the error of every request about resources of the kind while
	// there can be none, and nil otherwise. Nil: there always can.
	Refused func() error
}

// AnyKind is a Kind of any T.
type AnyKind interface {
	key() kindKey
	refused() error
	one(c *Call, n need, id string) (any, error)
	some(c *Call, n need, ids []string) (any, error)
}

type kindKey struct {
	resource string
	of       reflect.Type
}

func (k *Kind[T]) key() kindKey { return kindKey{k.Resource, reflect.TypeFor[T]()} }

func (k *Kind[T]) refused() error {
	if k.Refused == nil {
		return nil
	}
	return k.Refused()
}

func (k *Kind[T]) names(x T) []string {
	if k.Names != nil {
		return k.Names(x)
	}
	return []string{k.Resource + ":" + k.ID(x)}
}

// one returns the resource with an id, or the error of the whole request.
func (k *Kind[T]) one(c *Call, n need, id string) (any, error) {
	all := k.All()
	i := slices.IndexFunc(all, func(x T) bool { return k.ID(x) == id })
	names := []string{k.Resource + ":" + id}
	if i >= 0 {
		names = k.names(all[i])
	}
	switch {
	case !c.perms.Allows(n.action, names...):
		return nil, denied(n.resource)
	case i < 0:
		return nil, problem.New(k.Missing, "")
	}
	return all[i], nil
}

// some returns the resources with these ids as Targets[T]; nil ids, or "all"
// among them, are all resources. Named resources that are not there, or not
// permitted, become failed items of the answer.
func (k *Kind[T]) some(c *Call, n need, ids []string) (any, error) {
	t := Targets[T]{kind: k, call: c, need: n}
	if ids == nil || slices.Contains(ids, "all") {
		t.All = c.perms.AllowsAll(n.action, n.resource)
		return t, nil
	}
	t.Named, t.asked = true, ids
	wanted := make(map[string][]T, len(ids))
	for _, id := range ids {
		wanted[id] = nil
	}
	for _, x := range k.All() {
		if _, ok := wanted[k.ID(x)]; ok {
			wanted[k.ID(x)] = append(wanted[k.ID(x)], x)
		}
	}
	refused := false
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		have := slices.DeleteFunc(wanted[id], func(x T) bool { return !c.perms.Allows(n.action, k.names(x)...) })
		switch {
		case len(have) > 0:
			t.items = append(t.items, have...)
		case len(wanted[id]) > 0 || !c.perms.Allows(n.action, k.Resource+":"+id):
			refused = true
			c.Fail(problem.PermissionDenied, id)
		default:
			c.Fail(k.Missing, id)
		}
	}
	if refused && len(t.items) == 0 && len(c.failed) == 1 {
		return nil, denied(n.resource)
	}
	return t, nil
}

func denied(resource string) *problem.Problem {
	return problem.New(problem.PermissionDenied, "Permission denied: Resource type: "+resource)
}

// Targets are the resources that a request is about and that its caller may use.
type Targets[T any] struct {
	// Named says that the request names them. Otherwise they are all.
	Named bool
	// All says that they are all and that the caller may use every resource of
	// the kind, also those that are gone by now.
	All bool

	items []T
	asked []string // the ids of the request, in its order
	kind  *Kind[T]
	call  *Call
	need  need
}

// Items returns the resources in a slice that the caller may change.
func (t *Targets[T]) Items() []T {
	if t.Named {
		return slices.Clone(t.items)
	}
	all := t.kind.All()
	if t.All {
		return all
	}
	return slices.DeleteFunc(all, func(x T) bool { return !t.call.perms.Allows(t.need.action, t.kind.names(x)...) })
}

// InOrder returns the resources in the order in which the request names them.
func (t *Targets[T]) InOrder() []T {
	items := t.Items()
	if t.Named {
		slices.SortStableFunc(items, func(a, b T) int {
			return slices.Index(t.asked, t.kind.ID(a)) - slices.Index(t.asked, t.kind.ID(b))
		})
	}
	return items
}

func (*Targets[T]) element() reflect.Type { return reflect.TypeFor[T]() }

// targets is a *Targets[T] of any T.
type targets interface{ element() reflect.Type }

// permit refuses calls that lack a permission without a resource.
func (c *Call) permit() error {
	for _, n := range c.op.needs {
		if n.resource == anyResource && !c.perms.Allows(n.action, rbac.AnyResource) {
			return denied(n.resource)
		}
	}
	return nil
}

// kindOf finds the kind for a need and a field of its operation's parameters.
func (f *Frame) kindOf(n need, field reflect.Type) (k AnyKind, some bool, err error) {
	elem := field
	if t, ok := reflect.New(field).Interface().(targets); ok {
		elem, some = t.element(), true
	}
	if k = f.kinds[kindKey{n.resource, elem}]; k == nil {
		return nil, false, fmt.Errorf("there is no kind of %s with the type %s", n.resource, elem)
	}
	return k, some, nil
}
