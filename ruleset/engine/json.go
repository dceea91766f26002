package engine

import (
	"math"
	"strconv"
	"strings"

	"vedette/agentmsg/laxjson"
	"vedette/ruleset/program"
	"vedette/schemas"
)

// jsonDepthMax bounds nesting.
const jsonDepthMax = 1000

// jsonField is a flattened member. null says that the value was null.
type jsonField struct {
	name  *fieldName
	value string
	null  bool
}

// jsonReader parses JSON the way 4.14's plugin does: it stops behind the first
// value, and malformed text gives no fields at all.
type jsonReader struct {
	laxjson.Reader
	fields []jsonField
	csv    bool
	buf    []byte
	// texts holds the values that do not stand in s as they are.
	texts *arena
}

// use makes a the memory of the texts that are made.
func (r *jsonReader) use(a *arena) { r.texts, r.Texts = a, a }

// flatten parses the object that text begins with and lists its members.
func (r *jsonReader) flatten(n *names, text string) bool {
	r.S, r.Pos = strings.TrimPrefix(text, "\ufeff"), 0
	r.fields = r.fields[:0]
	r.Blank()
	if r.Pos >= len(r.S) {
		return false
	}
	if r.S[r.Pos] != '{' {
		// A value without a name gives no field.
		return false
	}
	return r.object(n, n.root, 0)
}

// object flattens the object at pos, which stands at place.
func (r *jsonReader) object(n *names, place *path, depth int) bool {
	if depth >= jsonDepthMax {
		return false
	}
	r.Pos++ // {
	r.Blank()
	if r.Literal("}") {
		return true
	}
	place.next = 0
	for {
		r.Blank()
		key, ok := r.Str()
		if !ok {
			return false
		}
		r.Blank()
		if !r.Literal(":") {
			return false
		}
		r.Blank()
		if !r.member(n, n.child(place, key), depth) {
			return false
		}
		r.Blank()
		if r.Literal(",") {
			continue
		}
		return r.Literal("}")
	}
}

// member flattens one value, which stands at place.
func (r *jsonReader) member(n *names, place *path, depth int) bool {
	add := func(v string, null bool) {
		r.fields = append(r.fields, jsonField{n.at(place), v, null})
	}
	if r.Pos >= len(r.S) {
		return false
	}
	switch c := r.S[r.Pos]; {
	case c == '{':
		return r.object(n, place, depth+1)
	case c == '[':
		if r.csv {
			v, ok := r.csvArray(depth + 1)
			if ok {
				add(v, false)
			}
			return ok
		}
		r.buf = r.buf[:0]
		if !r.print(depth+1, 0, true) {
			return false
		}
		add(r.texts.copy(r.buf), false)
		return true
	case c == '"':
		v, ok := r.Str()
		if ok {
			add(v, false)
		}
		return ok
	case r.Literal("null"):
		add("null", true)
		return true
	case r.Literal("true"):
		add("true", false)
		return true
	case r.Literal("false"):
		add("false", false)
		return true
	}
	if v := r.PlainInteger(); v != "" {
		add(v, false)
		return true
	}
	f, ok := r.Number()
	if !ok {
		return false
	}
	add(r.texts.Keep(appendFlat(r.texts.Room(flatRoom), f)), false)
	return true
}

// flatRoom is enough for most numbers.
const flatRoom = 32

// appendFlat prints a number as a field: an integer that fits 32 bits, else six
// decimals.
func appendFlat(b []byte, f float64) []byte {
	if f == math.Trunc(f) && f >= math.MinInt32 && f <= math.MaxInt32 {
		return strconv.AppendInt(b, int64(f), 10)
	}
	return strconv.AppendFloat(b, f, 'f', 6, 64)
}

// appendNumber prints a number inside an array.
func appendNumber(b []byte, f float64) []byte {
	if f == math.Trunc(f) && f >= math.MinInt32 && f <= math.MaxInt32 {
		return strconv.AppendInt(b, int64(f), 10)
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(b, "null"...)
	}
	s := strconv.FormatFloat(f, 'g', 15, 64)
	if v, _ := strconv.ParseFloat(s, 64); v != f {
		s = strconv.FormatFloat(f, 'g', 17, 64)
	}
	// %g of C: no trailing zeros (as here), exponent of at least two digits
	// (as here), plain notation up to the precision.
	if i := strings.IndexByte(s, 'e'); i >= 0 {
		exp, _ := strconv.Atoi(s[i+1:])
		if exp >= -4 && exp < 15 {
			s = strconv.FormatFloat(f, 'f', -1, 64)
		}
	}
	return append(b, s...)
}

