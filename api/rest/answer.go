package rest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"vedette/api/problem"
)

// Answer is the result of an operation: a *List, *Data, *Bare, *File or Text.
type Answer interface {
	// body returns the status, the type and the bytes, or a value for JSON.
	body(c *Call) (status int, contentType string, data []byte, value any)
}

const jsonBody, jsonAnswer = "application/json", "application/json; charset=utf-8"

// Messages are the message of a list: all, some or none of the things asked for
// are in the list.
type Messages struct{ All, Some, None string }

// Always returns messages that do not depend on the outcome.
func Always(message string) Messages { return Messages{message, message, message} }

// List is the answer of most operations. Failed items are those of the call.
type List[T any] struct {
	Items    []T
	Total    int // before offset and limit
	Messages Messages
	// NumericIDs says that failed ids are shown as numbers.
	NumericIDs bool
	// Extra are more members of data.
	Extra Ordered
	// Status is the status of the answer; 0 is 200.
	Status int
}

// Items returns the list of all that was asked for, without offset and limit.
func Items[T any](items []T, m Messages) *List[T] {
	return &List[T]{Items: items, Total: len(items), Messages: m}
}

// Single returns a list of one item.
func Single[T any](v T, message string) *List[T] { return Items([]T{v}, Always(message)) }

func (l *List[T]) body(c *Call) (int, string, []byte, any) {
	failed, n := c.failedItems(l.NumericIDs)
	outcome, message := 0, l.Messages.All
	switch {
	case l.Total == 0:
		message, outcome = l.Messages.None, min(n, 1)
	case n > 0:
		message, outcome = l.Messages.Some, 2
	}
	items := l.Items
	if items == nil {
		items = []T{}
	}
	data := Ordered{{"affected_items", items}, {"total_affected_items", l.Total}, {"total_failed_items", n}, {"failed_items", failed}}
	return cmp.Or(l.Status, http.StatusOK), jsonAnswer, nil, Ordered{{"data", append(data, l.Extra...)}, {"message", message}, {"error", outcome}}
}

// Data is an answer without items. Either of its parts may be empty.
type Data struct {
	Data    any
	Message string
}

func (p *Data) body(*Call) (int, string, []byte, any) {
	var o Ordered
	if p.Data != nil {
		o = append(o, Member{"data", p.Data})
	}
	if p.Message != "" {
		o = append(o, Member{"message", p.Message})
	}
	return http.StatusOK, jsonAnswer, nil, append(o, Member{"error", 0})
}

// Text is a bare answer.
type Text string

func (t Text) body(*Call) (int, string, []byte, any) {
	return http.StatusOK, "text/plain; charset=utf-8", []byte(t), nil
}

// File is a bare answer of any type.
type File struct {
	ContentType string
	Data        []byte
}

func (f *File) body(*Call) (int, string, []byte, any) {
	return http.StatusOK, f.ContentType, f.Data, nil
}

// Bare is a JSON answer without an envelope.
type Bare struct {
	Status int
	Value  any
}

func (b *Bare) body(*Call) (int, string, []byte, any) { return b.Status, jsonAnswer, nil, b.Value }

// Fail adds an id that the operation could not be done for to the failed items
// of the answer, which must be a List.
func (c *Call) Fail(code problem.Code, id string) {
	if c.failed == nil {
		c.failed = map[problem.Code][]string{}
	}
	c.failed[code] = append(c.failed[code], id)
}

// FailWith is Fail with the code of a *problem.Problem. It returns other errors.
func (c *Call) FailWith(err error, id string) error {
	p, ok := err.(*problem.Problem) //nolint:errorlint // the interfaces promise it unwrapped
	if !ok {
		return err
	}
	c.Fail(problem.Code(p.Code), id)
	return nil
}

type failedItem struct {
	Error failedError `json:"error"`
	ID    []any       `json:"id"`
}

type failedError struct {
	Code        int    `json:"code"`
	Message     string `json:"message"`
	Remediation string `json:"remediation,omitempty"`
}

// failedItems returns the failed items by code and how many ids there are.
func (c *Call) failedItems(numeric bool) (items []failedItem, n int) {
	items = []failedItem{}
	for code, ids := range c.failed {
		p := problem.New(code, "")
		sortIDs(ids)
		shown := make([]any, len(ids))
		for i, id := range ids {
			shown[i] = id
			if numeric {
				shown[i] = json.Number(id)
			}
		}
		items = append(items, failedItem{failedError{p.Code, p.Detail, p.Remediation}, shown})
		n += len(ids)
	}
	slices.SortFunc(items, func(a, b failedItem) int { return cmp.Compare(a.Error.Code, b.Error.Code) })
	return items, n
}

// Ordered is a JSON object that keeps the order of its members.
type Ordered []Member

// Member is one member of an Ordered.
type Member struct {
	Key   string
	Value any
}

// MarshalJSON implements json.Marshaler.
func (o Ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		v, err := Encode(m.Value)
		if err != nil {
			return nil, err
		}
		b.WriteString(strconv.Quote(m.Key))
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Encode writes a value as JSON in the way answers have it.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// sortIDs sorts as numbers when all are.
func sortIDs(ids []string) {
	number := func(s string) (int, bool) { n, err := strconv.Atoi(s); return n, err == nil }
	numeric := !slices.ContainsFunc(ids, func(s string) bool { _, ok := number(s); return !ok })
	slices.SortFunc(ids, func(a, b string) int {
		if numeric {
			x, _ := number(a)
			y, _ := number(b)
			return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
		}
		return cmp.Compare(a, b)
	})
}
