package ruleset

import (
	"path/filepath"
	"strings"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
	"vedette/ruleset/program"
)

var plugins = map[string]program.Plugin{
	"JSON_Decoder":       program.PluginJSON,
	"PF_Decoder":         program.PluginPF,
	"SonicWall_Decoder":  program.PluginSonicWall,
	"SymantecWS_Decoder": program.PluginSymantecWS,
	"OSSECAlert_Decoder": program.PluginOSSECAlert,
}

var offsets = map[string]program.Offset{
	"after_parent":   program.AfterParent,
	"after_prematch": program.AfterPrematch,
	"after_regex":    program.AfterRegex,
}

// decoderFile reads one file of decoders; a non-nil Problem refuses the ruleset.
func (l *loader) decoderFile(f *File) *Problem {
	roots, err := xmlfile.Parse(f.Data)
	if err != nil {
		return xmlProblem(f, err)
	}
	if len(roots) == 0 && !strings.HasPrefix(f.Name, "local_") {
		return fatal(f, nil, "decoder file holds no decoder")
	}
	for _, e := range roots {
		if !e.Is("decoder") {
			return fatal(f, e, "unknown element <%s>; decoder files hold <decoder>", e.Name)
		}
		// The load fails, but the other faults are worth knowing.
		l.report(l.decoder(f, e))
	}
	return nil
}

// decoderDraft is a decoder while its elements are read.
type decoderDraft struct {
	d                           program.Decoder
	program, prematch, regex    *draftPattern
	order                       bool
	usesOwnName                 bool
	element                     *xmlfile.Element
	file                        *File
	offsetPrematch, offsetRegex string
}

// draftPattern is a pattern whose text may come from several elements; the type
// of the last one counts.
type draftPattern struct {
	text string
	kind regex.Kind
	e    *xmlfile.Element
}

func (l *loader) decoder(f *File, e *xmlfile.Element) *Problem {
	if len(e.Attrs) == 0 || !strings.EqualFold(e.Attrs[0].Name, "name") || e.Attrs[0].Value == "" {
		return fatal(f, e, "<decoder> must begin with the attribute name")
	}
	if len(e.Attrs) > 2 || len(e.Attrs) == 2 && !strings.EqualFold(e.Attrs[1].Name, "status") {
		return fatal(f, e, "<decoder> takes no attribute but name and status")
	}
	dd := &decoderDraft{element: e, file: f}
	d := &dd.d
	d.OwnName, d.Name = e.Attrs[0].Value, e.Attrs[0].Value
	for _, c := range e.Children {
		if p := l.decoderElement(dd, c); p != nil {
			return p
		}
	}
	if p := l.compileDecoderPatterns(dd); p != nil {
		return p
	}
	if p := checkDecoder(dd); p != nil {
		return p
	}
	d.Info = program.DecoderInfo{
		Name: d.OwnName, Parent: d.Parent, File: f.Name, Dir: filepath.Dir(f.Path),
		Position: len(l.p.AllDecoders), Details: details(e, map[string]bool{"parent": true}),
	}
	return l.attachDecoder(dd)
}

func (l *loader) decoderElement(dd *decoderDraft, c *xmlfile.Element) *Problem {
	f, d := dd.file, &dd.d
	switch strings.ToLower(c.Name) {
	case "parent":
		d.Parent = c.Content
	case "program_name":
		return l.draftDecoderPattern(dd, c, &dd.program, nil, regex.OSMatch)
	case "prematch":
		return l.draftDecoderPattern(dd, c, &dd.prematch, &dd.offsetPrematch, regex.OSRegex)
	case "regex":
		return l.draftDecoderPattern(dd, c, &dd.regex, &dd.offsetRegex, regex.OSRegex)
	case "order":
		return decoderOrder(dd, c)
	case "plugin_decoder":
		return decoderPlugin(dd, c)
	case "use_own_name":
		dd.usesOwnName = c.Content == "true"
	case "type":
		cat, ok := program.ParseCategory(c.Content)
		if !ok {
			return fatal(f, c, "unknown type %q", c.Content)
		}
		d.Category = cat
	case "fts":
		return decoderFTS(dd, c)
	case "ftscomment":
		d.FTSComment += c.Content
	case "accumulate":
		d.Accumulate = true
	case "json_null_field", "json_array_structure":
		l.decoderJSON(dd, c)
	default:
		return fatal(f, c, "unknown element <%s> of a decoder", c.Name)
	}
	return nil
}

