package ruleset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Bounds of a ruleset's files in bytes: of one with XML, of a list, of all.
const (
	xmlBytesMax   = 16 << 20
	listBytesMax  = 256 << 20
	totalBytesMax = 512 << 20
)

// files reads the files of one ruleset. Only regular files are read, so that
// neither a pipe nor a device holds the reader up or fills the memory.
type files struct {
	fsys fs.FS
	left int64 // bytes until totalBytesMax
	errs []error
}

func newFiles(fsys fs.FS) *files { return &files{fsys: fsys, left: totalBytesMax} }

// read returns a file's content. It keeps a fault of the file, by its name, and
// returns false then.
func (r *files) read(name string, most int64) ([]byte, bool) {
	data, err := readRegular(r.fsys, name, min(most, r.left))
	name = shown(r.fsys, name)
	if errors.Is(err, errTooLarge) {
		switch {
		case r.left < most:
			err = fmt.Errorf("%s: the files of a ruleset have more than %d MiB together", name, int64(totalBytesMax)>>20)
		default:
			err = fmt.Errorf("%s is larger than %d MiB; such a file is no part of a ruleset", name, most>>20)
		}
	}
	if err != nil {
		r.errs = append(r.errs, err)
		return nil, false
	}
	r.left -= int64(len(data))
	return data, true
}

// shown is how messages name a file.
func shown(fsys fs.FS, name string) string {
	if d, ok := fsys.(directory); ok {
		return filepath.Join(string(d), filepath.FromSlash(name))
	}
	return name
}

var errTooLarge = errors.New("too large")

func readRegular(fsys fs.FS, name string, most int64) ([]byte, error) {
	path := shown(fsys, name)
	info, err := fs.Stat(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing, or is a link that leads nowhere", path)
	}
	if err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// It may be another file by now.
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, errTooLarge
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > most {
		return nil, errTooLarge
	}
	return data, nil
}

// regular returns an error that names the type of a file that is not regular.
func regular(name string, info fs.FileInfo) error {
	kind := ""
	switch m := info.Mode(); {
	case m.IsRegular():
		return nil
	case m.IsDir():
		kind = "a directory"
	case m&fs.ModeNamedPipe != 0:
		kind = "a named pipe"
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	default:
		kind = "no regular file"
	}
	return fmt.Errorf("%s is %s; only regular files are read, remove it", name, kind)
}

// directory is a directory of the system. Opening a file in it never waits.
type directory string

// Open implements fs.FS.
func (d directory) Open(name string) (fs.File, error) {
	return os.OpenFile(filepath.Join(string(d), filepath.FromSlash(name)), os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// Stat implements fs.StatFS: the file is not opened, which alone has effects with
// some devices.
func (d directory) Stat(name string) (fs.FileInfo, error) {
	return os.Stat(filepath.Join(string(d), filepath.FromSlash(name)))
}

// ReadFile reads a regular file of at most most bytes. Its errors name the file.
func ReadFile(name string, most int64) ([]byte, error) {
	data, err := readRegular(directory(filepath.Dir(name)), filepath.Base(name), most)
	if errors.Is(err, errTooLarge) {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, most>>20)
	}
	return data, err
}
