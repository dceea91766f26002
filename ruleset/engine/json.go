package engine

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

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
	s      string
	pos    int
	fields []jsonField
	csv    bool
	buf    []byte
	// texts holds the values that do not stand in s as they are.
	texts *arena
}

func (r *jsonReader) blank() {
	for r.pos < len(r.s) && r.s[r.pos] <= ' ' {
		r.pos++
	}
}

func (r *jsonReader) literal(s string) bool {
	if strings.HasPrefix(r.s[r.pos:], s) {
		r.pos += len(s)
		return true
	}
	return false
}

// flatten parses the object that text begins with and lists its members.
func (s *Keyed) flatten(text string) bool {
	r := &s.json
	r.s, r.pos = strings.TrimPrefix(text, "\ufeff"), 0
	r.fields = r.fields[:0]
	r.blank()
	if r.pos >= len(r.s) {
		return false
	}
	if r.s[r.pos] != '{' {
		// A value without a name gives no field.
		return false
	}
	return r.object(s, s.root, 0)
}

// object flattens the object at pos, which stands at place.
func (r *jsonReader) object(names *Keyed, place *path, depth int) bool {
	if depth >= jsonDepthMax {
		return false
	}
	r.pos++ // {
	r.blank()
	if r.literal("}") {
		return true
	}
	place.next = 0
	for {
		r.blank()
		key, ok := r.str()
		if !ok {
			return false
		}
		r.blank()
		if !r.literal(":") {
			return false
		}
		r.blank()
		if !r.member(names, names.child(place, key), depth) {
			return false
		}
		r.blank()
		if r.literal(",") {
			continue
		}
		return r.literal("}")
	}
}

// member flattens one value, which stands at place.
func (r *jsonReader) member(names *Keyed, place *path, depth int) bool {
	add := func(v string, null bool) {
		r.fields = append(r.fields, jsonField{names.nameAt(place), v, null})
	}
	if r.pos >= len(r.s) {
		return false
	}
	switch c := r.s[r.pos]; {
	case c == '{':
		return r.object(names, place, depth+1)
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
		v, ok := r.str()
		if ok {
			add(v, false)
		}
		return ok
	case r.literal("null"):
		add("null", true)
		return true
	case r.literal("true"):
		add("true", false)
		return true
	case r.literal("false"):
		add("false", false)
		return true
	}
	if v := r.plainInteger(); v != "" {
		add(v, false)
		return true
	}
	f, ok := r.number()
	if !ok {
		return false
	}
	add(r.texts.keep(appendFlat(r.texts.room(flatRoom), f)), false)
	return true
}

// plainInteger reads an integer of at most nine digits that is written as it is
// printed; else it reads nothing.
func (r *jsonReader) plainInteger() string {
	end := r.pos
	for end < len(r.s) && digit(r.s[end]) {
		end++
	}
	n := end - r.pos
	if n == 0 || n > 9 || n > 1 && r.s[r.pos] == '0' || end < len(r.s) && strings.IndexByte("+-eE.", r.s[end]) >= 0 {
		return ""
	}
	text := r.s[r.pos:end]
	r.pos = end
	return text
}

// number reads a number.
func (r *jsonReader) number() (f float64, ok bool) {
	if r.pos >= len(r.s) || r.s[r.pos] != '-' && !digit(r.s[r.pos]) {
		return 0, false
	}
	end := r.pos
	for end < len(r.s) && end-r.pos < 63 && (digit(r.s[end]) || strings.IndexByte("+-eE.", r.s[end]) >= 0) {
		end++
	}
	// The longest prefix that is a number counts, as strtod has it.
	for ; end > r.pos; end-- {
		v, err := strconv.ParseFloat(r.s[r.pos:end], 64)
		if err == nil || math.IsInf(v, 0) {
			r.pos = end
			return v, true
		}
	}
	return 0, false
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
	r.pos++ // [
	r.blank()
	if r.literal("]") {
		return "", true
	}
	for {
		r.blank()
		if r.pos >= len(r.s) {
			return "", false
		}
		switch c := r.s[r.pos]; {
		case c == '[' || c == '{':
			r.buf = r.buf[:0]
			if !r.print(depth, 0, false) {
				return "", false
			}
		case c == '"':
			v, ok := r.str()
			if !ok {
				return "", false
			}
			add(v)
		case r.literal("null"):
			add("null")
		case r.literal("true"):
			add("true")
		case r.literal("false"):
			add("false")
		default:
			f, ok := r.number()
			if !ok {
				return "", false
			}
			add(string(appendFlat(nil, f)))
		}
		r.blank()
		if r.literal(",") {
			continue
		}
		return out.String(), r.literal("]")
	}
}

// print parses the value at pos and prints it to buf: formatted as patterns see
// arrays (tabs is the depth of the output), or without any blanks.
func (r *jsonReader) print(depth, tabs int, formatted bool) bool {
	if depth >= jsonDepthMax || r.pos >= len(r.s) {
		return false
	}
	switch c := r.s[r.pos]; {
	case c == '"':
		v, ok := r.str()
		if ok {
			r.buf = schemas.AppendJSONString(r.buf, v)
		}
		return ok
	case c == '[':
		return r.printArray(depth, tabs, formatted)
	case c == '{':
		return r.printObject(depth, tabs, formatted)
	case r.literal("null"):
		r.buf = append(r.buf, "null"...)
		return true
	case r.literal("true"):
		r.buf = append(r.buf, "true"...)
		return true
	case r.literal("false"):
		r.buf = append(r.buf, "false"...)
		return true
	}
	f, ok := r.number()
	if ok {
		r.buf = appendNumber(r.buf, f)
	}
	return ok
}

