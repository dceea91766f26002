package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"

	"vedette/api/problem"
	"vedette/internal/qlang"
)

// formats are the named forms of parameters.
//
// Source: spec/api.md §4.
var formats = map[string]func(string) bool{
	"numbers":            match(`\d+`),
	"numbers_or_all":     match(`\d+|all`),
	"names":              match(`[\w\-.%]+`),
	"alphanumeric":       match(`[\pL\pN_,\-.+\s:]+`),
	"sort":               match(`[\w\-,\s+.]+`),
	"timeframe":          match(`\d{1,9}[dhms]?`),
	"range":              match(`\d{1,5}(-\d{1,5})?`),
	"search":             func(s string) bool { return !strings.ContainsAny(s, ";|&^*>") },
	"group_names":        func(s string) bool { return groupName(s) && s != "." && s != ".." && s != "all" },
	"group_names_or_all": func(s string) bool { return groupName(s) && s != "." && s != ".." },
	"get_dirnames_path":  func(s string) bool { return dirname(s) && !strings.Contains(s, "..") },
	"xml_filename":       match(`[\w\-]+\.xml`),
	"cdb_filename_path":  match(`[\w\-]+`),
	"wazuh_version":      match(`v?\d{1,3}\.\d{1,3}\.\d{1,3}`),
	"wpk_path":           func(s string) bool { return strings.HasSuffix(s, ".wpk") && !strings.Contains(s, "..") },
	"date":               func(s string) bool { _, err := time.Parse(time.DateOnly, s); return err == nil },
	"moment":             func(s string) bool { return momentForm(s) },
}

var (
	groupName = match(`[A-Za-z0-9.\-_]+`)
	dirname   = match(`((etc|ruleset)/(decoders|rules)|etc/lists)[\w\-./]*`)
)

func match(expr string) func(string) bool {
	re := regexp.MustCompile(`^(?:` + expr + `)$`)
	return re.MatchString
}

// check returns an error for a parameter's schema that the checks below do not know.
func (p *param) check() error {
	s := p.schema
	if s.Type.Is("array") {
		s = s.Items.Value
	}
	switch {
	case s.Type.Is("string"), s.Type.Is("integer"), s.Type.Is("boolean"):
	default:
		return errors.New("the type is not string, integer, boolean or an array of these")
	}
	if s.Format != "" && formats[s.Format] == nil {
		return fmt.Errorf("there is no format %q", s.Format)
	}
	return nil
}

// params checks a query against the operation and returns the values with
// defaults: string, int, bool or []any of these.
func (op *operation) query(raw string) (map[string]any, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, problem.Bad("The query string cannot be read")
	}
	var extra []string
	for name := range q {
		if p := op.params[name]; p == nil || p.path {
			extra = append(extra, name)
		}
	}
	if len(extra) > 0 {
		sort.Strings(extra)
		return nil, problem.Bad("Extra query parameter(s) %s not in spec", strings.Join(extra, ", "))
	}
	out := make(map[string]any, len(op.params))
	for _, p := range op.order {
		name := p.name
		if p.path {
			continue
		}
		vs, ok := q[name]
		if !ok {
			if p.required {
				return nil, problem.Bad("Missing query parameter '%s'", name)
			}
			if p.schema.Default != nil {
				out[name] = fromDefault(p.schema.Default)
			}
			continue
		}
		if out[name], err = p.parse(vs); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func fromDefault(v any) any {
	if f, ok := v.(float64); ok {
		return int(f)
	}
	return v
}

func (p *param) parse(vs []string) (any, error) {
	if !p.schema.Type.Is("array") {
		return p.scalar(vs[0], p.schema)
	}
	out := []any{}
	for _, v := range vs {
		for e := range strings.SplitSeq(v, ",") {
			x, err := p.scalar(e, p.schema.Items.Value)
			if err != nil {
				return nil, err
			}
			out = append(out, x)
		}
	}
	return out, nil
}

func (p *param) scalar(v string, s *openapi3.Schema) (any, error) {
	if p.lower {
		v = strings.ToLower(v)
	}
	wrong := func(typ string) error {
		return problem.Bad("Wrong type, expected '%s' for query parameter '%s'", typ, p.name)
	}
	switch {
	case s.Type.Is("boolean"):
		b, err := strconv.ParseBool(strings.ToLower(v))
		if err != nil || len(v) == 1 {
			return nil, wrong("boolean")
		}
		return b, nil
	case s.Type.Is("integer"):
		n, err := strconv.ParseInt(v, 10, strconv.IntSize)
		// Clients know integers of any size: a larger one counts as the largest.
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return nil, wrong("integer")
		}
		if s.Min != nil && float64(n) < *s.Min {
			return nil, problem.Bad("%d is less than the minimum of %d - '%s'", n, int64(*s.Min), p.name)
		}
		if s.Max != nil && float64(n) > *s.Max {
			return nil, problem.Bad("%d is greater than the maximum of %d - '%s'", n, int64(*s.Max), p.name)
		}
		return int(n), nil
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, any(v)) {
		return nil, problem.Bad("%q is not one of %v - '%s'", v, s.Enum, p.name)
	}
	if s.Format != "" && !formats[s.Format](v) {
		return nil, problem.Bad("%q is not a '%s' - '%s'", v, s.Format, p.name)
	}
	if uint64(len(v)) < s.MinLength || s.MaxLength != nil && uint64(len(v)) > *s.MaxLength {
		return nil, problem.Bad("%q has a wrong length - '%s'", v, p.name)
	}
	return v, nil
}