// decoderOrder reads <order>; a later one replaces the names of those before.
func decoderOrder(dd *decoderDraft, c *xmlfile.Element) *Problem {
	d := &dd.d
	dd.order, d.Order = true, nil
	for n := range strings.SplitSeq(c.Content, ",") {
		n = strings.TrimLeft(n, " \t\r\n")
		n, _, _ = cutAny(n, " \t\r\n")
		if n == "" {
			return fatal(dd.file, c, "empty name in <order>")
		}
		if len(d.Order) == program.OrderMax {
			return fatal(dd.file, c, "more than %d names in <order>", program.OrderMax)
		}
		s, ok := program.ParseStatic(n)
		d.Order = append(d.Order, program.OrderField{Name: n, Static: s, Dynamic: !ok})
	}
	return nil
}

func decoderPlugin(dd *decoderDraft, c *xmlfile.Element) *Problem {
	p, ok := plugins[c.Content]
	if !ok {
		return fatal(dd.file, c, "unknown plugin %q", c.Content)
	}
	dd.d.Plugin = p
	if o, ok := c.Attr("offset"); ok {
		if o != "after_parent" && o != "after_prematch" {
			return fatal(dd.file, c, "offset %q of a plugin; only after_parent and after_prematch are possible", o)
		}
		dd.d.PluginOffset = offsets[o]
	}
	return nil
}

// decoderJSON reads the options of the JSON plugin.
func (l *loader) decoderJSON(dd *decoderDraft, c *xmlfile.Element) {
	option := strings.ToLower(c.Name)
	switch value := strings.ToLower(c.Content); option + " " + value {
	case "json_null_field string", "json_array_structure array":
	case "json_null_field discard":
		dd.d.DiscardNull = true
	case "json_null_field empty":
		l.warn(dd.file, c, 0, codeJSONEmpty, "json_null_field empty is deprecated and read as string", "")
	case "json_array_structure csv":
		dd.d.CSVArrays = true
	default:
		used := "string"
		if option == "json_array_structure" {
			used = "array"
		}
		l.warn(dd.file, c, 0, codeJSONOption, "unknown "+option+", "+used+" is used", "")
	}
}

