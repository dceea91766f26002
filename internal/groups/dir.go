package groups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vedette/schemas"
)

// Dir is what a group's directory holds.
type Dir struct {
	Group string
	Files []File
	// Changed is the newest modification time in it.
	Changed time.Time
	// Skipped names what is not shared, with why.
	Skipped []string
}

// ReadDir reads the groups below a directory laid out as `etc/shared`: one
// directory per group. A group that cannot be shared as a whole is an error, in
// which its name stands; the others are returned all the same.
func ReadDir(root string) ([]Dir, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var out []Dir
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if !schemas.ValidGroupName(e.Name()) {
			errs = append(errs, fmt.Errorf("group %q: a name is letters, digits, '.', '_' and '-'", e.Name()))
			continue
		}
		d, err := readGroup(root, e.Name())
		if err != nil {
			errs = append(errs, fmt.Errorf("group %s: %w", e.Name(), err))
			continue
		}
		out = append(out, d)
	}
	return out, errors.Join(errs...)
}

func readGroup(root, group string) (Dir, error) {
	d := Dir{Group: group}
	// Links may not lead out of the directory.
	dir, err := os.OpenRoot(filepath.Join(root, group))
	if err != nil {
		return d, err
	}
	defer dir.Close()
	var total int64
	err = fs.WalkDir(dir.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(d.Changed) {
			d.Changed = info.ModTime()
		}
		if path == "." {
			return nil
		}
		if !schemas.ValidSharedPath(path) {
			d.Skipped = append(d.Skipped, path)
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() || path == "ar.conf" { // ar.conf is the server's own
			return nil
		}
		if !info.Mode().IsRegular() {
			d.Skipped = append(d.Skipped, path+" (no regular file)")
			return nil
		}
		if total += info.Size(); total > schemas.MaxSharedBytes || len(d.Files) >= schemas.MaxSharedFiles {
			return fmt.Errorf("more than %d bytes or %d files", schemas.MaxSharedBytes, schemas.MaxSharedFiles)
		}
		data, err := fs.ReadFile(dir.FS(), path)
		if err != nil {
			return err
		}
		d.Files = append(d.Files, File{Path: path, Data: data})
		return nil
	})
	if err != nil {
		return d, err
	}
	slices.SortFunc(d.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return d, Check(d.Files)
}

// Check refuses files that agents could not be sent or would not take.
func Check(files []File) error {
	for _, f := range files {
		if !schemas.ValidSharedPath(f.Path) {
			return fmt.Errorf("%q may not be shared", f.Path)
		}
		if f.Path != agentConf {
			continue
		}
		if err := CheckAgentConf(f.Data); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}