// pathValues checks the parameters of the path and adds them to the values.
func (op *operation) pathValues(c *gin.Context, values map[string]any) error {
	for _, p := range op.order {
		if !p.path {
			continue
		}
		v, s := c.Param(p.name), p.schema
		if p.lower {
			v = strings.ToLower(v)
		}
		switch {
		case s.Format != "" && !formats[s.Format](v), uint64(len(v)) < s.MinLength:
			return problem.Bad("'%.100s' is not a '%s' - '%s'", v, s.Format, p.name)
		case len(s.Enum) > 0 && !slices.Contains(s.Enum, any(v)):
			return problem.Bad("%.100q is not one of %v - '%s'", v, s.Enum, p.name)
		}
		values[p.name] = v
	}
	return nil
}

// limited returns the body, bounded by the upload limit.
func (f *Frame) limited(c *gin.Context) (io.Reader, error) {
	body := c.Request.Body
	if e := c.GetHeader("Expect"); e != "" && !strings.EqualFold(e, "100-continue") {
		return nil, problem.HTTP(http.StatusExpectationFailed, "Only 100-continue can be expected")
	}
	if f.cfg.MaxUploadBytes > 0 {
		if c.Request.ContentLength > f.cfg.MaxUploadBytes {
			status := http.StatusRequestEntityTooLarge
			if strings.EqualFold(c.GetHeader("Expect"), "100-continue") {
				status = http.StatusExpectationFailed
			}
			return nil, problem.HTTP(status, fmt.Sprintf("The body is larger than %d bytes", f.cfg.MaxUploadBytes))
		}
		body = http.MaxBytesReader(c.Writer, body, f.cfg.MaxUploadBytes)
	}
	return body, nil
}

func tooLarge(err error) error {
	var m *http.MaxBytesError
	if errors.As(err, &m) {
		return problem.HTTP(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d bytes", m.Limit))
	}
	return problem.Bad("The body cannot be read")
}

// bodyIs refuses a body of another type.
func bodyIs(c *gin.Context, want string) error {
	if t, _, err := mime.ParseMediaType(c.ContentType()); err != nil || t != want {
		return problem.HTTP(http.StatusUnsupportedMediaType, fmt.Sprintf("Invalid Content-type (%s), expected %s", c.ContentType(), want))
	}
	return nil
}

// needed reads a body that the operation cannot do without, and refuses one of
// another type. Of a request without any body, the type says nothing.
func needed(c *gin.Context, body io.Reader, want string) ([]byte, error) {
	b, err := io.ReadAll(body)
	switch {
	case err != nil:
		return nil, tooLarge(err)
	case len(b) == 0 && c.ContentType() == "":
		return nil, problem.Bad("RequestBody is required")
	}
	return b, bodyIs(c, want)
}

// readBody reads and checks the operation's body. A body that the operation does
// not take is read and ignored, as clients send `{}` with everything.
func (f *Frame) readBody(c *gin.Context, op *operation) ([]byte, error) {
	body, err := f.limited(c)
	if err != nil {
		return nil, err
	}
	if op.body == nil {
		if _, err := io.Copy(io.Discard, body); err != nil {
			return nil, tooLarge(err)
		}
		return nil, nil
	}
	b, err := needed(c, body, op.bodyType)
	if err != nil || op.bodyType != jsonBody {
		return b, err
	}
	if depth(b) > jsonDepthMax {
		return nil, problem.Bad("Maximum recursion depth exceeded.")
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, problem.New(problem.BodyNotJSON, "")
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, problem.Bad("The body must be a JSON object")
	}
	return b, checkObject(op.body, obj, "")
}

// depth returns how deep brackets nest outside of strings.
func depth(b []byte) int {
	d, deepest, inString := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			d++
			deepest = max(deepest, d)
		case c == '}' || c == ']':
			d--
		}
	}
	return deepest
}