// csvArray joins the scalars of the array at pos.
func (r *jsonReader) csvArray(depth int) (string, bool) {
	if depth >= jsonDepthMax {
		return "", false
	}
	var out strings.Builder
	first := true
	add := func(s string) {
		if !first {
			out.WriteByte(',')
		}
		first = false
		out.WriteString(s)
	}
	r.Pos++ // [
	r.Blank()
	if r.Literal("]") {
		return "", true
	}
	for {
		r.Blank()
		if r.Pos >= len(r.S) {
			return "", false
		}
		switch c := r.S[r.Pos]; {
		case c == '[' || c == '{':
			r.buf = r.buf[:0]
			if !r.print(depth, 0, false) {
				return "", false
			}
		case c == '"':
			v, ok := r.Str()
			if !ok {
				return "", false
			}
			add(v)
		case r.Literal("null"):
			add("null")
		case r.Literal("true"):
			add("true")
		case r.Literal("false"):
			add("false")
		default:
			f, ok := r.Number()
			if !ok {
				return "", false
			}
			add(string(appendFlat(nil, f)))
		}
		r.Blank()
		if r.Literal(",") {
			continue
		}
		return out.String(), r.Literal("]")
	}
}

// print parses the value at pos and prints it to buf: formatted as patterns see
// arrays (tabs is the depth of the output), or without any blanks.
func (r *jsonReader) print(depth, tabs int, formatted bool) bool {
	if depth >= jsonDepthMax || r.Pos >= len(r.S) {
		return false
	}
	switch c := r.S[r.Pos]; {
	case c == '"':
		v, ok := r.Str()
		if ok {
			r.buf = schemas.AppendJSONString(r.buf, v)
		}
		return ok
	case c == '[':
		return r.printArray(depth, tabs, formatted)
	case c == '{':
		return r.printObject(depth, tabs, formatted)
	case r.Literal("null"):
		r.buf = append(r.buf, "null"...)
		return true
	case r.Literal("true"):
		r.buf = append(r.buf, "true"...)
		return true
	case r.Literal("false"):
		r.buf = append(r.buf, "false"...)
		return true
	}
	f, ok := r.Number()
	if ok {
		r.buf = appendNumber(r.buf, f)
	}
	return ok
}

func (r *jsonReader) printArray(depth, tabs int, formatted bool) bool {
	r.Pos++
	r.buf = append(r.buf, '[')
	r.Blank()
	if r.Literal("]") {
		r.buf = append(r.buf, ']')
		return true
	}
	for {
		r.Blank()
		if !r.print(depth+1, tabs+1, formatted) {
			return false
		}
		r.Blank()
		if r.Literal(",") {
			r.buf = append(r.buf, ',')
			if formatted {
				r.buf = append(r.buf, ' ')
			}
			continue
		}
		r.buf = append(r.buf, ']')
		return r.Literal("]")
	}
}

func (r *jsonReader) printObject(depth, tabs int, formatted bool) bool {
	indent := func(n int) {
		for range n {
			r.buf = append(r.buf, '\t')
		}
	}
	r.Pos++
	r.buf = append(r.buf, '{')
	if formatted {
		r.buf = append(r.buf, '\n')
	}
	closing := func() {
		if formatted {
			indent(tabs)
		}
		r.buf = append(r.buf, '}')
	}
	r.Blank()
	if r.Literal("}") {
		closing()
		return true
	}
	for {
		r.Blank()
		key, ok := r.Str()
		if !ok {
			return false
		}
		r.Blank()
		if !r.Literal(":") {
			return false
		}
		r.Blank()
		if formatted {
			indent(tabs + 1)
		}
		r.buf = append(schemas.AppendJSONString(r.buf, key), ':')
		if formatted {
			r.buf = append(r.buf, '\t')
		}
		if !r.print(depth+1, tabs+1, formatted) {
			return false
		}
		r.Blank()
		if r.Literal(",") {
			r.buf = append(r.buf, ',')
			if formatted {
				r.buf = append(r.buf, '\n')
			}
			continue
		}
		if formatted {
			r.buf = append(r.buf, '\n')
		}
		closing()
		return r.Literal("}")
	}
}

// jsonStatics are the flattened names that fill static slots; note systemname.
var jsonStatics = map[string]program.Static{
	"srcip": program.SrcIP, "dstip": program.DstIP, "srcport": program.SrcPort, "dstport": program.DstPort,
	"protocol": program.Protocol, "action": program.Action, "srcuser": program.SrcUser, "dstuser": program.DstUser,
	"id": program.ID, "status": program.Status, "url": program.URL, "data": program.Data,
	"extra_data": program.ExtraData, "systemname": program.SystemName,
}

// runJSON is the plugin JSON_Decoder.
func (s *decoding) runJSON(text string) {
	e := &s.ev
	s.json.csv = e.decoder != nil && e.decoder.CSVArrays
	discard := e.decoder != nil && e.decoder.DiscardNull
	if !s.json.flatten(&s.names, text) {
		return
	}
	for i := range s.json.fields {
		f := &s.json.fields[i]
		switch {
		case f.null && discard:
		case f.name.isStatic:
			e.setStatic(f.name.static, f.value)
		case f.name.text == "user" && !e.static[program.DstUser].set:
			e.setStatic(program.DstUser, f.value)
		default:
			e.add(f.name, f.value)
		}
	}
}

// compactArray prints s without blanks if it is wholly one valid JSON array.
func (r *jsonReader) compactArray(s string) ([]byte, bool) {
	r.S, r.Pos, r.buf = s, 0, r.buf[:0]
	if !r.print(0, 0, false) {
		return nil, false
	}
	r.Blank()
	return r.buf, r.Pos == len(r.S)
}