func cutAny(s, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// draftDecoderPattern adds one element to a pattern. offset is where its
// offset attribute goes, nil when the element takes none.
func (l *loader) draftDecoderPattern(dd *decoderDraft, c *xmlfile.Element, to **draftPattern, offset *string, kind regex.Kind) *Problem {
	f := dd.file
	first := *to == nil
	if first {
		*to = &draftPattern{kind: kind, e: c}
	}
	dp := *to
	dp.kind = kind
	for _, a := range c.Attrs {
		switch strings.ToLower(a.Name) {
		case "type":
			k, ok := regex.ParseKind(a.Value)
			if !ok || k == regex.OSMatch && kind == regex.OSRegex {
				l.warn(f, c, 0, codeDecoderDefault, "type "+a.Value+" is not possible here, "+kind.String()+" is used", "")
				continue
			}
			dp.kind = k
		case "offset":
			if offset == nil {
				l.unknownAttr(f, c, 0, a.Name)
				continue
			}
			if !first {
				return fatal(f, c, "offset is possible on the first <%s> only", c.Name)
			}
			*offset = a.Value
		default:
			l.unknownAttr(f, c, 0, a.Name)
		}
	}
	if len(dp.text)+len(c.Content) > decoderTextMax {
		return fatal(f, c, "text of <%s> is longer than %d bytes", c.Name, decoderTextMax)
	}
	dp.text += c.Content
	return nil
}

func (l *loader) compileDecoderPatterns(dd *decoderDraft) *Problem {
	for _, x := range []struct {
		from *draftPattern
		to   **regex.Pattern
	}{{dd.program, &dd.d.ProgramName}, {dd.prematch, &dd.d.Prematch}, {dd.regex, &dd.d.Regex}} {
		if x.from == nil {
			continue
		}
		p, err := l.pattern(x.from.kind, x.from.text)
		if err != nil {
			return fatal(dd.file, x.from.e, "%v", err)
		}
		*x.to = p
	}
	return nil
}

func decoderFTS(dd *decoderDraft, c *xmlfile.Element) *Problem {
	f, d := dd.file, &dd.d
	fts := &program.FTS{}
	if d.FTS != nil {
		fts = d.FTS
	}
	for n := range strings.SplitSeq(c.Content, ",") {
		n = strings.TrimSpace(n)
		switch n {
		case "name":
			fts.Name = true
			continue
		case "location":
			fts.Location = true
			continue
		case "user", "dstuser", "srcuser", "srcip", "dstip", "id", "data", "system_name":
			s, _ := program.ParseStatic(n)
			fts.Statics[s] = true
			continue
		case "extra_data":
			// 4.14 reads data here (spec/ruleset-language.md §8.1).
			fts.Statics[program.Data] = true
			continue
		}
		found := false
		for _, o := range d.Order {
			if !o.Dynamic {
				break
			}
			if o.Name == n {
				found = true
				break
			}
		}
		if !found {
			return fatal(f, c, "<fts> names %q, which is no field and does not stand before the static names of an earlier <order>", n)
		}
		fts.Dynamic = append(fts.Dynamic, n)
	}
	d.FTS = fts
	return nil
}

// checkDecoder runs the checks that need no other decoders.
func checkDecoder(dd *decoderDraft) *Problem {
	f, e, d := dd.file, dd.element, &dd.d
	child := d.Parent != ""
	switch {
	case !child && d.Prematch == nil && d.ProgramName == nil:
		return fatal(f, e, "decoder %q needs a prematch, a program_name or a parent", d.OwnName)
	case d.Regex != nil && !dd.order:
		return fatal(f, e, "decoder %q has a regex without order", d.OwnName)
	case d.Regex == nil && dd.order:
		return fatal(f, e, "decoder %q has an order without regex", d.OwnName)
	case d.Regex == nil && d.FTS != nil:
		return fatal(f, e, "decoder %q has fts without regex", d.OwnName)
	case d.Plugin != program.NoPlugin && d.Regex != nil:
		return fatal(f, e, "decoder %q has both a plugin and a regex", d.OwnName)
	}
	return checkOffsets(dd)
}

// checkOffsets reads the offsets, each of which needs the pattern that it names.
func checkOffsets(dd *decoderDraft) *Problem {
	f, e, d := dd.file, dd.element, &dd.d
	child := d.Parent != ""
	if dd.offsetPrematch != "" {
		if dd.offsetPrematch != "after_parent" {
			return fatal(f, dd.prematch.e, "offset %q of a prematch; only after_parent is possible", dd.offsetPrematch)
		}
		if !child {
			return fatal(f, dd.prematch.e, "after_parent in decoder %q, which has no parent", d.OwnName)
		}
		d.PrematchOffset = program.AfterParent
	}
	if dd.offsetRegex != "" {
		o, ok := offsets[dd.offsetRegex]
		if !ok {
			return fatal(f, dd.regex.e, "unknown offset %q", dd.offsetRegex)
		}
		d.RegexOffset = o
	}
	for _, o := range []program.Offset{d.RegexOffset, d.PluginOffset} {
		switch {
		case o == program.AfterParent && !child:
			return fatal(f, e, "after_parent in decoder %q, which has no parent", d.OwnName)
		case o == program.AfterRegex && !child:
			return fatal(f, e, "after_regex in decoder %q, which has no parent", d.OwnName)
		case o == program.AfterPrematch && child && d.Prematch == nil:
			return fatal(f, e, "after_prematch in decoder %q, which has no prematch", d.OwnName)
		}
	}
	return nil
}

// attachDecoder puts a decoder into the top-level list or below its parents.
func (l *loader) attachDecoder(dd *decoderDraft) *Problem {
	f, e, d := dd.file, dd.element, &dd.d
	if d.Parent == "" {
		d.NameID = l.decoderID(d.Name)
		l.p.AllDecoders = append(l.p.AllDecoders, d)
		l.topLevel[d.OwnName] = append(l.topLevel[d.OwnName], d)
		if d.ProgramName != nil {
			l.p.WithProgram = append(l.p.WithProgram, d)
		} else {
			l.p.WithoutProgram = append(l.p.WithoutProgram, d)
		}
		return nil
	}
	parents := l.topLevel[d.Parent]
	if len(parents) == 0 {
		p := fatal(f, e, "parent %q of decoder %q is not loaded", d.Parent, d.OwnName)
		p.Hint = "load the file that defines it before this one"
		if l.childNames[d.Parent] {
			p.Msg, p.Hint = "parent "+d.Parent+" of decoder "+d.OwnName+" is a child itself", "only two levels are possible"
			p.Code = codeChildAsParent
		}
		return p
	}
	if p := checkSiblings(dd, parents[0]); p != nil {
		return p
	}
	// Own names are known to decoded_as even where no event can show them.
	l.decoderID(d.OwnName)
	if !dd.usesOwnName {
		d.Name = d.Parent
	}
	d.NameID = l.decoderID(d.Name)
	l.childNames[d.OwnName] = true
	l.p.AllDecoders = append(l.p.AllDecoders, d)
	for i, p := range parents {
		c := d
		if i > 0 {
			dup := *d
			c = &dup
		}
		p.Children = append(p.Children, c)
	}
	return nil
}

// checkSiblings refuses elements that only the first decoder of its name below a
// parent may have, or may not.
func checkSiblings(dd *decoderDraft, parent *program.Decoder) *Problem {
	f, e, d := dd.file, dd.element, &dd.d
	earlier := false
	for _, s := range parent.Children {
		earlier = earlier || s.OwnName == d.OwnName
	}
	switch {
	case earlier && (d.Prematch != nil || d.FTS != nil):
		return fatal(f, e, "only the first decoder %q below %q may have prematch and fts", d.OwnName, d.Parent)
	case earlier && d.Regex == nil && d.Plugin == program.NoPlugin:
		return fatal(f, e, "decoder %q below %q needs a regex or a plugin", d.OwnName, d.Parent)
	case !earlier && d.RegexOffset == program.AfterRegex:
		return fatal(f, e, "after_regex in decoder %q, which is the first of its name below %q", d.OwnName, d.Parent)
	}
	return nil
}

// finishDecoders numbers the runs of siblings and checks the lists.
func (l *loader) finishDecoders(s Source) *Problem {
	for _, tops := range l.topLevel {
		for _, d := range tops {
			for i, c := range d.Children {
				for _, later := range d.Children[i+1:] {
					if later.OwnName == c.OwnName {
						c.MoreSiblings = true
						break
					}
				}
				c.SkipTo = i + 1
				for c.SkipTo < len(d.Children) && d.Children[c.SkipTo].OwnName == c.OwnName {
					c.SkipTo++
				}
			}
		}
	}
	for _, n := range internalDecoders {
		l.decoderID(n)
	}
	if len(l.fatals) == 0 && len(s.Decoders) > 0 && (len(l.p.WithProgram) == 0 || len(l.p.WithoutProgram) == 0) {
		return fatal(&s.Decoders[0], nil, "the decoders need at least one with program_name and one without")
	}
	return nil
}

// details collects the content of elements, for people: a text, a map where
// there are attributes, a list where an element repeats.
func details(e *xmlfile.Element, except map[string]bool) map[string]any {
	m := map[string]any{}
	for _, c := range e.Children {
		name := strings.ToLower(c.Name)
		if except[name] {
			continue
		}
		var v any = c.Content
		if len(c.Attrs) > 0 {
			o := map[string]string{"pattern": c.Content}
			for _, a := range c.Attrs {
				o[strings.ToLower(a.Name)] = a.Value
			}
			v = o
		}
		switch old := m[name].(type) {
		case nil:
			m[name] = v
		case []any:
			m[name] = append(old, v)
		default:
			m[name] = []any{old, v}
		}
	}
	return m
}
