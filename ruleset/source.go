package ruleset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vedette/internal/xmlfile"
)

// File is one file of a ruleset.
type File struct {
	// Name is the base name; for a list, its path below lists/ (`amazon/aws-eventnames`).
	Name string
	// Path is the name shown in messages.
	Path string
	Data []byte
}

// Source is the text of a ruleset. Decoders and Rules are in load order: by base
// name, regardless of their directory.
type Source struct {
	Decoders, Rules, Lists []File
	// GeoIP is the database that rules' places of addresses come from, nil for
	// none. Compile does not look into it; it is part of the version.
	GeoIP *GeoIP
}

// GeoIP is a database with its hash, which is large to make anew.
type GeoIP struct {
	File
	SHA256 [sha256.Size]byte
}

// NewGeoIP takes a database.
func NewGeoIP(f File) *GeoIP { return &GeoIP{f, sha256.Sum256(f.Data)} }

// LoadDir reads dir/decoders/*.xml, dir/rules/*.xml and every file below
// dir/lists but the compiled .cdb. A missing folder is an empty one. A dir that has
// none of the three holds XML files itself: those that begin with a decoder are
// decoders, all others rules.
//
// Only regular files of bounded size are read. Other entries are errors, each by
// its name, all of them together.
func LoadDir(dir string) (Source, error) {
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return Source{}, fmt.Errorf("load ruleset %s: there is no such directory", dir)
	case err != nil:
		return Source{}, fmt.Errorf("load ruleset: %w", err)
	case !info.IsDir():
		return Source{}, fmt.Errorf("load ruleset %s: it is no directory; name the directory that holds decoders/, rules/ and lists/", dir)
	}
	s, err := LoadFS(directory(dir))
	if err != nil {
		return Source{}, fmt.Errorf("load ruleset %s: %w", dir, err)
	}
	for _, files := range [][]File{s.Decoders, s.Rules, s.Lists} {
		for i := range files {
			files[i].Path = filepath.Join(dir, files[i].Path)
		}
	}
	return s, nil
}

var errNoFolders = errors.New("no folder named decoders, rules or lists, and no XML file")

// LoadFS is LoadDir for a file system.
func LoadFS(fsys fs.FS) (Source, error) {
	var s Source
	r := newFiles(fsys)
	decoders, hasDecoders := r.xml("decoders")
	rules, hasRules := r.xml("rules")
	s.Decoders, s.Rules = decoders, rules
	hasLists := r.lists(&s)
	if !hasDecoders && !hasRules && !hasLists && len(r.errs) == 0 {
		all, _ := r.xml(".")
		if len(all) == 0 && len(r.errs) == 0 {
			return Source{}, errNoFolders
		}
		for _, f := range all {
			if roots, err := xmlfile.Parse(f.Data); err == nil && len(roots) > 0 && roots[0].Is("decoder") {
				s.Decoders = append(s.Decoders, f)
			} else {
				s.Rules = append(s.Rules, f)
			}
		}
	}
	if len(r.errs) > 0 {
		return Source{}, errors.Join(r.errs...)
	}
	s.sort()
	return s, nil
}

// xml reads the XML files of a folder, and tells whether there is such a folder.
func (r *files) xml(folder string) (out []File, found bool) {
	entries, err := fs.ReadDir(r.fsys, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	if err != nil {
		r.errs = append(r.errs, err)
		return nil, true
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".xml") {
			continue
		}
		p := path.Join(folder, e.Name())
		if data, ok := r.read(p, xmlBytesMax); ok {
			out = append(out, File{Name: e.Name(), Path: p, Data: data})
		}
	}
	return out, true
}

// lists reads the lists, and tells whether there is a folder of them.
func (r *files) lists(s *Source) (found bool) {
	err := fs.WalkDir(r.fsys, "lists", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p == "lists" && errors.Is(err, fs.ErrNotExist) {
				return fs.SkipAll
			}
			return err
		}
		found = true
		if d.IsDir() || strings.HasSuffix(p, ".cdb") {
			return nil
		}
		if data, ok := r.read(p, listBytesMax); ok {
			s.Lists = append(s.Lists, File{Name: strings.TrimPrefix(p, "lists/"), Path: p, Data: data})
		}
		return nil
	})
	if err != nil {
		r.errs = append(r.errs, err)
	}
	return found
}

func (s *Source) sort() {
	for _, files := range [][]File{s.Decoders, s.Rules, s.Lists} {
		slices.SortStableFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	}
}

// Merge puts the files of several sources together, in load order. Of files
// with one name the one of the earlier source comes first.
func Merge(s ...Source) Source {
	var m Source
	for _, x := range s {
		m.Decoders = append(m.Decoders, x.Decoders...)
		m.Rules = append(m.Rules, x.Rules...)
		m.Lists = append(m.Lists, x.Lists...)
		if x.GeoIP != nil {
			m.GeoIP = x.GeoIP
		}
	}
	m.sort()
	return m
}

// Version is a hash of all names and contents in load order, and of GeoIP: 16 hexadecimal
// digits. Paths do not count, so the same files elsewhere are the same version.
func (s Source) Version() string {
	h := sha256.New()
	var n [8]byte
	put := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, files := range [][]File{s.Decoders, s.Rules, s.Lists} {
		binary.BigEndian.PutUint64(n[:], uint64(len(files)))
		h.Write(n[:])
		for _, f := range files {
			put([]byte(f.Name))
			put(f.Data)
		}
	}
	if s.GeoIP != nil {
		put(s.GeoIP.SHA256[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