// checkObject checks a body against its schema, in the words clients know.
func checkObject(s *openapi3.Schema, obj map[string]any, prefix string) error {
	if s.Properties == nil { // it may hold anything
		return nil
	}
	var extra []string
	for k := range obj {
		if s.Properties[k] == nil {
			extra = append(extra, "'"+prefix+k+"'")
		}
	}
	if len(extra) > 0 {
		sort.Strings(extra)
		return problem.Bad("Invalid field found {%s}", strings.Join(extra, ", "))
	}
	for _, name := range s.Required {
		if _, ok := obj[name]; !ok {
			return problem.Bad("'%s%s' is a required property", prefix, name)
		}
	}
	for k, v := range obj {
		if err := checkValue(s.Properties[k].Value, v, prefix+k); err != nil {
			return err
		}
	}
	return nil
}

// checkValue checks one member of a body, or one element of an array.
func checkValue(s *openapi3.Schema, v any, name string) error {
	var ok bool
	switch t := v.(type) {
	case map[string]any:
		if ok = s.Type.Is("object"); ok {
			return checkObject(s, t, name+".")
		}
	case []any:
		if ok = s.Type.Is("array"); ok {
			for _, e := range t {
				if err := checkValue(s.Items.Value, e, name); err != nil {
					return err
				}
			}
		}
	case bool:
		ok = s.Type.Is("boolean")
	case float64:
		ok = s.Type.Is("number") || s.Type.Is("integer") && t == math.Trunc(t)
		if ok && (s.Min != nil && t < *s.Min || s.Max != nil && t > *s.Max) {
			return problem.Bad("%s is out of range - '%s'", short(v), name)
		}
	case string:
		if ok = s.Type.Is("string"); ok && (s.Format != "" && !formats[s.Format](t) || uint64(len(t)) < s.MinLength || s.MaxLength != nil && uint64(len(t)) > *s.MaxLength) {
			return problem.Bad("%s is not a '%s' - '%s'", short(v), s.Format, name)
		}
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, any(t)) {
			return problem.Bad("%s is not one of %v - '%s'", short(v), s.Enum, name)
		}
	default:
		ok = false
	}
	if !ok && s.Type != nil {
		return problem.Bad("%s is not of type '%s' - '%s'", short(v), strings.Join(s.Type.Slice(), ", "), name)
	}
	return nil
}

func short(v any) string {
	b, _ := json.Marshal(v)
	return string(b[:min(len(b), 100)])
}

// momentForm reports whether s is a moment.
func momentForm(s string) bool {
	_, ok := Moment(s, time.Unix(0, 0))
	return ok
}

// Moment reads a date, an RFC 3339 time, `now` or `now-1h`.
func Moment(s string, now time.Time) (time.Time, bool) {
	if t, ok := qlang.ParseTime(s); ok {
		return t, true
	}
	rest, ok := strings.CutPrefix(s, "now")
	if !ok || rest == "" {
		return now, ok
	}
	d, ok := qlang.ParsePeriod(strings.TrimPrefix(rest, "-"))
	return now.Add(-d), ok && rest[0] == '-'
}

// Format reports whether s has one of the named forms of parameters.
func Format(name, s string) bool { return formats[name](s) }