func (r *jsonReader) printArray(depth, tabs int, formatted bool) bool {
	r.pos++
	r.buf = append(r.buf, '[')
	r.blank()
	if r.literal("]") {
		r.buf = append(r.buf, ']')
		return true
	}
	for {
		r.blank()
		if !r.print(depth+1, tabs+1, formatted) {
			return false
		}
		r.blank()
		if r.literal(",") {
			r.buf = append(r.buf, ',')
			if formatted {
				r.buf = append(r.buf, ' ')
			}
			continue
		}
		r.buf = append(r.buf, ']')
		return r.literal("]")
	}
}

func (r *jsonReader) printObject(depth, tabs int, formatted bool) bool {
	indent := func(n int) {
		for range n {
			r.buf = append(r.buf, '\t')
		}
	}
	r.pos++
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
	r.blank()
	if r.literal("}") {
		closing()
		return true
	}
	for {
		r.blank()
		key, ok := r.str()
		if !ok {
			return false
		}
		r.blank()
		if !r.literal(":") {
			return false
		}
		r.blank()
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
		r.blank()
		if r.literal(",") {
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
		return r.literal("}")
	}
}

// str reads the string at pos.
func (r *jsonReader) str() (string, bool) {
	if r.pos >= len(r.s) || r.s[r.pos] != '"' {
		return "", false
	}
	start := r.pos + 1
	i := quoteOrSlash(r.s, start)
	if i == len(r.s) {
		return "", false
	}
	if r.s[i] == '"' {
		r.pos = i + 1
		return r.s[start:i], true
	}
	// Unescaped texts are no longer than escaped ones.
	b := append(r.texts.room(len(r.s)-start), r.s[start:i]...)
	for i < len(r.s) {
		if r.s[i] == '"' {
			r.pos = i + 1
			return r.texts.keep(b), true
		}
		var n int
		var ok bool
		if b, n, ok = unescape(b, r.s[i:]); !ok {
			return "", false
		}
		from := i + n
		i = quoteOrSlash(r.s, from)
		b = append(b, r.s[from:i]...)
	}
	return "", false
}

// quoteOrSlash is the position of the first quote or backslash from i on, or the
// length of s. It takes eight bytes at a time, and more where there are none for long.
func quoteOrSlash(s string, i int) int {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
		near = 64
		far  = 512
	)
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // only read
	for end := min(i+near, len(b)); i+8 <= end; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^('"'*ones), w^('\\'*ones)
		if found := ((quote-ones)&^quote | (slash-ones)&^slash) & high; found != 0 {
			return i + bits.TrailingZeros64(found)>>3
		}
	}
	for i < len(s) {
		part := s[i:min(i+far, len(s))]
		quote := strings.IndexByte(part, '"')
		if quote >= 0 {
			part = part[:quote]
		}
		if slash := strings.IndexByte(part, '\\'); slash >= 0 {
			return i + slash
		}
		i += len(part)
		if quote >= 0 {
			break
		}
	}
	return i
}

// unescape appends the character of the escape at the start of s.
func unescape(b []byte, s string) ([]byte, int, bool) {
	if len(s) < 2 {
		return b, 0, false
	}
	switch c := s[1]; c {
	case 'b':
		return append(b, '\b'), 2, true
	case 'f':
		return append(b, '\f'), 2, true
	case 'n':
		return append(b, '\n'), 2, true
	case 'r':
		return append(b, '\r'), 2, true
	case 't':
		return append(b, '\t'), 2, true
	case '"', '\\', '/':
		return append(b, c), 2, true
	case 'u':
		hi, ok := hex4(s[2:])
		if !ok || hi >= 0xDC00 && hi < 0xE000 {
			return b, 0, false
		}
		if hi < 0xD800 || hi >= 0xE000 {
			return utf8.AppendRune(b, rune(hi)), 6, true
		}
		if len(s) < 12 || s[6] != '\\' || s[7] != 'u' {
			return b, 0, false
		}
		lo, ok := hex4(s[8:])
		if !ok || lo < 0xDC00 || lo >= 0xE000 {
			return b, 0, false
		}
		return utf8.AppendRune(b, 0x10000+rune(hi&0x3FF)<<10|rune(lo&0x3FF)), 12, true
	}
	return b, 0, false
}

func hex4(s string) (int, bool) {
	if len(s) < 4 {
		return 0, false
	}
	v, err := strconv.ParseUint(s[:4], 16, 16)
	return int(v), err == nil
}

// jsonStatics are the flattened names that fill static slots; note systemname.
var jsonStatics = map[string]program.Static{
	"srcip": program.SrcIP, "dstip": program.DstIP, "srcport": program.SrcPort, "dstport": program.DstPort,
	"protocol": program.Protocol, "action": program.Action, "srcuser": program.SrcUser, "dstuser": program.DstUser,
	"id": program.ID, "status": program.Status, "url": program.URL, "data": program.Data,
	"extra_data": program.ExtraData, "systemname": program.SystemName,
}

// runJSON is the plugin JSON_Decoder.
func (s *Keyed) runJSON(text string) {
	e := &s.ev
	s.json.csv = e.decoder != nil && e.decoder.CSVArrays
	discard := e.decoder != nil && e.decoder.DiscardNull
	if !s.flatten(text) {
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
			s.addNamed(f.name, f.value)
		}
	}
}

// compactArray prints s without blanks if it is wholly one valid JSON array.
func (r *jsonReader) compactArray(s string) ([]byte, bool) {
	r.s, r.pos, r.buf = s, 0, r.buf[:0]
	if !r.print(0, 0, false) {
		return nil, false
	}
	r.blank()
	return r.buf, r.pos == len(r.s)
}
