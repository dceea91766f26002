package ruleset

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vedette/internal/regex"
	"vedette/internal/xmlfile"
)

// ConfSuffix tells a configuration file from a directory.
const ConfSuffix = ".conf"

// Where 4.14 looks when its configuration names no directory.
const (
	defaultDecoderDir = "ruleset/decoders"
	defaultRuleDir    = "ruleset/rules"
	defaultPattern    = `.xml$`
	listDir           = "etc/lists/"
)

// conf holds the <ruleset> blocks of a configuration file.
type conf struct {
	file     string
	root     string // relative names are relative to it
	decoders fileSet
	rules    fileSet
	lists    []string
	left     int64 // bytes until totalBytesMax
	errs     []error
}

// fileSet is one kind of files.
type fileSet struct {
	standard string
	dirs     []dirPattern
	includes []string
	excludes []string
	// excluded are the files that only excludes keeps out.
	excluded []string
}

type dirPattern struct {
	dir     string
	pattern *regex.Pattern
}

// LoadConf reads the files that the <ruleset> blocks of an ossec.conf name, with
// their include and exclude lists. Names are relative to the installation: the
// directory of the file, or the one above if that is called etc.
//
// Other than in 4.14, a file or directory that is named and cannot be read is an
// error: a rule that silently is not there raises no alarm. All problems are
// returned together.
//
// Source: spec/ruleset-language.md §13.1.
func LoadConf(name string) (Source, error) {
	c, err := readConf(name)
	if err != nil {
		return Source{}, err
	}
	return c.source()
}

// Excluded reads the files that the exclude lists of an ossec.conf keep out of
// LoadConf. Files that cannot be read are left out.
func Excluded(name string) (Source, error) {
	c, err := readConf(name)
	if err != nil {
		return Source{}, err
	}
	if _, err := c.source(); err != nil {
		return Source{}, err
	}
	s := Source{Decoders: c.files(c.decoders.excluded), Rules: c.files(c.rules.excluded)}
	s.sort()
	return s, nil
}

// readConf reads the <ruleset> blocks of a file. It keeps their faults for
// source.
func readConf(name string) (*conf, error) {
	data, err := ReadFile(name, xmlBytesMax)
	if err != nil {
		return nil, fmt.Errorf("load ruleset: %w", err)
	}
	roots, err := xmlfile.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("load ruleset: %s:%w", name, err)
	}
	c := &conf{file: name, left: totalBytesMax, root: filepath.Dir(name), decoders: fileSet{standard: defaultDecoderDir}, rules: fileSet{standard: defaultRuleDir}}
	if filepath.Base(c.root) == "etc" {
		c.root = filepath.Dir(c.root)
	}
	found := false
	for _, r := range roots {
		for _, e := range append([]*xmlfile.Element{r}, r.Children...) {
			if e.Is("ruleset") {
				found = true
				c.block(e)
			}
		}
	}
	if !found {
		c.errs = append(c.errs, fmt.Errorf("%s: no <ruleset> block", name))
	}
	return c, nil
}

// source reads the files that the blocks name.
func (c *conf) source() (Source, error) {
	s := Source{Decoders: c.read(&c.decoders), Rules: c.read(&c.rules)}
	for _, l := range c.lists {
		if f, ok := c.open(l, listBytesMax); ok {
			f.Name = strings.TrimPrefix(l, listDir)
			s.Lists = append(s.Lists, f)
		}
	}
	if len(c.errs) > 0 {
		return Source{}, fmt.Errorf("load ruleset: %w", errors.Join(c.errs...))
	}
	s.sort()
	return s, nil
}

func (c *conf) fail(e *xmlfile.Element, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s:%d:%d: %s", c.file, e.Line, e.Col, fmt.Sprintf(format, args...)))
}

func (c *conf) block(ruleset *xmlfile.Element) {
	for _, e := range ruleset.Children {
		name, value := strings.ToLower(e.Name), strings.TrimSpace(e.Content)
		if value == "" {
			c.fail(e, "<%s> is empty", name)
			continue
		}
		set := &c.rules
		if strings.HasPrefix(name, "decoder_") {
			set = &c.decoders
		}
		switch name {
		case "decoder_dir", "rule_dir":
			text, given := e.Attr("pattern")
			if len(e.Attrs) > 0 && !given {
				c.fail(e, "<%s> has attributes, but no pattern", name)
				continue
			}
			if !given {
				text = defaultPattern
			}
			p, err := regex.Compile(regex.OSRegex, text)
			if err != nil {
				c.fail(e, "%v", err)
				continue
			}
			set.dirs = append(set.dirs, dirPattern{value, p})
		case "decoder_include", "rule_include":
			if !strings.Contains(value, "/") {
				value = set.standard + "/" + value
			}
			set.includes = append(set.includes, value)
		case "decoder_exclude", "rule_exclude":
			set.excludes = append(set.excludes, value)
		case "list":
			c.lists = append(c.lists, value)
		default:
			c.fail(e, "unknown element <%s> in <ruleset>", e.Name)
		}
	}
}

// read lists and reads the files of one kind, each once.
func (c *conf) read(set *fileSet) []File {
	if len(set.dirs) == 0 {
		p, _ := regex.Compile(regex.OSRegex, defaultPattern)
		set.dirs = []dirPattern{{set.standard, p}}
	}
	var names []string
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range set.includes {
		add(path.Clean(name))
	}
	var rx regex.Machine
	for _, d := range set.dirs {
		entries, err := os.ReadDir(c.path(d.dir))
		if err != nil {
			c.errs = append(c.errs, fmt.Errorf("%s: %w", c.file, err))
			continue
		}
		for _, e := range entries {
			name := strings.TrimSuffix(d.dir, "/") + "/" + e.Name()
			if e.IsDir() || !rx.Match(d.pattern, name, regex.Lower(name)) {
				continue
			}
			if slices.Contains(set.excludes, e.Name()) || slices.Contains(set.excludes, name) {
				set.excluded = append(set.excluded, path.Clean(name))
				continue
			}
			add(path.Clean(name))
		}
	}
	set.excluded = slices.DeleteFunc(set.excluded, func(name string) bool { return slices.Contains(names, name) })
	return c.files(names)
}

// files reads the files of these names.
func (c *conf) files(names []string) []File {
	var out []File
	for _, name := range names {
		if f, ok := c.open(name, xmlBytesMax); ok {
			out = append(out, f)
		}
	}
	return out
}

func (c *conf) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.root, filepath.FromSlash(name))
}

func (c *conf) open(name string, most int64) (File, bool) {
	p := c.path(name)
	data, err := ReadFile(p, min(most, c.left))
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s: %w", c.file, err))
		return File{}, false
	}
	c.left -= int64(len(data))
	return File{Name: path.Base(name), Path: p, Data: data}, true
}
