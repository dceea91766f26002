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
)

// File is one file of a ruleset.
type File struct {
	// Name is the base name; for a list, its path below lists/ (`amazon/aws-eventnames`).
	Name string
	// Path is what messages show.
	Path string
	Data []byte
}

// Source is the text of a ruleset. Decoders and Rules stand in load order: by
// base name, whatever directory they came from.
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
// dir/lists but the compiled .cdb. A missing folder is an empty one; a dir that
// has none of the three is an error.
func LoadDir(dir string) (Source, error) {
	s, err := LoadFS(os.DirFS(dir))
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

var errNoFolders = errors.New("no folder named decoders, rules or lists")

// LoadFS is LoadDir for a file system.
func LoadFS(fsys fs.FS) (Source, error) {
	var s Source
	found := false
	xml := func(folder string) ([]File, error) {
		entries, err := fs.ReadDir(fsys, folder)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		found = true
		var files []File
		for _, e := range entries {
			if e.IsDir() || !strings.HasSuffix(e.Name(), ".xml") {
				continue
			}
			p := path.Join(folder, e.Name())
			data, err := fs.ReadFile(fsys, p)
			if err != nil {
				return nil, err
			}
			files = append(files, File{Name: e.Name(), Path: p, Data: data})
		}
		return files, nil
	}
	var err error
	if s.Decoders, err = xml("decoders"); err != nil {
		return Source{}, err
	}
	if s.Rules, err = xml("rules"); err != nil {
		return Source{}, err
	}
	err = fs.WalkDir(fsys, "lists", func(p string, d fs.DirEntry, err error) error {
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
		data, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		s.Lists = append(s.Lists, File{Name: strings.TrimPrefix(p, "lists/"), Path: p, Data: data})
		return nil
	})
	if err != nil {
		return Source{}, err
	}
	if !found {
		return Source{}, errNoFolders
	}
	s.sort()
	return s, nil
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
